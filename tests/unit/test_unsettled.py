"""`store.max_unsettled`: how many messages may be owned that are not settled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.providers import FakeProvider
from tests.support.streams import accept_frame, commands
from tests.support.waiting import within

from postwire.core.errors import Overloaded, RequestIdReused
from postwire.core.message import DeliveryGuarantee, DispatchCommand, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.outbox.sqlite import SqliteOutbox

LATER = START + build.HOUR


def later(request_id: str = "", **options: Any) -> DispatchCommand:
    """A message that waits for an hour, and whose caller does not."""
    return build.command(request_id=request_id, wait_for=WaitFor.ACCEPTANCE, **{"send_time": LATER, **options})


async def is_full(harness: Harness) -> bool:
    """Whether a new message is refused; if it is not, it is taken back at once."""
    try:
        record = await harness.send(later())
    except Overloaded:
        return True
    await harness.delivery.cancel(record.message_id, by=LOCAL)
    return False


async def test_at_the_cap_new_ones_are_asked_to_repeat_and_leave_nothing(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, max_unsettled=3)
    for _ in range(3):
        await harness.send(later())
    for command in (later("new"), build.command(request_id="new"), build.command(build.email(), request_id="new")):
        with pytest.raises(Overloaded, match="too many messages wait") as caught:
            await harness.send(command)
        assert caught.value.retry_delay > 0
        assert await harness.kept_of(command) is None
    assert (await outbox.stats()).unsettled == 3
    assert harness.provider.keys == []
    assert harness.left() == []


async def test_repeats_of_what_is_owned_are_fine_at_the_cap(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, max_unsettled=2)
    settled = await harness.send(build.command(request_id="settled"))
    waiting = await harness.send(later("waiting"))
    await harness.send(later())
    assert await is_full(harness)
    assert await harness.send(build.command(request_id="settled")) == settled
    assert await harness.send(later("waiting")) == waiting
    with pytest.raises(RequestIdReused):
        await harness.send(build.command(request_id="waiting"))
    frame = await accept_frame(harness, [later("waiting"), later("new"), build.command(request_id="settled")])
    assert frame.records == [waiting, settled]
    assert frame.refusals == {1: Overloaded}
    assert (await outbox.stats()).unsettled == 2


async def test_of_many_calls_at_once_no_more_are_accepted_than_there_is_room_for(outbox: SqliteOutbox) -> None:
    """All of them are there before the first is on disk."""
    harness = Harness(outbox, max_unsettled=7)
    results = await asyncio.gather(*(harness.send(later()) for _ in range(40)), return_exceptions=True)
    refused = [one for one in results if isinstance(one, Overloaded)]
    assert len(refused) == 33
    assert (await outbox.stats()).unsettled == 7


async def test_of_a_frame_no_more_are_accepted_than_there_is_room_for(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, max_unsettled=7)
    caller = await accept_frame(harness, commands(40, send_time=LATER))
    assert caller.refusals == dict.fromkeys(range(7, 40), Overloaded)
    assert (await outbox.stats()).unsettled == 7
    assert caller.order == list(range(40))


ENDS: dict[str, DispatchResult] = {
    "sent": build.SUCCESS,
    "failed": DispatchResult(Outcome.REJECTED),
    "uncertain": DispatchResult(Outcome.UNCERTAIN),
}


@pytest.mark.parametrize("end", ENDS)
async def test_there_is_room_again_once_a_message_settles(outbox: SqliteOutbox, end: str) -> None:
    harness = Harness(outbox, provider=FakeProvider(held=True, answer=ENDS[end]), max_unsettled=1)
    call = harness.start(build.command(delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE))
    await within(harness.provider.calls())
    assert await is_full(harness)
    harness.provider.release()
    assert (await call).state.value == end
    assert not await is_full(harness)


@pytest.mark.parametrize("answer", [DispatchResult(Outcome.ERROR), DispatchResult(Outcome.UNCERTAIN)], ids=str)
async def test_what_goes_back_to_its_queue_still_counts_until_it_is_sent(
    outbox: SqliteOutbox, answer: DispatchResult
) -> None:
    harness = Harness(outbox, max_unsettled=1)
    harness.provider.answers = [answer]
    record = await harness.send()
    assert record.state is MessageState.QUEUED
    assert await is_full(harness)
    await harness.calm()
    harness.clock.advance(60.0)
    await within(harness.noted.reached(record.message_id, MessageState.SENT))
    await harness.calm()
    assert not await is_full(harness)


async def test_there_is_room_again_once_messages_expire(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, max_unsettled=2)
    await harness.boot()
    first = await harness.send(later(expire_time=LATER + 1_000_000))
    await harness.send(later(expire_time=LATER + 9_000_000))
    harness.provider.answer = DispatchResult(Outcome.ERROR)
    assert await is_full(harness)
    await harness.calm()
    harness.clock.advance(3602.0)
    await within(harness.noted.reached(first.message_id, MessageState.EXPIRED))
    assert not await is_full(harness)
    await harness.drain(0.0)


async def test_there_is_room_again_once_a_message_is_cancelled(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, max_unsettled=1)
    record = await harness.send(later())
    assert await is_full(harness)
    for _ in range(3):
        await harness.delivery.cancel(record.message_id, by=LOCAL)  # of which but one changes anything
    await harness.send(later())
    assert await is_full(harness)


async def test_what_is_refused_or_known_takes_no_room(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, max_unsettled=2)
    await harness.send(later("r"))
    for _ in range(5):
        await harness.send(later("r"))
        with pytest.raises(RequestIdReused):
            await harness.send(build.command(request_id="r"))
        assert not await is_full(harness)
    assert (await accept_frame(harness, [later("r")] * 50)).refusals == {}
    await harness.send(later())
    assert await is_full(harness)


async def test_what_is_cut_short_on_its_way_to_the_store_takes_no_room(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, max_unsettled=1)
    call = harness.start(later("r"))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    await harness.calm()
    assert await is_full(harness), "whoever hangs up has sent it all the same"
    record = await harness.kept_of(later("r"))
    assert record
    await harness.delivery.cancel(record.message_id, by=LOCAL)
    assert not await is_full(harness)


async def test_it_is_counted_anew_at_boot(tmp_path: Path) -> None:
    path = str(tmp_path / "postwire.db")
    outbox = await SqliteOutbox.open(path)
    harness = Harness(outbox, provider=FakeProvider(held=True))
    for _ in range(2):
        await harness.send(later())
    left = await harness.send(build.command(wait_for=WaitFor.ACCEPTANCE))
    await within(harness.provider.calls())
    assert await harness.drain(0.0) == 1
    await outbox.close()

    outbox = await SqliteOutbox.open(path)
    harness = Harness(outbox, max_unsettled=3)
    await harness.boot()
    assert await is_full(harness), "two that wait, and the one that a crash has left"
    await harness.calm()
    harness.clock.advance(300.0)
    await within(harness.noted.reached(left.message_id, MessageState.SENT))
    await harness.calm()
    assert not await is_full(harness)
    await harness.drain(0.0)
    await outbox.close()
