"""What is kept of who changed what, through a real server: each change, who was refused, and nobody's address."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from tests.e2e.calls import (
    ACCEPTANCE,
    AT_MOST_ONCE,
    TIMEOUT,
    UNCERTAIN,
    dispatch,
    dispatch_ahead,
    dispatch_all,
    email,
    refused,
    sms,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.support.access import bearer, declared, made_key

from postwire.core.audit import RefusedCalls
from postwire.v1 import admin_service_pb2 as pb
from postwire.v1.dispatch_service_pb2 import CancelMessageRequest, Resolution, ResolveMessageRequest
from postwire.v1.provider_service_pb2 import (
    DrainProviderRequest,
    GetProviderRequest,
    ResetBreakerRequest,
    ResumeProviderRequest,
    UpdateMockProviderRequest,
)

UNKNOWN_ID = "0198c0de-0000-7000-8000-000000000000"
UNCERTAIN_NUMBER = "+15005550004"
ADDRESSES = ("ada@canary.example", "+14155550199")


def events(server: Server, **asked: Any) -> list[pb.AuditEvent]:
    """Newest first, a page at a time."""
    found: list[pb.AuditEvent] = []
    request = pb.ListAuditEventsRequest(page_size=2, **asked)
    while True:
        page = server.admin.ListAuditEvents(request, timeout=TIMEOUT)
        found += page.events
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def reported(found: list[pb.AuditEvent]) -> list[tuple[str, ...]]:
    """Oldest first: what was called, about what, with which result, and why."""
    return [(one.method.rpartition("/")[2], one.target, one.result, one.reason) for one in reversed(found)]


def test_every_change_is_kept_with_who_made_it_over_a_restart(serve: Serve) -> None:
    server = serve()
    now = Timestamp()
    now.GetCurrentTime()
    queued = dispatch_ahead(server, send_after=1000.0)
    unsure = dispatch(server, sms(to=UNCERTAIN_NUMBER), delivery_guarantee=AT_MOST_ONCE)
    assert unsure.state == UNCERTAIN
    messages, providers = server.dispatch, server.providers
    for _ in range(2):  # again changes nothing
        messages.CancelMessage(CancelMessageRequest(message_id=queued.message_id, reason="wrong list"), timeout=TIMEOUT)
    sent = Resolution.RESOLUTION_SENT
    messages.ResolveMessage(ResolveMessageRequest(message_id=unsure.message_id, resolution=sent), timeout=TIMEOUT)
    providers.DrainProvider(DrainProviderRequest(name="email", reason="ticket 7"), timeout=TIMEOUT)
    providers.ResumeProvider(ResumeProviderRequest(name="email"), timeout=TIMEOUT)
    providers.ResetBreaker(ResetBreakerRequest(name="email"), timeout=TIMEOUT)
    providers.UpdateMockProvider(UpdateMockProviderRequest(name="email", error_ratio=0.5), timeout=TIMEOUT)
    expected = [
        ("CancelMessage", queued.message_id, "OK", "wrong list"),
        ("ResolveMessage", unsure.message_id, "OK", ""),
        ("DrainProvider", "email", "OK", "ticket 7"),
        ("ResumeProvider", "email", "OK", ""),
        ("ResetBreaker", "email", "OK", ""),
        ("UpdateMockProvider", "email", "OK", ""),
    ]
    found = events(server)
    assert reported(found) == expected
    assert {(one.principal, one.tenant) for one in found} == {("local", ""), ("local", "default")}
    assert all(one.time.ToNanoseconds() >= now.ToNanoseconds() // 1000 * 1000 for one in found)
    server.stop()
    again = serve()
    assert reported(events(again)) == expected
    assert reported(events(again, tenant="default")) == expected[:2]
    assert reported(events(again, method="postwire.v1.ProviderService/ResetBreaker")) == expected[4:5]
    assert reported(events(again, time_from=found[1].time, time_to=found[0].time)) == expected[4:5]


def test_after_a_kill_there_is_an_event_for_each_change_and_no_other(serve: Serve) -> None:
    server = serve()
    later = Timestamp()
    later.FromSeconds(int(time.time()) + 3600)
    count = 400
    queued = dispatch_all(server, (sms() for _ in range(count)), send_time=later, wait_for=ACCEPTANCE)
    first, *others = [CancelMessageRequest(message_id=one.message_id, reason="stop") for one in queued]
    calls = [server.dispatch.CancelMessage.future(one, timeout=TIMEOUT) for one in others]
    server.dispatch.CancelMessage(first, timeout=TIMEOUT)
    server.kill()
    for call in calls:
        call.cancel()
    cancelled = server.rows("SELECT lower(hex(message_id)) FROM messages WHERE state = 'cancelled'")
    kept = server.rows("SELECT replace(target, '-', '') FROM events")
    assert sorted(kept) == sorted(cancelled)
    assert 1 <= len(kept) <= count


REFUSED: dict[str, tuple[Callable[[Server], object], tuple[str, ...]]] = {
    "not found": (
        lambda server: server.dispatch.CancelMessage(
            CancelMessageRequest(message_id=UNKNOWN_ID, reason="why"), timeout=TIMEOUT
        ),
        ("CancelMessage", UNKNOWN_ID, "MESSAGE_NOT_FOUND", "why"),
    ),
    "no id": (
        lambda server: server.dispatch.CancelMessage(CancelMessageRequest(message_id=ADDRESSES[0]), timeout=TIMEOUT),
        ("CancelMessage", "", "INVALID_MESSAGE", ""),
    ),
    "no provider": (
        lambda server: server.providers.DrainProvider(
            DrainProviderRequest(name="nobody", reason=ADDRESSES[0]), timeout=TIMEOUT
        ),
        ("DrainProvider", "nobody", "PROVIDER_NOT_FOUND", "(address)"),
    ),
    "a number for a name": (
        lambda server: server.providers.ResetBreaker(ResetBreakerRequest(name=ADDRESSES[1]), timeout=TIMEOUT),
        ("ResetBreaker", "", "PROVIDER_NOT_FOUND", ""),
    ),
    "no reason": (
        lambda server: server.providers.ResumeProvider(
            ResumeProviderRequest(name="email", reason="a\nb"), timeout=TIMEOUT
        ),
        ("ResumeProvider", "email", "INVALID_MESSAGE", ""),
    ),
    "a bad setting": (
        lambda server: server.providers.UpdateMockProvider(
            UpdateMockProviderRequest(name="email", error_ratio=0.9, rejected_ratio=0.9), timeout=TIMEOUT
        ),
        ("UpdateMockProvider", "email", "INVALID_MESSAGE", ""),
    ),
    "not encrypted": (
        lambda server: server.admin.StartRekey(pb.StartRekeyRequest(reason="rotation"), timeout=TIMEOUT),
        ("StartRekey", "", "STORE_NOT_ENCRYPTED", "rotation"),
    ),
}


@pytest.mark.parametrize(("call", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_call_is_kept_with_its_reason(
    server: Server, call: Callable[[Server], object], expected: tuple[str, ...]
) -> None:
    before = len(events(server))
    assert refused(lambda: call(server)).reason == expected[2]
    found = events(server)
    assert (reported(found[:1]), len(found)) == ([expected], before + 1)


def test_refused_calls_do_not_fill_the_disk(serve: Serve) -> None:
    server = serve()
    asked = CancelMessageRequest(message_id=UNKNOWN_ID)
    calls = [server.dispatch.CancelMessage.future(asked, timeout=TIMEOUT) for _ in range(200)]
    assert {call.code() for call in calls} == {StatusCode.NOT_FOUND}
    assert RefusedCalls.BURST <= len(events(server)) < RefusedCalls.BURST + 20


def test_a_call_that_only_looks_leaves_no_trace(serve: Serve) -> None:
    server = serve()
    refused(lambda: server.providers.GetProvider(GetProviderRequest(name="nobody"), timeout=TIMEOUT))
    server.admin.GetRekey(pb.GetRekeyRequest(), timeout=TIMEOUT)
    assert events(server) == []


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_is_kept(serve: Serve, address: str) -> None:
    server = serve()
    queued = dispatch_ahead(server, email(address) if "@" in address else sms(to=address), send_after=1000.0)
    cancel = CancelMessageRequest(message_id=queued.message_id, reason=f"asked for by {address}")
    server.dispatch.CancelMessage(cancel, timeout=TIMEOUT)
    refused(lambda: server.providers.DrainProvider(DrainProviderRequest(name=address), timeout=TIMEOUT))
    server.stop()
    kept = server.rows("SELECT * FROM events")
    assert len(kept) == 2
    assert address not in repr(kept)


def test_who_calls_is_named_and_who_may_not_is_kept_as_well(serve: Serve) -> None:
    billing, ops, root, unknown = (made_key() for _ in range(4))
    toml = (
        declared(billing, "acme", "send", name="billing"),
        declared(ops, "acme", "operate", name="ops"),
        declared(root, "", name="root"),
    )
    server = serve(toml="\n".join(toml))

    def cancel(metadata: tuple[tuple[str, str], ...]) -> str | None:
        asked = CancelMessageRequest(message_id=UNKNOWN_ID)
        return refused(lambda: server.dispatch.CancelMessage(asked, metadata=metadata, timeout=TIMEOUT)).reason

    assert cancel(bearer(unknown)) == "INVALID_CREDENTIALS"
    assert cancel(()) == "NO_CREDENTIALS"
    assert cancel(bearer(billing)) == "MESSAGE_NOT_FOUND"
    assert cancel(bearer(billing, "globex")) == "ROLE_REQUIRED"
    assert cancel(bearer(root, "globex")) == "TENANT_NOT_FOUND"
    assert cancel(bearer(root, "acme")) == "MESSAGE_NOT_FOUND"
    drain = DrainProviderRequest(name="email")
    server.providers.DrainProvider(drain, metadata=bearer(ops), timeout=TIMEOUT)
    refused(lambda: server.providers.DrainProvider(drain, metadata=bearer(billing), timeout=TIMEOUT))
    ask = pb.ListAuditEventsRequest()
    assert (
        refused(lambda: server.admin.ListAuditEvents(ask, metadata=bearer(ops), timeout=TIMEOUT)).text
        == "this needs the role admin"
    )
    found = server.admin.ListAuditEvents(ask, metadata=bearer(root), timeout=TIMEOUT).events
    assert [(one.tenant, one.principal, one.target, one.result) for one in reversed(found)] == [
        ("acme", "billing", UNKNOWN_ID, "MESSAGE_NOT_FOUND"),
        ("acme", "billing", UNKNOWN_ID, "ROLE_REQUIRED"),
        ("default", "root", UNKNOWN_ID, "TENANT_NOT_FOUND"),
        ("acme", "root", UNKNOWN_ID, "MESSAGE_NOT_FOUND"),
        ("", "acme/ops", "email", "OK"),
        ("", "acme/billing", "email", "ROLE_REQUIRED"),
    ]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a method that is none": ({"method": "postwire.v1.DispatchService/Dispatch"}, "method"),
    "a size below 1": ({"page_size": -1}, "page_size"),
    "a token that is none": ({"page_token": "x"}, "page_token"),
    "a time that is none": ({"time_from": Timestamp(nanos=-1)}, "time_from"),
}


@pytest.mark.parametrize(("asked", "field"), BAD.values(), ids=BAD.keys())
def test_a_bad_choice_is_refused(server: Server, asked: dict[str, Any], field: str) -> None:
    error = refused(lambda: server.admin.ListAuditEvents(pb.ListAuditEventsRequest(**asked), timeout=TIMEOUT))
    assert (error.code, error.reason, error.fields) == (StatusCode.INVALID_ARGUMENT, "INVALID_PAGE", [field])


def test_a_token_belongs_to_its_choice(serve: Serve) -> None:
    server = serve()
    for _ in range(3):
        server.providers.ResetBreaker(ResetBreakerRequest(name="email"), timeout=TIMEOUT)
    page = server.admin.ListAuditEvents(pb.ListAuditEventsRequest(page_size=1), timeout=TIMEOUT)
    other = pb.ListAuditEventsRequest(page_size=1, tenant="acme", page_token=page.next_page_token)
    assert refused(lambda: server.admin.ListAuditEvents(other, timeout=TIMEOUT)).fields == ["page_token"]
