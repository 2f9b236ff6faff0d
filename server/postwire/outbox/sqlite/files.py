"""The files that belong to a store, by their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class StoreFiles:
    """All of them are beside the store, and named after it."""

    store: Path

    @classmethod
    def of(cls, path: Path) -> Self:
        """Those of the store at a path, which may be a symbolic link."""
        return cls(path.resolve())

    @property
    def log(self) -> Path:
        """SQLite's write-ahead log."""
        return self._beside("-wal")

    @property
    def index(self) -> Path:
        """The index of the log."""
        return self._beside("-shm")

    @property
    def journal(self) -> Path:
        """What SQLite keeps while it writes a file without a log."""
        return self._beside("-journal")

    @property
    def lock(self) -> Path:
        """Locked by the process that owns the store."""
        return self._beside(".lock")

    @property
    def partial(self) -> Path:
        """A copy that is being made ready to take the store's place."""
        return self._beside(".restoring.partial")

    @property
    def restoring(self) -> Path:
        """A copy that is ready. While it is there, a restore is not finished, and nobody serves the store."""
        return self._beside(".restoring")

    @property
    def before(self) -> Path:
        """The store that was there before the last restore."""
        return self._beside(".before-restore")

    @property
    def before_log(self) -> Path:
        """Its log: where SQLite looks for it."""
        return self._beside(".before-restore-wal")

    def _beside(self, suffix: str) -> Path:
        return self.store.with_name(self.store.name + suffix)
