"""`DispatchStream` behind the wire: what is taken, what is answered, and how much may be without an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, gate_of, registry_of
from tests.support.streams import Caller, Choosy, wire
from tests.support.waiting import PATIENCE, within

from postwire.api import convert, stream
from postwire.api.errors import INTERNAL_TEXT, fill_rejection, status_of
from postwire.core import errors
from postwire.core.errors import FieldViolation, Refusal, ShuttingDown
from postwire.core.message import DEFAULT_TENANT, Channel, MessageState
from postwire.outbox.sqlite import SqliteOutbox
from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import error_reason_pb2 as reasons
from postwire.v1 import message_pb2

OUTCOME = message_pb2.WAIT_FOR_OUTCOME
QUEUED = message_pb2.MESSAGE_STATE_QUEUED
SENDING = message_pb2.MESSAGE_STATE_SENDING
SENT = message_pb2.MESSAGE_STATE_SENT
CLIENTS_LIMIT = 4 * 1024 * 1024
"""How many bytes gRPC's clients take at once unless they are told otherwise."""


@pytest.fixture
async def held(outbox: SqliteOutbox) -> Harness:
    """A harness whose provider answers when it is let go."""
    return Harness(outbox, provider=FakeProvider(held=True))


def later(count: int = 1) -> list[pb.DispatchRequest]:
    """Messages that are sent in an hour."""
    found = [wire() for _ in range(count)]
    for one in found:
        one.options.send_time.FromMicroseconds(START + build.HOUR)
    return found


def states(results: list[pb.DispatchStreamResult]) -> list[int]:
    return [one.message.state for one in results]


def sequences(results: list[pb.DispatchStreamResult]) -> list[int]:
    return [one.sequence for one in results]


def reason(result: pb.DispatchStreamResult) -> str:
    """Why it was refused; nothing if it was not."""
    if result.HasField("message"):
        return ""
    return reasons.ErrorReason.Name(result.rejection.reason).removeprefix("ERROR_REASON_")


# Numbers and order.


async def test_positions_count_on_over_frames(outbox: SqliteOutbox) -> None:
    caller = Caller(Harness(outbox))
    for size in (1, 3, 0, 2):
        caller.send(*later(size))
    results = await caller.rest()
    assert sequences(results) == list(range(6))
    assert states(results) == [QUEUED] * 6
    assert (await outbox.stats()).unsettled == 6


async def test_results_are_in_the_order_of_their_requests_with_refusals_in_their_places(outbox: SqliteOutbox) -> None:
    caller = Caller(Harness(outbox, provider=FakeProvider(channels=[Channel.SMS])))
    known, (one, other) = wire(request_id="r"), later(2)
    caller.send(known)
    bad, nowhere = wire(to="x"), wire(request_id="e")
    nowhere.message.email.to.append("ada@example.com")
    nowhere.message.email.text = "Hello"
    caller.send(bad, one, wire(request_id=""), known, nowhere, wire(provider_name="nobody"), wire("other", "r"), bad)
    caller.send(bad)
    caller.send(other)
    results = await caller.rest()
    assert sequences(results) == list(range(11))
    assert [reason(one) for one in results] == [
        "",
        "INVALID_MESSAGE",
        "",
        "INVALID_MESSAGE",
        "",
        "INVALID_ROUTING",
        "INVALID_PROVIDER",
        "REQUEST_ID_REUSED",
        "INVALID_MESSAGE",
        "INVALID_MESSAGE",
        "",
    ]
    assert results[4].message.message_id == results[0].message.message_id
    assert [one.field for one in results[1].rejection.field_violations] == ["message.sms.to"]
    assert [one.field for one in results[3].rejection.field_violations] == ["request_id"]
    assert [one.field for one in results[6].rejection.field_violations] == ["options.provider_name"]


async def test_outcomes_come_as_they_complete(outbox: SqliteOutbox) -> None:
    provider = Choosy()
    caller = Caller(Harness(outbox, provider=provider))
    caller.send(wire("a", wait_for=OUTCOME), wire("b", wait_for=OUTCOME), wire("c"))
    caller.send(wire("d", wait_for=OUTCOME), wire("e"), wire("bad", to="x", wait_for=OUTCOME))
    assert [sequences(await caller.results(1)), sequences(await caller.results(2))] == [[2], [4, 5]]
    for text, sequence in (("d", 3), ("a", 0), ("b", 1)):
        provider.free(text).set()
        (result,) = await caller.results(1)
        assert (result.sequence, result.message.state) == (sequence, SENT)
    for text in "ce":
        provider.free(text).set()
    assert await caller.rest() == []


