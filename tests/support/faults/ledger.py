"""What a store was asked to keep and what it said it keeps, to be held against what is found in it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import apsw
from tests.support import build

from postwire.core import lifecycle
from postwire.core.errors import StoreUnavailable
from postwire.core.message import DEFAULT_TENANT, MessageRecord
from postwire.outbox.base import NewMessage, OutboxError
from postwire.outbox.sqlite import SqliteOutbox

STORE: Final = "postwire.db"
COUNT_KEY: Final = "count"
"""The key of the metadata that rises: "1", "2", …"""

POLICY: Final = lifecycle.Policy(max_attempts=100)


@dataclass(slots=True)
class Write:
    """One write, and the moments at which it was asked for and acknowledged: how many steps the disk had then done."""

    asked: int
    acknowledged: int | None = None

    def is_owned(self, at: int) -> bool:
        """Whether whoever asked had been told, at a moment, that it is done."""
        return self.acknowledged is not None and self.acknowledged <= at


@dataclass(slots=True)
class Version(Write):
    """A message as it was to be from a revision on."""

    record: MessageRecord = field(kw_only=True)


@dataclass(slots=True)
class Found:
    """What a store has, once it has been opened again. `problems`: what it should never have, whatever was lost."""

    records: dict[str, MessageRecord]
    contents: dict[str, bytes]
    count: int
    problems: list[str]


@dataclass(slots=True)
class Verdict:
    """What is wrong with what was found: what was acknowledged and is not there, and everything else."""

    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    owned: int = 0
    """How many writes were acknowledged, of those that were asked for since the ledger began."""


class Ledger:
    """Every write since the store was opened, and what was in it then. `now` is the moment, as `Write` counts it."""

    def __init__(self, now: Callable[[], int], before: Found | None = None) -> None:
        self._now = now
        self.versions: dict[str, list[Version]] = {}
        self.news: dict[str, NewMessage] = {}
        self.contents: dict[str, bytes] = dict(before.contents) if before else {}
        self.count_writes: list[Write] = []
        self.first_count = before.count if before else 0
        self._frames: list[list[str]] = []
        for record in before.records.values() if before else ():
            self.versions[record.message_id] = [Version(-1, 0, record=record)]

    def new(self, new: NewMessage) -> Version:
        """A message is about to be accepted."""
        message_id = new.record.message_id
        self.news[message_id] = new
        self.contents[message_id] = new.content
        return self.change(new.record)

    def frame(self, news: Iterable[NewMessage]) -> list[Version]:
        """Messages are about to be accepted together: all or none of them."""
        versions = [self.new(one) for one in news]
        self._frames.append([one.record.message_id for one in versions])
        return versions

    def change(self, after: MessageRecord) -> Version:
        """A change is about to be made."""
        version = Version(self._now(), record=after)
        self.versions.setdefault(after.message_id, []).append(version)
        return version

    def count(self) -> tuple[int, Write]:
        """The count is about to be kept, with this value."""
        self.count_writes.append(Write(self._now()))
        return self.first_count + len(self.count_writes), self.count_writes[-1]

    def acknowledge(self, *writes: Write) -> None:
        """Whoever asked for them has been told."""
        for write in writes:
            write.acknowledged = self._now()

    def deny(self, version: Version) -> None:
        """Whoever asked for it has been told that it is not done: from the first moment on, it never was."""
        self.versions[version.record.message_id].remove(version)

    def check_messages(self, found: Found, at: int) -> Verdict:
        """Compare what was found with what was asked for and acknowledged by the moment `at`."""
        verdict = Verdict(wrong=list(found.problems))
        survived: list[Write] = []
        lost: list[Write] = []
        for message_id, versions in self.versions.items():
            owned = [one for one in versions if one.is_owned(at)]
            verdict.owned += sum(one.asked >= 0 for one in owned)
            here = found.records.get(message_id)
            if here is not None:
                self._check_record(verdict, here, versions, at)
            revision = here.revision if here else 0
            gone = [one for one in owned if one.record.revision > revision]
            verdict.lost += [f"{message_id}: revision {one.record.revision}, found {revision}" for one in gone]
            lost += gone
            survived += [one for one in versions if one.asked < at and one.record.revision <= revision]
        for message_id, content in found.contents.items():
            if message_id not in self.versions:
                verdict.wrong.append(f"{message_id} is there, and nobody asked for it")
            elif content != (b"" if found.records[message_id].settled else self.contents[message_id]):
                verdict.wrong.append(f"{message_id} has another content")
        for frame in self._frames:
            if len(there := [one for one in frame if one in found.records]) not in (0, len(frame)):
                verdict.wrong.append(f"{len(there)} are there of {len(frame)} that came together")
        for value, write in enumerate(self.count_writes, self.first_count + 1):
            verdict.owned += write.is_owned(at)
            if value <= found.count:
                survived.append(write)
            elif write.is_owned(at):
                verdict.lost.append(f"count {value}, found {found.count}")
                lost.append(write)
        if found.count > self.first_count + sum(write.asked < at for write in self.count_writes):
            verdict.wrong.append(f"count {found.count} was never asked for")
        # What is left is what was there at some moment: nothing survives that is later than something lost.
        latest = max((one.asked for one in survived), default=-1)
        if any(one.acknowledged is not None and one.acknowledged <= latest for one in lost):
            verdict.wrong.append("something was lost, and something later was not")
        return verdict

    def _check_record(self, verdict: Verdict, here: MessageRecord, versions: list[Version], at: int) -> None:
        asked = [one for one in versions if one.asked < at and one.record.revision == here.revision]
        owned = [one for one in asked if one.is_owned(at)]
        if here not in [one.record for one in owned or asked]:
            verdict.wrong.append(f"{here.message_id} is there as nobody asked for, or as it was denied")


async def find(outbox: SqliteOutbox, path: Path) -> Found:
    """What is in a store that was just opened."""
    problems: list[str] = []
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        if (verdict := connection.execute("PRAGMA integrity_check").fetchall()) != [("ok",)]:
            problems.append(f"integrity: {verdict}")
        rows: list[tuple[Any, ...]] = connection.execute(
            "SELECT message_id, request_id, content FROM messages LEFT JOIN contents USING (key)"
        ).fetchall()
        strays = connection.execute(
            "SELECT (SELECT count(*) FROM contents WHERE key NOT IN (SELECT key FROM messages)),"
            " (SELECT count(*) FROM attempts WHERE message_id NOT IN (SELECT message_id FROM messages)),"
            " (SELECT count(*) FROM messages WHERE message_id NOT IN (SELECT message_id FROM changes))"
        ).fetchall()
    finally:
        connection.close()
    if strays != [(0, 0, 0)]:
        problems.append(f"contents and attempts of no message, messages without a change: {strays}")
    ids = [str(UUID(bytes=row[0])) for row in rows]
    if len({row[1] for row in rows}) != len(rows):
        problems.append("a request id has two messages")
    contents = dict(zip(ids, [row[2] for row in rows], strict=True))
    if None in contents.values():
        problems.append("a message without its content")
    records = {one.message_id: one for one in await outbox.records(ids, DEFAULT_TENANT)}
    if records.keys() != contents.keys():
        problems.append("what is listed and what is read differ")
    count = await outbox.metadata(COUNT_KEY)
    return Found(records, contents, int(count or 0), problems)


async def reopened(path: Path, ledger: Ledger, at: int) -> tuple[Verdict, Found | None]:
    """Open what a fault has left of a store, as a server would; and judge it, and let its orphans go."""
    try:
        outbox = await SqliteOutbox.open(str(path))
    except OutboxError as error:
        return Verdict(wrong=[f"it does not open: {error}"]), None
    try:
        found = await find(outbox, path)
        verdict = ledger.check_messages(found, at)
        await _released(outbox, found, verdict)
        await _repeat(outbox, list(ledger.news.values())[-3:], found, verdict)
        return verdict, found
    except (StoreUnavailable, apsw.Error) as error:
        return Verdict(wrong=[f"it opens, and then fails: {error!r}"]), None
    finally:
        await outbox.close()


async def _released(outbox: SqliteOutbox, found: Found, verdict: Verdict) -> None:
    open_ones = {key for key, record in found.records.items() if lifecycle.is_open(record)}
    orphans = [one.record for one in await outbox.orphans(len(open_ones) + 1)]
    if {one.message_id for one in orphans} != open_ones:
        verdict.wrong.append("its orphans are not those that were open")
    ends = [build.ended(one, lifecycle.ORPHANED, policy=POLICY) for one in orphans]
    done = await asyncio.gather(*map(outbox.advance, orphans, ends))
    if not all(done) or await outbox.orphans(1):
        verdict.wrong.append("an orphan cannot be let go")


async def _repeat(outbox: SqliteOutbox, news: Iterable[NewMessage], found: Found, verdict: Verdict) -> None:
    """Whoever was not told repeats his call: he gets one message, and that is his."""
    by_request_id = {one.request_id: key for key, one in found.records.items()}
    for new in news:
        answer = await outbox.accept(build.repeated(new))
        kept = by_request_id.setdefault(new.record.request_id, answer.record.message_id if answer.created else "")
        if answer.record.message_id != kept:
            verdict.wrong.append(f"{new.record.request_id} repeated is another message")
