"""How what may be in flight is shared: what each class leaves free, and how much one of many may hold."""

from __future__ import annotations

import pytest

from postwire.core.admission import Admission, Room, Share, WaitingStreams
from postwire.core.message import DEFAULT_TENANT
from postwire.core.queue_keys import QueueKey

PLENTY = 1 << 40


def key(name: str, tenant: str = DEFAULT_TENANT) -> QueueKey:
    return QueueKey(tenant, name)


def entered(
    admission: Admission,
    queue: str,
    stream: Share | None = None,
    *,
    urgent: bool = False,
    size: int = 1,
    tenant: str = DEFAULT_TENANT,
) -> int:
    """Let in as many as there is room for, and tell how many that were."""
    count = 0
    while admission.enter(size, key(queue, tenant), stream, urgent=urgent):
        count += 1
    return count


@pytest.mark.parametrize(
    ("max_count", "alone"),
    [
        (1000, (480, 720, 800)),
        (100, (48, 72, 80)),
        (10, (5, 8, 8)),  # with room for fewer than ten, nothing is left free
        (9, (8, 8, 8)),
        (4, (4, 4, 4)),
        (1, (1, 1, 1)),
    ],
)
def test_one_alone_holds_four_times_what_is_left_to_its_class(max_count: int, alone: tuple[int, int, int]) -> None:
    stream, call, urgent = (Admission(max_count=max_count, max_bytes=PLENTY) for _ in range(3))
    found = entered(stream, "email", Share()), entered(call, "email"), entered(urgent, "email", urgent=True)
    assert found == alone


@pytest.mark.parametrize(("max_bytes", "alone"), [(10_000, (49, 73, 81)), (1_000, (5, 8, 9))])
def test_bytes_are_shared_alike(max_bytes: int, alone: tuple[int, int, int]) -> None:
    """The last of them may go beyond the share, as it was below it before."""
    stream, call, urgent = (Admission(max_count=1_000_000, max_bytes=max_bytes) for _ in range(3))
    found = (
        entered(stream, "email", Share(), size=99),
        entered(call, "email", size=99),
        entered(urgent, "email", urgent=True, size=99),
    )
    assert found == alone


def test_whoever_holds_nothing_gets_in_until_its_class_is_full() -> None:
    admission = Admission(max_count=100, max_bytes=PLENTY)
    streams = [Share() for _ in range(60)]
    assert [entered(admission, f"q{number}", stream) > 0 for number, stream in enumerate(streams)].index(False) == 3
    assert admission.count == 60
    calls = [entered(admission, f"r{number}") for number in range(40)]
    assert admission.count == 90
    assert calls[0] == 24
    assert entered(admission, "another") == 0
    assert sum(entered(admission, f"s{number}", urgent=True) for number in range(10)) == 10
    assert admission.count == 100


def test_streams_that_feed_one_queue_hold_no_more_together_than_it_may() -> None:
    admission = Admission(max_count=1000, max_bytes=PLENTY)
    streams = [Share() for _ in range(3)]
    assert [entered(admission, "email", one) for one in streams] == [480, 0, 0]
    # One of the first's ends, and any of them may have its place.
    admission.leave(1, key("email"), streams[0])
    assert [entered(admission, "email", one) for one in streams[::-1]] == [1, 0, 0]
    assert entered(admission, "sms", streams[1]) == 96


def test_calls_are_not_held_to_what_streams_have_taken() -> None:
    admission = Admission(max_count=1000, max_bytes=PLENTY)
    entered(admission, "email", Share())
    assert entered(admission, "sms") == 336
    assert entered(admission, "mms", urgent=True) == 148


def test_one_larger_than_all_the_room_gets_in_when_it_is_alone() -> None:
    admission = Admission(max_count=10, max_bytes=100)
    stream = Share()
    assert admission.enter(500, key("email"), stream)
    assert not admission.enter(1, key("sms"), urgent=True)
    admission.leave(500, key("email"), stream)
    assert (stream.count, stream.bytes) == (0, 0)
    assert admission.enter(50, key("email"), stream)


def test_a_refused_one_takes_no_room() -> None:
    admission = Admission(max_count=10, max_bytes=100)
    assert admission.enter(60, key("email"), urgent=True)
    assert not admission.enter(41, key("sms"), urgent=True)
    assert admission.count == 1
    assert admission.enter(40, key("sms"), urgent=True), "exactly full is allowed"


# Turns.


