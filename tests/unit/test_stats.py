"""What has happened of late, in intervals: against a model that forgets nothing."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st
from tests.support.clock import START

from postwire.core.message import Channel, MessageState
from postwire.core.stats import INTERVAL, KEPT, ChannelCounts, Interval, RecentCounts

SMS, MMS, EMAIL = Channel
SENT, FAILED = MessageState.SENT, MessageState.FAILED
ACCEPTED = None
"""What is counted besides states."""

FIELDS = {
    ACCEPTED: "accepted",
    SENT: "sent",
    MessageState.DELIVERED: "delivered",
    FAILED: "failed",
    MessageState.UNDELIVERED: "failed",
    MessageState.EXPIRED: "failed",
    MessageState.UNCERTAIN: "uncertain",
}


def count(recent: RecentCounts, what: MessageState | None, now: int, channel: Channel = SMS) -> None:
    recent.advance(now)
    if what is ACCEPTED:
        recent.accepted[channel] += 1
    else:
        recent.reached[channel][what] += 1


def test_what_happened_is_counted_by_channel_in_the_interval_of_its_time() -> None:
    recent = RecentCounts(START)
    assert recent.since(None) == []
    count(recent, ACCEPTED, START)
    count(recent, SENT, START + INTERVAL - 1)
    count(recent, ACCEPTED, START + INTERVAL, EMAIL)
    assert recent.since(None) == [
        Interval(START, {SMS: ChannelCounts(accepted=1, sent=1)}),
        Interval(START + INTERVAL, {EMAIL: ChannelCounts(accepted=1)}),
    ]


def test_intervals_begin_at_multiples_whenever_it_began() -> None:
    recent = RecentCounts(START + 3_000_000)
    assert recent.advance(START + 3_000_000) == START + INTERVAL
    count(recent, SENT, START + 4_000_000)
    assert recent.since(None)[0].start_time == START
    assert recent.advance(START + INTERVAL) == START + 2 * INTERVAL


def test_an_interval_in_which_nothing_happened_is_left_out() -> None:
    recent = RecentCounts(START)
    count(recent, SENT, START)
    count(recent, SENT, START + 7 * INTERVAL)
    recent.advance(START + 9 * INTERVAL)
    assert [one.start_time for one in recent.since(None)] == [START, START + 7 * INTERVAL]


def test_what_is_on_its_way_waits_or_was_taken_back_is_in_no_count() -> None:
    recent = RecentCounts(START)
    for state in set(MessageState) - FIELDS.keys():
        count(recent, state, START)
    assert recent.since(None) == []
    recent.advance(START + INTERVAL)
    assert recent.since(None) == []


def test_it_is_forgotten_after_fifteen_minutes() -> None:
    recent = RecentCounts(START)
    count(recent, SENT, START)
    recent.advance(START + (KEPT - 1) * INTERVAL)
    assert len(recent.since(None)) == 1
    recent.advance(START + KEPT * INTERVAL)
    assert recent.since(None) == []


def test_whoever_was_shown_some_is_shown_what_has_changed_since() -> None:
    recent = RecentCounts(START)
    count(recent, SENT, START)
    (shown,) = recent.since(None)
    assert recent.since(shown) == []
    count(recent, FAILED, START + 1)
    again = Interval(START, {SMS: ChannelCounts(sent=1, failed=1)})
    assert recent.since(shown) == [again]
    recent.advance(START + INTERVAL)
    assert recent.since(again) == []
    count(recent, SENT, START + 2 * INTERVAL, MMS)
    assert recent.since(again) == [Interval(START + 2 * INTERVAL, {MMS: ChannelCounts(sent=1)})]
    assert recent.since(shown) == recent.since(None)


def test_a_time_that_is_over_closes_nothing() -> None:
    recent = RecentCounts(START)
    assert recent.advance(START - INTERVAL) == START + INTERVAL
    count(recent, SENT, START - 1)
    assert [one.start_time for one in recent.since(None)] == [START]


STEPS = st.lists(
    st.tuples(
        st.integers(0, 3 * INTERVAL) | st.integers(0, 2 * KEPT * INTERVAL),
        st.lists(st.tuples(st.sampled_from(Channel), st.sampled_from((ACCEPTED, *MessageState))), max_size=4),
        st.booleans(),
    ),
    max_size=60,
)


@given(STEPS)
def test_all_that_is_shown_is_what_has_happened(
    steps: list[tuple[int, list[tuple[Channel, MessageState | None]], bool]],
) -> None:
    """Whoever looks now and then has the same as who looks at all of it, and what is kept is bounded."""
    now = START
    recent = RecentCounts(now)
    happened: defaultdict[int, Counter[tuple[Channel, str]]] = defaultdict(Counter)
    shown: dict[int, Interval] = {}
    last: Interval | None = None
    for passed, events, looks in steps:
        now += passed
        recent.advance(now)
        for channel, what in events:
            count(recent, what, now, channel)
            if what in FIELDS:
                happened[now // INTERVAL * INTERVAL][channel, FIELDS[what]] += 1
        oldest = now // INTERVAL * INTERVAL - (KEPT - 1) * INTERVAL
        expected = {
            start: Interval(
                start,
                {
                    channel: ChannelCounts(*(counts[channel, field] for field in ChannelCounts._fields))
                    for channel in Channel
                    if any(of is channel for of, _ in counts)
                },
            )
            for start, counts in sorted(happened.items())
            if start >= oldest
        }
        assert recent.since(None) == [*expected.values()]
        if looks:
            if news := recent.since(last):
                last = news[-1]
            shown |= {one.start_time: one for one in news}
            assert {start: one for start, one in shown.items() if start >= oldest} == expected
    assert len(recent._closed) < KEPT
