"""What a server's metrics say, fetched the way Prometheus does it."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.calls import TIMEOUT
from tests.e2e.server import Server

METRICS: Final = {"telemetry__metrics_listen": "127.0.0.1:0"}
"""What a server needs for them."""

_NO_PROXY: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(server: Server, path: str = "/metrics", **options: Any) -> str:
    """The text; `options` as `urllib.request.Request` has them."""
    address = server.wait_for_event("serving")["metrics_listen"]
    asked = urllib.request.Request(f"http://{address}{path}", **options)
    with _NO_PROXY.open(asked, timeout=TIMEOUT) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text: str = answer.read().decode()
    return text


def probe(server: Server, path: str) -> tuple[int, str]:
    """What is answered to a probe over HTTP: the status, and the text."""
    address = server.wait_for_event("serving")["metrics_listen"]
    try:
        answer = _NO_PROXY.open(f"http://{address}{path}", timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        return answer.status, answer.read().decode()


def values(server: Server, name: str) -> dict[tuple[str, ...], float]:
    """The samples of one name, by the values of their labels in the order of the labels' names.

    One that is empty is none, as Prometheus has it.
    """
    return {
        tuple(value for label, value in sorted(sample.labels.items()) if value and label[:10] != "otel_scope"): (
            sample.value
        )
        for family in text_string_to_metric_families(fetch(server))
        for sample in family.samples
        if sample.name == name
    }


def attempts(server: Server) -> dict[tuple[str, ...], float]:
    """How many attempts have ended, by channel, outcome and provider."""
    return values(server, "postwire_attempts_total")


def transitions(server: Server) -> dict[tuple[str, ...], float]:
    """How often breakers have changed, by source, target and provider. What has not happened is left out."""
    return {labels: count for labels, count in values(server, "postwire_breaker_transitions_total").items() if count}
