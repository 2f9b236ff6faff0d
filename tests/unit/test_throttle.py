"""The throttle: a few at once, then one an interval, and no event lost from the count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import build
from tests.support.clock import ManualClock

from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.throttle import Throttle
from postwire.telemetry import log_observer
from postwire.telemetry.log_observer import FAILURE_BURST, FAILURE_INTERVAL, LogObserver
from postwire.telemetry.logs import Shape

NOW = 1234.567
"""Any time will do; this one is no round number in binary."""


def test_a_burst_goes_through_at_once_and_no_more() -> None:
    throttle: Throttle[str] = Throttle(burst=3, interval=2.0)
    assert [throttle.admit("a", NOW) for _ in range(5)] == [0, 0, 0, None, None]


def test_the_next_that_goes_through_says_how_many_did_not() -> None:
    throttle: Throttle[str] = Throttle(burst=1, interval=2.0)
    assert [throttle.admit("a", NOW) for _ in range(4)] == [0, None, None, None]
    assert throttle.admit("a", NOW + 1.99) is None
    assert throttle.admit("a", NOW + 2.0) == 4
    assert throttle.admit("a", NOW + 4.0) == 0, "what was told is not told again"


def test_a_storm_stays_in_sight_once_an_interval() -> None:
    throttle: Throttle[str] = Throttle(burst=3, interval=2.0)
    logged = [second for second in range(20) if throttle.admit("a", second) is not None]
    assert logged == [0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18]


def test_after_a_pause_the_burst_is_free_again_and_no_more_than_that() -> None:
    throttle: Throttle[str] = Throttle(burst=2, interval=2.0)
    assert [throttle.admit("a", NOW) for _ in range(3)] == [0, 0, None]
    assert [throttle.admit("a", NOW + 3600) for _ in range(3)] == [1, 0, None]


def test_one_key_takes_nothing_from_another() -> None:
    throttle: Throttle[tuple[str, int]] = Throttle(burst=1, interval=2.0)
    assert throttle.admit(("a", 1), NOW) == 0
    assert throttle.admit(("a", 1), NOW) is None
    assert throttle.admit(("a", 2), NOW) == 0
    assert throttle.admit(("b", 1), NOW) == 0
    assert throttle.admit(("a", 1), NOW + 2) == 1


QUARTERS = st.lists(st.integers(0, 40), max_size=80)
"""Pauses between events, in quarters of a second: exact in binary, as are the limits below."""


@given(pauses=QUARTERS, burst=st.integers(1, 4), interval=st.sampled_from([0.25, 1.0, 2.0]))
def test_never_more_than_promised_and_every_event_is_counted(pauses: list[int], burst: int, interval: float) -> None:
    throttle: Throttle[str] = Throttle(burst=burst, interval=interval)
    now, logged, counted, held_back = 0.0, [], 0, 0
    for pause in pauses:
        now += pause / 4
        suppressed = throttle.admit("a", now)
        if suppressed is None:
            held_back += 1
        else:
            logged.append(now)
            counted += 1 + suppressed
            held_back = 0
    assert counted + held_back == len(pauses)
    for first, start in enumerate(logged):
        for last in range(first, len(logged)):
            assert last - first + 1 <= burst + (logged[last] - start) / interval


# What goes through it: the lines of failed attempts.


class Lines:
    """Takes log lines, as (level, fields)."""

    def __init__(self) -> None:
        self.written: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, **fields: object) -> None:
        self.written.append(("info", fields))

    def info_of(self, shape: Shape, *values: object) -> None:
        self.info(shape.event, **dict(zip(shape.keys, values, strict=True)))

    def warning(self, event: str, **fields: object) -> None:
        self.written.append(("warning", fields))


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    lines = Lines()
    monkeypatch.setattr(log_observer, "_log", lines)
    return lines


def attempt(observer: LogObserver, outcome: Outcome, provider_name: str = "sms-mms") -> str:
    record = build.ended(build.accepted(provider_name=provider_name), DispatchResult(outcome))
    observer.attempt_ended(record)
    return record.message_id


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.SUCCESS])
def test_failures_of_one_kind_are_told_at_a_limited_rate_with_a_count(lines: Lines, outcome: Outcome) -> None:
    clock = ManualClock()
    observer = LogObserver(clock)
    for _ in range(100):
        attempt(observer, outcome)
    assert len(lines.written) == FAILURE_BURST
    assert not any("suppressed" in fields for _, fields in lines.written), "nothing was left out so far"
    clock.step_wall(3600)
    attempt(observer, outcome)
    assert len(lines.written) == FAILURE_BURST, "the time of day decides nothing"

    clock.advance(FAILURE_INTERVAL)
    last = attempt(observer, outcome)
    attempt(observer, outcome)
    level, fields = lines.written[-1]
    assert len(lines.written) == FAILURE_BURST + 1
    assert level == "warning"
    assert fields["suppressed"] == 100 - FAILURE_BURST + 1
    assert (fields["provider_name"], fields["outcome"], fields["message_id"]) == (
        "sms-mms",
        outcome.reported.value,
        last,
    )


def test_every_success_is_told_and_takes_no_part(lines: Lines) -> None:
    observer = LogObserver(ManualClock())
    for _ in range(100):
        attempt(observer, Outcome.ERROR)
        attempt(observer, Outcome.SUCCESS)
    logged = [(level, fields.get("suppressed")) for level, fields in lines.written]
    assert logged.count(("info", None)) == 100
    assert logged.count(("warning", None)) == FAILURE_BURST
    assert len(logged) == 100 + FAILURE_BURST


def test_another_provider_and_another_outcome_are_told_at_once(lines: Lines) -> None:
    observer = LogObserver(ManualClock())
    for _ in range(100):
        attempt(observer, Outcome.ERROR)
    lines.written.clear()
    attempt(observer, Outcome.ERROR, "email")
    attempt(observer, Outcome.REJECTED)
    assert [(fields["provider_name"], fields["outcome"]) for _, fields in lines.written] == [
        ("email", "error"),
        ("sms-mms", "rejected"),
    ]


def test_without_a_clock_it_has_the_machine_s(lines: Lines) -> None:
    observer = LogObserver()
    for _ in range(FAILURE_BURST * 10):
        attempt(observer, Outcome.ERROR)
    assert FAILURE_BURST <= len(lines.written) < FAILURE_BURST * 10
