"""What a node counts of its own, for its metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class NodeCounts:
    """How often the node's lease ran out, how many others it has taken for dead, and how many open attempts of its own
    it found that no task of it made any more."""

    leases_lost: int = 0
    reaped: int = 0
    strays: int = 0
