"""Files that are built, and come with the package: those of the console and of the contract's page."""

from __future__ import annotations

from importlib.resources import files
from pathlib import PurePosixPath


def built_files(folder: str) -> dict[str, bytes]:
    """All files in a folder beside this, by their paths in it: they are few, and small. None where it is not there."""
    found: dict[str, bytes] = {}
    left = [(PurePosixPath(), files("postwire.web") / folder)]
    while left:
        path, here = left.pop()
        for one in here.iterdir() if here.is_dir() else ():
            if one.is_dir():
                left.append((path / one.name, one))
            else:
                found[str(path / one.name)] = one.read_bytes()
    return found