async def test_an_empty_frame_has_no_result_and_ends_nothing(outbox: SqliteOutbox) -> None:
    caller = Caller(Harness(outbox))
    for _ in range(3):
        caller.send()
    caller.send(*later())
    assert sequences(await caller.results(1)) == [0]
    caller.send()
    assert await caller.rest() == []


async def test_a_call_without_a_frame_ends_at_once(outbox: SqliteOutbox) -> None:
    assert await Caller(Harness(outbox)).rest() == []


# Refusals.


REFUSALS: list[Refusal] = [
    errors.InvalidMessage("m", [FieldViolation("message.sms.to", "must be")]),
    errors.MessageTooLarge("m", [FieldViolation("message", "must be"), FieldViolation("message.sms.body", "must be")]),
    errors.InvalidProvider("there is none"),
    errors.InvalidRouting(Channel.SMS),
    errors.RequestIdReused(),
    errors.Overloaded(2.5),
    errors.StoreUnavailable(),
    errors.ShuttingDown(),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.reason)
def test_a_rejection_says_what_the_error_of_a_call_would_have_said(refusal: Refusal) -> None:
    rejection, status = pb.DispatchRejection(), status_of(refusal)
    fill_rejection(rejection, refusal)
    assert (rejection.code, rejection.message) == (status.code, status.message)
    assert reasons.ErrorReason.Name(rejection.reason) == f"ERROR_REASON_{refusal.reason}"
    assert [(one.field, one.description) for one in rejection.field_violations] == [
        (one.field, one.description) for one in refusal.violations
    ]
    delay = getattr(refusal, "retry_delay", None)
    assert rejection.HasField("retry_delay") == (delay is not None)
    if delay is not None:
        assert rejection.retry_delay.ToTimedelta().total_seconds() == delay


def test_a_fault_of_ours_is_a_rejection_without_a_reason() -> None:
    rejection = pb.DispatchRejection()
    fill_rejection(rejection, None)
    assert rejection == pb.DispatchRejection(code=13, message=INTERNAL_TEXT)


async def test_a_request_is_as_large_as_a_call_may_be_and_its_frame_larger(outbox: SqliteOutbox) -> None:
    caller = Caller(Harness(outbox), max_message_bytes=1_000)
    fits, large = later(2)
    fits.message.sms.body = "x" * 850
    large.message.sms.body = "x" * 1_000
    caller.send(*[fits] * 5, large, fits)
    results = await caller.rest()
    assert [reason(one) for one in results] == [""] * 5 + ["MESSAGE_TOO_LARGE", ""]
    assert [one.field for one in results[5].rejection.field_violations] == ["message"]


async def test_a_frame_of_a_thousand_is_taken_and_a_larger_one_is_refused_entry_by_entry(outbox: SqliteOutbox) -> None:
    caller = Caller(Harness(outbox))
    caller.send(*later(stream.MAX_FRAME))
    caller.send(*later(stream.MAX_FRAME + 1))
    caller.send(*later(1))
    results = await caller.rest()
    assert sequences(results) == list(range(2_002))
    assert {reason(one) for one in results[:1_000]} == {""}
    refused = results[1_000:2_001]
    assert {(reason(one), one.rejection.field_violations[0].field) for one in refused} == {
        ("INVALID_MESSAGE", "requests")
    }
    assert reason(results[2_001]) == ""
    assert (await outbox.stats()).unsettled == 1_001
    assert {len(response.results) for response in caller.responses} <= set(range(1, stream.MAX_FRAME + 1))


async def test_a_frame_far_too_large_is_refused_no_faster_than_its_caller_reads(outbox: SqliteOutbox) -> None:
    """Empty requests take two bytes each: a frame of a few megabytes has millions of them."""
    harness = Harness(outbox)
    caller = Caller(harness)
    count = 3 * stream.WINDOW
    caller.send(*[pb.DispatchRequest()] * count)
    caller.send(*later(1))
    found = await caller.read()
    await harness.calm()
    assert len(caller.stream._results) <= stream.WINDOW + stream.MAX_FRAME
    found += await caller.rest()
    assert sequences(found) == list(range(count + 1))
    assert [reason(one) for one in found[-2:]] == ["INVALID_MESSAGE", ""]


