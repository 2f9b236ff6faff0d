"""Guards: what applies to a message, and how a window slides, against a list of times."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postwire.core.errors import GuardExceeded, RecipientNotAllowed
from postwire.core.guards import (
    STEPS,
    Cap,
    Counted,
    GuardClock,
    GuardRules,
    Guards,
    Rule,
    SlidingCount,
    count_all,
    counter_id,
)
from postwire.core.message import Email, Mms, OutboundMessage, Sms

MINUTE = 60_000_000
SMALL, LARGE = Cap(2, MINUTE), Cap(100, MINUTE)
KEY = b"k" * 32


def rules(**given: object) -> GuardRules:
    return GuardRules(**given)  # type: ignore[arg-type]  # as they come


def sms(to: str) -> OutboundMessage:
    return OutboundMessage(Sms(to, "Hello"))


def test_without_rules_nothing_applies() -> None:
    assert Guards(GuardRules()).check(sms("+447700900123"), 0) is None


@pytest.mark.parametrize(
    ("to", "is_allowed"), [("+447700900123", True), ("+14155550132", True), ("+881612345678", False)]
)
def test_numbers_have_to_begin_as_is_allowed(to: str, is_allowed: bool) -> None:
    guards = Guards(rules(allow_prefixes=("+44", "+1")))
    for content, field in ((Sms(to, "Hello"), "message.sms.to"), (Mms(to, "Hello"), "message.mms.to")):
        message = OutboundMessage(content)
        if is_allowed:
            assert guards.check(message, 0) is None
            continue
        with pytest.raises(RecipientNotAllowed) as raised:
            guards.check(message, 0)
        assert [one.field for one in raised.value.violations] == [field]
        assert to not in str(raised.value)
    assert guards.check(OutboundMessage(Email(("a@example.com",))), 0) is None


@pytest.mark.parametrize(
    ("to", "prefix"),
    [("+447700900123", "+4477"), ("+442079460000", "+44"), ("+4477", "+4477"), ("+33612345678", None)],
)
def test_the_longest_prefix_that_fits_is_counted_and_no_other(to: str, prefix: str | None) -> None:
    caps = {"+44": LARGE, "+4477": SMALL, "+447700900123999": SMALL}
    found = Guards(rules(max_per_prefix=MappingProxyType(caps))).check(sms(to), 7)
    if prefix is None:
        assert found is None
        return
    assert found is not None
    assert found.now == 7
    (one,) = found.counts
    assert (one.rule, one.subject, one.field, one.cap) == (Rule.PREFIX, prefix, "message.sms.to", caps[prefix])


def test_every_recipient_is_counted() -> None:
    guards = Guards(rules(max_per_recipient=SMALL))
    email = Email(("a@example.com", "b@example.com"), ("c@example.com",), ("d@example.com",))
    found = guards.check(OutboundMessage(email), 0)
    assert found is not None
    assert [(one.field, one.subject) for one in found.counts] == [
        ("message.email.to[0]", "a@example.com"),
        ("message.email.to[1]", "b@example.com"),
        ("message.email.cc[0]", "c@example.com"),
        ("message.email.bcc[0]", "d@example.com"),
    ]
    assert "example" not in repr(found) + repr(found.counts)


def test_other_rules_take_the_place_of_those_before() -> None:
    guards = Guards(rules(allow_prefixes=("+44",)))
    guards.replace(GuardRules())
    assert guards.check(sms("+14155550132"), 0) is None


def test_a_count_is_of_one_address_one_rule_and_one_tenant() -> None:
    one = Counted(Rule.RECIPIENT, "Ada@Example.com", "message.email.to[0]", SMALL)
    known = counter_id(one, "acme", KEY)
    assert known == counter_id(replace(one, subject="ada@EXAMPLE.com", field="message.email.cc[0]"), "acme", KEY)
    others = [
        counter_id(one, "globex", KEY),
        counter_id(one, "acme", b"l" * 32),
        counter_id(replace(one, subject="ada+1@example.com"), "acme", KEY),
        counter_id(replace(one, rule=Rule.PREFIX), "acme", KEY),
    ]
    assert len({known, *others}) == 5


def test_a_step_leaves_the_window_with_its_end() -> None:
    count = SlidingCount(SMALL, 500_000)
    count.add()
    count.add()
    assert count.room_at == 1_000_000 + MINUTE
    kept = count.encode()
    assert SlidingCount(SMALL, count.room_at - 1, kept).room_at == count.room_at
    assert SlidingCount(SMALL, count.room_at, kept).room_at == count.room_at
    assert count.gone_at == count.room_at
    assert SlidingCount(SMALL, count.room_at, kept).encode() == b""


def test_of_several_counts_that_are_full_the_one_with_room_last_is_named_and_none_counts() -> None:
    prefix = Counted(Rule.PREFIX, "+44", "message.sms.to", Cap(1, MINUTE))
    recipient = Counted(Rule.RECIPIENT, "+447700900123", "message.sms.to", Cap(1, 2 * MINUTE))
    counts = [(one, SlidingCount(one.cap, 0)) for one in (prefix, recipient)]
    assert count_all(counts, 0) is None
    refusal = count_all(counts, 0)
    assert isinstance(refusal, GuardExceeded)
    assert refusal.retry_delay == 2 * 60 + 2
    assert not refusal.repeats
    assert "guards.max_per_recipient: message.sms.to" in str(refusal)
    assert [one.field for one in refusal.violations] == ["message.sms.to"]
    assert "+44" not in str(refusal) + str(refusal.violations)
    other = recipient, SlidingCount(recipient.cap, 0)
    assert count_all([counts[0], other], 0)
    assert other[1].encode() == b""


@given(
    count=st.integers(1, 5),
    window=st.sampled_from([1_000_000, MINUTE, 61_000_001]),
    pauses=st.lists(st.one_of(st.integers(0, 3_000_000), st.sampled_from([0, 1, MINUTE, 10 * MINUTE])), max_size=60),
)
def test_a_window_never_has_one_too_many_and_has_room_again_a_step_late_at_the_most(
    count: int, window: int, pauses: list[int]
) -> None:
    cap, now, times, kept = Cap(count, window), 0, list[int](), b""
    step = -(-window // STEPS)
    for pause in pauses:
        now += pause
        sliding = SlidingCount(cap, now, kept)
        if sliding.room_at == now:
            sliding.add()
            times.append(now)
            # What a window that slides without steps would let through, and no more.
            assert sum(1 for one in times if now - one < window) <= count
        else:
            # A window longer by a step, without steps, would not let it through either.
            assert sum(1 for one in times if now - one < window + step) >= count
            assert now < sliding.room_at <= now + window + step
            assert SlidingCount(cap, sliding.room_at, kept).room_at == sliding.room_at
            assert SlidingCount(cap, sliding.room_at - 1, kept).room_at == sliding.room_at
        kept = sliding.encode()
        assert len(kept) <= 16 * (STEPS + 1)
        assert sliding.gone_at <= max([now, *(one + step + window for one in times)])


@given(
    caps=st.lists(st.builds(Cap, st.integers(1, 4), st.integers(1_000_000, 4_000_000)), min_size=1, max_size=6),
    pauses=st.lists(st.integers(0, 1_000_000), min_size=1, max_size=30),
)
def test_caps_may_change_and_none_lets_one_too_many_through(caps: list[Cap], pauses: list[int]) -> None:
    """What was counted in coarse steps leaves no sooner under a cap with fine ones."""
    times: list[int] = []
    now, kept = 0, b""
    shortest = min(cap.window for cap in caps)
    for number, pause in enumerate(pauses):
        now += pause
        cap = caps[number * len(caps) // len(pauses)]
        sliding = SlidingCount(cap, now, kept)
        if sliding.room_at == now:
            sliding.add()
            times.append(now)
            assert sum(1 for one in times if now - one < min(cap.window, shortest)) <= cap.count
        kept = sliding.encode()


def test_the_clock_goes_on_with_the_machine_however_the_time_of_day_was_set_meanwhile() -> None:
    first = GuardClock().resumed(1_000, 0, ("boot", 50)).at([1_000])
    assert first.latest == 1_000
    # The process was away for 10 µs, and the clock was set forward by an hour or back by a day.
    for due in (1_010 + 3_600_000_000, 1_010 - 86_400_000_000):
        again = first.resumed(due, 0, ("boot", 60))
        assert again.at([due]).latest == 1_010


def test_on_another_boot_of_the_machine_the_wall_clock_tells_what_has_passed_less_what_it_was_set_by() -> None:
    first = GuardClock().resumed(1_000, 0, ("boot", 50)).at([1_000])
    for machine in (("other", 3), None):
        assert first.resumed(1_500, 0, machine).at([1_500]).latest == 1_500
        assert first.resumed(1_500, 400, machine).at([1_500]).latest == 1_100
        back = first.resumed(10, 0, machine)  # which nobody knows: no time has passed then
        assert back.at([10]).latest == 1_000
        assert back.at([15]).latest == 1_005


def test_the_clock_never_goes_back() -> None:
    clock = GuardClock().at([50, 70, 60])
    assert clock.latest == 70
    assert clock.at([10]).latest == 70
