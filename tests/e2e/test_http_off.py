"""What a server loads that is not asked for HTTP: nothing of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import grpc
from tests.e2e.calls import request
from tests.e2e.server import environment
from tests.e2e.web import HTTP
from tests.support.waiting import PATIENCE

from postwire.v1.dispatch_service_pb2_grpc import DispatchServiceStub

OF_HTTP: Final = ("starlette", "uvicorn", "connectrpc", "h11", "httptools", "postwire.web")


def loaded(folder: Path, **settings: str) -> set[str]:
    """The modules that a server loads to boot, to send a message and to end."""
    command = [sys.executable, "-X", "importtime", "-m", "postwire", "serve"]
    env = environment(folder, **settings)
    with subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        lines = []
        for line in process.stderr:
            lines.append(line)
            if '"event":"serving"' in line:
                break
        with grpc.insecure_channel(json.loads(lines[-1])["listen"]) as channel:
            DispatchServiceStub(channel).Dispatch(request(), timeout=PATIENCE)
        process.terminate()
        lines += process.stderr
        assert process.wait(PATIENCE) == 0
    return {found[1] for line in lines if (found := re.search(r"^import time:.*\| +(\S+)$", line))}


def of_http(modules: set[str]) -> set[str]:
    return {one for one in OF_HTTP if any(name == one or name.startswith(f"{one}.") for name in modules)}


def test_without_the_listener_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    assert of_http(loaded(tmp_path)) == set()


def test_with_the_listener_it_is(tmp_path: Path) -> None:
    """Else the test above would pass whatever is loaded."""
    assert of_http(loaded(tmp_path, **HTTP)) >= {"starlette", "uvicorn", "connectrpc", "postwire.web"}
