"""A disk that is full, for real: files of this process cannot grow."""

from __future__ import annotations

import resource
from pathlib import Path


class Disk:
    """`fill` makes every write of this process fail that would make a file longer than `store`'s log now is.

    The system itself then refuses (EFBIG), so SQLite sees what it sees on a bad day, at the moment it sees it then: in
    the write of a commit.
    """

    def __init__(self, store: Path) -> None:
        self._log = store.with_name(store.name + "-wal")
        self._soft, self._hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._log.stat().st_size, self._hard))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._soft, self._hard))
