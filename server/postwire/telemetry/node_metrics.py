"""Metrics of a node among those that share a store: there only where several may."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from postwire.telemetry import names
from postwire.telemetry.base import NodeReport

ReadNode = Callable[[], NodeReport]
"""Gives what is shown of this node, on any thread."""


def observe_node(meter: Meter, read: ReadNode) -> None:
    """Have the metrics of this node read."""

    def gauge(name: str, unit: str, description: str, value: Callable[[NodeReport], float | None]) -> None:
        meter.create_observable_gauge(name, [lambda _: _one(value(read()))], unit, description)

    def counter(name: str, unit: str, description: str, value: Callable[[NodeReport], float]) -> None:
        meter.create_observable_counter(name, [lambda _: _one(value(read()))], unit, description)

    gauge(names.NODES, "{node}", "Nodes that live, as this one has found them.", lambda node: node.live)
    gauge(names.NODE_LEADER, "", "1 where this node does what one has to do for all.", lambda node: node.is_leader)
    gauge(names.NODE_LEASE, "s", "How long this node may still act without a heartbeat.", lambda node: node.lease_left)
    gauge(names.NODE_CLOCK, "s", "By how much its clock is ahead of the store's.", lambda node: node.clock_offset)
    counter(names.NODE_LEASES_LOST, "{lease}", "Leases of this node that ran out.", lambda node: node.leases_lost)
    counter(names.NODES_REAPED, "{node}", "Nodes that this one has taken for dead.", lambda node: node.reaped)
    counter(names.STRAYS, "{attempt}", "Open attempts of this node that it had lost.", lambda node: node.strays)
    counter(names.STORE_PAUSES, "{pause}", "How often the store could not be written.", lambda node: node.pauses)
    counter(names.STORE_PAUSED, "s", "For how long it could not, in all.", lambda node: node.paused)

    def lag(_: CallbackOptions) -> Iterable[Observation]:
        node = read()
        return [] if node.feed_lag is None else [Observation(node.feed_lag, {names.FEED_HOLDER: node.feed_holder})]

    meter.create_observable_gauge(names.FEED_LAG, [lag], "s", "How far watchers and hooks are behind, at the least.")


def _one(value: float | None) -> list[Observation]:
    return [] if value is None else [Observation(value)]
