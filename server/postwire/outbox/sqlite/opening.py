"""Opening a store file to be served: whose it is, and the connections to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import apsw

from postwire.outbox.base import OutboxError
from postwire.outbox.sqlite import boots
from postwire.outbox.sqlite.files import StoreFiles
from postwire.outbox.sqlite.ownership import Ownership
from postwire.outbox.sqlite.schema import IN_MEMORY, connect, migrate, plain


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store that this process owns, and its connections; in memory there is one. `warnings` are for the operator."""

    writing: apsw.Connection
    reading: apsw.Connection | None = None
    ownership: Ownership | None = None
    warnings: Sequence[str] = field(default=())

    @classmethod
    def open(cls, path: str, *, sync: str) -> Self:
        """Open it, making it if need be.

        Raises:
            OutboxError: another process owns it, it has a second name, cannot be written, is not ours, or is newer than
                this program; or it is damaged, a copy beside another's log, or a restore of it was interrupted.
        """
        if path == IN_MEMORY:
            writing = connect(path, sync=sync)
            migrate(writing, path)
            return cls(writing)
        ownership = Ownership(Path(path))
        files = StoreFiles.of(Path(path))
        opened: list[apsw.Connection] = []
        try:
            boots.check_log(files, ownership.boot_ids)
            was_closed = not boots.has_log(files)
            opened.append(writing := connect(path, sync=sync))
            if not was_closed:
                ownership.warnings += boots.look_through(writing, files)
            migrate(writing, path)
            boots.begin(writing, ownership, files)
            opened.append(reading := connect(path, sync=sync, read_only=True))
            ownership.check()
            return cls(writing, reading, ownership, ownership.warnings)
        except BaseException as error:
            for connection in reversed(opened):  # before the file is released
                connection.close()
            ownership.release()
            if isinstance(error, apsw.Error):
                raise OutboxError(f"store.path: cannot write {path}: {plain(error)}") from None
            raise

    @property
    def is_in_place(self) -> Callable[[], bool] | None:
        """Tells whether the file at the path is the one that is open. In memory there is no such question."""
        return self.ownership.is_in_place if self.ownership else None

    def close(self) -> None:
        """Close the connections, and release the file after them."""
        if self.reading:
            self.reading.close()
        if self.is_in_place and not self.is_in_place():
            # It would delete a log by its name, which may be another file's by now.
            self.writing.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self.writing.close()  # last, since the last connection to close folds the log into the file
        if self.ownership:
            self.ownership.release()
