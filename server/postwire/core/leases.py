"""Which of several nodes live, which of them may act, and who may take another for dead.

A node renews its lease by heartbeats. There are two clocks: the store's own, by which all leases are kept and compared;
and each node's, which nobody sets (CLOCK_BOOTTIME). A node asks its own alone whether it may act, and counts from
before its heartbeat was sent: so it stops before anybody can think that it has. All times are in µs.

What the store does is here as functions as well, which its statements are held to by a test.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

MAX_CLOCK_OFFSET: Final = 30_000_000
"""By how much (µs) the wall clock of a node may be wrong before it takes no part."""

CLOCK_OFFSET_TO_WARN_OF: Final = 1_000_000
"""The same, before somebody should look at it."""


def may_take_part(clock_offset: int) -> bool:
    """Whether a node may lead, and take messages, whose wall clock is so far ahead of the store's."""
    return abs(clock_offset) <= MAX_CLOCK_OFFSET


@dataclass(frozen=True, slots=True)
class Terms:
    """For how long a heartbeat keeps a node among the living, and how often it comes."""

    lease: int
    heartbeat: int

    @property
    def gap(self) -> int:
        """How long after a heartbeat the next one may come so that the lease counts as held throughout."""
        return 2 * self.heartbeat

    @property
    def tolerance(self) -> int:
        """By how much the store's clock may be elsewhere than a node takes it to be, and still count as not set."""
        return self.heartbeat // 2

    @property
    def acting(self) -> int:
        """For how long a node may act after it has sent a heartbeat that was answered: less than the lease by twice the
        tolerance. By so much the store's clock can be set, at a failover, before whoever reaps has to notice."""
        return self.lease - 2 * self.tolerance


@dataclass(frozen=True, slots=True)
class Lease:
    """What the store keeps of a node, by its own clock: until when its lease runs, and since when without a gap."""

    until: int
    since: int

    @classmethod
    def begin(cls, now: int, terms: Terms) -> Lease:
        """That of a node that joins."""
        return cls(now + terms.lease, now)


def renewed(lease: Lease, now: int, terms: Terms) -> Lease:
    """The lease after a heartbeat. One that comes late, or before the last one by a clock that was set, begins anew."""
    last = lease.until - terms.lease
    is_held = last <= now <= last + terms.gap and lease.since <= now
    return replace(lease, until=now + terms.lease, since=lease.since if is_held else now)


def lives(lease: Lease, now: int) -> bool:
    """Whether a node counts among the living."""
    return lease.until >= now


def may_reap(lease: Lease, now: int, terms: Terms) -> bool:
    """Whether a node may take others for dead: it has held its own lease for a whole term. After an outage, everybody
    else has had time enough by then."""
    return lives(lease, now) and now - lease.since >= terms.lease


def has_lapsed(lease: Lease, now: int, terms: Terms) -> bool:
    """Whether a node may be taken for dead by one who may do so. A lease that no heartbeat can have given by now is of
    before the clock was set back."""
    return lease.until < now or lease.until > now + terms.lease + 2 * terms.tolerance


class OwnLease:
    """What a node knows of its own lease, by its own clock: whether it may act, and may go by what is kept of others.

    The store's clock may be set, which a node sees by its own. Until that has not happened for a whole term, what is
    kept of others says nothing.
    """

    __slots__ = ("_ahead", "_steady_since", "_terms", "deadline", "is_dead")

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self.deadline = 0
        """Until when it may act."""
        self.is_dead = False
        """Whether others have taken it for dead, once and for all."""
        self._ahead: int | None = None
        self._steady_since = 0

    def answered(self, sent: int, ahead: int) -> None:
        """A heartbeat was answered that had been sent at `sent`, and found the store's clock so far `ahead` of ours."""
        self.deadline = max(self.deadline, sent + self._terms.acting)
        if self._ahead is None or abs(ahead - self._ahead) > self._terms.tolerance:
            self._ahead, self._steady_since = ahead, sent

    def may_act(self, now: int) -> bool:
        """Whether a message may be handed over, or taken."""
        return now < self.deadline and not self.is_dead

    def trusts_clock(self, now: int) -> bool:
        """Whether the store's clock has gone evenly for a whole term, so that what it says of others holds."""
        return self.may_act(now) and now - self._steady_since >= self._terms.lease

    def expected(self, now: int) -> int:
        """What the store's clock shows, unless it was set."""
        assert self._ahead is not None
        return now + self._ahead
