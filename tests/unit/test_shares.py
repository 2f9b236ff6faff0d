"""What each of several nodes has of a provider's limits, and gates and buckets that are held to other limits in use."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.gates import NOW, FreeListener, make

from postwire.core.breaker import Verdict
from postwire.core.gate import GateSettings
from postwire.core.limits import TokenBucket
from postwire.core.obstacles import Obstacle
from postwire.core.shares import NOTHING, Limits, Standing, share


def shares(whole: Limits, count: int) -> list[Limits]:
    return [share(whole, position, count) for position in range(count)]


@pytest.mark.parametrize(
    ("most", "count", "each"),
    [(64, 1, [64]), (64, 3, [22, 21, 21]), (2, 3, [1, 1, 0]), (1, 4, [1, 0, 0, 0]), (7, 7, [1] * 7)],
)
def test_attempts_under_way_are_shared_in_whole_ones_and_the_first_have_one_more(
    most: int, count: int, each: list[int]
) -> None:
    assert [one.max_concurrent for one in shares(Limits(most), count)] == each


def test_the_rate_goes_to_those_in_equal_parts_who_have_any_attempts() -> None:
    assert [one.rate for one in shares(Limits(64, 9.0, 10), 3)] == [3.0, 3.0, 3.0]
    assert [one.rate for one in shares(Limits(2, 9.0, 10), 3)] == [4.5, 4.5, 0.0]
    assert [one.rate for one in shares(Limits(2), 3)] == [None, None, 0.0]


@pytest.mark.parametrize(("burst", "count", "each"), [(10, 3, 3), (10, 1, 10), (2, 3, 1)])
def test_the_burst_is_shared_in_whole_ones_and_nobody_has_less_than_one(burst: int, count: int, each: int) -> None:
    assert [one.burst for one in shares(Limits(64, 1.0, burst), count)] == [each] * count


@given(st.integers(1, 50), st.integers(1, 12), st.data())
def test_however_much_each_counts_as_long_as_all_who_send_are_among_them_they_keep_within_the_whole(
    most: int, count: int, data: st.DataObject
) -> None:
    whole = Limits(most, 10.0, count + most)
    senders = range(0, 3 * count, 3)
    others = st.sets(st.integers(0, 40))
    found = []
    for number in senders:
        holders = sorted({*senders, *data.draw(others)})
        found.append(share(whole, holders.index(number), len(holders)))
    assert sum(one.max_concurrent for one in found) <= most
    assert sum(one.rate or 0.0 for one in found) <= 10.0 + 1e-9
    assert sum(one.burst for one in found) <= whole.burst


# Who has a share.


def test_who_is_alone_has_all_at_once() -> None:
    standing = Standing(5)
    assert standing.share(Limits(8)) == NOTHING
    assert standing.heard([5], {5: 0})
    assert standing.share(Limits(8)) == Limits(8)


def test_who_comes_anew_has_nothing_before_all_who_live_have_seen_it() -> None:
    standing = Standing(5)
    assert standing.heard([1, 2, 5], {1: 5, 2: 2, 5: 0})
    assert standing.share(Limits(9)) == NOTHING
    assert standing.heard([1, 2, 5], {1: 5, 2: 5, 5: 0})
    assert standing.share(Limits(9)) == Limits(3)


def test_nobody_waits_for_one_who_does_not_live_any_more_and_none_has_his_share_before_he_is_dead() -> None:
    standing = Standing(5)
    standing.heard([1, 2, 5], {1: 5, 5: 0})
    assert standing.share(Limits(9)) == Limits(3)
    standing.heard([1, 5], {1: 5, 5: 0})
    assert standing.share(Limits(9)) == Limits(4), "the first has one more"


def test_one_is_seen_once_what_is_in_flight_fits_beside_it() -> None:
    standing = Standing(1)
    standing.heard([1], {1: 0})
    standing.keeps_to_it()
    standing.heard([1, 7], {1: 1, 7: 1})
    assert standing.seen == 1
    assert standing.share(Limits(9)) == Limits(5), "and it is counted with from the first"
    standing.keeps_to_it()
    assert standing.seen == 7
    standing.heard([1], {1: 7})
    assert standing.seen == 7


# Buckets and gates in use.


def taken(bucket: TokenBucket, now: float) -> int:
    count = 0
    while bucket.available(now):
        bucket.take(now)
        count += 1
    return count


def test_what_a_bucket_has_stays_there_but_for_what_is_beyond_its_burst() -> None:
    bucket = TokenBucket(10.0, 10)
    bucket.limit(5.0, 5, NOW)
    assert taken(bucket, NOW) == 5
    bucket.limit(10.0, 10, NOW)
    assert taken(bucket, NOW) == 0, "another share brings no token"
    assert bucket.next_time(NOW) == pytest.approx(NOW + 0.1)
    assert taken(bucket, NOW + 0.55) == 5
    bucket.limit(1.0, 3, NOW + 0.55)
    assert bucket.next_time(NOW + 0.55) == pytest.approx(NOW + 1.05), "the half that is there counts"


def test_a_bucket_that_begins_with_none_has_its_first_token_after_an_interval() -> None:
    bucket = TokenBucket(2.0, 4)
    bucket.empty(NOW)
    assert bucket.next_time(NOW) == NOW + 0.5
    assert taken(bucket, NOW + 60) == 4


def test_what_was_taken_before_another_limit_does_not_come_back() -> None:
    bucket = TokenBucket(1.0, 2)
    bucket.take(NOW)
    bucket.take(NOW)
    bucket.limit(1.0, 2, NOW + 0.5)
    bucket.give_back(NOW)
    assert taken(bucket, NOW + 0.5) == 0
    assert taken(bucket, NOW + 1.0) == 1


@given(
    st.lists(
        st.tuples(
            st.floats(0, 2), st.sampled_from(("take", "back", "limit")), st.sampled_from((0.5, 1.0)), st.integers(1, 6)
        ),
        max_size=60,
    )
)
def test_under_changing_shares_no_more_goes_through_than_the_most_of_them_allows(
    steps: list[tuple[float, str, float, int]],
) -> None:
    times: list[float] = []
    bucket, now = TokenBucket(1.0, 6), NOW
    for pause, what, rate, burst in steps:
        now += pause
        if what == "limit":
            bucket.limit(rate, burst, now)
        elif what == "back" and times:
            bucket.give_back(times.pop())
        elif bucket.available(now):
            bucket.take(now)
            times.append(now)
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= 6 + (times[last] - times[first]) * 1.0 + 1e-6


def test_a_gate_is_held_to_other_limits_while_attempts_are_under_way() -> None:
    listener = FreeListener()
    gate = make(GateSettings(max_concurrent=4), listener=listener)
    permits = [gate.enter(NOW) for _ in range(3)]
    gate.limit(Limits(2), NOW)
    assert gate.obstacle(NOW) is Obstacle.CONCURRENCY
    assert gate.free(NOW) == 0
    permits.pop().close(Verdict.SUCCESS, NOW)
    assert gate.obstacle(NOW) is Obstacle.CONCURRENCY, "there is one less, and two are still the most"
    before = len(listener.seen)
    gate.limit(Limits(3), NOW)
    assert gate.free(NOW) == 1
    assert len(listener.seen) > before, "those who wait look again"


def test_a_share_of_nothing_lets_nobody_in_and_later_begins_with_what_flows_in() -> None:
    gate = make(GateSettings(max_concurrent=4, rate=2.0, burst=4))
    assert gate.whole_limits == Limits(4, 2.0, 4)
    gate.limit(NOTHING, NOW)
    assert gate.obstacle(NOW + 60) is Obstacle.CONCURRENCY
    assert gate.until(NOW + 60) is None, "no time brings it"
    gate.limit(Limits(2, 1.0, 2), NOW + 60, is_anew=True)
    assert gate.obstacle(NOW + 60) is Obstacle.RATE
    assert gate.free(NOW + 61) == 1
    assert math.isclose(gate.until(NOW + 60) or 0.0, NOW + 61)
