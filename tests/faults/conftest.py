"""Where the stores of this folder lie, and where its figures go: into pytest's summary."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

# In memory where the system has such files: what the disk does is up to the tests, and they open thousands of stores.
PLACE: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

_FIGURES: Final = pytest.StashKey[list[str]]()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=PLACE) as made:
        yield Path(made)


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes a line for the summary."""
    return request.config.stash.setdefault(_FIGURES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if figures := config.stash.get(_FIGURES, []):
        terminalreporter.section("faults")
        for line in figures:
            terminalreporter.write_line(line)