# How much is without an answer.


async def test_who_does_not_read_is_taken_no_more_frames_from(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_FRAME", 100)
    monkeypatch.setattr(stream, "WINDOW", 400)
    harness = Harness(outbox)
    caller = Caller(harness)
    for _ in range(7):
        caller.send(*later(100))
    results = await caller.read()  # the call has begun; that these were read shows when more is asked for
    await harness.calm()
    assert caller.taken == 4
    assert (await outbox.stats()).unsettled == 400
    assert len(caller.stream._results) == 300
    results += await caller.read()
    await harness.calm()
    assert caller.taken == 5, "one was read, and one more taken"
    results += await caller.rest()
    assert sequences(results) == list(range(700))
    assert (await outbox.stats()).unsettled == 700


async def test_what_has_no_outcome_yet_counts_as_unanswered(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "WINDOW", 10)
    provider = Choosy()
    harness = Harness(outbox, provider=provider)
    caller = Caller(harness)
    for number in range(30):
        caller.send(wire(str(number), wait_for=OUTCOME))
    reading = asyncio.create_task(caller.results(30))
    await within(provider.calls(10))
    await harness.calm()
    assert (caller.taken, len(provider.keys)) == (10, 10)
    for number in range(20):
        provider.free(str(number)).set()
        await within(provider.calls(number + 11))
        await harness.calm()
        assert caller.taken == number + 11
    for number in range(20, 30):
        provider.free(str(number)).set()
    assert sequences(await reading) == list(range(30))
    assert await caller.rest() == []


async def test_a_response_is_no_larger_than_clients_take(outbox: SqliteOutbox) -> None:
    caller = Caller(Harness(outbox), max_message_bytes=1 << 20)
    requests = later(1_000)
    for one in requests:
        one.message.labels.update({f"{number:02}" + "k" * 60: "v" * 256 for number in range(16)})
    caller.send(*requests)
    results = await caller.rest()
    assert sequences(results) == list(range(1_000))
    sizes = [response.ByteSize() for response in caller.responses]
    assert sum(sizes) > CLIENTS_LIMIT, "or there is nothing to be seen here"
    assert max(sizes) < CLIENTS_LIMIT
    assert len(sizes) < 10, "and not a response for each"


async def test_a_single_result_is_sent_however_large_it_is(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_RESPONSE_BYTES", 1)
    caller = Caller(Harness(outbox))
    caller.send(*later(3))
    assert sequences(await caller.rest()) == [0, 1, 2]
    assert [len(response.results) for response in caller.responses] == [1, 1, 1]


# Time.


async def test_an_outcome_that_takes_too_long_is_answered_with_how_it_stands(held: Harness) -> None:
    caller = Caller(held, max_wait=0.01)
    caller.send(wire(wait_for=OUTCOME), wire(wait_for=OUTCOME))
    assert states(await caller.results(2)) == [SENDING] * 2
    held.provider.release()
    assert await caller.rest() == [], "each once"
    await held.completed()


async def test_one_that_waits_for_a_slot_is_answered_as_queued(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("p", held=True)
    harness = Harness(
        outbox, provider=provider, registry=registry_of(provider, gates={"p": gate_of("p", max_concurrent=1)})
    )
    caller = Caller(harness, max_wait=0.01)
    caller.send(wire(wait_for=OUTCOME), wire(wait_for=OUTCOME))
    assert states(await caller.results(2)) == [SENDING, QUEUED]
    provider.release()
    await within(provider.calls(2))
    await harness.calm()
    assert harness.left() == []


# Ends.


async def test_closing_ones_side_gets_the_rest(held: Harness) -> None:
    caller = Caller(held)
    caller.send(*(wire(wait_for=OUTCOME) for _ in range(3)))
    caller.send(*(wire(wait_for=OUTCOME) for _ in range(3)))
    rest = asyncio.create_task(caller.rest())
    await within(held.provider.calls(6))
    await held.calm()
    assert not rest.done()
    held.provider.release()
    results = await rest
    assert sorted(sequences(results)) == list(range(6))
    assert set(states(results)) == {SENT}


async def test_hanging_up_loses_nothing_and_leaves_nothing(held: Harness) -> None:
    caller = Caller(held)
    caller.send(wire(), *(wire(request_id=f"r-{number}", wait_for=OUTCOME) for number in range(5)))
    caller.send(*(wire(request_id=f"s-{number}", wait_for=OUTCOME) for number in range(5)))
    await caller.results(1)
    await within(held.provider.calls(11))
    await caller.hang_up()
    caller.send(wire())
    await held.calm()
    assert len(held.provider.keys) == 11, "what was not taken is not sent"
    held.provider.release()
    await held.completed()
    assert [(await held.kept(key)).state for key in held.provider.keys] == [MessageState.SENT] * 11
    assert held.left() == []


async def test_whoever_hangs_up_is_not_kept_for_messages_that_wait_for_a_slot(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("p", held=True)
    gates = {"p": gate_of("p", max_concurrent=1)}
    harness = Harness(outbox, provider=provider, registry=registry_of(provider, gates=gates))
    caller = Caller(harness)
    caller.send(wire(), *(wire(wait_for=OUTCOME) for _ in range(4)))
    await caller.results(1)
    await harness.calm()
    assert harness.waited_for == 4
    await caller.hang_up()
    assert harness.waited_for == 0
    provider.release()
    await within(provider.calls(5))
    await harness.calm()
    assert harness.left() == []


async def test_hanging_up_while_a_frame_is_on_its_way_to_the_store_loses_nothing(outbox: SqliteOutbox) -> None:
    on_its_way = asyncio.Event()

    class Noting:
        def __getattr__(self, name: str) -> object:
            if name == "accept_all":
                on_its_way.set()
            return getattr(outbox, name)

    harness = Harness(Noting())  # type: ignore[arg-type]  # it is the real one
    caller = Caller(harness)
    caller.send(*later(3))
    reading = asyncio.create_task(caller.read())
    await within(on_its_way.wait())
    reading.cancel()
    await asyncio.wait([reading])
    await harness.calm()
    assert (await outbox.stats()).unsettled == 3
    assert harness.left() == []


async def test_draining_answers_what_was_taken_and_then_ends_the_call(held: Harness) -> None:
    caller = Caller(held)
    caller.send(*(wire(wait_for=OUTCOME) for _ in range(3)))
    caller.send(*later(1))
    assert sequences(await caller.results(1)) == [3]
    await within(held.provider.calls(3))
    draining = asyncio.create_task(held.drain(PATIENCE))
    await held.calm()
    caller.send(wire())
    held.provider.release()
    assert set(states(await caller.results(3))) == {SENT}
    with pytest.raises(ShuttingDown):
        await caller.read()
    assert await draining == 0
    assert (caller.taken, len(held.provider.keys)) == (2, 3), "the rest is for another server"
    assert held.left() == []


async def test_draining_ends_an_idle_call_at_once(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    caller = Caller(harness)
    reading = asyncio.create_task(caller.read())
    await harness.calm()
    assert not reading.done()
    await harness.drain(0.0)
    with pytest.raises(ShuttingDown):
        await reading


async def test_what_the_grace_cuts_short_is_answered_as_it_is_kept(held: Harness) -> None:
    caller = Caller(held)
    caller.send(wire(wait_for=OUTCOME), wire(wait_for=OUTCOME))
    reading = asyncio.create_task(caller.results(2))
    await within(held.provider.calls(2))
    assert await held.drain(0.0) == 2
    assert states(await reading) == [SENDING] * 2
    with pytest.raises(ShuttingDown):
        await caller.read()


# Others have their turn.


def to_many(count: int, first: int = 0) -> pb.DispatchRequest:
    """An email to so many, each in another domain that is not ASCII."""
    found = wire()
    found.message.email.to.extend(f"ada@b\u00fccher-{first + index}.example" for index in range(count))
    found.message.email.text = "Hi"
    return found


async def turns_during(work: Coroutine[Any, Any, object]) -> int:
    """How often others had their turn before it was done."""
    task, turns = asyncio.ensure_future(work), 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    await task
    return turns


async def test_an_email_to_many_holds_nobody_up() -> None:
    few, many = to_many(50, first=10_000), to_many(1_000, first=20_000)
    assert await turns_during(convert.read_command(few, 1 << 20, tenant=DEFAULT_TENANT)) == 1
    assert await turns_during(convert.read_command(many, 1 << 20, tenant=DEFAULT_TENANT)) > 2
