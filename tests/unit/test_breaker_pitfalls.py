"""Twelve bugs that trusted breakers have had (design, 7), and the proof that each would be noticed here.

A check takes a class of breakers. One test runs it on ours; a second runs it on one that is broken in just that way,
and wants the check to fail for the reason it is there for.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support import broken_breakers
from tests.support.breakers import CLOSED, FAILURE, HALF_OPEN, NONE, NOW, OPEN, SUCCESS, calls, permit_of
from tests.support.clock import ManualClock

from postwire.core.breaker import Breaker, BreakerSettings, Permit, Transition, Verdict

Make = type[Breaker]


def notices(check: Callable[[Make], None], broken: Make, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        check(broken)


def opened(make: Make, **settings: Any) -> Breaker:
    """A breaker that opened at `NOW`, for 5 s."""
    breaker = make(BreakerSettings(**{"minimum_calls": 1, **settings}))
    calls(breaker, "f")
    assert breaker.state is OPEN
    return breaker


def opened_with_calls_under_way(make: Make, number: int, **settings: Any) -> tuple[Breaker, list[Permit]]:
    """The same, and the permits of calls that began while it was closed."""
    breaker = make(BreakerSettings(**{"minimum_calls": 1, **settings}))
    under_way = [permit_of(breaker) for _ in range(number)]
    calls(breaker, "f")
    assert breaker.state is OPEN
    return breaker, under_way


def half_open_stampede(make: Make) -> None:
    for probe_calls in (1, 3):
        breaker = opened(make, probe_calls=probe_calls)
        callers = [breaker.acquire(NOW + 5) for _ in range(100)]
        assert sum(permit is not None for permit in callers) == probe_calls, "too many probes at once"
        came_back = next(permit for permit in callers if permit is not None)
        breaker.release(came_back, NONE, NOW + 6)
        callers = [breaker.acquire(NOW + 6) for _ in range(100)]
        assert sum(permit is not None for permit in callers) == 1, "one came back, so one may go"


def test_half_open_stampede() -> None:
    half_open_stampede(Breaker)


def test_half_open_stampede_is_noticed() -> None:
    notices(half_open_stampede, broken_breakers.Stampeding, "too many probes at once")


def ignored_outcome_burns_the_last_probe_for_good(make: Make) -> None:
    breaker = opened(make, probe_calls=2)
    for second in range(5, 50):
        probes = [permit_of(breaker, NOW + second), permit_of(breaker, NOW + second)]
        for probe in probes:
            breaker.release(probe, NONE, NOW + second)
        assert breaker.admits(NOW + second), "an ignored outcome keeps its place"
    calls(breaker, "s", NOW + 50)
    assert breaker.state is CLOSED


def test_ignored_outcome_burns_the_last_probe_for_good() -> None:
    ignored_outcome_burns_the_last_probe_for_good(Breaker)


def test_ignored_outcome_burns_the_last_probe_for_good_is_noticed() -> None:
    notices(
        ignored_outcome_burns_the_last_probe_for_good,
        broken_breakers.BurningProbes,
        "an ignored outcome keeps its place",
    )


def cancelled_call_leaks_its_permit(make: Make) -> None:
    breaker = opened(make)

    async def call(provider: asyncio.Future[None]) -> None:
        permit, verdict = permit_of(breaker, NOW + 5), NONE
        try:
            await provider
            verdict = SUCCESS
        finally:
            breaker.release(permit, verdict, NOW + 5)

    async def one_that_is_cancelled() -> None:
        task = asyncio.create_task(call(asyncio.get_running_loop().create_future()))
        await asyncio.sleep(0)
        assert not breaker.admits(NOW + 5), "the call is under way"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(one_that_is_cancelled())
    assert breaker.admits(NOW + 5), "the permit of a cancelled call is gone"


def test_cancelled_call_leaks_its_permit() -> None:
    cancelled_call_leaks_its_permit(Breaker)


def test_cancelled_call_leaks_its_permit_is_noticed() -> None:
    notices(cancelled_call_leaks_its_permit, broken_breakers.LeakingWhenCancelled, "of a cancelled call is gone")


def cancelled_probe_closes_the_breaker(make: Make) -> None:
    breaker = opened(make)
    for _ in range(10):
        calls(breaker, "-", NOW + 5)
        assert breaker.state is HALF_OPEN, "a cancelled probe decided"
    calls(breaker, "f", NOW + 5)
    assert breaker.state is OPEN


def test_cancelled_probe_closes_the_breaker() -> None:
    cancelled_probe_closes_the_breaker(Breaker)


def test_cancelled_probe_closes_the_breaker_is_noticed() -> None:
    notices(cancelled_probe_closes_the_breaker, broken_breakers.ClosingWhenCancelled, "a cancelled probe decided")


def stale_success_closes_it(make: Make) -> None:
    breaker, under_way = opened_with_calls_under_way(make, 3, probe_calls=2)
    breaker.release(under_way.pop(), SUCCESS, NOW + 1)
    assert breaker.state is OPEN
    failing, slower = permit_of(breaker, NOW + 5), permit_of(breaker, NOW + 5)
    breaker.release(under_way.pop(), SUCCESS, NOW + 6)
    assert breaker.state is HALF_OPEN, "a stale success closed it"

    breaker.release(failing, FAILURE, NOW + 6)
    probe = permit_of(breaker, NOW + 16)
    breaker.release(slower, SUCCESS, NOW + 17)
    assert breaker.state is HALF_OPEN, "so did a probe of an earlier half-open"
    breaker.release(probe, SUCCESS, NOW + 17)
    breaker.release(under_way.pop(), SUCCESS, NOW + 18)
    assert breaker.snapshot(NOW + 18).calls == 0


def test_stale_success_closes_it() -> None:
    stale_success_closes_it(Breaker)


def test_stale_success_closes_it_is_noticed() -> None:
    notices(stale_success_closes_it, broken_breakers.BelievingStaleSuccess, "a stale success closed it")


def stale_failure_re_opens_it_or_fires_the_listener_again(make: Make) -> None:
    heard: list[Transition] = []
    breaker = make(BreakerSettings(minimum_calls=1), listener=heard.append)
    under_way = [permit_of(breaker) for _ in range(4)]
    calls(breaker, "f")
    breaker.release(under_way.pop(), FAILURE, NOW + 3)
    assert breaker.next_probe_time(NOW + 3) == NOW + 5, "a stale failure opened it anew"
    probe = permit_of(breaker, NOW + 5)
    breaker.release(under_way.pop(), FAILURE, NOW + 6)
    assert breaker.state is HALF_OPEN
    breaker.release(probe, SUCCESS, NOW + 6)
    breaker.release(under_way.pop(), FAILURE, NOW + 7)
    breaker.release(probe, FAILURE, NOW + 7)
    assert breaker.state is CLOSED
    assert [change.target for change in heard] == [OPEN, HALF_OPEN, CLOSED]


def test_stale_failure_re_opens_it_or_fires_the_listener_again() -> None:
    stale_failure_re_opens_it_or_fires_the_listener_again(Breaker)


def test_stale_failure_re_opens_it_or_fires_the_listener_again_is_noticed() -> None:
    notices(
        stale_failure_re_opens_it_or_fires_the_listener_again,
        broken_breakers.BelievingStaleFailure,
        "a stale failure opened it anew",
    )


def extra_permits_minted_by_a_stale_result(make: Make) -> None:
    for verdict in Verdict:
        breaker, under_way = opened_with_calls_under_way(make, 50)
        assert breaker.acquire(NOW + 5) is not None
        for permit in under_way:
            breaker.release(permit, verdict, NOW + 5)
            assert breaker.acquire(NOW + 5) is None, "a stale result made room for a probe"


def test_extra_permits_minted_by_a_stale_result() -> None:
    extra_permits_minted_by_a_stale_result(Breaker)


def test_extra_permits_minted_by_a_stale_result_is_noticed() -> None:
    notices(extra_permits_minted_by_a_stale_result, broken_breakers.Minting, "a stale result made room")


def wall_clock_stepping_back_or_forward(make: Make) -> None:
    for step in (-3600.0, 3600.0, -1e9, 1e9):
        clock = ManualClock()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("time.time", lambda clock=clock: clock.wall() / 1e6)
            breaker = make(BreakerSettings(minimum_calls=1))
            calls(breaker, "f", clock.monotonic())
            clock.step_wall(step)
            clock.advance(4.75)
            assert not breaker.admits(clock.monotonic()), "opened for less than 5 s"
            clock.advance(0.25)
            assert breaker.admits(clock.monotonic()), "opened for more than 5 s"
            calls(breaker, "s", clock.monotonic())
            assert breaker.state is CLOSED

        # The clock that counts does not step. If it did, it would open nothing and let no more through than it may.
        breaker = make(BreakerSettings(minimum_calls=3))
        calls(breaker, "f", NOW)
        calls(breaker, "sss", NOW + step)
        assert breaker.state is CLOSED
        breaker = opened(make)
        assert [breaker.acquire(NOW + step + 5) for _ in range(3)].count(None) == (2 if step > 0 else 3)
        assert [breaker.acquire(NOW + 5) for _ in range(3)].count(None) == (3 if step > 0 else 2)


def test_wall_clock_stepping_back_or_forward() -> None:
    wall_clock_stepping_back_or_forward(Breaker)


def test_wall_clock_stepping_back_or_forward_is_noticed() -> None:
    notices(wall_clock_stepping_back_or_forward, broken_breakers.OnTheWallClock, "opened for more than 5 s")


def lock_held_during_the_call(make: Make, patience: float = 60.0) -> None:
    breaker = make(BreakerSettings())
    long_call = permit_of(breaker)
    done = threading.Event()

    def short_call() -> None:
        calls(breaker, "s")
        done.set()

    other = threading.Thread(target=short_call, daemon=True)
    other.start()
    finished = done.wait(patience)
    breaker.release(long_call, SUCCESS, NOW + 10)
    other.join()
    assert finished, "a call waited for the end of another"


def test_lock_held_during_the_call() -> None:
    lock_held_during_the_call(Breaker)


def test_lock_held_during_the_call_is_noticed() -> None:
    impatient = functools.partial(lock_held_during_the_call, patience=0.02)
    notices(impatient, broken_breakers.LockedDuringCalls, "a call waited for the end of another")


def validation_error_counted_as_health(make: Make) -> None:
    breaker = make(BreakerSettings())
    calls(breaker, "-" * 1000)
    assert breaker.snapshot(NOW).calls == 0, "what says nothing of the provider is in its window"
    calls(breaker, "-f" * 9 + "-" * 1000)
    assert breaker.state is CLOSED
    calls(breaker, "f")
    assert breaker.state is OPEN


def test_validation_error_counted_as_health() -> None:
    validation_error_counted_as_health(Breaker)


def test_validation_error_counted_as_health_is_noticed() -> None:
    notices(validation_error_counted_as_health, broken_breakers.CountingMistakes, "is in its window")


def retry_loop_slips_past_the_probe_limit(make: Make) -> None:
    breaker = opened(make, probe_calls=2)
    at_the_provider, tried = 0, 0

    def retry_loop(verdict: Verdict) -> Iterator[None]:
        nonlocal at_the_provider, tried
        for _ in range(5):
            permit = breaker.acquire(NOW + 5)
            if permit is not None:
                at_the_provider, tried = at_the_provider + 1, tried + 1
                yield
                at_the_provider -= 1
                breaker.release(permit, verdict, NOW + 5)
                breaker.release(permit, verdict, NOW + 5)  # as a `finally` around the whole loop may do
            yield

    def side_by_side(verdict: Verdict) -> None:
        nonlocal tried
        tried = 0
        loops = [retry_loop(verdict) for _ in range(10)]
        for _ in itertools.zip_longest(*loops):
            assert at_the_provider <= 2, "more probes than may be"

    side_by_side(NONE)
    assert tried > 2, "there was room for one again and again"
    side_by_side(FAILURE)
    assert tried <= 2, "after a failed probe nobody tries again"
    assert breaker.state is OPEN


def test_retry_loop_slips_past_the_probe_limit() -> None:
    retry_loop_slips_past_the_probe_limit(Breaker)


def test_retry_loop_slips_past_the_probe_limit_is_noticed() -> None:
    notices(retry_loop_slips_past_the_probe_limit, broken_breakers.FreeingTwice, "more probes than may be")


def calls_that_hang_and_never_report(make: Make) -> None:
    """Seen by one who never acquires in vain: who asks, waits for as long as he is told, and asks again."""
    breaker = opened(make, probe_calls=2, lease=20.0)
    now = NOW + 5
    for _ in range(20):
        while not breaker.admits(now):
            later = breaker.next_probe_time(now)
            assert later is not None
            assert now < later <= now + 330, "a hanging call is waited for without end"
            now = later
        permit_of(breaker, now)
    while not breaker.admits(now):
        now = breaker.next_probe_time(now) or now
    calls(breaker, "s", now)
    assert breaker.state is CLOSED


def test_calls_that_hang_and_never_report() -> None:
    calls_that_hang_and_never_report(Breaker)


def test_calls_that_hang_and_never_report_is_noticed() -> None:
    notices(calls_that_hang_and_never_report, broken_breakers.WaitingForEver, "waited for without end")
