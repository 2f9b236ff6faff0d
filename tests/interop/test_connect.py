"""Connect's own conformance runner finds nothing wrong with how the contract is served over HTTP."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.interop.conftest import TOOLS
from tests.interop.table import Row
from tests.support.needed import Need
from tests.support.reader import ROOT

FOLDER: Final = Path(__file__).parent / "connect"
MODULE: Final = "connectrpc.com/conformance"
PROTOS: Final = ("config", "server_compat", "service")

LEAST_CASES: Final = 1000
"""How many there were when this was written, and a few less: a configuration that leaves more out is noticed."""


def go(*command: str) -> str:
    done = subprocess.run(("go", *command), cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_runner_finds_nothing_wrong(row: Row, need: Need, tmp_path: Path) -> None:
    row.client = "connectconformance"
    need("go")
    # Building it takes a minute; then go finds that nothing has changed.
    go("build", "-o", f"{TOOLS}{os.sep}", f"{MODULE}/cmd/connectconformance")
    protos = Path(go("list", "-m", "-f", "{{.Dir}}", MODULE)) / "proto"
    names = [f"connectrpc/conformance/v1/{name}.proto" for name in PROTOS]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={protos}", f"--python_out={tmp_path}"]
    subprocess.run([*protoc, *names], check=True)
    # One server at a time: the runner gives each ten seconds to come up.
    runner = [f"{TOOLS}/connectconformance", "--mode=server", f"--conf={FOLDER}/config.yaml", "--max-servers=1"]
    server = [sys.executable, "-m", "tests.interop.connect.server", str(tmp_path)]
    done = subprocess.run([*runner, "--", *server], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    found = re.search(r"^Total cases: (\d+)\n(\d+) passed, 0 failed$", done.stdout, re.MULTILINE)
    assert found, done.stdout[-2_000:]
    row.calls = int(found[1])
    assert int(found[2]) == row.calls >= LEAST_CASES
