"""A provider's circuit breaker: keeps calls from a provider that fails, and finds out when it has recovered.

    CLOSED -- too many of the window failed, or were slow --> OPEN <--- a probe failed, or never reported ---+
      ^                                                        |                                             |
      |                                                its time is over                                      |
      |                                                        v                                             |
      +-- `close_after` probes succeeded ----------------- HALF_OPEN ----------------------------------------+

    any of them -- force_open --> FORCED_OPEN -- resume --> CLOSED

**States.** Closed lets every call through. Open lets none through, for a time that doubles with each re-opening until
it closes. Half-open lets a few through at once, the probes, whose results decide. Forced open is an operator's doing,
and only an operator's `resume` ends it.

**Window.** What counts while closed: the last so many results, none older than so long. It is kept, and still grows
old, while the breaker is not closed, so that an operator sees what opened it; it is empty whenever the breaker closes.

**Generations.** Whatever changes the state or empties the window begins a new generation, and every result of an older
one is void: what was true of a provider before it opened says nothing of it now.

**Permits.** A call has to `acquire` a permit first, and to `release` it by every way out. It counts once, and only
in the generation that gave it. That is all there is against stale, repeated and cancelled calls, and it is enough.

**Leases.** A probe that never reports would hold its place for ever. So it has failed once its lease is over, and the
breaker counts as re-opened from that moment on. The next `acquire` or `release` makes it so; `admits` and
`next_probe_time` predict it, so that a caller that only asks and waits does not wait for a step that nobody takes.

**Time.** `now` comes with each call, in seconds on a monotonic clock. One that is smaller than the last, as when two
callers read the clock in one order and come here in the other, counts as the last.

Nothing here waits and nothing is locked: a breaker belongs to one thread, the event loop's.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from postwire.core.values import Word


class BreakerState(Word):
    """What is let through: every call, none, probes, or none until an operator says otherwise."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"


class Verdict(Word):
    """What a call says of its provider's health. `NONE`: nothing, as when it was cancelled, throttled or mistaken."""

    SUCCESS = "success"
    FAILURE = "failure"
    NONE = "none"


# To find a member of an enum takes Python 3.11 about as long as all the rest of `acquire`.
_CLOSED, _OPEN = BreakerState.CLOSED, BreakerState.OPEN
_HALF_OPEN, _FORCED_OPEN = BreakerState.HALF_OPEN, BreakerState.FORCED_OPEN
_FAILURE, _NONE = Verdict.FAILURE, Verdict.NONE

_JITTER: Final = 0.1
"""By what part of itself an opening may be longer, so that the breakers of many processes do not probe in step."""

_GIVEN_BACK: Final = -1
"""The generation of a permit that was given back: no breaker is ever in it."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens, for how long, and what closes it. Times are in seconds, ratios in (0, 1].

    The configuration checks them. A call is slow if it takes longer than `slow_call_duration`, which goes together with
    `slow_call_ratio`; a slow probe has failed. `lease` should be longer than any call is meant to take.
    """

    window_calls: int = 20
    window_time: float = 60.0
    failure_ratio: float = 0.5
    minimum_calls: int = 10
    slow_call_ratio: float | None = None
    slow_call_duration: float | None = None
    open_for: float = 5.0
    open_for_max: float = 300.0
    probe_calls: int = 1
    close_after: int = 1
    lease: float = 20.0


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state."""

    source: BreakerState
    target: BreakerState


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """A breaker as an operator sees it. The counts are the window's."""

    state: BreakerState
    calls: int
    failures: int
    slow_calls: int
    failure_ratio: float
    next_probe_time: float | None


class Permit:
    """Leave to make one call. Only the breaker that gave it looks inside."""

    __slots__ = ("generation", "is_probe")

    def __init__(self, generation: int, is_probe: bool) -> None:
        self.generation = generation
        self.is_probe = is_probe


