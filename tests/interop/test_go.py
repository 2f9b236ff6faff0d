"""The Go client is as its ecosystem expects it, and its stubs are those of the protos."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.needed import Need
from tests.support.reader import ROOT

MODULE = ROOT / "clients" / "go"
BUF = Path(sys.executable).with_name("buf")


@pytest.fixture(autouse=True)
def _go(need: Need) -> None:
    need("go", "gofmt")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=MODULE, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_gofmt_would_change_nothing() -> None:
    assert run("gofmt", "-l", ".") == ""


def test_vet_finds_nothing() -> None:
    run("go", "vet", "./...")


def test_the_stubs_are_fresh(tmp_path: Path) -> None:
    run(BUF, "generate", "--output", tmp_path)
    fresh, committed = contents(tmp_path / "gen"), contents(MODULE / "gen")
    assert fresh, "buf has written nothing"
    stale = sorted(name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))
    assert stale == [], "see clients/go/README.md: The stubs"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.go")}
