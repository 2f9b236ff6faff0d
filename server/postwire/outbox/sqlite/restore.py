"""Puts a copy in the place of a store. An interruption at any point loses nothing, and the next boot says what to do.

The copy is made ready beside the store, all of it, and takes its place by renames; what was there is kept beside it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import apsw

from postwire.core import follow_up, lifecycle
from postwire.core.errors import StoreUnavailable
from postwire.core.message import MessageState
from postwire.outbox.base import BEGINNING, OutboxError, StoredMessage
from postwire.outbox.sqlite import boots
from postwire.outbox.sqlite.files import StoreFiles
from postwire.outbox.sqlite.maintenance import COPIED, Progress, check, copy_pages, damage, ignore, open_file
from postwire.outbox.sqlite.ownership import kept_out, make_private
from postwire.outbox.sqlite.queries import QUERIES
from postwire.outbox.sqlite.schema import connect, migrate, migrations, plain
from postwire.outbox.sqlite.store import SqliteOutbox

STEP: Final = 256
"""How many messages are changed in one commit."""

RESTORED: Final = "restored"
"""The metadata that holds what became of the messages of the copy."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has come to: when the copy was made (µs), and how many of its messages were not settled.

    Of these, so many go on, and so many are `UNCERTAIN` now.
    """

    copy_time: int
    unsettled: int
    continued: int
    uncertain: int


async def restore(store: Path, copy: Path, *, now: int, progress: Progress = ignore) -> Restored:
    """Put `copy` in the place of a store that nobody serves; `now` (µs) is when. `copy` itself is left as it is.

    Run again after an interruption, with whichever copy, it goes on. The store's own path is a copy as well, where one
    was put there beside a log that is not its own; and so is what an interrupted run has made ready
    (`StoreFiles.restoring`).

    Raises:
        OutboxError: the copy is no sound store, the store is in use, or something is in the way.
    """
    files = StoreFiles.of(store)
    with kept_out(store) as boot_ids:
        if not files.restoring.exists():
            for one in (files.before, files.before_log):
                if one.exists():
                    raise OutboxError(f"{one}: is left from an earlier restore, move it away first")
        try:
            if not _is_same(copy, files.restoring):
                await _make_ready(files, copy, boot_ids, now, progress)
            report = _report(files.restoring)
            for step in STEPS:
                step(files)
        except apsw.Error as error:
            raise OutboxError(f"{copy}: cannot be restored: {plain(error)}") from None
        except StoreUnavailable:
            raise OutboxError(f"{files.partial}: cannot be written") from None
        except OSError as error:
            raise OutboxError(f"{error.filename or files.store}: {error.strerror}") from None
    return report


# The steps of the exchange. Each may have been done already, by a run that was interrupted.


def _put_log_aside(files: StoreFiles) -> None:
    _replace(files.log, files.before_log)


def _put_store_aside(files: StoreFiles) -> None:
    _replace(files.store, files.before)


def _drop_index(files: StoreFiles) -> None:
    files.index.unlink(missing_ok=True)


def _keep_names(files: StoreFiles) -> None:
    _sync(files.store.parent)


def _put_in_place(files: StoreFiles) -> None:
    files.restoring.rename(files.store)


STEPS: tuple[Callable[[StoreFiles], None], ...] = (
    _put_log_aside,
    _put_store_aside,
    _drop_index,
    _keep_names,
    _put_in_place,
    _keep_names,
)


def _replace(source: Path, target: Path) -> None:
    if not source.exists():
        return
    if target.exists():
        raise OutboxError(f"{target}: is there already, and {source} was to be moved there")
    with suppress(PermissionError):  # another's file: it is kept as it is
        make_private(source)  # it may be an earlier release's, which left it open to others
    source.rename(target)


async def _make_ready(files: StoreFiles, copy: Path, boot_ids: Sequence[str], now: int, progress: Progress) -> None:
    """Leave the copy as `files.restoring`: whole, of the newest version, and with every message that waits in doubt."""
    ready = StoreFiles(files.partial)
    try:
        with closing(_open_copy(copy, files, boot_ids)) as source:
            _refuse_damaged(copy, damage(source, copy))
            copy_time = _copy_time(source, copy)
            copy_pages(source, ready.store, progress)
        with closing(connect(str(ready.store), sync="full")) as connection:
            migrate(connection, str(ready.store))
        _refuse_damaged(copy, check(ready.store).faults)
        # Contents stay, also of what is settled by this: what is not to be kept is erased once the store is served.
        outbox = await SqliteOutbox.open(str(ready.store), keep_contents=True, keys=None)
        try:
            ends = await _doubt(outbox, now)
            goes_on = ends[MessageState.QUEUED]
            report = Restored(copy_time, ends.total(), goes_on, ends.total() - goes_on)
            await outbox.keep_metadata(RESTORED, json.dumps(asdict(report)))
        finally:
            await outbox.close()
        with closing(apsw.Connection(str(ready.store))) as connection:
            boots.detach(connection)
            connection.execute(QUERIES["forget_fact"], (COPIED,))
            connection.execute(QUERIES["end_follow_ups"])
            connection.pragma("journal_mode", "delete")  # one file; and a log beside it is known to be another's
        _sync(ready.store)
        ready.store.rename(files.restoring)
        _sync(files.store.parent)
    finally:
        for leftover in (ready.store, ready.log, ready.index, ready.lock, ready.journal):
            leftover.unlink(missing_ok=True)


def _refuse_damaged(copy: Path, faults: Sequence[str]) -> None:
    if faults:
        raise OutboxError(f"{copy}: is damaged ({faults[0].splitlines()[-1]}), `postwire store check` says more")


def _open_copy(copy: Path, files: StoreFiles, boot_ids: Sequence[str]) -> apsw.Connection:
    """Open a copy for reading: with the log beside it, but where that is known not to be its own."""
    is_store = _is_same(copy, files.store)
    if is_store:
        try:
            boots.check_log(files, boot_ids)
        except OutboxError:
            pass
        else:
            raise OutboxError(f"{copy}: is the store itself, and no copy was put in its place")
    return open_file(copy, versions=range(1, len(migrations()) + 1), alone=True if is_store else None)


def _copy_time(source: apsw.Connection, copy: Path) -> int:
    found = source.execute(QUERIES["fact"], (COPIED,)).fetchall() if _has_metadata(source) else []
    return int(str(found[0][0])) if found else copy.stat().st_mtime_ns // 1000


def _has_metadata(source: apsw.Connection) -> bool:
    return source.table_exists("main", "facts")


async def _doubt(outbox: SqliteOutbox, now: int) -> Counter[MessageState]:
    """Give every message that is not settled an attempt that ended `RESTORED`; returns how many came to which state."""
    ends: Counter[MessageState] = Counter()
    after = BEGINNING
    while True:  # first what waits, since what was being sent waits afterwards
        found, after = await outbox.scan_queued(after, STEP)
        if not found:
            break
        ends.update(await _doubt_each(outbox, found, now))
    while found := await outbox.orphans(STEP):
        if found[0].record.settled:
            await _doubt_further(outbox, found, now)
        else:
            ends.update(await _doubt_each(outbox, found, now))
    return ends


async def _doubt_each(outbox: SqliteOutbox, found: Sequence[StoredMessage], now: int) -> list[MessageState]:
    steps = [lifecycle.restored(one.record, one.options, now=now) for one in found]
    opens = [(one.record, opened) for one, (opened, _) in zip(found, steps, strict=True) if opened is not one.record]
    await asyncio.gather(*(outbox.advance(*pair) for pair in opens))
    await asyncio.gather(*(outbox.advance(*pair) for pair in steps))
    return [after.state for _, after in steps]


async def _doubt_further(outbox: SqliteOutbox, found: Sequence[StoredMessage], now: int) -> None:
    """Close further attempts of messages that are sent already: these stay so."""
    pairs = [
        (one.record, follow_up.close_attempt(one.record, lifecycle.RESTORED, now=now, duration=None)[0])
        for one in found
    ]
    await asyncio.gather(*(outbox.advance(*pair) for pair in pairs))


def _report(ready: Path) -> Restored:
    with closing(boots.open_alone(ready)) as connection:
        ((text,),) = connection.execute(QUERIES["fact"], (RESTORED,)).fetchall()
    return Restored(**json.loads(str(text)))


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
