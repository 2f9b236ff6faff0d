"""Prometheus itself reads the alerts, plays their tests, and answers what the dashboard asks of a real server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.metrics import fetch
from tests.e2e.observed import observed_node, observed_server
from tests.interop.conftest import TOOLS
from tests.support.needed import Need
from tests.support.promql import RULES, RULES_TEST, panel_queries

MODULE: Final = Path(__file__).parent / "promtool"
PACKAGE: Final = "github.com/prometheus/prometheus/cmd/promtool"

# A fourth of what promtool is built of, and half of the time, is for finding targets in clouds: this leaves it out.
BUILD: Final = ("go", "build", "-tags", "remove_all_sd", "-o", f"{TOOLS}{os.sep}", PACKAGE)

STEPS: Final = 10
"""How many times the server's page is fetched in the tests that are made here, a minute apart."""

Promtool = Callable[..., str]


@pytest.fixture(scope="module")
def promtool(need: Need) -> Promtool:
    """Runs it and gives what it says. Building it takes some minutes; then go finds that nothing has changed."""
    need("go")
    built = subprocess.run(BUILD, cwd=MODULE, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr

    def run(*arguments: str | Path) -> str:
        command = (TOOLS / "promtool", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The metrics of a server to which everything has happened, and of a node of several, by their names."""
    with observed_server(tmp_path_factory.mktemp("observed")) as server:
        alone = fetch(server)
    with observed_node(tmp_path_factory.mktemp("node")) as node:
        return {"alone": alone, "node": fetch(node)}


def test_prometheus_takes_the_rules(promtool: Promtool) -> None:
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)


def test_each_alert_fires_when_it_should_and_not_when_all_is_well(promtool: Promtool) -> None:
    assert "SUCCESS" in promtool("test", "rules", RULES_TEST)


@pytest.mark.usefixtures("promtool")
def test_prometheus_finds_nothing_wrong_with_the_metrics(pages: Mapping[str, str]) -> None:
    for page in pages.values():
        done = subprocess.run((TOOLS / "promtool", "check", "metrics"), input=page, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_query_of_the_dashboard_has_an_answer(
    promtool: Promtool, pages: Mapping[str, str], tmp_path: Path
) -> None:
    test = {
        "tests": [
            {
                "interval": "1m",
                "input_series": [one for name, page in pages.items() for one in fetched_often(name, page)],
                "promql_expr_test": [has_an_answer(query.text) for query in panel_queries()],
            }
        ]
    }
    file = tmp_path / "dashboard.test.yml"
    file.write_text(json.dumps(test), encoding="utf-8")  # which is YAML as well
    assert "SUCCESS" in promtool("test", "rules", file)


def fetched_often(instance: str, page: str) -> Iterator[Mapping[str, str]]:
    """The series of an instance's page, as if all of it happened again each minute: counters rise, and gauges stay as
    they are.
    """
    for family in text_string_to_metric_families(page):
        rises = family.type in ("counter", "histogram")
        for sample in family.samples:
            labels = {"job": "postwire", "instance": instance, **sample.labels}
            pairs = ", ".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
            values = f"0+{sample.value}x{STEPS}" if rises else f"{sample.value}x{STEPS}"
            yield {"series": f"{sample.name}{{{pairs}}}", "values": values}


def has_an_answer(query: str) -> Mapping[str, Any]:
    """That there is a sample at least, and a number in it: NaN is greater than nothing."""
    return {
        "expr": f"count(({query}) > -Inf) > bool 0",
        "eval_time": f"{STEPS}m",
        "exp_samples": [{"labels": "{}", "value": 1}],
    }
