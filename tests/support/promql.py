"""The alerts and the dashboard of `deploy/`, and what their queries ask for."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import promql_parser
import yaml

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
RULES: Final = DEPLOY / "postwire.rules.yml"
RULES_TEST: Final = DEPLOY / "postwire.rules.test.yml"
DASHBOARD: Final = DEPLOY / "grafana-dashboard.json"

FOREIGN_LABELS: Final = frozenset({"job", "instance"})
"""Labels that Prometheus itself adds to what it fetches."""

_VARIABLES: Final = {
    "$__rate_interval": "5m",
    "$__range": "10m",
    "$instance": ".*",
    "$channel": ".*",
    "$provider": ".*",
}
"""What a viewer's Grafana puts in their place."""

_LABEL_VALUES: Final = re.compile(r"label_values\((\w+), (\w+)\)")


@dataclass(frozen=True, slots=True)
class Selector:
    """The series that a query asks for: a name, and the values that it wants labels to have, `a|b` taken apart."""

    name: str
    wanted: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Query:
    """One expression. `shown` are the labels that a legend or a text puts in from its result."""

    title: str
    text: str
    shown: frozenset[str] = frozenset()

    @property
    def expression(self) -> promql_parser.Expr:
        """The query, parsed.

        Raises:
            ValueError: it is no PromQL.
        """
        return promql_parser.parse(self.text)

    def selectors(self) -> list[Selector]:
        """All that it asks for."""
        return _selectors(self.expression)

    def groupings(self) -> Iterator[tuple[Sequence[str], list[Selector]]]:
        """The labels that each of its aggregations keeps, with what it aggregates."""
        for node in _nodes(self.expression):
            if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
                yield node.modifier.labels, _selectors(node.expr)


def _nodes(expression: promql_parser.Expr) -> list[Any]:
    found: list[Any] = []
    promql_parser.walk(expression, found.append)
    return found


def _selectors(expression: promql_parser.Expr) -> list[Selector]:
    return [
        Selector(node.name, {one.name: tuple(one.value.split("|")) for one in node.matchers.matchers})
        for node in _nodes(expression)
        if isinstance(node, promql_parser.VectorSelector) and node.name
    ]


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, as the file has it."""

    name: str
    query: Query
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@functools.cache
def alerts() -> tuple[Alert, ...]:
    """All of them."""
    rules = [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
    return tuple(
        Alert(
            rule["alert"],
            Query(
                rule["alert"],
                rule["expr"],
                frozenset(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))),
            ),
            rule["labels"],
            rule["annotations"],
        )
        for rule in rules
    )


@functools.cache
def dashboard() -> dict[str, Any]:
    """As the file has it."""
    read: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return read


@functools.cache
def panel_queries() -> tuple[Query, ...]:
    """What the panels of the dashboard ask, with everything chosen."""
    return tuple(
        Query(
            f"{panel['title']} {target['refId']}",
            _filled_in(target["expr"]),
            frozenset(re.findall(r"{{(\w+)}}", target["legendFormat"])),
        )
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    )


def variable_queries() -> dict[str, tuple[str, str]]:
    """Where a variable of the dashboard finds its values: in a label of a metric."""
    found = {}
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            query = _LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert query, variable
            found[variable["name"]] = (query[1], query[2])
    return found


def _filled_in(text: str) -> str:
    for name, value in _VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text, text
    return text
