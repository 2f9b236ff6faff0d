"""One provider's gate as several queues share it: who waits is granted what comes free, in the arbiter's order.

A grant is an offer to look: the queue that has it reads what waits and takes it, or gives it back. What is granted is
kept from everybody else meanwhile, and nobody reads for what was not granted to him.

A queue that has to wait anew is given `now`, and goes by that: were the clock read once to see that a provider is out
of service, and once more to see for how long, it could come back between the two, and nobody would hear of it.

A slot is held through the commit before its attempt. Where such commits have most of them, they come free soon, and a
stream had better wait for one before it has more accepted: what is accepted without one is written, queued and taken
out of its queue, a third commit. It waits behind all queues, and only so long: see `until_free`. Among streams it is as
among queues: by priority, and then tenants take turns by their weights, each for what is free when it comes to that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from postwire.clock import Alarm, Clock
from postwire.core.arbiter import Arbiter
from postwire.core.gate import Gate
from postwire.core.message import Priority
from postwire.core.obstacles import WAITED_FOR, Obstacle
from postwire.core.turns import Flow

PATIENCE: Final = 8
"""How many times all slots that are in use may be granted to queues before a stream waits in one, too."""


class WaitingQueue(Protocol):
    """A queue that waits."""

    def granted(self, gate: SharedGate, flow: Flow) -> None:
        """A slot is granted to one of its flows."""
        ...

    def gate_changed(self, now: float) -> None:
        """A provider that it may wait for has gone out of service, or come back: it is to wait anew."""
        ...

    def offer(self, now: float) -> None:
        """Have the providers that it waits for grant what is free."""
        ...


class SharedGate:
    """See the module."""

    __slots__ = (
        "_alarm",
        "_arbiter",
        "_clock",
        "_held",
        "_is_blocked",
        "_looks_soon",
        "_owners",
        "_streams",
        "_waiters",
        "_woken",
        "gate",
    )

    def __init__(self, gate: Gate, clock: Clock) -> None:
        self.gate = gate
        self._clock = clock
        self._arbiter = Arbiter()
        self._waiters: dict[WaitingQueue, Sequence[Flow]] = {}
        self._owners: dict[Flow, WaitingQueue] = {}
        self._is_blocked = False
        self._alarm: Alarm | None = None
        self._held: dict[Flow, _Held] = {}
        self._streams = Arbiter()
        self._woken: _Held | None = None  # the stream that has its turn, and has not run since
        self._looks_soon = False
        gate.on_free = self._changed

    def obstacle(self, now: float, priority: Priority, *, repeat: bool) -> Obstacle | None:
        """What keeps a message from being sent now. Whoever waits is an obstacle for those who may not pass him."""
        found = self.gate.obstacle(now, repeat=repeat)
        arbiter = self._arbiter
        if found is not None or not (self._waiters or arbiter.granted):
            return found
        if self._waiters and self._is_blocked:  # it has just come back, and they are about to be notified
            return Obstacle.CONCURRENCY
        if self.gate.free(now) > arbiter.granted and arbiter.may_pass(priority):
            return None
        return Obstacle.CONCURRENCY

    def note_passed(self, priority: Priority) -> None:
        """A message that nobody granted a slot has one."""
        if self._waiters:
            self._arbiter.note_passed(priority)

    def wait(self, waiter: WaitingQueue, flows: Sequence[Flow], now: float) -> None:
        """Have these flows of a queue wait here, and none of its others. It hears of changes until `forget`."""
        if not self._waiters:
            self._is_blocked = self.is_blocked(now)
        for flow in self._waiters.get(waiter, ()):
            if flow not in flows:
                self._arbiter.leave(flow)
        self._waiters[waiter] = flows
        for flow in flows:
            self._owners[flow] = waiter
            self._arbiter.join(flow)

    def forget(self, waiter: WaitingQueue) -> None:
        """Nothing of a queue waits any more."""
        for flow in self._waiters.pop(waiter, ()):
            self._arbiter.leave(flow)
        if not self._waiters:
            self._set_alarm(None)

    def end_grants(self, count: int = 1) -> None:
        """Grants were used, or are given back."""
        self._arbiter.end_grants(count)
        if self._held:  # once it is known which of the two
            self._look_soon()

    @property
    def is_settling(self) -> bool:
        """Whether at least half of the slots in use are so by commits, and not by attempts."""
        gate = self.gate
        return gate.in_flight - gate.sending + self._arbiter.granted >= max(gate.sending, 1)

    async def until_free(self, priority: Priority, tenant: str, weight: int, patience: int | None = None) -> int:
        """Return once a stream of a tenant may look again, whose next message has this priority: there is a slot for
        it, or none that comes free soon. It returns the `patience` that is left of what it came with: how many slots
        more may be granted to queues before it is to wait in one, too."""
        if patience is None:
            patience = PATIENCE * (self.gate.in_flight + self._arbiter.granted)
        flow = Flow(priority, tenant, weight)
        flow.waiting = 1
        held = self._held[flow] = _Held(asyncio.get_running_loop().create_future(), patience)
        self._streams.join(flow)
        self.gate.on_begun = self._look_soon
        try:
            await held.turn
        finally:
            del self._held[flow]
            self._streams.leave(flow)
            if self._woken is held:
                self._woken = None
            self._look_soon()  # the next has what this one leaves
        return held.patience

    def wake_streams(self) -> None:
        """Have all streams that wait look again: what they wait for may not come, since nothing is accepted now."""
        for held in self._held.values():
            if not held.turn.done():
                held.turn.set_result(None)

    def offer(self, now: float) -> None:
        """Grant what is free to those who wait, once all of them wait where they now have to."""
        if not self._waiters:
            return
        found = self.gate.obstacle(now)
        is_blocked = found is not None and found not in WAITED_FOR
        if is_blocked is not self._is_blocked:
            self._is_blocked = is_blocked
            waiters = list(self._waiters)
            for waiter in waiters:
                waiter.gate_changed(now)
            for waiter in waiters:
                waiter.offer(now)
        free = 0 if found else self.gate.free(now) - self._arbiter.granted
        while free > 0 and (flow := self._arbiter.grant()):
            free -= 1
            self._owners[flow].granted(self, flow)
            if self._held and (first := self._streams.next()):
                self._held[first].patience -= 1
        until = self.gate.until(now) if found else None
        self._set_alarm(None if until is None else until - now)

    def is_blocked(self, now: float) -> bool:
        """Whether the provider is to be passed over rather than waited for."""
        found = self.gate.obstacle(now)
        return found is not None and found not in WAITED_FOR

    def _changed(self) -> None:
        if self._waiters:  # nearly always there is nobody
            self.offer(self._clock.monotonic())
        if self._held:
            self._look_at_held()

    def _look_soon(self) -> None:
        """Look at the streams that wait once all else has had its turn: an attempt that has begun may end in that."""
        self.gate.on_begun = None
        if not self._looks_soon:
            self._looks_soon = True
            asyncio.get_running_loop().call_soon(self._look_now)

    def _look_now(self) -> None:
        self._looks_soon = False
        if self._held:
            self.gate.on_begun = self._look_soon
            self._look_at_held()

    def _look_at_held(self) -> None:
        """Wake the stream whose turn it is, if there is a reason to. One at a time."""
        flow = None if self._woken else self._streams.next()
        if flow is None:
            return
        held = self._held[flow]
        if held.turn.done():  # it has gone, and is about to leave
            return
        if held.patience > 0 and self.is_settling:
            found = self.obstacle(self._clock.monotonic(), flow.priority, repeat=False)
            if found in WAITED_FOR:
                return
        self._streams.grant()
        self._streams.end_grants()
        self._woken = held
        held.turn.set_result(None)

    def _set_alarm(self, seconds: float | None) -> None:
        if self._alarm:
            self._alarm.cancel()
        self._alarm = None if seconds is None else self._clock.call_later(seconds, self._changed)


class _Held:
    """A stream that waits for a slot."""

    __slots__ = ("patience", "turn")

    def __init__(self, turn: asyncio.Future[None], patience: int) -> None:
        self.turn = turn
        self.patience = patience  # for how many more grants to queues
