"""Opening a store file: that it is one of ours, and which version it has."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path
from typing import Final

import apsw

from postwire.outbox.base import OutboxError

IN_MEMORY: Final = ":memory:"
APPLICATION_ID: Final = 0x706F7374
"""What SQLite's header holds at offset 68 in a file of ours ("post")."""

_BUSY_TIMEOUT_MS: Final = 5_000
_CACHE_KIB: Final = 64 * 1024
_LOG_LIMIT_BYTES: Final = 32 * 1024 * 1024
"""What is left of the log once it begins anew. It grows past that while somebody reads for long, and SQLite alone would
never give the space back."""
_LOG_PIECE: Final = 64 * 1024  # SQLite's own writing takes no more than 128 KiB at once


@functools.cache
def migrations() -> list[str]:
    """The scripts that lead from an empty file to the newest version, in order; number n leads from version n - 1 to
    n.
    """
    folder = resources.files(__package__).joinpath("migrations")
    return [
        entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".sql")
    ]


def connect(path: str, *, sync: str, read_only: bool = False) -> apsw.Connection:
    """A connection with the settings every connection of ours has. `sync` is `full` or `normal`.

    Raises:
        OutboxError: the file cannot be opened, is no database, is another program's, or newer than this program.
    """
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    try:
        connection = apsw.Connection(path, flags=flags)
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        connection.pragma("cache_size", -_CACHE_KIB)
        connection.pragma("temp_store", "memory")  # what a statement sets aside is small, and no file is made for it
        connection.pragma("automatic_index", False)  # else the planner may index the values, and read all of a table
        if not read_only:
            _check_ours(connection, path)  # before anything is written to the file
            _renew_log(connection)
            connection.pragma("secure_delete", True)  # what is erased or removed is gone from the file
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", sync)
            connection.pragma("journal_size_limit", _LOG_LIMIT_BYTES)
    except apsw.Error as error:
        raise OutboxError(f"store.path: cannot open {path}: {plain(error)}") from None
    return connection


def truncate_log(connection: apsw.Connection) -> bool:
    """Fold the log into the file and cut it to nothing; False where a reader is in the way, who is not waited for.

    Raises:
        apsw.Error: the disk is at fault. Nothing is lost by that: the log stays as it is.
    """
    with without_waiting(connection):
        ((is_busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return not is_busy


class without_waiting:
    """Have nothing wait for another connection that is in the way: `apsw.BusyError` says so at once."""

    __slots__ = ("_connection",)

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.set_busy_timeout(0)

    def __exit__(self, *_: object) -> None:
        self._connection.set_busy_timeout(_BUSY_TIMEOUT_MS)


def _renew_log(connection: apsw.Connection) -> None:
    """Write the log once more, as it is read.

    Where an fsync has failed, what it was for can still be read, but it is not on the disk, and later fsyncs pass it
    over (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). A process that was killed
    then leaves a log whose end a power cut would take, and with it all that was added behind it since.
    """
    path = connection.filename_wal
    if not Path(path).is_file():  # in memory there is none, and it has no name
        return
    log = apsw.VFSFile("", path, [apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_READWRITE, 0])
    try:
        size = log.xFileSize()
        for offset in range(0, size, _LOG_PIECE):
            log.xWrite(log.xRead(min(_LOG_PIECE, size - offset), offset), offset)
        log.xSync(apsw.SQLITE_SYNC_NORMAL)
    finally:
        log.xClose()


def _check_ours(connection: apsw.Connection, path: str) -> None:
    owner = connection.pragma("application_id")
    version = connection.pragma("user_version")
    if owner != APPLICATION_ID:
        is_empty = not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
        if not (is_empty and version == 0 and owner == 0):
            raise OutboxError(f"store.path: {path} is a database of another program")
    elif version > (known := len(migrations())):
        raise OutboxError(
            f"store.path: {path} has schema version {version}, and this postwire knows up to {known}: "
            "a newer release wrote it"
        )


def migrate(connection: apsw.Connection, path: str) -> None:
    """Bring the file to the newest version, all of it in one transaction.

    Raises:
        OutboxError: it cannot be written.
    """
    scripts = migrations()
    try:
        version = connection.pragma("user_version")
        if version < len(scripts):
            with connection:
                connection.pragma("application_id", APPLICATION_ID)
                for script in scripts[version:]:
                    connection.execute(script)
                connection.pragma("user_version", len(scripts))
    except apsw.Error as error:
        raise OutboxError(f"store.path: cannot write {path}: {plain(error)}") from None


def plain(error: apsw.Error) -> str:
    """What SQLite says of an error, without the class: "disk I/O error"."""
    return str(error) or type(error).__name__
