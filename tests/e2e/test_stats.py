"""How much is sent, and what waits, told while it happens; and the tenants and the caller, over a real socket."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from tests.e2e.calls import (
    ACCEPTANCE,
    AT_MOST_ONCE,
    FAILED,
    NO_RETRY,
    SENT,
    TIMEOUT,
    UNCERTAIN,
    dispatch,
    email,
    mms,
    refused,
    request,
    sms,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.e2e.streams import in_time
from tests.support.access import bearer, declared, made_key

from postwire import __version__
from postwire.v1.admin_service_pb2 import (
    Backlog,
    GetCallerRequest,
    GetCallerResponse,
    ListTenantsRequest,
    Tenant,
    WatchStatsRequest,
    WatchStatsResponse,
)
from postwire.v1.message_pb2 import (
    CHANNEL_EMAIL,
    CHANNEL_MMS,
    CHANNEL_SMS,
    PRIORITY_HIGH,
    PRIORITY_NORMAL,
    DispatchOptions,
)
from postwire.v1.provider_service_pb2 import DrainProviderRequest, ResumeProviderRequest

COUNTS: Final = ("accepted", "sent", "delivered", "failed", "uncertain")


class Watch:
    """What one who watches has been told."""

    def __init__(self, server: Server) -> None:
        self.call: Any = server.admin.WatchStats(WatchStatsRequest(), timeout=TIMEOUT * 3)
        self.intervals: dict[int, Any] = {}
        self.backlog = Backlog()
        self.responses = 0
        self.next()

    def next(self) -> WatchStatsResponse:
        response: WatchStatsResponse = next(self.call)
        self.responses += 1
        now = response.time.ToMicroseconds()
        for interval in response.intervals:
            start = interval.start_time.ToMicroseconds()
            assert start % 5_000_000 == 0
            assert start <= now
            self.intervals[start] = interval
        if response.HasField("backlog"):
            self.backlog = response.backlog
        return response

    def counts(self) -> Counter[tuple[int, str]]:
        """How many there were, by the channel and what became of them."""
        found: Counter[tuple[int, str]] = Counter()
        for interval in self.intervals.values():
            for one in interval.channels:
                found.update({(one.channel, name): getattr(one, name) for name in COUNTS})
        return +found

    def until(self, good: Callable[[], object]) -> None:
        """Go on until it is so."""
        while not good():
            self.next()


def test_what_becomes_of_messages_is_told_while_it_happens(tmp_path: Path) -> None:
    reports = {f"providers__{name}__delivered_ratio": "1" for name in ("sms_mms", "email")}
    with Server(tmp_path, **NO_RETRY, **reports) as server:
        early = Watch(server)
        assert early.counts() == {}
        assert (early.backlog.unsettled, early.backlog.max_unsettled) == (0, 1_000_000)
        assert early.backlog.store_available
        assert early.backlog.store_bytes > 0
        for message in (sms(), sms(), mms(), email()):
            assert dispatch(server, message).state == SENT
        delivered = {
            (channel, name): count
            for channel, count in ((CHANNEL_SMS, 2), (CHANNEL_MMS, 1), (CHANNEL_EMAIL, 1))
            for name in ("accepted", "sent", "delivered")
        }
        early.until(lambda: early.counts() == delivered)
        assert dispatch(server, sms("+15005550001")).state == FAILED
        assert dispatch(server, sms("+15005550004"), delivery_guarantee=AT_MOST_ONCE).state == UNCERTAIN
        all_of_them = delivered | {
            (CHANNEL_SMS, "accepted"): 4,
            (CHANNEL_SMS, "failed"): 1,
            (CHANNEL_SMS, "uncertain"): 1,
            (CHANNEL_SMS, "delivered"): 3,  # a receipt tells what has become of the uncertain one
        }
        early.until(lambda: early.counts() == all_of_them)
        late = Watch(server)
        assert late.counts() == all_of_them, "whoever comes late is told of it at once"
        assert late.intervals == early.intervals
        for watch in (early, late):
            watch.call.cancel()
        assert server.terminate() == 0
        assert server.log("internal_error") == server.log("library") == []


def test_what_waits_is_told_with_since_when(serve: Serve) -> None:
    server = serve(**NO_RETRY, routes__mms="")
    watch = Watch(server)
    for message in (sms(), email()):
        dispatch(server, message, send_time=in_time(hours=1), wait_for=ACCEPTANCE)
    watch.until(lambda: watch.backlog.unsettled == 2)
    assert (watch.backlog.due, watch.backlog.HasField("oldest_due_time")) == (0, False)
    server.providers.DrainProvider(DrainProviderRequest(name="sms-mms"))
    parked = dispatch(server, sms())
    watch.until(lambda: watch.backlog.due == 1)
    assert watch.backlog.unsettled == 3
    assert watch.backlog.oldest_due_time.ToMicroseconds() >= parked.create_time.ToMicroseconds()
    server.providers.ResumeProvider(ResumeProviderRequest(name="sms-mms"))
    watch.until(lambda: (watch.backlog.due, watch.backlog.unsettled) == (0, 2))
    assert not watch.backlog.HasField("oldest_due_time")
    watch.call.cancel()


def test_who_watches_is_let_go_at_the_end_in_good_order(serve: Serve) -> None:
    server = serve(server__grace="1h")
    watching = [Watch(server) for _ in range(3)]
    assert server.terminate() == 0
    for watch in watching:
        assert [response for response in watch.call if response.intervals] == []
        assert watch.call.code() is grpc.StatusCode.OK
    assert server.log("internal_error") == server.log("library") == []


# Who calls, and for whom.


def caller(server: Server, **extra: Any) -> GetCallerResponse:
    response: GetCallerResponse = server.admin.GetCaller(GetCallerRequest(), timeout=TIMEOUT, **extra)
    return response


def test_where_nobody_is_asked_who_he_is_he_may_everything(serve: Serve) -> None:
    server = serve()
    assert caller(server) == GetCallerResponse(
        principal="local",
        tenant="default",
        roles=["admin", "operate", "read", "send"],
        server_version=__version__,
        authenticated=False,
    )
    assert list(server.admin.ListTenants(ListTenantsRequest(), timeout=TIMEOUT).tenants) == []


ROOT, OPS, APP = made_key(), made_key(), made_key()


def toml(acme: str = "", *others: str) -> str:
    tables = "".join(f"[tenants.{name}]\n" for name in others)
    keys = declared(OPS, "acme", "operate", "read") + declared(APP, "acme", "send") + declared(ROOT, "")
    return f"[tenants.acme]\n{acme}\n{tables}{keys}"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Server]:
    limits = 'rate = 2.5\nmax_unsettled = 10\nmax_in_flight = 4\nweight = 3\nmax_priority = "normal"'
    (tmp_path / "postwire.toml").write_text(toml(limits), encoding="utf-8")
    with Server(tmp_path, **NO_RETRY) as server:
        yield server


def test_whoever_calls_is_told_who_he_is_and_what_he_may_do(guarded: Server) -> None:
    for key, tenant, roles in (
        (ROOT, "default", ["admin", "operate", "read", "send"]),
        (OPS, "acme", ["operate", "read"]),
        (APP, "acme", ["send"]),
    ):
        found = caller(guarded, metadata=bearer(key))
        assert (found.principal, found.tenant, list(found.roles)) == (key.id, tenant, roles)
        assert found.authenticated
    acting = caller(guarded, metadata=bearer(ROOT, "acme"))
    assert (acting.principal, acting.tenant) == (ROOT.id, "acme")
    assert refused(lambda: caller(guarded)).reason == "NO_CREDENTIALS"


def test_only_who_may_operate_watches_and_only_an_administrator_sees_tenants(guarded: Server) -> None:
    def watch(key: Any) -> None:
        call: Any = guarded.admin.WatchStats(WatchStatsRequest(), metadata=bearer(key), timeout=TIMEOUT)
        next(call)
        call.cancel()

    def list_tenants(key: Any) -> None:
        guarded.admin.ListTenants(ListTenantsRequest(), metadata=bearer(key), timeout=TIMEOUT)

    watch(ROOT)
    watch(OPS)
    list_tenants(ROOT)
    for call, key in ((watch, APP), (list_tenants, OPS), (list_tenants, APP)):
        assert refused(partial(call, key)).reason == "ROLE_REQUIRED"


def test_tenants_are_shown_with_what_they_may_have_after_a_reload_too(guarded: Server) -> None:
    def tenants() -> list[Tenant]:
        asked: Any = guarded.admin.ListTenants(ListTenantsRequest(), metadata=bearer(ROOT), timeout=TIMEOUT)
        return list(asked.tenants)

    limited = Tenant(
        name="acme", max_unsettled=10, rate=2.5, burst=3, max_in_flight=4, weight=3, max_priority=PRIORITY_NORMAL
    )
    free = Tenant(name="default", weight=1, max_priority=PRIORITY_HIGH)
    assert tenants() == [limited, free]
    later = request(sms())
    later.options.CopyFrom(DispatchOptions(send_time=in_time(hours=1), wait_for=ACCEPTANCE))
    guarded.dispatch.Dispatch(later, metadata=bearer(APP), timeout=TIMEOUT)
    limited.unsettled = 1
    assert tenants() == [limited, free]
    (guarded.folder / "postwire.toml").write_text(toml("burst = 7\nrate = 5.0", "globex"), encoding="utf-8")
    guarded.send_signal(signal.SIGHUP)
    changed = Tenant(name="acme", unsettled=1, rate=5.0, burst=7, weight=1, max_priority=PRIORITY_HIGH)
    eventually(lambda: tenants() != [limited, free])
    assert tenants()[0] == changed
