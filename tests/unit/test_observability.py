"""The alerts and the dashboard are well formed, lead somewhere, and use the contract's words; the docs tell of all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from tests.interop import test_jaeger
from tests.support import promql
from tests.support.promql import Query, alerts, dashboard, panel_queries

from postwire.api.errors import STATUS_OF
from postwire.core.breaker import BreakerState
from postwire.core.message import Channel, MessageState
from postwire.core.outcome import Outcome
from postwire.core.receipts import ReceiptState
from postwire.receipts import http, reception
from postwire.telemetry import names, tracing
from postwire.v1 import dispatch_service_pb2, provider_service_pb2

ROOT = promql.DEPLOY.parent
PAGE = ROOT / "docs" / "observability.md"

METHODS = {
    f"{service.full_name}/{method.name}"
    for file in (dispatch_service_pb2.DESCRIPTOR, provider_service_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
}
STATUSES = {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, *STATUS_OF.values()}
WORDS = {
    "postwire_channel": {one.value for one in Channel},
    "postwire_outcome": {one.value for one in Outcome},
    "postwire_message_state": {one.value for one in MessageState},
    "postwire_breaker_state": {one.value for one in BreakerState},
    "postwire_receipt_state": {one.value for one in ReceiptState},
    "rpc_method": METHODS,
    "rpc_response_status_code": {one.name for one in STATUSES},
    "job": {"postwire"},
}
"""What a query may want a label to be. Of all others, only what a viewer chooses."""

REASONS = {
    "postwire_receipts_refused_total": {
        *("signature", "missing", "stale", "credentials", "reference", "topic"),  # see `Forged`
        *(reception.UNREADABLE, reception.UNCONFIGURED, reception.UNAVAILABLE, reception.BUSY, http.TOO_SLOW),
    },
}
"""What it may want a reason to be, by the metric."""

SEEN_BY_JAEGER = (
    test_jaeger.SENT_AT_ONCE,
    test_jaeger.FAILED_OVER,
    test_jaeger.OPENED,
    test_jaeger.PASSED_OVER,
    test_jaeger.SENT_LATER,
    test_jaeger.REFUSED,
)
"""Traces as `make interop` finds them in Jaeger."""

QUERIES = [*(alert.query for alert in alerts()), *panel_queries()]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.title)
def test_a_query_parses_and_wants_of_labels_what_they_can_be(query: Query) -> None:
    assert query.selectors()
    for selector in query.selectors():
        for label, values in selector.wanted.items():
            if label == "reason":
                assert set(values) <= REASONS[selector.name]
                continue
            assert set(values) <= WORDS.get(label, set()) | {".*"}, f"{selector.name}: {label}"


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.title)
def test_what_a_text_puts_in_is_what_the_query_keeps(query: Query) -> None:
    kept = [set(labels) for labels, _ in query.groupings()]
    for label in query.shown - promql.FOREIGN_LABELS:
        assert any(label in labels for labels in kept), label


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: promql.Alert) -> None:
    assert alert.labels in ({"severity": "page"}, {"severity": "ticket"})
    assert alert.annotations.keys() == {"summary", "description", "runbook"}
    page, _, anchor = alert.annotations["runbook"].partition("#")
    assert anchor in anchors((ROOT / page).read_text(encoding="utf-8")), alert.annotations["runbook"]


def anchors(text: str) -> set[str]:
    """What links into a page of Markdown can name: its headings, in lower case, with dashes for blanks."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_alert_is_told_of_and_fires_in_a_test() -> None:
    names = [alert.name for alert in alerts()]
    assert len(set(names)) == len(names)
    assert re.findall(r"^\| `(Postwire\w+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE) == names
    assert set(fired()) == set(names)


def fired() -> Iterator[str]:
    """The alerts that fire in a test of the rules."""
    for group in yaml.safe_load(promql.RULES_TEST.read_text(encoding="utf-8"))["tests"]:
        for test in group.get("promql_expr_test", ()):
            for sample in test["exp_samples"]:
                yield from re.findall(r'alertname="(\w+)"', sample["labels"])
        for test in group.get("alert_rule_test", ()):
            if test["exp_alerts"]:
                yield test["alertname"]


def test_the_dashboard_names_no_place_and_its_panels_do_not_lie_upon_each_other() -> None:
    text = promql.DASHBOARD.read_text(encoding="utf-8")
    assert "://" not in text
    assert "id" not in dashboard(), "which is a place in somebody's database"
    panels = dashboard()["panels"]
    asking = [one for one in (*panels, *dashboard()["templating"]["list"]) if one["type"] not in ("row", "datasource")]
    assert all(one["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for one in asking)
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [cell for panel in panels for cell in cells(panel["gridPos"])]
    assert len(set(taken)) == len(taken)
    assert {x for x, _ in taken} == set(range(24))


def cells(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y


def test_every_panel_asks_something_and_a_row_nothing() -> None:
    for panel in dashboard()["panels"]:
        targets: list[Any] = panel.get("targets", [])
        assert bool(targets) is (panel["type"] != "row"), panel["title"]
        assert len({target["refId"] for target in targets}) == len(targets)


def test_the_docs_draw_traces_as_jaeger_shows_them() -> None:
    """In the same order. They may leave attributes out, but no span."""
    drawn = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(drawn) == len(SEEN_BY_JAEGER)
    for drawing, seen in zip(drawn, SEEN_BY_JAEGER, strict=True):
        lines = iter(seen.splitlines())
        assert all(line in lines for line in drawing.splitlines()), drawing
        assert spans(drawing) == spans(seen)


def spans(drawing: str) -> list[str]:
    return [line for line in drawing.splitlines() if line.endswith("]")]


def test_the_docs_name_every_span_event_and_attribute() -> None:
    used = set(re.findall(r"\bnames\.([A-Z_]+)", Path(tracing.__file__).read_text(encoding="utf-8")))
    assert len(used) > 10
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in sorted(used) if f"`{getattr(names, name)}`" not in page] == []


def test_the_promtool_that_is_named_is_the_one_that_the_rules_are_tested_with() -> None:
    module = (ROOT / "tests" / "interop" / "promtool" / "go.mod").read_text(encoding="utf-8")
    found = re.search(r"github.com/prometheus/prometheus v0\.(\d)(\d\d)\.(\d+)", module)  # 3.16.0 is v0.316.0 to Go
    assert found
    release = f"promtool of Prometheus {found[1]}.{int(found[2])}.{found[3]}"
    for page in (PAGE, promql.DEPLOY / "postwire.rules.test.yml"):
        assert re.findall(r"promtool of Prometheus [\d.]+\d", page.read_text(encoding="utf-8")) == [release]