def test_streams_are_served_in_the_order_in_which_they_wait_and_who_has_no_room_holds_up_nobody() -> None:
    admission = Admission(max_count=1000, max_bytes=PLENTY)
    first, second, third = (Share() for _ in range(3))
    waiting = WaitingStreams(admission)
    assert not waiting
    assert waiting.next() is None
    assert entered(admission, "email", first) == 480
    waiting.add(first, 1, key("email"))
    waiting.add(second, 1, key("sms"))
    waiting.add(third, 1, key("sms"))
    assert waiting.next() is second, "the first is at its share"
    entered(admission, "mms", Share())
    admission.leave(1, key("email"), first)
    for _ in range(100):
        admission.leave(1, key("email"), first)
    assert waiting.next() is first
    waiting.remove(first)
    assert waiting.next() is second
    waiting.remove(second)
    waiting.add(second, 1, key("sms"))
    assert waiting.next() is third, "who has had its turn is at the end"
    for one in (second, third, third):
        waiting.remove(one)
    assert not waiting


def test_while_there_is_no_room_for_streams_it_costs_nothing_how_many_wait() -> None:
    class Asked(Admission):
        times = 0

        def has_room(self, size: int, queue: QueueKey, stream: Share | None = None, *, urgent: bool = False) -> bool:
            self.times += 1
            return super().has_room(size, queue, stream, urgent=urgent)

    for size, max_bytes in ((1, PLENTY), (2, 1000)):
        admission = Asked(max_count=1000, max_bytes=max_bytes)
        waiting = WaitingStreams(admission)
        for _ in range(1000):
            waiting.add(Share(), size, key("email"))
        while waiting.next():
            assert admission.enter(size, key("sms"), urgent=True)
        admission.times = 0
        assert waiting.next() is None
        assert admission.times == 0


# Tenants.


def test_a_tenant_holds_no_more_than_its_limit_and_that_may_change() -> None:
    limits = {"a": 30}
    admission = Admission(max_count=1000, max_bytes=PLENTY, tenant_limits=limits)
    assert [entered(admission, queue, tenant="a") for queue in ("sms", "email")] == [30, 0]
    assert admission.is_full_for("a")
    assert entered(admission, "sms", tenant="b") == 696, "as if nobody else went by that route"
    limits["a"] = 40
    assert entered(admission, "email", tenant="a") == 10
    for _ in range(30):
        admission.leave(1, key("sms", "a"))
    assert not admission.is_full_for("a")
    limits.clear()
    assert entered(admission, "email", tenant="a") > 30


def test_streams_of_tenants_are_served_in_turn() -> None:
    admission = Admission(max_count=1000, max_bytes=PLENTY)
    many, one = [Share() for _ in range(3)], Share()
    waiting = WaitingStreams(admission)
    for stream in many:
        waiting.add(stream, 1, key("sms", "many"))
    waiting.add(one, 1, key("sms", "one"))
    served = []
    for _ in range(8):
        found = waiting.next()
        assert found is not None
        served.append("one" if found is one else str(many.index(found)))
        waiting.remove(found)
        waiting.add(found, 1, key("sms", "one" if found is one else "many"))
    assert served == ["0", "one", "1", "one", "2", "one", "0", "one"]


def test_who_waits_for_room_of_its_own_tenant_holds_up_no_other_and_costs_it_nothing() -> None:
    class Asked(Admission):
        times = 0

        def has_room(self, size: int, queue: QueueKey, stream: Share | None = None, *, urgent: bool = False) -> bool:
            self.times += 1
            return super().has_room(size, queue, stream, urgent=urgent)

    admission = Asked(max_count=1000, max_bytes=PLENTY, tenant_limits={"a": 5})
    waiting = WaitingStreams(admission)
    assert entered(admission, "sms", Share(), tenant="a") == 5
    for _ in range(1000):
        waiting.add(Share(), 1, key("sms", "a"))
    admission.times = 0
    assert waiting.holds_up("a")
    assert not waiting.holds_up("b")
    assert admission.times == 0
    waiting.add(Share(), 1, key("sms", "c"))
    assert waiting.holds_up("b"), "it came first, and has room"


def test_other_room_is_shared_in_the_same_way() -> None:
    room = Room(100)
    room.hold(80, "acme")
    assert not room.is_over("acme")
    room.hold(1, "acme")
    assert room.is_over("acme")
    assert not room.is_over("beta")
    room.hold(15, "beta")
    assert not room.is_over("beta"), "15 of 19"
    room.hold(1, "beta")
    assert room.is_over("beta")
    room.hold(-81, "acme")
    assert not room.is_over("beta")
    room.hold(-16, "beta")
    assert not room


def test_what_is_nobodys_takes_it_all() -> None:
    room = Room(100)
    room.hold(100)
    assert not room.is_over()
    room.hold(1)
    assert room.is_over()
