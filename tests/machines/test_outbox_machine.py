"""The outbox against its model: any order of accepts, repeats, changes in time and too late, cancels, expiries, moves,
lists and crashes, and after each of them it holds what the model holds, which came about as the design's table says.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run
from tests.support import build, outbox_model
from tests.support.clock import START
from tests.support.outbox_model import (
    CALLS,
    QUEUES,
    Change,
    Draw,
    Event,
    Kept,
    OutboxModel,
    call,
    due_time,
    standings,
)
from tests.support.outboxes import look_at_due, next_due, open_postgres, waited_in

from postwire.core.errors import RequestIdReused
from postwire.core.listing import MessageFilter, Position
from postwire.core.message import DEFAULT_TENANT, Channel, MessageRecord, MessageState, Priority
from postwire.outbox.base import BEGINNING, Accepted, NewMessage, Outbox, StoredMessage
from postwire.outbox.sqlite import SqliteOutbox, maintenance

T = TypeVar("T")
S = MessageState

TABLE: Final[Mapping[tuple[MessageState, Event], tuple[MessageState, MessageState]]] = {
    # from, event: to; U: to (an earlier attempt was uncertain). Receipts and late successes are to come.
    (S.QUEUED, Event.TAKEN): (S.SENDING, S.SENDING),
    (S.QUEUED, Event.EXPIRED): (S.EXPIRED, S.UNCERTAIN),
    (S.QUEUED, Event.CANCELLED): (S.CANCELLED, S.UNCERTAIN),
    (S.SENDING, Event.SUCCESS): (S.SENT, S.SENT),
    (S.SENDING, Event.REJECTED): (S.FAILED, S.UNCERTAIN),
    (S.SENDING, Event.NOT_SENT_NEXT): (S.SENDING, S.SENDING),
    (S.SENDING, Event.NOT_SENT_LATER): (S.QUEUED, S.QUEUED),
    (S.SENDING, Event.NOT_SENT_SPENT): (S.FAILED, S.UNCERTAIN),
    (S.SENDING, Event.UNKNOWN_AGAIN): (S.SENDING, S.SENDING),
    (S.SENDING, Event.UNKNOWN_LATER): (S.QUEUED, S.QUEUED),
    (S.SENDING, Event.UNKNOWN_END): (S.UNCERTAIN, S.UNCERTAIN),
    (S.SENDING, Event.DROPPED): (S.QUEUED, S.QUEUED),
    (S.UNCERTAIN, Event.FOUND_SENT): (S.SENT, S.SENT),
    (S.UNCERTAIN, Event.FOUND_FAILED): (S.FAILED, S.FAILED),
}
"""Section 6 of the design, for a message without recipients of its own, or for one recipient."""

PRECEDENCE: Final = (S.SENDING, S.QUEUED, S.UNCERTAIN, S.EXPIRED, S.CANCELLED, S.FAILED, S.SENT)
"""A message's state is the first of these that any of its recipients has."""

# Files in memory where the system has them: nothing here cuts the power, and thousands of fsyncs take their time.
FOLDERS = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

POSITIONS = st.integers(0, 30)
SOME = st.lists(POSITIONS, min_size=1, max_size=5)
LIMITS = st.sampled_from([1, 2, 100])
WITH_MESSAGES = precondition(lambda machine: bool(machine.model.messages))


def drawing(data: st.DataObject) -> Draw:
    return lambda values: data.draw(st.sampled_from(values))


def check_change(change: Change) -> None:
    """It is one of the table, all recipients whom it is not about stand as they stood, and the record is whole."""
    before, after = standings(change.before), standings(change.after)
    for index, state in before.items():
        if index not in change.events:
            assert after[index] is state
            continue
        to, to_if_doubted = TABLE[state, change.events[index]]
        assert after[index] is (to_if_doubted if index in change.kept.doubted else to)
    assert change.after.state is min(after.values(), key=PRECEDENCE.index)
    assert change.after.revision > change.before.revision
    assert change.after.update_time >= change.before.update_time
    assert not change.before.settled or change.after.settled
    check_record(change.after)


def check_record(record: MessageRecord) -> None:
    assert [one.number for one in record.attempts] == list(range(1, len(record.attempts) + 1))
    still_open = [one.number for one in record.attempts if one.outcome is None]
    assert still_open == ([len(record.attempts)] if record.state is S.SENDING else [])
    assert (record.next_attempt_time is not None) == (record.state is S.QUEUED)


