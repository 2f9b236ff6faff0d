"""Holds every provider of this node to its share of the limits, where several nodes share them: see `core.shares`."""

from __future__ import annotations

from collections.abc import Sequence

from postwire.clock import Clock
from postwire.core.shares import NOTHING, Limits, Standing
from postwire.outbox.base.membership import Heartbeat, NodeShare
from postwire.providers.registry import Registry


class SharedLimits:
    """See the module. Until the first heartbeat is answered, nothing is sent."""

    def __init__(self, registry: Registry, number: int, clock: Clock) -> None:
        """`number` is that of this node."""
        self._registry = registry
        self._clock = clock
        self._standing = Standing(number)
        self._given = {entry.provider.name: NOTHING for entry in registry}
        for entry in registry:
            entry.gate.limit(NOTHING, clock.monotonic())

    @property
    def is_open(self) -> bool:
        """See `Standing.is_open`."""
        return self._standing.is_open

    @property
    def seen(self) -> int:
        """See `Standing.seen`."""
        return self._standing.seen

    def heard(self, heartbeat: Heartbeat) -> None:
        """Go by what a heartbeat has found."""
        standing = self._standing
        holders = heartbeat.not_dead or [one.number for one in heartbeat.members]
        if standing.heard(holders, {one.number: one.seen for one in heartbeat.members}):
            now = self._clock.monotonic()
            for entry in self._registry:
                name, before = entry.provider.name, self._given[entry.provider.name]
                self._given[name] = share = standing.share(entry.gate.whole_limits)
                entry.gate.limit(share, now, is_anew=before == NOTHING)
        self.look()

    def look(self) -> bool:
        """Look whether all that is in flight fits what there is now; returns whether it does."""
        fits = all(entry.gate.in_flight <= self._given[entry.provider.name].max_concurrent for entry in self._registry)
        if fits:
            self._standing.keeps_to_it()
        return fits

    def shares(self) -> Sequence[NodeShare]:
        """What this node has of the limits of each provider."""
        return [_shown(name, share) for name, share in self._given.items()]


def _shown(name: str, share: Limits) -> NodeShare:
    return NodeShare(name, share.max_concurrent, share.rate)
