"""What is shown of a node among those that share a store: see `telemetry.base.NodeReport`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from postwire.clock import Clock
from postwire.core.errors import StoreUnavailable
from postwire.nodes.node import Node
from postwire.outbox.base import Availability
from postwire.telemetry.base import NodeReport

UNUSUAL_LAG: Final = 1.0
"""Seconds of a feed's lag from which on it is named who holds it up: nothing of ours takes so long."""


class FeedLag(Protocol):
    """What holds up the feed: a transaction that began so many seconds ago, of a process `pid`, or a prepared one that
    is called `gid`."""

    @property
    def seconds(self) -> float:
        """For how long."""
        ...

    @property
    def pid(self) -> int | None:
        """The process of a session."""
        ...

    @property
    def gid(self) -> str | None:
        """The name of a prepared transaction."""
        ...


class SharedStore(Availability, Protocol):
    """What is asked of a store that several nodes share."""

    async def feed_lag(self) -> FeedLag | None:
        """What holds up the feed, if anything does."""
        ...


class NodeReports:
    """Makes them: `refresh` asks the store for what only it knows, and `report` may be called on any thread."""

    def __init__(self, node: Node, store: SharedStore, clock: Clock) -> None:
        self._node = node
        self._store = store
        self._monotonic: Callable[[], float] = clock.monotonic
        self._pauses = 0
        self._paused = 0.0
        self._pause_began: float | None = None
        self._lag: tuple[float | None, str] = None, ""
        store.on_availability(self._available)

    async def refresh(self) -> None:
        """Ask the store."""
        try:
            found = await self._store.feed_lag()
        except StoreUnavailable:
            self._lag = None, ""  # nothing rather than something old
            return
        holder = ""
        if found and found.seconds >= UNUSUAL_LAG:
            holder = f"gid {found.gid}" if found.gid is not None else f"pid {found.pid}"
        self._lag = found.seconds if found else 0.0, holder

    def report(self) -> NodeReport:
        """What is to be shown now."""
        node, last, lag = self._node, self._node.last, self._lag
        began, paused = self._pause_began, self._paused
        return NodeReport(
            live=len(last.members) if last else None,
            is_leader=node.is_leader,
            lease_left=node.lease_left,
            clock_offset=node.clock_offset / 1e6 if last else None,
            leases_lost=node.counts.leases_lost,
            reaped=node.counts.reaped,
            strays=node.counts.strays,
            pauses=self._pauses,
            paused=paused if began is None else paused + self._monotonic() - began,
            feed_lag=lag[0],
            feed_holder=lag[1],
        )

    def _available(self, available: bool) -> None:
        if not available and self._pause_began is None:
            self._pauses += 1
            self._pause_began = self._monotonic()
        elif available and self._pause_began is not None:
            self._paused += self._monotonic() - self._pause_began
            self._pause_began = None
