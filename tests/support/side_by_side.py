"""The tests in several processes at once: what each of them imports first, and in which order files come."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import pytest

T = TypeVar("T")

WAITING: Final = ("nodes", "faults", "e2e")
"""The folders whose tests wait for other processes for most of their time; those of all others compute. What may take
longest comes first."""

BY_THEMSELVES: Final = ("browser", "interop")
"""The folders whose tests have commands of their own."""


def import_share(folder: Path, process: int, processes: int) -> None:
    """Import the share of one of several processes in all files of tests below a folder.

    To find the tests, each process imports all of them. In a fresh clone that means to write every assertion anew and
    to compile what is imported, which takes longer than to find them: so no two do it for the same.
    """
    files = [path for path in sorted(folder.glob("*/test_*.py")) if path.parent.name not in BY_THEMSELVES]
    for path in files[process::processes]:
        name = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
        with suppress(Exception, pytest.skip.Exception):  # it is imported again, and reported, where it is collected
            importlib.import_module(name)


def in_turn(files: Iterable[Path]) -> list[Path]:
    """These files, such that of any that are next to each other as many wait and compute as of all.

    Those who run them then wait while others compute, from the first to the last.
    """
    in_order = sorted(files)
    waiting = [path for folder in WAITING for path in in_order if path.parts[-2] == folder]
    computing = [path for path in in_order if path.parts[-2] not in WAITING]
    return [path for _, path in sorted((*_spread(waiting), *_spread(computing)))]


def _spread(paths: Sequence[T]) -> Iterable[tuple[float, T]]:
    """Each with its place, from 0 to 1."""
    return ((number / len(paths), path) for number, path in enumerate(paths))
