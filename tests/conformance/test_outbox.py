"""What every outbox keeps to, whatever is behind it: the promises of `outbox.base.Outbox`.

An implementation that is new joins by a line in `PLACES`; lists are in `test_outbox_list`, and what
only files can do is in `tests/unit/test_schema.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START

from postwire.core import canonical
from postwire.core.errors import RequestIdReused, StoreUnavailable
from postwire.core.message import (
    Attachment,
    MessageState,
    Mms,
    OutboundMessage,
    RecipientStatus,
)
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult
from postwire.outbox.base import Accepted, NewMessage
from postwire.outbox.sqlite import SqliteOutbox

Open = Callable[[], Awaitable[SqliteOutbox]]

PLACES: Mapping[str, Callable[[Path], Coroutine[Any, Any, SqliteOutbox]]] = {
    "file": lambda folder: SqliteOutbox.open(str(folder / "postwire.db")),
    "file, sync normal": lambda folder: SqliteOutbox.open(str(folder / "postwire.db"), sync="normal"),
    "memory": lambda _: SqliteOutbox.open(":memory:"),
}


@pytest.fixture(params=list(PLACES))
async def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteOutbox]:
    opened = await PLACES[request.param](tmp_path)
    yield opened
    await opened.close()


@pytest.fixture(params=list(PLACES))
async def closing(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteOutbox:
    """One that the test closes."""
    return await PLACES[request.param](tmp_path)


async def accepted(outbox: SqliteOutbox, **command: Any) -> NewMessage:
    new = build.new_message(build.command(**command))
    assert (await outbox.accept(new)).created
    return new


# Accepting.


async def test_what_was_accepted_is_read_back_as_it_was(outbox: SqliteOutbox) -> None:
    new = build.new_message()
    assert await outbox.accept(new) == Accepted(new.record, created=True)
    assert await outbox.get(new.record.message_id) == new.record


async def test_every_part_of_a_record_is_kept(outbox: SqliteOutbox) -> None:
    of = build.command(
        build.email(*(f"{i}@example.com" for i in range(60)), cc=tuple(f"c{i}@example.com" for i in range(40))),
        request_id="~ !\"'%_\\",
        labels={"a/b.c_d-e": "\u00fc \U0001f469\u200d\U0001f680 \u0645\u0631 \"'\\", "empty": ""},
        send_time=START - 1,
        expire_time=START + 1,
        provider_name="sms-eu",
        max_attempts=100,
    )
    new = build.new_message(of, record=build.accepted(of, provider_name="sms-eu", trace_id="ab" * 16))
    await outbox.accept(new)
    kept = await outbox.get(new.record.message_id)
    assert kept == new.record
    assert kept is not None
    assert list(kept.labels) == list(new.record.labels)
    assert len(kept.recipients) == 100


@pytest.mark.parametrize(
    "message",
    [
        OutboundMessage(build.sms("\u00fc \U0001f600 \0")),
        OutboundMessage(Mms("+15005550100", "Look"), {"k": "\u00fc"}),
        OutboundMessage(build.email(attachments=(Attachment("a", "", bytes(range(256)) * 5_000),))),
    ],
    ids=["sms", "mms", "email of over 1 MB"],
)
async def test_a_content_is_kept_to_the_byte(outbox: SqliteOutbox, message: OutboundMessage) -> None:
    new = await accepted(outbox, content=message.content, labels=message.labels)
    content = await outbox.content(new.record.message_id)
    assert content == new.content
    assert content is not None
    assert canonical.decode_message(content) == message


async def test_what_is_not_there_is_none(outbox: SqliteOutbox) -> None:
    await accepted(outbox, request_id="another")
    assert await outbox.get(build.new_id()) is None
    assert await outbox.content(build.new_id()) is None
    assert await outbox.find("nothing", b"h" * 32) is None


async def test_the_first_boot_has_a_number(outbox: SqliteOutbox) -> None:
    assert outbox.boot >= 1
    assert outbox.available


# One request id is one message.


async def test_a_repeat_gives_the_first_message_as_it_now_stands(outbox: SqliteOutbox) -> None:
    new = await accepted(outbox, request_id="r")
    assert await outbox.accept(build.repeated(new)) == Accepted(new.record, created=False)
    after = build.ended(new.record)
    await outbox.record(after)
    repeat = build.repeated(new)
    assert await outbox.accept(repeat) == Accepted(after, created=False)
    assert await outbox.get(repeat.record.message_id) is None, "the repeat left nothing behind"
    assert await outbox.content(repeat.record.message_id) is None


async def test_another_payload_under_a_used_request_id_is_refused(outbox: SqliteOutbox) -> None:
    new = await accepted(outbox, content=build.sms("one"), request_id="r")
    other = build.new_message(build.command(build.sms("two"), request_id="r"))
    with pytest.raises(RequestIdReused):
        await outbox.accept(other)
    assert await outbox.get(other.record.message_id) is None
    assert await outbox.get(new.record.message_id) == new.record
    assert await outbox.accept(build.repeated(new)) == Accepted(new.record, created=False)


@pytest.mark.parametrize("tenant", ["other", ""])
async def test_request_ids_of_two_tenants_have_nothing_to_do_with_each_other(outbox: SqliteOutbox, tenant: str) -> None:
    one = await accepted(outbox, request_id="r")
    theirs = replace(build.new_message(build.command(build.sms("other"), request_id="r")), tenant=tenant)
    assert (await outbox.accept(theirs)).created
    assert await outbox.find("r", theirs.payload_hash, tenant) == theirs.record
    assert await outbox.find("r", one.payload_hash) == one.record


async def test_request_ids_are_compared_to_the_letter(outbox: SqliteOutbox) -> None:
    for request_id in ("abc", "ABC", "abc ", " abc", "ab_", "ab%"):
        await accepted(outbox, request_id=request_id)


async def test_of_many_accepts_at_once_under_one_request_id_exactly_one_is_created(outbox: SqliteOutbox) -> None:
    first = build.new_message(build.command(request_id="r"))
    verdicts = await asyncio.gather(*(outbox.accept(build.repeated(first)) for _ in range(64)))
    created = [verdict.record for verdict in verdicts if verdict.created]
    assert len(created) == 1
    assert [verdict.record for verdict in verdicts] == created * 64
    assert await outbox.find("r", first.payload_hash) == created[0]


async def test_of_many_payloads_at_once_under_one_request_id_one_wins_and_the_others_are_refused(
    outbox: SqliteOutbox,
) -> None:
    calls = [build.new_message(build.command(build.sms(f"body {i % 4}"), request_id="r")) for i in range(64)]
    verdicts = await asyncio.gather(*(outbox.accept(new) for new in calls), return_exceptions=True)
    created = [i for i, verdict in enumerate(verdicts) if isinstance(verdict, Accepted) and verdict.created]
    assert len(created) == 1
    for i, verdict in enumerate(verdicts):
        if i % 4 == created[0] % 4:
            assert isinstance(verdict, Accepted)
            assert verdict.record == calls[created[0]].record
        else:
            assert isinstance(verdict, RequestIdReused)


async def test_find_is_by_request_id_and_payload(outbox: SqliteOutbox) -> None:
    new = await accepted(outbox, request_id="r")
    assert await outbox.find("r", new.payload_hash) == new.record
    with pytest.raises(RequestIdReused):
        await outbox.find("r", b"another" * 4 + b"hash")
    after = build.ended(new.record)
    await outbox.record(after)
    assert await outbox.find("r", new.payload_hash) == after


# Recording, and its fence.


@pytest.mark.parametrize("outcome", Outcome)
async def test_an_outcome_is_recorded_once(outbox: SqliteOutbox, outcome: Outcome) -> None:
    new = await accepted(outbox)
    after = build.ended(
        new.record, DispatchResult(outcome, provider_message_id="v \u00fc", error_code="c", detail="d"), after=5
    )
    assert await outbox.record(after)
    assert await outbox.get(new.record.message_id) == after
    late = build.ended(new.record, DispatchResult(Outcome.UNCERTAIN, error_code="late"), after=9)
    assert not await outbox.record(late)
    assert await outbox.get(new.record.message_id) == after


async def test_recipients_are_recorded_one_by_one(outbox: SqliteOutbox) -> None:
    new = await accepted(outbox, content=build.email(*(f"{i}@example.com" for i in range(100))))
    each = tuple(RecipientResult(list(Outcome)[i % 5], f"code {i}") for i in range(100))
    after = build.ended(new.record, DispatchResult(Outcome.UNCERTAIN, recipients=each))
    assert await outbox.record(after)
    kept = await outbox.get(new.record.message_id)
    assert kept == after
    assert kept is not None
    assert kept.recipients[99] == RecipientStatus(99, MessageState.UNCERTAIN, Outcome.UNCERTAIN, "code 99")


@pytest.mark.parametrize("number", [0, 2])
async def test_the_result_of_another_attempt_changes_nothing(outbox: SqliteOutbox, number: int) -> None:
    new = await accepted(outbox)
    after = build.ended(new.record)
    assert not await outbox.record(replace(after, attempts=(replace(after.attempts[0], number=number),)))
    assert await outbox.get(new.record.message_id) == new.record
    assert await outbox.record(after), "and the fence has not shut out the true one"


async def test_the_result_of_an_unknown_message_changes_nothing(outbox: SqliteOutbox) -> None:
    new = await accepted(outbox)
    assert not await outbox.record(build.ended(build.accepted()))
    assert await outbox.get(new.record.message_id) == new.record


async def test_of_many_results_at_once_for_one_attempt_exactly_one_applies(outbox: SqliteOutbox) -> None:
    new = await accepted(outbox)
    results = [build.ended(new.record, DispatchResult(Outcome.ERROR, error_code=str(i))) for i in range(32)]
    applied = await asyncio.gather(*(outbox.record(result) for result in results))
    assert sum(applied) == 1
    assert await outbox.get(new.record.message_id) == results[applied.index(True)]


async def test_a_late_result_in_a_batch_does_not_take_the_others_with_it(outbox: SqliteOutbox) -> None:
    new = [await accepted(outbox) for _ in range(20)]
    ended = [build.ended(one.record) for one in new]
    for one in ended[::3]:
        assert await outbox.record(one)
    applied = await asyncio.gather(*(outbox.record(one) for one in ended))
    assert applied == [i % 3 != 0 for i in range(20)]
    for one in ended:
        assert await outbox.get(one.message_id) == one


# Together.


async def test_many_writes_in_one_turn_are_all_done(outbox: SqliteOutbox) -> None:
    new = [build.new_message(build.command(request_id=build.new_request_id())) for _ in range(700)]
    verdicts = await asyncio.gather(*(outbox.accept(one) for one in new))
    assert verdicts == [Accepted(one.record, created=True) for one in new]
    ended = [build.ended(one.record) for one in new]
    assert await asyncio.gather(*(outbox.record(one) for one in ended)) == [True] * 700
    assert await asyncio.gather(*(outbox.get(one.message_id) for one in ended)) == ended
    assert await outbox.content(new[-1].record.message_id) == new[-1].content


async def test_accepts_repeats_results_and_reads_side_by_side(outbox: SqliteOutbox) -> None:
    async def live(number: int) -> None:
        new = build.new_message(build.command(build.sms(f"body {number}"), request_id=f"side-{number}"))
        first, second = await asyncio.gather(outbox.accept(new), outbox.accept(build.repeated(new)))
        assert (first.created, second.created) == (True, False)
        assert second.record == new.record
        after = build.ended(new.record)
        applied, _, found = await asyncio.gather(
            outbox.record(after),
            outbox.get(new.record.message_id),
            outbox.find(f"side-{number}", new.payload_hash),
        )
        assert applied
        assert found in (new.record, after), "one moment or the other, and never half of each"
        assert await outbox.get(new.record.message_id) == after

    await asyncio.gather(*(live(number) for number in range(100)))


async def test_a_read_sees_every_write_that_is_done(outbox: SqliteOutbox) -> None:
    for _ in range(50):
        new = await accepted(outbox)
        assert await outbox.get(new.record.message_id) == new.record
        after = build.ended(new.record)
        await outbox.record(after)
        assert await outbox.get(new.record.message_id) == after


def _taken_id(new: NewMessage, others: list[NewMessage]) -> NewMessage:
    return replace(new, record=replace(new.record, message_id=others[0].record.message_id))


POISON: Mapping[str, Callable[[NewMessage, list[NewMessage]], NewMessage]] = {
    "an id that is taken": _taken_id,
    "text that is no Unicode": lambda new, _: replace(new, record=replace(new.record, request_id="\ud800")),
    "an id that is none": lambda new, _: replace(new, record=replace(new.record, message_id="x")),
    "a number over 64 bits": lambda new, _: replace(new, record=replace(new.record, expire_time=2**63)),
}


@pytest.mark.parametrize("poison", POISON)
async def test_one_operation_that_cannot_be_done_does_not_take_the_others_with_it(
    outbox: SqliteOutbox, poison: str
) -> None:
    new = [build.new_message(build.command(request_id=build.new_request_id())) for _ in range(9)]
    bad = POISON[poison](build.new_message(), new)
    open_still = build.accepted()  # a result without an end: it cannot be recorded either
    verdicts = await asyncio.gather(
        *(outbox.accept(one) for one in new[:5]),
        outbox.accept(bad),
        outbox.record(open_still),
        *(outbox.accept(one) for one in new[5:]),
        return_exceptions=True,
    )
    good = verdicts[:5] + verdicts[7:]
    assert good == [Accepted(one.record, created=True) for one in new]
    for fault in verdicts[5:7]:
        assert isinstance(fault, Exception)
        assert not isinstance(fault, StoreUnavailable), "the store is in order"
    assert outbox.available
    assert (await outbox.accept(build.new_message())).created


async def test_whoever_stops_waiting_takes_nobody_with_it(outbox: SqliteOutbox) -> None:
    new = [build.new_message() for _ in range(10)]
    waiting = [asyncio.ensure_future(outbox.accept(one)) for one in new]
    waiting[3].cancel()
    verdicts = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(verdicts[3], asyncio.CancelledError)
    assert [verdict.created for verdict in verdicts if isinstance(verdict, Accepted)] == [True] * 9
    assert await outbox.get(new[3].record.message_id) in (None, new[3].record)


# Closing.


async def test_closing_finishes_what_was_started(closing: SqliteOutbox) -> None:
    writes = [asyncio.ensure_future(closing.accept(build.new_message())) for _ in range(100)]
    await closing.close()
    assert all(write.done() and write.result().created for write in writes)


async def test_a_write_after_closing_is_refused(closing: SqliteOutbox) -> None:
    new = await accepted(closing)
    await closing.close()
    with pytest.raises(StoreUnavailable):
        await closing.accept(build.new_message())
    with pytest.raises(StoreUnavailable):
        await closing.record(build.ended(new.record))


async def test_a_read_after_closing_is_refused(closing: SqliteOutbox) -> None:
    new = await accepted(closing)
    await closing.close()
    with pytest.raises(StoreUnavailable):
        await closing.get(new.record.message_id)
    with pytest.raises(StoreUnavailable):
        await closing.find("r", b"h" * 32)


async def test_closing_an_idle_one_ends(closing: SqliteOutbox) -> None:
    await closing.close()


async def test_availability_is_told_to_nobody_while_all_is_well(outbox: SqliteOutbox) -> None:
    heard: list[bool] = []
    outbox.on_availability(heard.append)
    await outbox.wait_available()
    order = random.Random(1)
    for _ in range(20):
        await accepted(outbox, request_id=f"r-{order.random()}")
    assert heard == []
