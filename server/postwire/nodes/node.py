"""A node among those that share a store: it renews its lease, and knows whether it may act."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextvars import Context
from typing import Final

from postwire.core.errors import StoreUnavailable
from postwire.core.leases import CLOCK_OFFSET_TO_WARN_OF, OwnLease, Terms, may_take_part
from postwire.nodes.clock import NodeClock, boot_time, wall_time
from postwire.nodes.counts import NodeCounts
from postwire.outbox.base import Announcement, Heartbeat, Membership, NodeDead, NodeShare
from postwire.telemetry import names
from postwire.telemetry.logs import EventLog

TRY_AGAIN: Final = 0.5
"""Seconds from a heartbeat that was not answered to the next."""

_log = EventLog()


class Node:
    """This process among those that serve its store. Where there can be no other it leads, and may always act.

    `terms` are those of its lease. Without a `clock` there is no other to agree with.
    """

    def __init__(
        self,
        membership: Membership,
        terms: Terms,
        clock: NodeClock | None = None,
        *,
        wall_time: Callable[[], int] = wall_time,
    ) -> None:
        self._membership = membership
        self._terms = terms
        self._clock = clock
        self._wall_time = wall_time
        self._boot_time = clock.boot_time if clock else boot_time
        self._lease = OwnLease(terms)
        self._listeners: list[Callable[[Heartbeat], None]] = []
        self._soon = asyncio.Event()
        self._announced = asyncio.Event()
        self._asked = 0  # how often it was to be announced anew
        self._task: asyncio.Task[None] | None = None
        self._fence: asyncio.TimerHandle | None = None
        self._warned_of_clock = False
        self.counts: Final = NodeCounts()
        self.on_dead: Callable[[], None] = lambda: None
        """Called once the others have taken this node for dead: it has to end."""
        self.last: Heartbeat | None = None
        """What the last heartbeat that was answered has found."""
        self.clock_offset = 0
        """By how much (µs) the machine's wall clock is ahead of the store's."""
        # What it says of itself: see `Announcement`.
        self.queue_keys: Collection[str] = ()
        self.config_digest = ""
        self.seen = 0
        self.acknowledged = 0
        self.shares: Sequence[NodeShare] = ()

    @property
    def number(self) -> int:
        """See `Membership.number`."""
        return self._membership.number

    @property
    def is_shared(self) -> bool:
        """Whether there may be other nodes."""
        return self._membership.is_shared

    @property
    def is_leader(self) -> bool:
        """Whether the duties of the leader fall to this node, as far as it may act at all."""
        return not self.is_shared or (self.may_act() and self.last is not None and self.last.is_leader)

    @property
    def lease_left(self) -> float:
        """For how long (s) this node may still act without a heartbeat."""
        return max((self._lease.deadline - self._boot_time()) / 1e6, 0.0)

    @property
    def served_keys(self) -> set[str]:
        """The keys of the queues that the living serve, as far as they have said so."""
        return {key for one in self.last.members for key in one.queue_keys} if self.last else set()

    def may_act(self) -> bool:
        """Whether a message may be handed to a provider now: this node holds its lease."""
        return not self.is_shared or (self._lease.may_act(self._boot_time()) and may_take_part(self.clock_offset))

    async def reap(self) -> Sequence[int]:
        """Take those for dead whose lease has run out, where this node may judge that; returns their numbers.

        Raises:
            StoreUnavailable: it is unknown whether that is kept.
        """
        now = self._boot_time()
        if not (self.last and self.last.may_reap and self._lease.trusts_clock(now)):
            return ()
        reaped = await self._membership.reap(self._lease.expected(now), self._terms.tolerance)
        self.counts.reaped += len(reaped)
        return reaped

    def on_heartbeat(self, listener: Callable[[Heartbeat], None]) -> None:
        """Have `listener` called, on the loop, with what each heartbeat has found, before this node goes on by it."""
        self._listeners.append(listener)

    def heartbeat_now(self) -> None:
        """Have the next heartbeat sent at once."""
        self._soon.set()

    async def start(self) -> None:
        """Send the first heartbeat, and more from then on.

        Raises:
            NodeDead: it took too long to come so far.
            StoreUnavailable: it is not answered.
        """
        await self._heartbeat()
        if self.is_shared:
            self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())

    @property
    def is_dead(self) -> bool:
        """Whether the others have taken this node for dead."""
        return self._lease.is_dead

    async def announce(self) -> None:
        """Have the others know what it says of itself now, however long the store takes."""
        if not self.is_shared:
            await self._heartbeat()
            return
        self._asked += 1
        self._announced.clear()
        self.heartbeat_now()
        await self._announced.wait()

    async def stop(self) -> None:
        """Send no more heartbeats. Nothing of this node is under way any more."""
        if self._fence:
            self._fence.cancel()
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        pause = self._terms.heartbeat / 1e6
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._soon.wait()
            except TimeoutError:
                pass
            self._soon.clear()
            sent = self._boot_time()
            try:
                await self._heartbeat()
            except NodeDead:
                self._die()
                return
            except StoreUnavailable:
                pause = TRY_AGAIN
            except Exception as error:
                _log.fault(error)
                pause = TRY_AGAIN
            else:  # as often, however long it takes
                pause = max((self._terms.heartbeat - (self._boot_time() - sent)) / 1e6, 0.0)

    async def _heartbeat(self) -> None:
        sent, wall = self._boot_time(), self._wall_time()
        number, announcement = self._asked, self._announcement()
        found = await self._membership.heartbeat(announcement, self._terms.gap)
        received = self._boot_time()
        ahead = 0
        if self._clock:
            self._clock.measured(sent, found.time, received)
            self._compare(wall, found.time, received - sent)
            ahead = self._clock.ahead
        self.last = found
        for listener in self._listeners:  # before it acts: it may have less of the limits now
            try:
                listener(found)
            except Exception as error:  # a heartbeat is not to fail for it
                _log.fault(error)
        self._lease.answered(sent, ahead)
        if number == self._asked:
            self._announced.set()
        self._look()

    def _announcement(self) -> Announcement:
        return Announcement(
            queue_keys=tuple(self.queue_keys),
            config_digest=self.config_digest,
            clock_offset=self.clock_offset,
            seen=self.seen,
            acknowledged=self.acknowledged,
            shares=tuple(self.shares),
        )

    def _compare(self, wall: int, store: int, took: int) -> None:
        """Note by how much the machine's wall clock, read as `wall` before the store was asked, is wrong."""
        early = store - wall  # by 0 to `took` too much
        offset = -early if early < 0 else -max(early - took, 0)
        self.clock_offset = offset
        is_far = abs(offset) > CLOCK_OFFSET_TO_WARN_OF
        if is_far and not self._warned_of_clock:
            _log.warning(names.EVENT_CLOCK_OFFSET, seconds=round(offset / 1e6, 3))
        self._warned_of_clock = is_far

    def _look(self) -> None:
        """Have the store count as available where this node may act, and not any more once it may not."""
        if not self.is_shared:
            return
        self._membership.fence(not self.may_act())
        if self._fence:
            self._fence.cancel()
        self._fence = asyncio.get_running_loop().call_later(self.lease_left, self._lapse)

    def _lapse(self) -> None:
        if not self.may_act():
            self.counts.leases_lost += 1
            _log.error(names.EVENT_LEASE_LOST, node=self.number)
            self._membership.fence(True)
            return
        self._look()  # the loop's clock went faster

    def _die(self) -> None:
        self._lease.is_dead = True
        self._membership.fence(True)
        _log.error(names.EVENT_NODE_DEAD, node=self.number)
        self.on_dead()
