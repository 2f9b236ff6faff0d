"""Who serves the store: one node, or several that share it. See `core.leases`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from postwire.outbox.base.admin import ProviderState
from postwire.outbox.base.availability import Availability
from postwire.outbox.base.messages import StoredMessage


@dataclass(frozen=True, slots=True)
class NodeShare:
    """What a node has of the limits of a provider, which are shared by all nodes. `rate` is in messages a second; None
    where there is no limit."""

    provider_name: str
    max_concurrent: int
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A node that lives: its lease has not run out. Times are µs since the epoch, by the clock of the store.

    `rank` counts the members by their numbers, from 0; the first is the leader. One whose clock is too far off has
    none. `seen` is the highest number of a member that it knows of, and `acknowledged` the last change of providers
    that it has taken over. `clock_offset` is by how much (µs) its wall clock is ahead of the store's.
    """

    number: int
    name: str
    version: str
    start_time: int
    lease_until_time: int
    rank: int | None
    is_leader: bool
    queue_keys: tuple[str, ...] = ()
    config_digest: str = ""
    clock_offset: int = 0
    seen: int = 0
    acknowledged: int = 0
    shares: tuple[NodeShare, ...] = ()


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a node says of itself in a heartbeat: see `Member`."""

    queue_keys: Collection[str] = ()
    config_digest: str = ""
    clock_offset: int = 0
    seen: int = 0
    acknowledged: int = 0
    shares: Sequence[NodeShare] = ()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a heartbeat has found, as it was at one moment.

    `members` are those that live, by their numbers. `time` is the store's clock (µs). `may_reap`: this node has held
    its lease for a whole term without a gap. `provider_change` is the last change of providers by operators, and
    `provider_states` are theirs, as they were after it. `unsettled` is the leader's last count of what is not settled,
    None before there is one, and `unsettled_time` when that was counted (µs, store's clock). `not_dead` are the numbers
    of all whom nobody has marked dead, with those whose lease has run out.
    """

    number: int
    members: tuple[Member, ...]
    time: int
    may_reap: bool
    provider_change: int
    provider_states: Mapping[str, ProviderState]
    unsettled: int | None = None
    unsettled_time: int = 0
    not_dead: tuple[int, ...] = ()

    @property
    def me(self) -> Member | None:
        """This node, if its lease has not run out."""
        return next((one for one in self.members if one.number == self.number), None)

    @property
    def is_leader(self) -> bool:
        """Whether this node has the duties of the leader."""
        return self.me is not None and self.me.is_leader


class NodeDead(Exception):
    """The others have taken this node for dead, and what it carried as `uncertain`: it has to end."""


class Membership(Availability, Protocol):
    """Keeps who serves the store.

    A store that one process owns has one member, whose lease never runs out.
    """

    @property
    def number(self) -> int:
        """The number of this node, which no other has or will have."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether there may be other nodes."""
        ...

    async def heartbeat(self, announcement: Announcement, gap: int) -> Heartbeat:
        """Renew the lease of this node, and tell the others. `gap` (µs) is how long after the last one it still has
        held its lease throughout.

        Raises:
            NodeDead: see there.
            StoreUnavailable: whether it is renewed is unknown.
        """
        ...

    async def members(self) -> Sequence[Member]:
        """The members that live, by their numbers."""
        ...

    async def reap(self, expected: int, tolerance: int) -> Sequence[int]:
        """Mark those dead whose lease has run out, and return their numbers. None unless this node `may_reap`, and the
        store's clock shows what is `expected` (µs, ± `tolerance`): else it was set, and says nothing of others."""
        ...

    async def strays(self, carried: Collection[str], limit: int) -> Sequence[StoredMessage]:
        """Messages with an open attempt of this node that are not among the `carried`."""
        ...

    async def keep_unsettled(self, count: int) -> None:
        """Keep for all nodes how many messages are not settled."""
        ...

    def fence(self, is_fenced: bool) -> None:
        """Have the store count as unavailable, or not any more: this node may have lost its lease."""
        ...

    async def leave(self) -> None:
        """Have this node be dead at once: nothing of it is under way any more. The last that it does."""
        ...
