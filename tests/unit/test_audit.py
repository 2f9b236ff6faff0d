"""What is kept of who changed what."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postwire.core import audit
from postwire.core.audit import AuditedMethod, AuditFilter, AuditPosition, RefusedCalls, audit_token, parse_audit_token
from postwire.core.principal import ALL_ROLES, LOCAL, Principal, Role
from postwire.v1 import admin_service_pb2, dispatch_service_pb2, provider_service_pb2, suppression_service_pb2

OPERATOR = Principal("acme", "ops", frozenset({Role.OPERATE}))
ADMIN = Principal("acme", "root", frozenset({Role.ADMIN}))
MESSAGE_ID = "0198c0de-0000-7000-8000-000000000000"

CHANGES_NOTHING = {
    "postwire.v1.DispatchService/GetMessage",
    "postwire.v1.DispatchService/ListMessages",
    "postwire.v1.DispatchService/WatchMessages",
    "postwire.v1.DispatchService/ExplainRoute",
    "postwire.v1.ProviderService/ListProviders",
    "postwire.v1.ProviderService/GetProvider",
    "postwire.v1.ProviderService/WatchProviders",
    "postwire.v1.AdminService/ListAuditEvents",
    "postwire.v1.AdminService/GetRekey",
    "postwire.v1.AdminService/ListNodes",
    "postwire.v1.AdminService/WatchStats",
    "postwire.v1.AdminService/ListTenants",
    "postwire.v1.AdminService/GetCaller",
    "postwire.v1.SuppressionService/CheckSuppressions",
    "postwire.v1.SuppressionService/ListSuppressions",
}
DISPATCHES = {"postwire.v1.DispatchService/Dispatch", "postwire.v1.DispatchService/DispatchStream"}


def test_every_method_that_changes_something_besides_by_dispatching_is_audited() -> None:
    files: list[Any] = [admin_service_pb2, dispatch_service_pb2, provider_service_pb2, suppression_service_pb2]
    services = [service for one in files for service in one.DESCRIPTOR.services_by_name.values()]
    methods = {f"{service.full_name}/{method.name}" for service in services for method in service.methods}
    assert methods - CHANGES_NOTHING - DISPATCHES == {one.value for one in AuditedMethod}


@pytest.mark.parametrize(
    ("method", "by", "tenant", "principal"),
    [
        (AuditedMethod.CANCEL_MESSAGE, OPERATOR, "acme", "ops"),
        (AuditedMethod.ERASE_MESSAGES, ADMIN, "acme", "root"),
        (AuditedMethod.DRAIN_PROVIDER, OPERATOR, "", "acme/ops"),
        (AuditedMethod.DRAIN_PROVIDER, ADMIN, "", "root"),
        (AuditedMethod.START_REKEY, LOCAL, "", "local"),
    ],
)
def test_an_event_says_who_it_was_and_whose_things_were_changed(
    method: AuditedMethod, by: Principal, tenant: str, principal: str
) -> None:
    made = audit.event(method, by, "target", "why", now=5)
    assert (made.time, made.tenant, made.principal, made.target) == (5, tenant, principal, "target")
    assert (made.method, made.result, made.reason) == (method.value, "OK", "why")


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("asked for by ada@example.com, twice", "asked for by (address), twice"),
        ("<ada.b+c@exämple.com>", "<(address)>"),
        ("mailto:ada@example.com", "mailto:(address)"),
        ("wrong number: +1 (500) 555-0100.", "wrong number: (address)."),
        ("+15005550100", "(address)"),
        ("ticket INC0012345678, page @ 12", "ticket INC0012345678, page @ 12"),
        ("1 + 1, v2.0.15005550100", "1 + 1, v2.0.15005550100"),
        ("", ""),
    ],
)
def test_what_looks_like_an_address_is_struck_out_of_a_reason(reason: str, kept: str) -> None:
    assert audit.event(AuditedMethod.CANCEL_MESSAGE, LOCAL, MESSAGE_ID, reason, now=0).reason == kept


@pytest.mark.parametrize("named", [MESSAGE_ID, "sms-mms", "a1"])
def test_a_refused_call_is_about_what_it_names(named: str) -> None:
    assert audit.target_of(named) == named


@pytest.mark.parametrize("named", ["", "ada@example.com", "+15005550100", "15005550100", "Ada", "a" * 65, "a\n", "ü"])
def test_what_is_no_name_of_ours_is_not_kept(named: str) -> None:
    assert audit.target_of(named) == ""


def test_of_refused_calls_of_one_principal_few_are_kept() -> None:
    refused = RefusedCalls()
    assert [refused.admit(OPERATOR, 0.0) for _ in range(25)] == [True] * 20 + [False] * 5
    assert refused.admit(ADMIN, 0.0), "others of the tenant are kept"
    assert [refused.admit(OPERATOR, at) for at in (299.0, 301.0, 302.0, 601.0)] == [False, True, False, True]


def test_of_refused_calls_of_one_tenant_few_are_kept_however_many_call() -> None:
    refused = RefusedCalls()
    kept = Counter(refused.admit(Principal("acme", f"p-{number % 50}", ALL_ROLES), 0.0) for number in range(2_000))
    assert kept[True] == RefusedCalls.BURST * RefusedCalls.TENANT_FACTOR
    assert refused.admit(LOCAL, 0.0), "other tenants notice nothing"


def test_those_who_are_told_apart_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RefusedCalls, "MOST_PRINCIPALS", 3)
    refused = RefusedCalls()
    kept = [refused.admit(Principal("acme", f"p-{number}", ALL_ROLES), 0.0) for number in range(60)]
    assert kept.count(True) == 3 + RefusedCalls.BURST, "those who come later count as one"


@given(
    st.builds(AuditPosition, st.integers(0, 2**55), st.integers(0, 2**55)),
    st.builds(AuditFilter, st.text(), st.text(), st.none() | st.integers(), st.none() | st.integers()),
    st.builds(AuditFilter, st.text(), st.text(), st.none() | st.integers(), st.none() | st.integers()),
)
def test_a_token_belongs_to_its_filter(after: AuditPosition, chosen: AuditFilter, other: AuditFilter) -> None:
    token = audit_token(after, chosen)
    assert parse_audit_token(token, chosen) == after
    if other != chosen:
        with pytest.raises(ValueError, match="another filter"):
            parse_audit_token(token, other)


@pytest.mark.parametrize("token", ["", "x", "ÿ", "AAAA", "AAAAAAAAAAAxLjI=x", "AAAAAAAAAAAxMjM0"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="must be a token"):
        parse_audit_token(token, AuditFilter())
