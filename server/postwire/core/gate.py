"""One provider's gate: its breaker, its limits, its cool-down and its retry budget, asked as one.

No clock and no waiting of its own: every call is given `now`, in seconds on a monotonic clock, and a caller that has to
wait learns from `until` and `on_free` when to look again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from postwire.core import backoff
from postwire.core.availability import Availability
from postwire.core.breaker import Breaker, BreakerState, Permit, Verdict
from postwire.core.limits import RetryBudget, TokenBucket
from postwire.core.obstacles import Obstacle
from postwire.core.shares import Limits

MAX_COOL_DOWN: Final = 3600.0
"""Seconds. A provider that asks for more is asked again after so long: what it said may have been a mistake."""

# The same, but found faster: it is asked for with every attempt.
_CLOSED: Final = BreakerState.CLOSED
_FORCED_OPEN: Final = BreakerState.FORCED_OPEN

_BLOCKED: Final = {
    BreakerState.OPEN: Obstacle.OPEN,
    BreakerState.HALF_OPEN: Obstacle.HALF_OPEN,
    BreakerState.FORCED_OPEN: Obstacle.DRAINED,
}


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Limits of one provider."""

    max_concurrent: int = 64
    rate: float | None = None
    """Attempts a second, in the long run. None: without a limit."""
    burst: int | None = None
    """Attempts at once after a pause. None: as many as the rate lets through in a second, at least one."""
    backoff_base: float = 1.0
    """Seconds, at most, of the first cool-down whose length the provider does not say. Doubled with each in a row."""
    backoff_max: float = 300.0
    """Seconds, at most, of any such cool-down."""

    @property
    def limits(self) -> Limits:
        """What is allowed of attempts, as one."""
        burst = max(1, math.ceil(self.rate or 0.0)) if self.burst is None else self.burst
        return Limits(self.max_concurrent, self.rate, burst)


class GatePermit:
    """Leave for one attempt, to be closed or cancelled by every way out. What comes after that does nothing.

    `tries_account`: the provider has refused our account, and this attempt finds out whether it still does.
    """

    __slots__ = ("_entered_at", "_gate", "_has_begun", "_permit", "_repeat", "_shared", "tries_account")

    def __init__(
        self, gate: Gate, permit: Permit, entered_at: float, repeat: bool, shared: bool | None, tries_account: bool
    ) -> None:
        self._gate = gate
        self._permit: Permit | None = permit
        self._entered_at = entered_at
        self._repeat = repeat
        self._shared = shared  # None: no repeat was taken from the budget
        self._has_begun = False
        self.tries_account = tries_account

    @property
    def is_held(self) -> bool:
        """Whether it is neither closed nor cancelled."""
        return self._permit is not None

    @property
    def is_outdated(self) -> bool:
        """Whether our account may have become another since: what this attempt finds out about it is of no use."""
        return self._entered_at < self._gate._renewed_at

    def begin(self) -> None:
        """The provider is asked: what comes before that is a commit, which is over soon."""
        gate = self._gate
        self._has_begun = True
        gate.sending += 1
        if gate.on_begun is not None:
            gate.on_begun()

    def close(self, verdict: Verdict, now: float, duration: float = 0.0) -> None:
        """The attempt has ended, after `duration` seconds: give back the slot and record it in the breaker."""
        permit = self._permit
        if permit is None:
            return
        self._permit = None
        gate = self._gate
        # First of all, so that nothing that goes wrong below keeps the slot.
        gate.in_flight -= 1
        if self._has_begun:
            gate.sending -= 1
        if self.tries_account and not self.is_outdated:
            gate.availability.leave(now)
        gate._settling = True
        try:
            gate.breaker.release(permit, verdict, now, duration)
        finally:
            gate._settling = gate._unreported = False
            if gate.on_free is not None:
                gate.on_free()

    def cancel(self, now: float) -> None:
        """Nothing was sent, and nothing will be: give back all that was taken."""
        if self._permit is None:
            return
        gate = self._gate
        if self.tries_account:
            if not self.is_outdated:
                gate.availability.abandon()
            self.tries_account = False
        if gate._bucket is not None:
            gate._bucket.give_back(self._entered_at)
        if not self._repeat:
            gate._budget.forget(self._entered_at)
        elif self._shared is not None:
            gate._budget.give_back(self._entered_at, shared=self._shared)
        self.close(Verdict.NONE, now)


