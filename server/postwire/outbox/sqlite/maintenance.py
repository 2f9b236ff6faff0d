"""What operators do with a store file: look whether it is sound, and copy it while it is served.

Both read through a connection of their own. SQLite lets any number of processes read beside the one that writes, so
neither asks for the lock of the server, and neither holds it up.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import apsw

from postwire.config.encryption_keys import EncryptionKey
from postwire.outbox.base import OutboxError
from postwire.outbox.cipher import Damaged, StoreCipher
from postwire.outbox.reports import Report
from postwire.outbox.sqlite import boots
from postwire.outbox.sqlite.files import StoreFiles
from postwire.outbox.sqlite.queries import QUERIES
from postwire.outbox.sqlite.rows import id_text
from postwire.outbox.sqlite.schema import APPLICATION_ID, migrations, plain

PAGES_AT_ONCE: Final = 1_000
"""How many pages are copied between two reports of progress."""

MAX_FAULTS: Final = 100
"""How many faults are named."""


COPIED: Final = "copied"
"""The metadata that says, in a copy, when it was made (µs)."""

Progress = Callable[[int, int], None]
"""Called with how many pages of how many are done."""


def ignore(done: int, total: int) -> None:
    """A `Progress` that nobody looks at."""


def check(path: Path, keys: Sequence[EncryptionKey] = ()) -> Report:
    """Look at a store file, all of it. Of 10 GB this takes minutes. With `keys`, contents are decrypted as well.

    Raises:
        OutboxError: it is not there, cannot be read, or is not ours.
    """
    try:
        with closing(open_file(path)) as connection:

            def rows(query: str) -> list[tuple[Any, ...]]:
                return connection.execute(QUERIES[query]).fetchall()

            faults = damage(connection, path)
            faults += [f"{count} {text}" for query, text in _RULES.items() for (count,) in rows(query) if count]
            faults += _damaged(connection, keys) if keys else []
            return Report(
                version=_version(connection),
                size=path.stat().st_size,
                faults=tuple(faults),
                messages=dict(rows("count_states")),
                attempts=rows("count_attempts")[0][0],
                contents=dict(rows("count_keys")),
                oldest_unsettled=rows("stats")[0][1],
                drained=tuple(name for (name,) in rows("drained")),
            )
    except apsw.Error as error:
        raise _unreadable(path, error) from None


def _damaged(connection: apsw.Connection, keys: Sequence[EncryptionKey]) -> list[str]:
    """The contents that cannot be decrypted, by why not."""
    cipher, counts = StoreCipher(keys), Counter[str]()
    found: Iterator[tuple[Any, ...]] = connection.execute(QUERIES["encrypted_contents"])
    for blob, message_id, tenant in found:
        try:
            cipher.decrypt_content(blob, tenant=tenant, message_id=id_text(message_id))
        except Damaged as error:
            counts[str(error)] += 1
    return [f"{count} contents cannot be decrypted: each {why}" for why, count in sorted(counts.items())]


def damage(connection: apsw.Connection, path: Path) -> list[str]:
    """What SQLite finds wrong with a file, all of which it reads."""
    found = connection.execute(f"PRAGMA integrity_check({MAX_FAULTS})").fetchall()
    faults = [str(row[0]) for row in found if row[0] != "ok"]
    if path.stat().st_size % connection.pragma("page_size"):  # which SQLite reads as if it were there, in zeros
        faults.append("the file ends in the middle of a page")
    return faults


def backup(path: Path, target: Path, progress: Progress = ignore) -> int:
    """Copy a store, as it is at one moment, to a file that is not there yet; returns the copy's size in bytes.

    `progress` is called with how many pages of how many are done. A copy that was broken off leaves nothing behind.

    Raises:
        OutboxError: the store is not there or not ours, or the copy cannot be written.
    """
    if target.exists():
        raise OutboxError(f"{target}: is there already, give the path of a new file")
    partial = target.with_name(f"{target.name}.partial")
    try:
        with closing(open_file(path)) as source:
            copy_pages(source, partial, progress)
        with closing(apsw.Connection(str(partial))) as copy:
            boots.detach(copy)
            copy.execute(QUERIES["keep_fact"], (COPIED, str(time.time_ns() // 1000)))
            copy.pragma("journal_mode", "delete")  # one file, and nothing beside it
        partial.replace(target)
        return target.stat().st_size
    except apsw.Error as error:
        raise OutboxError(f"{target}: cannot be written: {plain(error)}") from None
    except OSError as error:
        raise OutboxError(f"{target}: cannot be written: {error.strerror}") from None
    finally:
        for leftover in (partial, partial.with_name(f"{partial.name}-journal")):
            with suppress(OSError):  # where there can be none
                leftover.unlink()


_RULES: Final = {
    "fault_settled_and_open": "settled messages have attempts that are open",
    "fault_two_open": "messages have more than one attempt that is open",
    "fault_no_message": "attempts belong to no message",
    "fault_receipts_of_none": "receipts belong to no message",
    "fault_unknown_content": "contents are in no form that this release knows",
    "fault_clear_content": "contents lie in clear, where everything was encrypted",
    "fault_no_content": "messages that are to be sent have no content",
}
"""What holds in every sound store, beyond what SQLite knows: each query counts what breaks it."""


def open_file(path: Path, *, versions: Container[int] | None = None, alone: bool | None = None) -> apsw.Connection:
    """Open a store for reading. `versions` of the schema other than the newest one have to be asked for.

    It is read `alone`, without the log beside it, where that is known to be another's.

    Raises:
        OutboxError: it is not there, is not ours, or has another version.
    """
    if not path.is_file():
        raise OutboxError(f"{path}: there is no such file")
    files = StoreFiles.of(path)
    if alone is None:
        alone = boots.has_log(files) and boots.is_without_log(files)
    try:
        connection = boots.open_alone(path) if alone else apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    except apsw.Error as error:
        raise _unreadable(path, error) from None
    try:
        if connection.pragma("application_id") != APPLICATION_ID:
            raise OutboxError(f"{path}: is not a store of postwire")
        if (version := _version(connection)) not in (versions or (len(migrations()),)):
            raise OutboxError(f"{path}: has schema version {version}, and this postwire reads {len(migrations())}")
    except apsw.Error as error:
        connection.close()
        raise _unreadable(path, error) from None
    except BaseException:
        connection.close()
        raise
    return connection


def copy_pages(source: apsw.Connection, target: Path, progress: Progress) -> None:
    """Copy all that is in a store to a new file, which nobody else may read.

    Raises:
        apsw.Error: it cannot be written.
    """
    with closing(_new(target)) as copy:
        # One moment for all of it: else each commit of the server would have the copy begin anew.
        source.execute("BEGIN")
        source.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
        with copy.backup("main", source, "main") as steps:
            while not steps.done:
                steps.step(PAGES_AT_ONCE)
                progress(steps.page_count - steps.remaining, steps.page_count)
        source.execute("COMMIT")


def _unreadable(path: Path, error: apsw.Error) -> OutboxError:
    return OutboxError(f"{path}: cannot be read: {plain(error)}")


def _new(path: Path) -> apsw.Connection:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)  # it holds what the store holds
    return apsw.Connection(str(path))


def _version(connection: apsw.Connection) -> int:
    version = connection.pragma("user_version")
    assert isinstance(version, int)
    return version
