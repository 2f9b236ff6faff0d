"""What the alerts, the dashboard and the docs ask for is what a server's metrics page has, and the other way round."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.metrics import fetch, transitions, values
from tests.e2e.observed import observed_node, observed_server
from tests.e2e.server import Server
from tests.support.promql import FOREIGN_LABELS, Query, Selector, alerts, panel_queries, variable_queries

from postwire.core.breaker import BreakerState
from postwire.core.message import Channel, MessageState
from postwire.core.outcome import Outcome

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"

Labels = dict[str, set[str]]
"""The labels of each name on the page."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with observed_server(tmp_path_factory.mktemp("observed")) as running:
        yield running


@pytest.fixture(scope="module")
def pages(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """What Prometheus finds there, and at a node of several."""
    with observed_node(tmp_path_factory.mktemp("node")) as node:
        return fetch(server), fetch(node)


@pytest.fixture(scope="module")
def series(pages: Sequence[str]) -> Labels:
    """The labels of each series' name. A label that no series of the name has a value for is none."""
    found: Labels = defaultdict(set)
    for page in pages:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                found[sample.name] |= {label for label, value in sample.labels.items() if value}
    return found


def test_all_that_can_happen_has_happened(server: Server) -> None:
    messages = values(server, "postwire_messages_total")
    assert {state for _, state in messages} == {state.value for state in set(MessageState)}
    attempts = values(server, "postwire_attempts_total")
    assert {outcome for _, outcome, _ in attempts} == {outcome.reported.value for outcome in Outcome}
    assert {channel for channel, _, _ in attempts} == {channel.value for channel in Channel}
    changes = {labels[:2] for labels in transitions(server)}
    assert changes >= {("closed", "open"), ("open", "half_open"), ("half_open", "closed"), ("closed", "forced_open")}
    current = {state for (state, _), value in values(server, "postwire_breaker_state").items() if value}
    assert current == {state.value for state in BreakerState} - {"half_open"}
    for name in ("postwire_breaker_rejections_total", "postwire_routing_invalid_total"):
        assert any(values(server, name).values())
    assert values(server, "postwire_outbox_depth")[()] > 0


@pytest.mark.parametrize(
    "query", [*(alert.query for alert in alerts()), *panel_queries()], ids=lambda query: query.title
)
def test_a_query_asks_for_series_that_are_there(series: Labels, query: Query) -> None:
    for selector in query.selectors():
        assert selector.wanted.keys() <= labels_of(series, selector), selector.name
    for kept, selectors in query.groupings():
        for selector in selectors:
            assert set(kept) <= labels_of(series, selector), selector.name


def labels_of(series: Labels, selector: Selector) -> set[str]:
    if selector.name == "up":  # Prometheus's own
        return set(FOREIGN_LABELS)
    assert selector.name in series, selector.name
    return series[selector.name] | FOREIGN_LABELS


def test_a_viewer_can_choose_what_is_there(series: Labels) -> None:
    found = variable_queries()
    assert found.keys() == {"instance", "channel", "provider"}
    for name, label in found.values():
        assert label in series[name] | FOREIGN_LABELS


def test_the_docs_tell_of_every_metric_and_its_labels(pages: Sequence[str], series: Labels) -> None:
    table = re.findall(r"^\| `((?:postwire|rpc)_\w+)` \| ([^|]*) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in table}
    assert len(documented) == len(table)
    own = {}
    for family in (family for page in pages for family in text_string_to_metric_families(page)):
        if family.name != "target_info":
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = series[f"{name}_count" if family.type == "histogram" else name]
            own[name] = {label for label in labels if not label.startswith("otel_scope_")}
    assert documented == own
