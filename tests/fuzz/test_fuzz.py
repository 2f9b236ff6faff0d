"""What was found by fuzzing once is tried again; and in a long run, a little is fuzzed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fuzz.targets import SEEDS, TARGETS

CORPUS = Path(__file__).parent / "corpus"
SECONDS = 10


def kept() -> Iterator[tuple[str, bytes]]:
    for name in TARGETS:
        for seed in SEEDS[name]:
            yield name, seed
            for cut in (0, 1, len(seed) // 2, len(seed) - 1):
                yield name, seed[:cut]
        for path in sorted((CORPUS / name).glob("*")):
            yield name, path.read_bytes()


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_kept(name: str) -> None:
    for target, data in kept():
        if target == name:
            TARGETS[name](data)


def test_every_target_has_seeds() -> None:
    assert SEEDS.keys() == TARGETS.keys()
    assert {path.name for path in CORPUS.glob("*")} <= TARGETS.keys()


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_a_little_of_each(name: str) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris has no wheel for this machine")
    command = [sys.executable, "-m", "tests.fuzz", "--inside", "--seconds", str(SECONDS), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CORPUS.parents[2])
    assert done.returncode == 0, done.stderr[-4000:]
