"""Files of stores, and how soon the log is folded into them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import apsw
from tests.support.faults.power import INDEX


@contextmanager
def checkpoints_after(pages: int) -> Iterator[None]:
    """Has connections fold the log into the file each time that it has so many pages; of itself, SQLite takes 1,000."""

    def hook(connection: apsw.Connection) -> None:
        connection.wal_autocheckpoint(pages)

    apsw.connection_hooks.append(hook)
    try:
        yield
    finally:
        apsw.connection_hooks.remove(hook)


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Have a folder hold these files, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """What a process that starts now would find, whether it is durable or not."""
    return {one.name: one.read_bytes() for one in folder.iterdir() if not one.name.endswith((INDEX, ".lock"))}
