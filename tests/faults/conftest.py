"""Where the stores of this folder lie, and where its figures go: into the summary of `tests/conftest.py`."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

# In memory where the system has such files: what the disk does is up to the tests, and they open thousands of stores.
PLACE: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=PLACE) as made:
        yield Path(made)


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes a line for the summary."""
    return functools.partial(record_property, "figure")
