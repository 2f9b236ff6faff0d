"""Which file a log belongs to, and which boot a file comes from.

SQLite takes a log for that of the file beside it, whatever file that is: where a copy was put in the place of a store
that had crashed, it mixes the two, or undoes the copy without a word. So each boot writes an id of its own into the
store and into the file of its lock, which no copy of the store carries along.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import apsw

from postwire.outbox.base import OutboxError
from postwire.outbox.sqlite.files import StoreFiles
from postwire.outbox.sqlite.ownership import Ownership
from postwire.outbox.sqlite.queries import QUERIES
from postwire.outbox.sqlite.schema import plain, truncate_log

BOOT_ID: Final = "boot_id"
"""The metadata that holds the id of the latest boot."""

STORE: Final = "store"
"""The metadata that names the store: no other has this name. What a client has of its changes is held to it."""

_VERSION_AT: Final = 18  # https://sqlite.org/fileformat2.html#file_format_version_numbers
_NO_LOG: Final = 1  # the version of a file that was last written without a log, as copies of ours are
_CHECKED: Final = 24  # digits of an id; the others follow from them

_WHOLE: Final = 64 << 20
"""Up to what size (bytes) a store is looked through at boot, after an end that was not in order: it takes a second."""


def has_log(files: StoreFiles) -> bool:
    """Whether there is a log with anything in it: the process has not ended in order, or runs still."""
    try:
        return files.log.stat().st_size > 0
    except OSError:
        return False


def is_without_log(files: StoreFiles) -> bool:
    """Whether the file was last written without a log, as copies of ours are: then a log beside it is another's."""
    with files.store.open("rb") as file:
        return file.read(_VERSION_AT + 1)[_VERSION_AT:] == bytes((_NO_LOG,))


def check_log(files: StoreFiles, boot_ids: Sequence[str]) -> None:
    """Make sure that the log beside a store is its own, before SQLite opens either.

    `boot_ids` are those that the store may hold; with none, nothing is known of it.

    Raises:
        OutboxError: it is another's. Nothing has been changed.
    """
    if not has_log(files):
        return
    if not files.store.stat().st_size:
        raise OutboxError(
            f"store.path: {files.store} is empty, and {files.log.name} beside it is not: put back the file that this "
            "log belongs to, or move the log away to begin anew"
        )
    if is_without_log(files) or (boot_ids and (found := boot_id_in(files.store)) is not None and found not in boot_ids):
        raise OutboxError(
            f"store.path: {files.store} is a copy, and {files.log.name} beside it is the log of the store before: "
            f"`postwire store restore {files.store} --store {files.store}` takes the copy, and puts the log aside"
        )


def boot_id_in(store: Path) -> str | None:
    """The id that the file itself holds, whatever is in its log; "" where there is none, None where it is unreadable.

    It is, for a moment, while a log is being folded into the file; a power cut may leave it so.
    """
    try:
        connection = open_alone(store)
        try:
            found = connection.execute(QUERIES["fact"], (BOOT_ID,)).fetchall()
        finally:
            connection.close()
    except apsw.SQLError:  # it has no such table: it is new, or of an early release
        return ""
    except apsw.Error:
        return None
    if not found:
        return ""
    text = str(found[0][0])
    return text if text == _completed(text[:_CHECKED]) else None


def open_alone(store: Path) -> apsw.Connection:
    """Read a file as it is, without its log, and leave nothing beside it."""
    name = str(store.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return apsw.Connection(f"file:{name}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)


def begin(connection: apsw.Connection, ownership: Ownership, files: StoreFiles) -> None:
    """Give a store that was just opened the id of this boot, in the file and not only in its log.

    A store whose boots this place does not know was put here, and its past may be another: it is named anew, so that
    nobody takes its changes for those that he has seen.

    Raises:
        apsw.Error: it cannot be written.
        OutboxError: nor can the lock's file.
    """
    known = ownership.boot_ids
    before = _read_metadata(connection, BOOT_ID)
    now = _completed(secrets.token_hex(_CHECKED // 2))
    # Written before the store, since a crash at any point leaves one of these in the file.
    ownership.keep_boot_ids([boot_id_in(files.store) or "", before, now])
    with connection:
        connection.execute(QUERIES["keep_fact"], (BOOT_ID, now))
        if (before or known) and before not in known:
            _name_anew(connection)
    if truncate_log(connection):
        ownership.keep_boot_ids([now])


def detach(connection: apsw.Connection) -> None:
    """Have a copy be a store of its own: of no boot of the place where it will be served, and with another name."""
    connection.execute(QUERIES["forget_fact"], (BOOT_ID,))
    _name_anew(connection)


def look_through(connection: apsw.Connection, files: StoreFiles) -> list[str]:
    """Look for damage in a store that was not closed in order; returns a line to log where it is too large for that.

    Raises:
        OutboxError: there is some.
    """
    if connection.pragma("page_count") * connection.pragma("page_size") > _WHOLE:
        return [
            f"store.path: {files.store} was not closed in order, and is too large to be looked through at boot: "
            "`postwire store check` does it while it is served"
        ]
    try:
        ((found,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
    except apsw.CorruptError as error:
        found = plain(error)
    if found != "ok":
        raise OutboxError(
            f"store.path: {files.store} is damaged ({str(found).splitlines()[-1]}): `postwire store check` says more, "
            "and `postwire store restore` puts a copy in its place"
        )
    return []


def _name_anew(connection: apsw.Connection) -> None:
    connection.execute(QUERIES["keep_fact"], (STORE, secrets.token_hex(16)))


def _read_metadata(connection: apsw.Connection, name: str) -> str:
    found = connection.execute(QUERIES["fact"], (name,)).fetchall()
    return str(found[0][0]) if found else ""


def _completed(digits: str) -> str:
    """An id whose last digits follow from the others: half of one id and half of another is none."""
    return digits + hashlib.sha256(digits.encode()).hexdigest()[:8]