class OutboxMachine(RuleBasedStateMachine):
    """In memory; `OnFile` and `InPostgres` add what is not there once it is closed."""

    outbox: Outbox

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.model = OutboxModel()
        self.reported: dict[str, int] = {}
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(dir=FOLDERS)
        self.outbox = self.run(self.open())
        self.watched: Position = self.run(self.outbox.last_position())
        self.unwatched = 0
        """How many changes there were since."""

    def run(self, awaitable: Awaitable[T]) -> T:
        async def wait() -> T:
            return await awaitable

        return self.runner.run(wait())

    async def open(self) -> Outbox:
        return await SqliteOutbox.open(":memory:")

    async def reopen(self) -> None:
        """What ends one boot and begins the next."""

    def teardown(self) -> None:
        try:
            for message_id, kept in self.model.messages.items():
                assert self.run(self.outbox.get(message_id, DEFAULT_TENANT)) == kept.record
                content = None if kept.record.settled else kept.new.content
                assert self.run(self.outbox.content(message_id, DEFAULT_TENANT)) == content
        finally:
            self.run(self.outbox.close())
            self.runner.close()
            self.folder.cleanup()

    # Calls.

    async def accept(self, calls: Sequence[NewMessage]) -> list[Any]:
        """What the outbox says to calls of one turn, refusals by their class."""
        verdicts = await asyncio.gather(*(self.outbox.accept(new) for new in calls), return_exceptions=True)
        self.unwatched += sum(isinstance(one, Accepted) and one.created for one in verdicts)
        return [type(one) if isinstance(one, BaseException) else one for one in verdicts]

    @initialize(specs=st.lists(CALLS, min_size=1, max_size=8))
    def begin(self, specs: list[Mapping[str, Any]]) -> None:
        self.accept_some(specs)

    @rule(specs=st.lists(CALLS, min_size=1, max_size=6))
    def accept_some(self, specs: list[Mapping[str, Any]]) -> None:
        calls = [call(spec, self.now) for spec in specs]
        assert self.run(self.accept(calls)) == [self.model.accept(new) for new in calls]
        for new in calls:
            check_record(new.record)

    @WITH_MESSAGES
    @rule(position=POSITIONS)
    def accept_a_repeat(self, position: int) -> None:
        kept = self.model.at(position)
        assert self.run(self.accept([build.repeated(kept.new)])) == [Accepted(kept.record, created=False)]
        assert (
            self.run(self.outbox.find_by_request_id(kept.record.request_id, DEFAULT_TENANT, kept.new.payload_hash))
            == kept.record
        )

    @WITH_MESSAGES
    @rule(position=POSITIONS, spec=CALLS)
    def accept_another_payload(self, position: int, spec: Mapping[str, Any]) -> None:
        kept = self.model.at(position)
        other = call({**spec, "request_id": kept.record.request_id, "body": "another"}, self.now)
        assert self.run(self.accept([other])) == [RequestIdReused]
        with pytest.raises(RequestIdReused):
            self.run(self.outbox.find_by_request_id(kept.record.request_id, DEFAULT_TENANT, other.payload_hash))

    # Changes.

    async def advance(self, changes: Sequence[Change]) -> list[bool]:
        """Whether each of the changes, all of one turn, applied."""
        applied = list(await asyncio.gather(*(self.outbox.advance(one.before, one.after) for one in changes)))
        self.unwatched += sum(applied)
        return applied

    def keep(self, changes: Sequence[Change]) -> None:
        """Changes that are in time."""
        for change in changes:
            check_change(change)
        assert self.run(self.advance(changes)) == [True] * len(changes)
        for change in changes:
            self.model.apply(change)

    @WITH_MESSAGES
    @rule(positions=SOME, data=st.data())
    def change(self, positions: list[int], data: st.DataObject) -> None:
        some = {id(kept): kept for kept in map(self.model.at, positions)}.values()
        found = (outbox_model.change_of(kept, kept.record, self.now, drawing(data)) for kept in some)
        self.keep([change for change in found if change])

    @rule(positions=SOME, data=st.data())
    def end(self, positions: list[int], data: st.DataObject) -> None:
        if sending := self.model.sending():
            some = {id(kept): kept for kept in (sending[position % len(sending)] for position in positions)}.values()
            self.keep([outbox_model.end(kept, kept.record, self.now, drawing(data)) for kept in some])

    @WITH_MESSAGES
    @rule(position=POSITIONS, data=st.data())
    def race(self, position: int, data: st.DataObject) -> None:
        kept = self.model.at(position)
        found = [outbox_model.change_of(kept, kept.record, self.now, drawing(data)) for _ in range(2)]
        both = [change for change in found if change]
        if not both:
            return
        applied = self.run(self.advance(both))
        assert sorted(applied) == [False, True]
        self.model.apply(both[applied.index(True)])

    @WITH_MESSAGES
    @rule(position=POSITIONS, of=SOME, data=st.data())
    def change_too_late(self, position: int, of: list[int], data: st.DataObject) -> None:
        """Among others, which are in time."""
        kept = self.model.at(position)
        others = {id(one): one for one in map(self.model.at, of) if one is not kept}.values()
        found = [outbox_model.change_of(one, one.record, self.now, drawing(data)) for one in others]
        changes = [change for change in found if change]
        if kept.past:
            old = kept.past[drawing(data)(range(len(kept.past)))]
            late = outbox_model.change_of(kept, old, self.now, drawing(data))
            assert late
            changes.insert(len(changes) // 2, late)
        applied = self.run(self.advance(changes))
        for change, result in zip(changes, applied, strict=True):
            assert result == (change.kept is not kept)
            if result:
                check_change(change)
                self.model.apply(change)

    # What waits.

    def check_order(
        self, found: Sequence[StoredMessage], among: Iterable[Kept], key: Callable[[Kept], Any], limit: int
    ) -> list[Kept]:
        """The first of those, as they were accepted; the order of equals is not promised."""
        kept = [self.model.messages[one.record.message_id] for one in found]
        assert [one.stored for one in kept] == list(found)
        among = list(among)
        assert len(set(map(id, kept))) == len(kept)
        assert set(map(id, kept)) <= set(map(id, among))
        assert [key(one) for one in kept] == sorted(map(key, among))[:limit]
        return kept

    @rule(queue=st.sampled_from(QUEUES), limit=LIMITS, data=st.data())
    def take_what_is_due(self, queue: str, limit: int, data: st.DataObject) -> None:
        ranks = list(Priority)
        due = self.check_order(
            self.run(look_at_due(self.outbox, queue, self.now, limit)),
            self.model.due(queue, self.now),
            lambda kept: (ranks.index(kept.new.options.priority), due_time(kept)),
            limit,
        )
        some = [kept for kept in due if kept.record.expire_time > self.now]
        self.keep([outbox_model.take(kept, kept.record, self.now, drawing(data)) for kept in some])

    @rule(limit=LIMITS)
    def expire_what_is_late(self, limit: int) -> None:
        records = self.run(self.outbox.expired(self.now, limit))
        late = self.check_order(
            [self.model.messages[record.message_id].stored for record in records],
            [kept for kept in self.model.waiting() if kept.record.expire_time <= self.now],
            lambda kept: kept.record.expire_time,
            limit,
        )
        assert [kept.record for kept in late] == list(records)
        self.keep([outbox_model.expire(kept, kept.record, self.now) for kept in late])

    @WITH_MESSAGES
    @rule(positions=SOME, queue=st.sampled_from(QUEUES), data=st.data())
    def reassign(self, positions: list[int], queue: str, data: st.DataObject) -> None:
        some = {kept.record.message_id: kept for kept in map(self.model.at, positions) if kept in self.model.waiting()}
        late = data.draw(st.sets(st.sampled_from(sorted(some)))) if some else set()
        records = [replace(kept.record, revision=kept.record.revision - (key in late)) for key, kept in some.items()]
        assert self.run(self.outbox.reassign([(one, queue) for one in records])) == len(some.keys() - late)
        for kept in (some[key] for key in some.keys() - late):
            self.model.reassign(kept, queue)

    @rule(limit=LIMITS, queues=st.none() | st.sets(st.sampled_from(QUEUES)))
    def page_through_what_waits(self, limit: int, queues: set[str] | None) -> None:
        found: list[StoredMessage] = []
        after = BEGINNING
        while True:
            page, after = self.run(self.outbox.scan_queued(after, limit, queues))
            assert len(page) <= limit
            if not page:
                break
            found += page
            assert len(found) <= len(self.model.messages)
        waiting = self.model.waiting()
        assert found == [kept.stored for kept in waiting if queues is None or kept.record.queue in queues]

    # Time, boots and lists.

    @rule(passing=st.sampled_from([1, 10, 600, build.HOUR]))
    def wait(self, passing: int) -> None:
        self.now += passing

    @rule(limit=LIMITS)
    def remove_what_is_long_settled(self, limit: int) -> None:
        before, position = self.now - 500, BEGINNING
        while (reached := self.run(self.outbox.remove_settled(position, before, limit))) is not None:
            assert reached > position
            position = reached
        self.model.remove(before)

    @rule(limit=LIMITS)
    def watch(self, limit: int) -> None:
        """From where it was: everything that has changed since is told, and each of it at last as it now is."""
        reported: dict[str, MessageRecord] = {}
        while True:
            found = self.run(self.outbox.changes(self.watched, limit, DEFAULT_TENANT))
            positions = [position for position, _ in found.entries]
            for _, record in found.entries:
                assert record.revision > self.reported.get(record.message_id, 0), "each revision is given once"
                self.reported[record.message_id] = record.revision
            assert positions == sorted({one for one in positions if self.watched < one <= found.last})
            reported |= {record.message_id: record for _, record in found.entries}
            if found.last == self.watched:
                break
            self.run(self.outbox.wait_changes(self.watched))  # which is at once
            self.watched = found.last
        assert reported == {key: kept.record for key in self.model.changed if (kept := self.model.messages.get(key))}
        assert self.watched == self.run(self.outbox.last_position())
        self.unwatched = 0
        self.model.changed.clear()

    @rule(keep=st.sampled_from([0, 3, 10]), limit=LIMITS)
    def forget_changes(self, keep: int, limit: int) -> None:
        if self.unwatched <= max(keep, 1):  # else the watcher would have to begin anew
            assert self.run(self.outbox.remove_changes(keep, limit)) <= limit

    @rule(limit=LIMITS, data=st.data())
    def crash_and_recover(self, limit: int, data: st.DataObject) -> None:
        """What was being sent is an orphan: its attempt ends `uncertain`, and what follows is as after any such end."""
        self.run(self.reopen())
        while orphans := self.run(self.outbox.orphans(limit)):
            kept = self.check_order(orphans, self.model.sending(), lambda one: one.record.create_time, limit)
            self.keep([outbox_model.release(one, one.record, self.now, drawing(data)) for one in kept])
        assert not self.model.sending()

    @WITH_MESSAGES
    @rule(
        channels=st.frozensets(st.sampled_from(Channel), max_size=2),
        states=st.frozensets(st.sampled_from(MessageState), max_size=3),
        names=st.frozensets(st.sampled_from(["p-1", "p-2", ""]), max_size=2),
        size=st.integers(1, 9),
        position=st.none() | POSITIONS,
    )
    def list_some(
        self,
        channels: frozenset[Channel],
        states: frozenset[MessageState],
        names: frozenset[str],
        size: int,
        position: int | None,
    ) -> None:
        chosen = MessageFilter(channels, states, names)
        after = None if position is None else self.model.at(position).record.message_id
        admitted = [one for one in self.model.records() if chosen.admits(one) and (not after or one.message_id < after)]
        page = self.run(self.outbox.list(chosen, size, after, DEFAULT_TENANT))
        assert list(page.records) == admitted[:size]

    # What holds at any time.

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        async def look() -> None:
            assert (
                list((await self.outbox.list(MessageFilter(), 1_000, None, DEFAULT_TENANT)).records)
                == self.model.records()
            )
            assert await self.outbox.stats() == self.model.stats()
            load = await self.outbox.load(self.now)
            assert (load.due, load.oldest_due_time) == self.model.load(self.now)
            assert await self.outbox.unsettled_counts(self.now) == self.model.unsettled_counts(self.now)
            waiting = [kept.record for kept in self.model.waiting()]
            assert await waited_in(self.outbox, *QUEUES) == sorted({record.queue for record in waiting})
            assert await self.outbox.next_expiry() == min((record.expire_time for record in waiting), default=None)
            for queue in QUEUES:
                assert await next_due(self.outbox, queue) == self.model.next_due(queue)

        self.run(look())
        assert self.outbox.available


class OnFile(OutboxMachine):
    async def open(self) -> SqliteOutbox:
        return await SqliteOutbox.open(str(self.path))

    @property
    def path(self) -> Path:
        return Path(self.folder.name) / "postwire.db"

    async def reopen(self) -> None:
        assert isinstance(self.outbox, SqliteOutbox)
        boot = self.outbox.boot
        await self.outbox.close()
        assert maintenance.check(self.path).faults == ()
        self.outbox = again = await self.open()
        assert again.boot == boot + 1


class InPostgres(OutboxMachine):
    async def open(self) -> Outbox:
        return await open_postgres(Path(self.folder.name))

    async def reopen(self) -> None:
        number = self.outbox.number
        await self.outbox.close()
        self.outbox = await self.open()
        assert self.outbox.number > number


MACHINES = pytest.mark.parametrize(
    ("machine", "examples"),
    [(OutboxMachine, 8), (OnFile, 8), (InPostgres, 2)],
    ids=["memory", "file", "postgres"],
)


@MACHINES
def test_an_outbox_is_a_dictionary_that_lasts(machine: type[OutboxMachine], examples: int) -> None:
    run(machine, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None))


@pytest.mark.long
@MACHINES
def test_an_outbox_is_a_dictionary_that_lasts_at_length(machine: type[OutboxMachine], examples: int) -> None:
    run(machine, settings=settings(max_examples=examples * 60, stateful_step_count=60, deadline=None))
