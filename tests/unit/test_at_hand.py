"""What waits in a queue and is at hand: the same messages in the same order as the store has, or none."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from tests.support import build
from tests.support.harness import Harness
from tests.support.paused import Paused
from tests.support.providers import FakeProvider, gate_of, registry_of
from tests.support.streams import accept_frame, commands
from tests.support.waiting import within

from postwire.core.errors import StoreUnavailable
from postwire.core.message import DispatchOptions, MessageState, Priority, WaitFor
from postwire.core.principal import LOCAL
from postwire.delivery.at_hand import MAX_BYTES, MAX_COUNT, AtHand, Fresh, Room
from postwire.outbox.base import QueuedMessage
from postwire.outbox.sqlite import SqliteOutbox

HIGH, NORMAL, LOW = Priority
SENT = MessageState.SENT


def fresh(size: int = 100) -> Fresh:
    command = build.command(build.sms(), request_id=build.new_request_id())
    return Fresh(QueuedMessage(build.accepted(command), DispatchOptions()), command.message, size)


def offered(at_hand: AtHand, one: Fresh, priority: Priority = NORMAL) -> None:
    at_hand.offered(priority, one.queued.record.message_id)


def filled(count: int, room: Room | None = None) -> tuple[AtHand, list[Fresh]]:
    """Messages that are at hand, with nothing before them: the store has offered one that came before."""
    at_hand, before, messages = AtHand(room or Room()), fresh(), [fresh() for _ in range(count)]
    for one in (before, *messages):
        at_hand.put(NORMAL, 0, one)
    offered(at_hand, before)
    return at_hand, messages


def test_nothing_is_taken_before_the_store_has_offered_the_first() -> None:
    at_hand, messages = AtHand(Room()), [fresh() for _ in range(3)]
    for one in messages:
        at_hand.put(NORMAL, 0, one)
    assert at_hand.take({NORMAL: 1}) == []
    offered(at_hand, fresh())
    assert at_hand.take({NORMAL: 1}) == [], "another is before them"
    offered(at_hand, messages[0])
    assert at_hand.take({NORMAL: 1}) == messages[1:2]
    assert at_hand.take({NORMAL: 5}) == messages[2:], "and nothing is behind them"
    assert at_hand.take({NORMAL: 1}) == []
    more = fresh()
    at_hand.put(NORMAL, 0, more)
    assert at_hand.take({NORMAL: 1}) == [more]


def test_each_priority_by_itself_and_the_higher_first() -> None:
    at_hand, low = filled(2)[0], fresh()
    at_hand.put(LOW, 0, low)
    assert at_hand.take({LOW: 1, NORMAL: 1}) == [], "of low it is not known"
    offered(at_hand, low, LOW)
    high, another = fresh(), fresh()
    at_hand.put(LOW, 0, another)
    at_hand.put(HIGH, 0, high)
    offered(at_hand, high, HIGH)
    found = at_hand.take({LOW: 1, NORMAL: 2, HIGH: 0})
    assert len(found) == 3
    assert found[-1] == another


def test_one_whose_place_is_not_known_has_all_of_its_priority_dropped() -> None:
    room = Room()
    at_hand, _ = filled(2, room)
    at_hand.put(NORMAL, 0, None)
    assert at_hand.take({NORMAL: 1}) == []
    assert (room.count, room.bytes) == (MAX_COUNT, MAX_BYTES)


def test_what_comes_late_and_belongs_before_others_is_for_the_store() -> None:
    at_hand = AtHand(Room())
    at_hand.drop(10)
    late, first, second = fresh(), fresh(), fresh()
    at_hand.put(NORMAL, 9, late)
    offered(at_hand, late)
    at_hand.put(NORMAL, 10, first)
    assert at_hand.take({NORMAL: 1}) == [], "something may wait between the two"
    offered(at_hand, first)
    at_hand.put(NORMAL, 12, second)
    assert at_hand.take({NORMAL: 1}) == [second]
    at_hand.put(NORMAL, 11, fresh())
    at_hand.put(NORMAL, 12, fresh())
    assert at_hand.take({NORMAL: 1}) == [], "that which is due at 11 was accepted after another"


@pytest.mark.parametrize("room", [Room(3), Room(size=300)])
def test_where_there_is_no_room_the_rest_is_for_the_store(room: Room) -> None:
    at_hand, messages = filled(4, room)
    assert at_hand.take({NORMAL: 3}) == [], "the third is not at hand, nor known to be there"
    assert at_hand.take({NORMAL: 2}) == messages[:2]
    assert at_hand.take({NORMAL: 1}) == []
    later = fresh()
    at_hand.put(NORMAL, 0, later)
    assert at_hand.take({NORMAL: 1}) == [], "what had no room is before it"
    at_hand.drop(0)
    assert at_hand.take({NORMAL: 1}) == []
    assert room.count == 3 or room.bytes == 300


# In a queue.


def busy(outbox: SqliteOutbox, provider: FakeProvider, slots: int = 1) -> tuple[Harness, Paused, Room]:
    """A harness whose provider has so many slots, and the counts of how often its store is asked for messages."""
    counting = Paused(outbox, "take", "heads")
    registry = registry_of(provider, gates={provider.name: gate_of(provider.name, max_concurrent=slots)})
    harness = Harness(counting, provider=provider, registry=registry)
    return harness, counting, harness.delivery._worker._room


async def test_what_waits_for_a_busy_provider_is_not_read_back(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("p", held=True)
    harness, counting, room = busy(outbox, provider, slots=4)
    caller = await accept_frame(harness, commands(100, wait_for=WaitFor.OUTCOME))
    assert room.count < MAX_COUNT
    provider.release()
    await caller.until(100)
    assert {record.state for record in caller.records} == {SENT}
    assert provider.keys == [record.message_id for record in caller.records]
    assert counting.counts["take"] <= 3
    await harness.calm()
    assert harness.left() == []
    assert (room.count, room.bytes) == (MAX_COUNT, MAX_BYTES)


async def test_what_is_cancelled_is_no_longer_at_hand_and_is_not_sent(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("p", held=True)
    harness, _, room = busy(outbox, provider)
    caller = await accept_frame(harness, commands(10))
    gone = caller.records[6].message_id
    await harness.delivery.cancel(gone, by=LOCAL)
    assert room.count == MAX_COUNT
    provider.release()
    await within(provider.calls(9))
    await harness.calm()
    assert provider.keys == [record.message_id for record in caller.records if record.message_id != gone]
    assert harness.left() == []


async def test_where_the_store_does_not_keep_it_all_is_read_again(outbox: SqliteOutbox) -> None:
    class Failing(Paused):
        def __init__(self, inner: SqliteOutbox) -> None:
            super().__init__(inner, "take")
            self.fails = 0

        async def advance_all(self, changes: Any) -> Any:
            if self.fails:
                self.fails -= 1
                raise StoreUnavailable
            return await super().__getattr__("advance_all")(changes)

    provider = FakeProvider("p", held=True)
    failing = Failing(outbox)
    registry = registry_of(provider, gates={"p": gate_of("p", max_concurrent=2)})
    harness = Harness(failing, provider=provider, registry=registry)
    caller = await accept_frame(harness, commands(20))
    await within(provider.calls(2))
    failing.fails = 1
    provider.release()
    for record in caller.records:
        await harness.noted.reached(record.message_id, SENT)
    assert not failing.fails, "it was asked"
    assert Counter(provider.keys) == Counter(record.message_id for record in caller.records), "each once"
    await harness.calm()
    assert harness.left() == []
    assert harness.delivery._worker._room.count == MAX_COUNT
