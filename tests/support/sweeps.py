"""The sweep of what was left behind in the name of a node, for tests of one."""

from __future__ import annotations

from tests.support.harness import Harness

from postwire.nodes.counts import NodeCounts
from postwire.nodes.strays import StraySweep


def sweep_of(harness: Harness) -> StraySweep:
    """Return that of the node of a harness, whose outbox is in PostgreSQL. It is not started."""
    return StraySweep(
        outbox=harness.outbox,
        attempts=harness.delivery.open_attempts,
        orphans=harness.maintenance.orphans,
        executor=harness.delivery.executor,
        clock=harness.clock,
        counts=NodeCounts(),
    )
