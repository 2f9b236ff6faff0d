"""What the metrics show of a node among those that share a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest
from tests.unit.test_metrics import values

from postwire.core.errors import StoreUnavailable
from postwire.nodes.counts import NodeCounts
from postwire.nodes.report import NodeReports
from postwire.outbox.base import FeedLag
from postwire.telemetry.base import NodeReport
from postwire.telemetry.durations import FetchedReader
from postwire.telemetry.node_metrics import observe_node


class Store:
    """A store that can be had or not, as a test says, and is held up by what it says."""

    available = True

    def __init__(self) -> None:
        self.lag: FeedLag | None = None
        self.is_away = False
        self.become: Callable[[bool], None] = lambda available: None

    def on_availability(self, listener: Callable[[bool], None]) -> None:
        self.become = listener

    async def wait_available(self) -> None:
        raise NotImplementedError

    async def feed_lag(self) -> FeedLag | None:
        if self.is_away:
            raise StoreUnavailable
        return self.lag


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> Any:
    clock = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    return clock


@pytest.fixture
def node() -> Any:
    return SimpleNamespace(last=None, is_leader=False, lease_left=0.0, clock_offset=0, counts=NodeCounts())


@pytest.fixture
def reports(node: Any, store: Store, clock: Any) -> NodeReports:
    return NodeReports(node, store, clock)


def test_what_is_not_known_yet_is_not_shown(reports: NodeReports) -> None:
    found = reports.report()
    assert (found.live, found.clock_offset, found.feed_lag) == (None, None, None)


def test_a_node_shows_what_it_has_found_and_counted(reports: NodeReports, node: Any) -> None:
    node.last = SimpleNamespace(members=(1, 2, 3))
    node.is_leader, node.lease_left, node.clock_offset = True, 12.5, -1_500_000
    node.counts.leases_lost, node.counts.reaped, node.counts.strays = 1, 2, 3
    assert reports.report() == NodeReport(3, True, 12.5, -1.5, 1, 2, 3)


def test_pauses_are_counted_and_their_time_is_added_up(reports: NodeReports, store: Store, clock: Any) -> None:
    store.become(True)  # as it was
    assert (reports.report().pauses, reports.report().paused) == (0, 0.0)
    store.become(False)
    clock.now += 7
    assert (reports.report().pauses, reports.report().paused) == (1, 7.0)
    store.become(False)  # fenced as well
    clock.now += 1
    store.become(True)
    clock.now += 50
    assert (reports.report().pauses, reports.report().paused) == (1, 8.0)
    store.become(False)
    clock.now += 2
    assert (reports.report().pauses, reports.report().paused) == (2, 10.0)


@pytest.mark.parametrize(
    ("lag", "seconds", "holder"),
    [
        (None, 0.0, ""),
        (FeedLag(0.9, pid=4711), 0.9, ""),
        (FeedLag(1.0, pid=4711), 1.0, "pid 4711"),
        (FeedLag(90.0, gid="forgotten"), 90.0, "gid forgotten"),
    ],
)
async def test_who_holds_up_the_feed_is_named_once_it_is_unusual(
    reports: NodeReports, store: Store, lag: FeedLag | None, seconds: float, holder: str
) -> None:
    store.lag = lag
    await reports.refresh()
    assert (reports.report().feed_lag, reports.report().feed_holder) == (seconds, holder)
    store.is_away = True
    await reports.refresh()
    assert (reports.report().feed_lag, reports.report().feed_holder) == (None, "")


@pytest.fixture
def page() -> Iterator[Callable[[NodeReport], str]]:
    registry = CollectorRegistry()
    meters = MeterProvider([FetchedReader(registry=registry)], shutdown_on_exit=False)
    shown = [NodeReport()]
    observe_node(meters.get_meter("postwire"), lambda: shown[0])

    def fetch(report: NodeReport) -> str:
        shown[0] = report
        return generate_latest(registry).decode()

    yield fetch
    meters.shutdown()


def test_a_report_is_a_page_of_series(page: Callable[[NodeReport], str]) -> None:
    text = page(NodeReport(3, True, 12.5, -1.5, 1, 2, 4, 5, 6.5, 90.0, "pid 4711"))
    assert {
        name: values(text, f"postwire_{name}")[()]
        for name in (
            "nodes",
            "node_leader",
            "node_lease_seconds",
            "node_clock_offset_seconds",
            "node_leases_lost_total",
            "nodes_reaped_total",
            "node_strays_total",
            "store_pauses_total",
            "store_paused_seconds_total",
        )
    } == {
        "nodes": 3,
        "node_leader": 1,
        "node_lease_seconds": 12.5,
        "node_clock_offset_seconds": -1.5,
        "node_leases_lost_total": 1,
        "nodes_reaped_total": 2,
        "node_strays_total": 4,
        "store_pauses_total": 5,
        "store_paused_seconds_total": 6.5,
    }
    assert values(text, "postwire_feed_lag_seconds") == {("pid 4711",): 90.0}


def test_a_holder_of_before_is_gone_with_what_it_held_up(page: Callable[[NodeReport], str]) -> None:
    assert page(NodeReport(feed_lag=2.0, feed_holder="pid 1"))
    text = page(NodeReport(feed_lag=0.0))
    assert values(text, "postwire_feed_lag_seconds") == {("",): 0.0}
    text = page(NodeReport())
    assert values(text, "postwire_feed_lag_seconds") == {}
    assert values(text, "postwire_nodes") == {}