class Gate:
    """The gate of the provider `name`. Whoever is admitted holds a permit."""

    __slots__ = (
        "_bucket",
        "_budget",
        "_cooling_until",
        "_jitter",
        "_max_concurrent",
        "_renewed_at",
        "_reported",
        "_settings",
        "_settling",
        "_throttlings",
        "_unreported",
        "availability",
        "breaker",
        "in_flight",
        "name",
        "on_availability",
        "on_begun",
        "on_configured",
        "on_free",
        "sending",
    )

    def __init__(self, name: str, settings: GateSettings, breaker: Breaker, *, jitter: Callable[[], float]) -> None:
        """`jitter` gives uniform draws in [0, 1), one for each cool-down whose length the provider did not say.

        The breaker's listener is to call `changed`.

        Raises:
            ValueError: the rate or the burst is none.
        """
        self.name = name
        self.breaker = breaker
        self.in_flight = 0
        self.sending = 0
        """How many of those in flight are at the provider; the others wait for the commit before that."""
        self.availability = Availability()
        self.on_free: Callable[[], None] | None = None
        """Called when those who wait should look again. All is settled by then: it may call back. It must not raise."""
        self.on_begun: Callable[[], None] | None = None
        """Called when one of those in flight is at the provider. It must not raise."""
        self.on_availability: Callable[[Obstacle | None, str], None] | None = None
        """Called with the new `availability.state`, and why in words, where it changes. It must not raise."""
        self.on_configured: Callable[[], None] | None = None
        """Called by `note_configured` and `note_renewed` where the provider could not be used: opening it
        should be tried at once."""
        self._reported: Obstacle | None = None
        self._renewed_at = -math.inf
        self._settings = settings
        self._jitter = jitter
        self._max_concurrent = settings.max_concurrent
        self._bucket: TokenBucket | None = None
        if settings.rate is not None:
            self._bucket = TokenBucket(settings.rate, settings.limits.burst)
        self._budget = RetryBudget()
        self._cooling_until = -math.inf
        self._throttlings = 0  # in a row
        # While the breaker is at work for us, what its listener says is kept until we are done, too.
        self._settling = False
        self._unreported = False

    def obstacle(self, now: float, *, repeat: bool = False) -> Obstacle | None:
        """What keeps an attempt from being made now; None: `enter` will succeed. `repeat`: the same message, once more.

        Of several, the first in this order: drained, unavailable, misconfigured, open, half-open, cooling down, retry
        budget, concurrency, rate.
        """
        breaker = self.breaker
        state = breaker.state
        if self.availability.blocked and state is not _FORCED_OPEN and (found := self.availability.obstacle(now)):
            return found
        if state is not _CLOSED and not breaker.admits(now):
            return _BLOCKED[state]
        if now < self._cooling_until:
            return Obstacle.COOLING_DOWN
        if repeat and not self._budget.allows(now) and breaker.exceeds_failure_ratio(now):
            return Obstacle.RETRY_BUDGET
        if self.in_flight >= self._max_concurrent:
            return Obstacle.CONCURRENCY
        if self._bucket is not None and not self._bucket.available(now):
            return Obstacle.RATE
        return None

    def free(self, now: float) -> int:
        """How many attempts could be made now; no more than one while the breaker or our account is probed."""
        if self.obstacle(now) is not None:
            return 0
        if self.breaker.state is not _CLOSED or self.availability.blocked:
            return 1
        free = self._max_concurrent - self.in_flight
        return free if self._bucket is None else min(free, self._bucket.count(now))

    def until(self, now: float, *, repeat: bool = False) -> float | None:
        """When the obstacle will be gone by itself; behind it may be another. None: unknown, or there is none."""
        obstacle = self.obstacle(now, repeat=repeat)
        if obstacle is Obstacle.OPEN or obstacle is Obstacle.HALF_OPEN:
            return self.breaker.next_probe_time(now)
        if obstacle is Obstacle.MISCONFIGURED:
            return self.availability.until(now)
        if obstacle is Obstacle.COOLING_DOWN:
            return self._cooling_until
        if obstacle is Obstacle.RETRY_BUDGET:
            return self._budget.next_time(now)
        if obstacle is Obstacle.RATE and self._bucket is not None:
            return self._bucket.next_time(now)
        return None

    def enter(self, now: float, *, repeat: bool = False) -> GatePermit:
        """Take a permit.

        Raises:
            RuntimeError: there is an obstacle. Nothing was taken.
        """
        obstacle = self.obstacle(now, repeat=repeat)
        if obstacle is not None:
            raise RuntimeError(f"the gate of {self.name} is shut: {obstacle.value}")
        breaker = self.breaker
        limited = repeat and breaker.exceeds_failure_ratio(now)
        self._settling = True
        try:
            permit = breaker.acquire(now)
        finally:
            self._settling = False
        if permit is None:
            raise RuntimeError(f"the breaker of {self.name} admits, and gives no permit")
        self.in_flight += 1
        if self._bucket is not None:
            self._bucket.take(now)
        shared: bool | None = None
        if not repeat:
            self._budget.first_attempt(now)
        elif limited:
            shared = self._budget.take(now)
        tries_account = self.availability.blocked and self.availability.enter()
        # The last probe blocks the gate.
        if self._unreported or tries_account or (breaker.state is not _CLOSED and not breaker.admits(now)):
            self._unreported = False
            self.changed()
        return GatePermit(self, permit, now, repeat, shared, tries_account)

    @property
    def whole_limits(self) -> Limits:
        """What is allowed of attempts as the provider is declared."""
        return self._settings.limits

    def limit(self, limits: Limits, now: float, *, is_anew: bool = False) -> None:
        """Hold attempts to other limits from now on, such as a share of those of the provider. What is under way beyond
        them ends in its time. `is_anew`: nothing of the rate has been saved up.
        """
        bucket = self._bucket
        if bucket is not None and limits.rate:
            bucket.limit(limits.rate, limits.burst, now)
            if is_anew:
                bucket.empty(now)
        self._max_concurrent = limits.max_concurrent
        self.changed()

    def cool_down(self, now: float, retry_after: float | None) -> None:
        """The provider throttles us: leave it alone for `retry_after` seconds.

        If it does not say how long (or says what is no number), with backoff over the throttlings in a row. A cool-down
        is never shortened. What is throttled during one was sent before it and is no further step of the row: else one
        burst, answered call by call, would have the longest backoff at once.
        """
        cooling = now < self._cooling_until
        if not cooling:
            self._throttlings += 1
        if retry_after is None or not -math.inf < retry_after < math.inf:
            if cooling:
                return
            base, most = self._settings.backoff_base, self._settings.backoff_max
            retry_after = backoff.delay(self._throttlings, base=base, most=most, draw=self._jitter())
        end = now + min(retry_after, MAX_COOL_DOWN)
        if end > self._cooling_until:
            self._cooling_until = end
            self.changed()

    def end_cool_down(self) -> None:
        """Somebody knows better: the provider is to be asked again."""
        self._cooling_until = -math.inf
        self._throttlings = 0
        self.changed()

    def note_success(self) -> None:
        """The provider took a message: the row of throttlings is over. A cool-down that it asked for is not."""
        self._throttlings = 0

    def note_opening(self, why_not: Obstacle, detail: str = "") -> None:
        """The provider cannot be used before it is opened: `UNAVAILABLE` or `MISCONFIGURED`, and in words."""
        self.availability.note_opening(why_not)
        self._availability_changed(detail)

    def note_opened(self) -> None:
        """The provider is opened."""
        self.availability.note_opened()
        self._availability_changed()

    def note_misconfigured(self, now: float, detail: str = "") -> None:
        """The provider refuses our account, with `detail` for people."""
        self.availability.note_misconfigured(now)
        self._availability_changed(detail)

    def note_configured(self) -> None:
        """The provider takes our account, or somebody says that it would."""
        if self.availability.blocked:
            self.availability.note_configured()
            self._availability_changed()
            if self.on_configured is not None:
                self.on_configured()

    def note_renewed(self, now: float) -> None:
        """Our account at the provider may be another from now on: if it has refused it, it is asked again at once."""
        self._renewed_at = now
        if self.availability.blocked:
            self.availability.note_renewed()
            self.changed()
            if self.on_configured is not None:
                self.on_configured()

    def _availability_changed(self, detail: str = "") -> None:
        state = self.availability.state
        if state is not self._reported:
            self._reported = state
            if self.on_availability is not None:
                self.on_availability(state, detail)
        self.changed()

    def changed(self) -> None:
        """Have those who wait look again. For the breaker's listener."""
        if self._settling:
            self._unreported = True
        elif self.on_free is not None:
            self.on_free()
