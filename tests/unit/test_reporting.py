"""Whose receipts are taken."""

from __future__ import annotations

from tests.support.providers import FakeProvider, registry_of
from tests.unit.test_mock import mock

from postwire.providers.reporting import ReportingProviders


def test_they_are_those_whose_vendors_call_and_those_that_bring_receipts_now() -> None:
    simulated = mock()
    reporting = ReportingProviders(registry_of(FakeProvider("a"), FakeProvider("b"), simulated), {"b"})
    assert list(reporting) == ["b"]
    assert "mock" not in reporting
    simulated.prepare_update({"delivered_ratio": 0.5})()
    assert list(reporting) == ["b", "mock"]
    assert ("mock" in reporting, "a" in reporting, "x" in reporting, None in reporting) == (True, False, False, False)
    simulated.prepare_update({"delivered_ratio": 0.0})()
    assert len(reporting) == 1


def test_where_nobody_reports_there_is_nobody() -> None:
    reporting = ReportingProviders(registry_of(FakeProvider("a")))
    assert not reporting
    assert "a" not in reporting