class Breaker:
    """One provider's breaker. Its state changes only in `acquire`, `release` and the three for an operator.

    `listener` hears of each change of state once it is settled, and may call back into the breaker; what it raises goes
    to `on_fault` and no further. `jitter` gives a number in [0, 1) for each opening, ahead of it.
    """

    def __init__(
        self,
        settings: BreakerSettings,
        *,
        jitter: Callable[[], float] = lambda: 0.0,
        listener: Callable[[Transition], None] | None = None,
        on_fault: Callable[[Exception], None] | None = None,
    ) -> None:
        self._settings = settings
        self._jitter = jitter
        self._listener = listener
        self._on_fault = on_fault
        self._slow_call_ratio = math.inf if settings.slow_call_ratio is None else settings.slow_call_ratio
        self._slow_call_duration = math.inf if settings.slow_call_duration is None else settings.slow_call_duration

        self._state = _CLOSED
        self._generation = 0
        self._now = -math.inf
        # The window: when each call ended, whether it failed, whether it was slow; and how many did.
        self._window: deque[tuple[float, bool, bool]] = deque()
        self._failures = 0
        self._slow_calls = 0
        # When the last opening ends, and how long the next will be. Its jitter is drawn ahead: it is known.
        self._until = -math.inf
        self._open_for = settings.open_for
        self._draw = jitter()
        # Half-open: the probes that are out, each with the end of its lease, in order; and how many have succeeded.
        self._probes: dict[Permit, float] = {}
        self._successes = 0

    @property
    def state(self) -> BreakerState:
        """The state, as the last `acquire`, `release` or operator left it: time by itself does not change it."""
        return self._state

    def admits(self, now: float) -> bool:
        """Whether `acquire` would give a permit now. Changes nothing."""
        if self._state is _CLOSED:
            return True
        now = max(now, self._now)
        if self._state is _OPEN:
            return now >= self._until
        if self._state is _HALF_OPEN:
            lease_end = self._first_lease_end()
            if now >= lease_end:
                return now >= self._end_of_opening(lease_end)
            return len(self._probes) < self._settings.probe_calls
        return False

    def next_probe_time(self, now: float) -> float | None:
        """When to ask `admits` again, on `now`'s clock; None if it admits now, or if nobody can know.

        Open: when its time is over, past or not. Half-open with every probe out: when the first lease is over, and from
        then on when the opening that follows from this is over.
        """
        if self._state is _OPEN:
            return self._until
        if self._state is _HALF_OPEN:
            lease_end = self._first_lease_end()
            if max(now, self._now) >= lease_end:
                return self._end_of_opening(lease_end)
            if len(self._probes) >= self._settings.probe_calls:
                return lease_end
        return None

    def exceeds_failure_ratio(self, now: float) -> bool:
        """Whether `failure_ratio` of the window failed, however few the calls."""
        return self.snapshot(now).failure_ratio >= self._settings.failure_ratio

    def snapshot(self, now: float) -> BreakerSnapshot:
        """The breaker as it stands."""
        self._now = max(now, self._now)
        self._forget()
        calls, failures = len(self._window), self._failures
        ratio = failures / calls if calls else 0.0
        return BreakerSnapshot(self._state, calls, failures, self._slow_calls, ratio, self.next_probe_time(now))

    def acquire(self, now: float) -> Permit | None:
        """A permit for one call, to be given back with `release`; None if the call must not be made."""
        if now > self._now:
            self._now = now
        return Permit(self._generation, False) if self._state is _CLOSED else self._acquire_probe()

    def release(self, permit: Permit, verdict: Verdict, now: float, duration: float = 0.0) -> None:
        """Take back the permit of a call that took `duration` seconds. A second time, or too late: does nothing."""
        generation, permit.generation = permit.generation, _GIVEN_BACK
        if generation != self._generation:
            return
        if now > self._now:
            self._now = now
        if permit.is_probe:
            self._end_probe(permit, verdict, duration)
        elif verdict is not _NONE:
            self._count(verdict is _FAILURE, duration > self._slow_call_duration)

    def force_open(self, now: float) -> None:
        """Let nothing through until `resume`."""
        self._now = max(now, self._now)
        self._notify(self._enter(_FORCED_OPEN))

    def resume(self, now: float) -> None:
        """Close with an empty window, from any state. What is under way no longer counts."""
        self._now = max(now, self._now)
        self._close()

    def reset(self, now: float) -> None:
        """Do as `resume` does, but not to a breaker that is forced open.

        Raises:
            ValueError: it is.
        """
        if self._state is _FORCED_OPEN:
            raise ValueError("the breaker is forced open")
        self.resume(now)

    # The window.

    def _count(self, failed: bool, slow: bool) -> None:
        self._window.append((self._now, failed, slow))
        self._failures += failed
        self._slow_calls += slow
        self._forget()
        # Even a success can open it: as the last of `minimum_calls`, or where older ones have grown too old.
        settings, calls = self._settings, len(self._window)
        if calls >= settings.minimum_calls and (
            self._failures / calls >= settings.failure_ratio or self._slow_calls / calls >= self._slow_call_ratio
        ):
            self._open(self._now)

    def _forget(self) -> None:
        """Drop what is too old, or one too many."""
        settings, window = self._settings, self._window
        while window and (self._now - window[0][0] > settings.window_time or len(window) > settings.window_calls):
            _, failed, slow = window.popleft()
            self._failures -= failed
            self._slow_calls -= slow

    # Probes.

    def _acquire_probe(self) -> Permit | None:
        lease_end = self._first_lease_end()
        if self._now >= lease_end:
            self._open(lease_end)
            return self.acquire(self._now)  # from the top, since the listener may have done anything
        source = self._state
        if source is _OPEN and self._now >= self._until:
            self._enter(_HALF_OPEN)
        if self._state is not _HALF_OPEN or len(self._probes) >= self._settings.probe_calls:
            return None
        permit = Permit(self._generation, True)
        self._probes[permit] = self._now + self._settings.lease
        self._notify(source)  # only now that the place is taken, since the listener may ask for one too
        return permit

    def _end_probe(self, permit: Permit, verdict: Verdict, duration: float) -> None:
        lease_end = self._first_lease_end()
        if self._now >= lease_end:
            self._open(lease_end)  # this probe's or another's: either way the result comes after the decision
            return
        del self._probes[permit]
        if verdict is _NONE:
            return
        if verdict is _FAILURE or duration > self._slow_call_duration:
            self._open(self._now)
            return
        self._successes += 1
        if self._successes >= self._settings.close_after:
            self._close()

    def _first_lease_end(self) -> float:
        """When the first lease of a probe that is out ends: that of the first one out, as all are equally long."""
        return next(iter(self._probes.values()), math.inf)

    # Changes of state.

    def _end_of_opening(self, start: float) -> float:
        return start + self._open_for * (1 + _JITTER * self._draw)

    def _open(self, start: float) -> None:
        self._until = self._end_of_opening(start)
        self._open_for = min(2 * self._open_for, self._settings.open_for_max)
        self._draw = self._jitter()
        self._notify(self._enter(_OPEN))

    def _close(self) -> None:
        self._window.clear()
        self._failures = self._slow_calls = 0
        self._open_for = self._settings.open_for
        self._notify(self._enter(_CLOSED))

    def _enter(self, state: BreakerState) -> BreakerState:
        """Begin a generation in `state`, and return the state before."""
        source, self._state = self._state, state
        self._generation += 1
        self._probes.clear()
        self._successes = 0
        return source

    def _notify(self, source: BreakerState) -> None:
        """Tell the listener of a change. To be called last, with all settled."""
        if self._listener is None or source is self._state:
            return
        try:
            self._listener(Transition(source, self._state))
        except Exception as fault:
            if self._on_fault is not None:
                with contextlib.suppress(Exception):  # the call that happened to end here must not suffer
                    self._on_fault(fault)
