"""The outbox against a plain dictionary: any order of accepts, repeats, results, reads and restarts."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.support import build

from postwire.core.errors import RequestIdReused
from postwire.core.listing import MessageFilter
from postwire.core.message import MessageRecord
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult
from postwire.outbox.base import Accepted, NewMessage
from postwire.outbox.sqlite import SqliteOutbox

T = TypeVar("T")

# Files in memory where the system has them: nothing here cuts the power, and thousands of fsyncs take their time.
FOLDERS = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

# Few, so that they meet.
REQUEST_IDS = st.sampled_from(["r-1", "r-2", "r-3", "r-4", "R-1", " "])
BODIES = st.sampled_from(["one", "two", "\u00fc \U0001f600"])
RECIPIENTS = st.integers(0, 3)
"""None of them: an SMS."""


def call(request_id: str, body: str, recipients: int) -> NewMessage:
    content = (
        build.email(*(f"{i}@example.com" for i in range(recipients)), text=body) if recipients else build.sms(body)
    )
    return build.new_message(build.command(content, request_id=request_id, labels={"body": body}))


CALLS = st.builds(call, REQUEST_IDS, BODIES, RECIPIENTS)


@st.composite
def ends(draw: st.DrawFn, record: MessageRecord) -> MessageRecord:
    """The record once its attempt has ended, one way or another."""
    each = [draw(st.sampled_from(Outcome)) for _ in record.recipients]
    result = DispatchResult(
        draw(st.sampled_from(Outcome)),
        provider_message_id=draw(st.sampled_from(["", "vendor-\u00fc"])),
        error_code=draw(st.sampled_from(["", "421"])),
        recipients=tuple(RecipientResult(one, "code") for one in each) if draw(st.booleans()) else (),
    )
    return build.ended(record, result, after=draw(st.integers(0, 10**9)))


@dataclass
class Kept:
    """What the model knows of a message."""

    new: NewMessage
    record: MessageRecord


class OutboxMachine(RuleBasedStateMachine):
    """In memory; `OnFile` adds what only a file can do."""

    messages: Bundle[str] = Bundle("messages")

    def __init__(self) -> None:
        super().__init__()
        self.by_request: dict[str, Kept] = {}
        self.by_id: dict[str, Kept] = {}
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(dir=FOLDERS)
        self.outbox = self.run(self.open())

    def run(self, awaitable: Awaitable[T]) -> T:
        async def wait() -> T:
            return await awaitable

        return self.runner.run(wait())

    async def open(self) -> SqliteOutbox:
        return await SqliteOutbox.open(":memory:")

    def teardown(self) -> None:
        try:
            for message_id, kept in self.by_id.items():
                assert self.run(self.outbox.get(message_id)) == kept.record
                assert self.run(self.outbox.content(message_id)) == kept.new.content
        finally:
            self.run(self.outbox.close())
            self.runner.close()
            self.folder.cleanup()

    def expected(self, new: NewMessage) -> Accepted | type[RequestIdReused]:
        """What the model says to a call; it keeps what it says was created."""
        owner = self.by_request.get(new.record.request_id)
        if owner is None:
            kept = Kept(new, new.record)
            self.by_request[new.record.request_id] = self.by_id[new.record.message_id] = kept
            return Accepted(new.record, created=True)
        if owner.new.payload_hash != new.payload_hash:
            return RequestIdReused
        return Accepted(owner.record, created=False)

    async def accept(self, *calls: NewMessage) -> list[Any]:
        """What the outbox says to calls of one turn, refusals by their class."""
        verdicts = await asyncio.gather(*(self.outbox.accept(new) for new in calls), return_exceptions=True)
        return [type(one) if isinstance(one, BaseException) else one for one in verdicts]

    @initialize(target=messages, new=CALLS)
    def begin(self, new: NewMessage) -> str:
        assert self.run(self.accept(new)) == [self.expected(new)]
        return new.record.message_id

    @rule(target=messages, new=CALLS)
    def accept_any(self, new: NewMessage) -> str:
        expected = self.expected(new)
        assert self.run(self.accept(new)) == [expected]
        return self.by_request[new.record.request_id].record.message_id

    @rule(target=messages, body=BODIES, recipients=RECIPIENTS)
    def accept_new(self, body: str, recipients: int) -> str:
        new = call(build.new_request_id(), body, recipients)
        assert self.run(self.accept(new)) == [self.expected(new)]
        return new.record.message_id

    @rule(calls=st.lists(CALLS, min_size=2, max_size=8))
    def accept_in_one_turn(self, calls: list[NewMessage]) -> None:
        assert self.run(self.accept(*calls)) == [self.expected(new) for new in calls]

    @rule(message_id=messages)
    def accept_a_repeat(self, message_id: str) -> None:
        kept = self.by_id[message_id]
        assert self.run(self.outbox.accept(build.repeated(kept.new))) == Accepted(kept.record, created=False)

    @rule(message_id=messages)
    def accept_another_payload(self, message_id: str) -> None:
        other = call(self.by_id[message_id].record.request_id, "another body", 0)
        assert self.run(self.accept(other)) == [RequestIdReused]

    @rule(message_id=messages, data=st.data())
    def record(self, message_id: str, data: Any) -> None:
        kept = self.by_id[message_id]
        after = data.draw(ends(kept.new.record))
        applies = not kept.record.settled
        assert self.run(self.outbox.record(after)) is applies
        if applies:
            kept.record = after

    @rule(message_ids=st.lists(messages, min_size=2, max_size=6), data=st.data())
    def record_in_one_turn(self, message_ids: list[str], data: Any) -> None:
        results = [data.draw(ends(self.by_id[message_id].new.record)) for message_id in message_ids]
        expected = []
        for after in results:
            kept = self.by_id[after.message_id]
            expected.append(not kept.record.settled)
            if expected[-1]:
                kept.record = after

        async def all_of_them() -> list[bool]:
            return await asyncio.gather(*(self.outbox.record(after) for after in results))

        assert self.run(all_of_them()) == expected

    @rule(message_id=consumes(messages), number=st.sampled_from([0, 2, 99]))
    def record_of_another_attempt(self, message_id: str, number: int) -> None:
        after = build.ended(self.by_id[message_id].new.record)
        stale = replace(after, attempts=(replace(after.attempts[0], number=number),))
        assert self.run(self.outbox.record(stale)) is False

    @rule()
    def record_of_an_unknown_message(self) -> None:
        assert self.run(self.outbox.record(build.ended(build.accepted()))) is False

    @rule(message_id=messages)
    def get(self, message_id: str) -> None:
        assert self.run(self.outbox.get(message_id)) == self.by_id[message_id].record

    @rule(new=CALLS)
    def find(self, new: NewMessage) -> None:
        owner = self.by_request.get(new.record.request_id)
        finding = self.outbox.find(new.record.request_id, new.payload_hash)
        if owner and owner.new.payload_hash != new.payload_hash:
            with pytest.raises(RequestIdReused):
                self.run(finding)
        else:
            assert self.run(finding) == (owner.record if owner else None)

    @rule(size=st.integers(1, 9))
    def list_the_newest(self, size: int) -> None:
        newest = sorted(self.by_id, reverse=True)[:size]
        page = self.run(self.outbox.list(MessageFilter(), size, None))
        assert page.records == tuple(self.by_id[message_id].record for message_id in newest)

    @invariant()
    def what_is_not_settled_is_counted(self) -> None:
        unsettled = [kept.record for kept in self.by_id.values() if not kept.record.settled]
        assert self.run(self.outbox.stats()).unsettled == len(unsettled)

    @invariant()
    def nothing_here_is_the_stores_fault(self) -> None:
        assert self.outbox.available


class OnFile(OutboxMachine):
    async def open(self) -> SqliteOutbox:
        return await SqliteOutbox.open(str(Path(self.folder.name) / "postwire.db"))

    @rule()
    def close_and_open(self) -> None:
        boot = self.outbox.boot
        self.run(self.outbox.close())
        self.outbox = self.run(self.open())
        assert self.outbox.boot == boot + 1


MACHINES = pytest.mark.parametrize("machine", [OutboxMachine, OnFile], ids=["memory", "file"])


@MACHINES
def test_an_outbox_is_a_dictionary_that_lasts(machine: type[OutboxMachine]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=30, deadline=None))


@pytest.mark.long
@MACHINES
def test_an_outbox_is_a_dictionary_that_lasts_at_length(machine: type[OutboxMachine]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=1_000, stateful_step_count=60, deadline=None))
