"""Places at which a server ends itself the way `kill -9` would: around every step of a message's path.

Nothing of this is in the product: the outbox, the mock and the file system below SQLite are replaced by ones that are
the same but for the moment at which they die.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import apsw
from tests.support.call_log import BEGUN, ENDED, GIVEN_UP, KILLED, OPENED, RECEIVED, CallLog

from postwire.core.audit import AuditEvent
from postwire.core.message import MessageRecord, MessageState, OutboundMessage, Priority
from postwire.core.outcome import DispatchResult
from postwire.outbox.base import (
    Accepted,
    Decide,
    KeptAs,
    NewMessage,
    NotAccepted,
    QueuedMessage,
    QueueKey,
    ReceiptReport,
    TakenMessage,
)
from postwire.outbox.sqlite import SqliteOutbox
from postwire.providers.handover import Handover
from postwire.providers.mock import MockProvider

POINTS: Final = (
    "accept.before",  # a message is on its way to the store
    "accept.after",  # it is durable, and its caller has no answer
    "accept_all.before",  # the same for a frame
    "accept_all.after",
    "send.before",  # the attempt is on disk, and the provider has not been asked
    "send.begun",  # it has been asked, and its outcome is not drawn
    "send.ended",  # it has answered, and nobody has heard it
    "record.before",  # an attempt that settles its message, before and after it is durable
    "record.after",
    "failover.before",  # attempt n closed and n+1 open, before and after that is durable
    "failover.after",
    "requeue.before",  # back to its queue
    "requeue.after",
    "resume.before",  # out of its queue again
    "resume.after",
    "receive.before",  # receipts are on their way to the store
    "receive.after",  # they are durable, and nobody has applied them
    "recover.before",  # an orphan of the boot before
    "recover.after",
    "store.log",  # half a frame of a commit is in the log
    "store.sync",  # all of a commit is in the log, and not on the disk
    "store.file",  # half a page of a checkpoint is in the file
)


class Failpoint:
    """Kills the process when the place `name` is come by for the `count`th time."""

    def __init__(self, name: str, count: int, log: CallLog) -> None:
        assert name in (*POINTS, "")
        self.name = name
        self._left = count
        self._log = log

    def pass_by(self, name: str) -> None:
        """We are at a place."""
        if self.is_next(name):
            self.die()

    def is_next(self, name: str) -> bool:
        """The same, but what is to be done before the end is done by the caller."""
        if name != self.name:
            return False
        self._left -= 1
        return self._left == 0

    def die(self) -> None:
        self._log.note(KILLED, key=self.name)
        os.kill(os.getpid(), signal.SIGKILL)


def failing_outbox(failpoint: Failpoint, log: CallLog) -> type[SqliteOutbox]:
    """The outbox, with failpoints before and after its writes."""

    class FailingOutbox(SqliteOutbox):
        @classmethod
        async def open(cls, path: str, **options: Any) -> Self:
            opened = await super().open(path, **options)
            log.boot = opened.boot
            log.note(OPENED)
            return opened

        async def accept(self, new: NewMessage) -> Accepted:
            failpoint.pass_by("accept.before")
            accepted = await super().accept(new)
            failpoint.pass_by("accept.after")
            return accepted

        async def accept_all(self, news: Sequence[NewMessage]) -> Sequence[Accepted | NotAccepted]:
            failpoint.pass_by("accept_all.before")
            accepted = await super().accept_all(news)
            failpoint.pass_by("accept_all.after")
            return accepted

        async def advance(
            self,
            before: MessageRecord,
            after: MessageRecord,
            tried: Sequence[MessageRecord] = (),
            event: AuditEvent | None = None,
            **reported: Any,
        ) -> bool:
            step = step_of(before, after)
            failpoint.pass_by(f"{step}.before")
            applied = await super().advance(before, after, tried, event, **reported)
            failpoint.pass_by(f"{step}.after")
            return applied

        async def take(
            self, queue: QueueKey, now: int, limits: Mapping[Priority, int], decide: Decide, ahead: int = 0
        ) -> Sequence[TakenMessage]:
            def decided(queued: QueuedMessage) -> MessageRecord | None:
                after = decide(queued)
                if after:
                    failpoint.pass_by(f"{step_of(queued.record, after)}.before")
                return after

            taken = await super().take(queue, now, limits, decided, ahead)
            for one in taken:
                if one.record.state is MessageState.SENDING:
                    failpoint.pass_by("resume.after")
            return taken

        async def keep_receipts(self, reports: Sequence[ReceiptReport], max_held: int) -> Sequence[KeptAs]:
            failpoint.pass_by("receive.before")
            kept = await super().keep_receipts(reports, max_held)
            for report in reports:
                log.note(RECEIVED, report.provider_name, report.event.hex())
            failpoint.pass_by("receive.after")
            return kept

    return FailingOutbox


def step_of(before: MessageRecord, after: MessageRecord) -> str:
    """Which of the steps a change of a record is."""
    closed = after.attempts[len(before.attempts) - 1] if before.attempts else None
    if before.state is MessageState.SENDING and closed and closed.error_code == "orphaned":
        return "recover"
    if len(after.attempts) > len(before.attempts):
        return "resume" if before.state is MessageState.QUEUED else "failover"
    return "requeue" if after.state is MessageState.QUEUED else "record"


def failing_mock(failpoint: Failpoint, log: CallLog) -> type[MockProvider]:
    """The mock, with a log of its calls and failpoints around them."""

    class FailingMock(MockProvider):
        async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
            failpoint.pass_by("send.before")
            log.note(BEGUN, self.name, handover.key)
            failpoint.pass_by("send.begun")
            try:
                result = await super().send(message, handover)
            except asyncio.CancelledError:
                log.note(ENDED, self.name, handover.key, GIVEN_UP)
                raise
            log.note(ENDED, self.name, handover.key, result.outcome.value)
            failpoint.pass_by("send.ended")
            return result

    return FailingMock


SYSTEM: Final = "unix"
"""SQLite's own way to the file system, below ours."""


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], failpoint: Failpoint) -> None:
        super().__init__(SYSTEM, name, flags)
        kind = flags[0] & (apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_WAL)
        self._failpoint = failpoint
        self._written = {apsw.SQLITE_OPEN_WAL: "store.log", apsw.SQLITE_OPEN_MAIN_DB: "store.file"}.get(kind, "")
        self._synced = "store.sync" if kind == apsw.SQLITE_OPEN_WAL else ""

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._failpoint.is_next(self._written):
            super().xWrite(data[: len(data) // 2], offset)
            self._failpoint.die()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._failpoint.pass_by(self._synced)
        super().xSync(flags)


class FailingFiles(apsw.VFS):
    """The files below SQLite. It becomes the way to them of every connection that is opened after it."""

    def __init__(self, failpoint: Failpoint) -> None:
        self._failpoint = failpoint
        super().__init__("failing", SYSTEM, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _File(name, flags, self._failpoint)
