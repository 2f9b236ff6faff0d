"""Whose receipts are taken."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.providers import FakeProvider, registry_of, route
from tests.unit.test_mock import mock

from postwire.config.bind import ConfigError
from postwire.core.message import Channel
from postwire.providers.registry import Registry
from postwire.providers.reporting import ReportingProviders, refuse_unreported


def test_they_are_those_whose_vendors_call_and_those_that_bring_receipts_now() -> None:
    simulated = mock()
    reporting = ReportingProviders(registry_of(FakeProvider("a"), FakeProvider("b"), simulated), {"b"})
    assert list(reporting) == ["b"]
    assert "mock" not in reporting
    simulated.prepare_update({"delivered_ratio": 0.5})()
    reporting.look()
    assert sorted(reporting) == ["b", "mock"]
    assert ("mock" in reporting, "a" in reporting, "x" in reporting, None in reporting) == (True, False, False, False)
    assert [reporting.isdisjoint(names) for names in (["a", "x"], ["a", "mock"], ["b"], [])] == [
        True,
        False,
        False,
        True,
    ]
    simulated.prepare_update({"delivered_ratio": 0.0})()
    reporting.look()
    assert len(reporting) == 1


def test_a_provider_that_is_no_mock_may_begin_to_bring_receipts_at_any_time() -> None:
    class Fickle(FakeProvider):
        reports = False

    fickle = Fickle("a")
    reporting = ReportingProviders(registry_of(fickle, FakeProvider("b")))
    assert (list(reporting), reporting.isdisjoint({"a", "b"})) == ([], True)
    fickle.reports = True
    assert (list(reporting), reporting.isdisjoint({"a", "b"}), reporting.isdisjoint({"b"})) == (["a"], False, True)


def test_where_nobody_reports_there_is_nobody() -> None:
    reporting = ReportingProviders(registry_of(FakeProvider("a")))
    assert not reporting
    assert "a" not in reporting


def waits_for_receipts(*names: str, within: float | None = 45.0) -> Registry:
    made = [mock() if name == "mock" else FakeProvider(name) for name in names]
    return registry_of(
        *made, routes={Channel.SMS: [replace(route(*names, delivered_within=within), rule="routes.sms[0]")]}
    )


def test_a_rule_cannot_wait_for_receipts_that_nobody_sends() -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_unreported(waits_for_receipts("a", "b"), {"c"})
    assert str(caught.value) == (
        "routes.sms[0].delivered_within: does nothing, since no receipts are taken of a, b: "
        "configure these, or take it out"
    )
    refuse_unreported(waits_for_receipts("a", "b"), {"b"})
    refuse_unreported(waits_for_receipts("a", "b", within=None), ())
    refuse_unreported(waits_for_receipts("a", "mock"), ())
