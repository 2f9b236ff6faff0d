"""What a node does at every heartbeat, since others share its store: it keeps to its share of limits, takes over what
operators have done at other nodes, and counts with what others have counted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from postwire.clock import Clock
from postwire.config import digest
from postwire.core.backlog import Backlog
from postwire.delivery.peers import Peers
from postwire.delivery.provider_control import Control
from postwire.delivery.shared_limits import SharedLimits
from postwire.outbox.base.membership import Heartbeat, Member, NodeShare
from postwire.providers.registry import Registry
from postwire.telemetry import names
from postwire.telemetry.logs import EventLog

OPENS_SOON: Final = 0.5
"""Seconds from one heartbeat to the next of a node that waits until all others have seen it."""

FITS_SOON: Final = 0.25
"""Seconds from one look at whether what is in flight fits a smaller share to the next."""

_log = EventLog()


class Announcing(Protocol):
    """Who sends the heartbeats of this node. What is set here goes with the next."""

    seen: int
    acknowledged: int
    shares: Sequence[NodeShare]
    queue_keys: Collection[str]
    config_digest: str

    @property
    def number(self) -> int:
        """That of this node."""
        ...

    def on_heartbeat(self, callback: Callable[[Heartbeat], None]) -> None:
        """Have `callback` called with every answer, before this node goes on by it."""
        ...

    def heartbeat_now(self) -> None:
        """Send the next heartbeat at once."""
        ...


class SharedWork:
    """See the module."""

    def __init__(
        self,
        node: Announcing,
        peers: Peers,
        control: Control,
        registry: Registry,
        backlog: Backlog,
        clock: Clock,
        config_digest: str,
    ) -> None:
        self._node = node
        self._registry = registry
        self._peers = peers
        self._control = control
        self._backlog = backlog
        self._clock = clock
        self._limits = SharedLimits(registry, node.number, clock)
        self._counted_at = 0
        self._others: dict[str, None] = {}  # the digests of configurations that others have
        self._is_looking = self._is_opening = False
        node.config_digest = config_digest
        self._announce()
        peers.heartbeat_now = node.heartbeat_now
        node.on_heartbeat(self.heard)

    def heard(self, heartbeat: Heartbeat) -> None:
        """A heartbeat is answered."""
        self._limits.heard(heartbeat)  # first of all: a node that has been away goes on once this is done
        if heartbeat.provider_change > self._node.acknowledged and self._control.take_over(heartbeat.provider_states):
            self._node.acknowledged = heartbeat.provider_change
            self._node.heartbeat_now()  # somebody may wait for it
        self._peers.heard(heartbeat)
        if heartbeat.unsettled is not None and heartbeat.unsettled_time > self._counted_at and self._peers.are_there:
            self._counted_at = heartbeat.unsettled_time
            self._backlog.correct(heartbeat.unsettled, heartbeat.unsettled_time)
        self._compare(heartbeat.members)
        self._announce()

    def reconfigured(self, config_digest: str) -> None:
        """This node has taken over another configuration."""
        self._node.config_digest = config_digest

    def _announce(self) -> None:
        node = self._node
        node.shares = self._limits.shares()
        node.queue_keys = self._registry.queue_keys()
        if self._limits.seen > node.seen:
            node.seen = self._limits.seen
            node.heartbeat_now()  # whoever has come anew waits for it
        if not self._limits.is_open and not self._is_opening:
            self._is_opening = True
            self._clock.call_later(OPENS_SOON, self._ask_again)
        if not self._limits.look() and not self._is_looking:
            self._is_looking = True
            self._clock.call_later(FITS_SOON, self._look_again)

    def _ask_again(self) -> None:
        self._is_opening = False
        self._node.heartbeat_now()

    def _look_again(self) -> None:
        self._is_looking = False
        self._limits.look()
        self._announce()

    def _compare(self, members: Sequence[Member]) -> None:
        """Warn of every other configuration, once for as long as anybody has it."""
        mine = self._node.config_digest
        found: dict[str, Member] = {}
        for one in members:
            if one.config_digest not in ("", mine):
                found.setdefault(one.config_digest, one)
        for other, member in found.items():
            if other not in self._others:
                _log.warning(names.EVENT_WARNING, detail=_difference(member, digest.differing(mine, other)))
        self._others = dict.fromkeys(found)


def _difference(member: Member, sections: Sequence[str]) -> str:
    where = ", ".join(sections) if sections else "something"
    return f"node {member.number} ({member.name}) has another configuration than this one: {where} differs"
