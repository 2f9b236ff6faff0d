"""A server to which everything has happened that a metric tells of, and one of those that share a database."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import asyncpg
import grpc
from tests.e2e.calls import (
    AT_MOST_ONCE,
    FAILED,
    QUEUED,
    SENT,
    TIMEOUT,
    UNCERTAIN,
    dispatch,
    email,
    get,
    mms,
    refused,
    request,
    sms,
    tried,
    until,
    update,
)
from tests.e2e.metrics import METRICS, fetch
from tests.e2e.server import Server, eventually
from tests.e2e.streams import in_time
from tests.e2e.toml import ERRORS, STAYS_CLOSED, case, mock, of, rule
from tests.support.postgres import new_database

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2
from postwire.v1.provider_service_pb2 import DrainProviderRequest, ResumeProviderRequest

CANCELLED: Final = message_pb2.MESSAGE_STATE_CANCELLED
DELIVERED: Final = message_pb2.MESSAGE_STATE_DELIVERED
UNDELIVERED: Final = message_pb2.MESSAGE_STATE_UNDELIVERED
EXPIRED: Final = message_pb2.MESSAGE_STATE_EXPIRED

_BRITTLE: Final = 'breaker = {{ window_calls = 1, minimum_calls = 1, open_for = "{0}", open_for_max = "{0}" }}'
_SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_SETTINGS: Final = (
    '[receipts]\nlisten = "127.0.0.1:0"\npublic_url = "https://hooks.example.com"',
    # Nobody is there.
    f'[[notify]]\nname = "away"\nurl = "http://127.0.0.1:1/"\nsecret = "{_SECRET}"',
    f'[providers.reporting]\nkind = "webhook"\nchannels = ["mms"]\nurl = "http://127.0.0.1:1/"\nsecret = "{_SECRET}"',
    f'receipts = {{ secret = "{_SECRET}" }}',
    mock("good", STAYS_CLOSED, 'retry_after = "1ms"'),
    mock("fragile", ERRORS, _BRITTLE.format("1h")),
    mock("recovering", ERRORS, _BRITTLE.format("1ms")),
    mock("drained"),
    mock("delivers", "delivered_ratio = 1.0"),
    mock("bounces", "undelivered_ratio = 1.0"),
    case("failover", '["fragile", "good"]'),
    case("parked", '["fragile"]'),
    case("recovering", '["recovering"]'),
    case("drained", '["drained"]'),
    case("delivers", '["delivers"]'),
    case("bounces", '["bounces"]'),
    rule("sms", '["good"]'),
    rule("mms", '["good"]'),
    case("email", '["good"]', channel="email"),
)


@contextmanager
def observed_server(folder: Path) -> Iterator[Server]:
    """Start it, and have everything happen."""
    (folder / "postwire.toml").write_text("\n".join(_SETTINGS), encoding="utf-8")
    settings = {"delivery__backoff_base": "1ms", "delivery__backoff_max": "1ms", "delivery__expire_after__sms": "1h"}
    with Server(folder, **settings, **METRICS) as server:
        _let_all_end_as_they_may(server)
        _open_and_close(server)
        _park(server)
        _report(server)
        _refuse(server)
        yield server


@contextmanager
def observed_node(folder: Path) -> Iterator[Server]:
    """Start it on a database of its own, where somebody has a transaction open."""
    with asyncio.Runner() as runner:
        url = runner.run(new_database())
        other = runner.run(asyncpg.connect(url))
        try:
            runner.run(other.execute("BEGIN; SELECT pg_current_xact_id()"))
            with Server(folder, store__url=url, **METRICS) as server:
                eventually(lambda: 'postwire_feed_holder="pid ' in fetch(server))
                yield server
        finally:
            runner.run(other.close())


def _let_all_end_as_they_may(server: Server) -> None:
    for message in (sms(), mms(), of("email", email())):
        assert dispatch(server, message).state == SENT
    assert dispatch(server, sms("+15005550001")).state == FAILED
    assert dispatch(server, sms("+15005550002"), max_attempts=1).state == FAILED
    assert dispatch(server, sms("+15005550004"), delivery_guarantee=AT_MOST_ONCE).state == UNCERTAIN
    expiring = dispatch(server, sms("+15005550003"), expire_time=in_time(seconds=0.5))
    until(server, expiring, EXPIRED)
    assert {outcome for _, outcome in tried(get(server, expiring))} == {"rate_limited"}


def _open_and_close(server: Server) -> None:
    """The breaker of a provider opens, and another one carries what is its; one opens, and closes again."""
    failed_over = dispatch(server, of("failover", sms()))
    assert tried(failed_over) == [("fragile", "error"), ("good", "success")]
    passed_over = dispatch(server, of("failover", sms()))
    assert tried(passed_over) == [("good", "success")]
    assert dispatch(server, of("recovering", sms()), max_attempts=1).state == FAILED
    update(server, "recovering", error_ratio=0)
    until(server, dispatch(server, of("recovering", sms())), SENT)


def _park(server: Server) -> None:
    """Nobody takes them now: one waits, one is taken back, and a provider is out of service, and was."""
    assert dispatch(server, of("parked", sms())).state == QUEUED
    parked = dispatch(server, of("parked", sms()))
    cancelled = server.dispatch.CancelMessage(pb.CancelMessageRequest(message_id=parked.message_id), timeout=TIMEOUT)
    assert cancelled.message.state == CANCELLED
    for _ in range(2):
        server.providers.DrainProvider(DrainProviderRequest(name="drained"), timeout=TIMEOUT)
        parked = dispatch(server, of("drained", sms()))
        assert parked.state == QUEUED
        server.providers.ResumeProvider(ResumeProviderRequest(name="drained"), timeout=TIMEOUT)
        until(server, parked, SENT)
    server.providers.DrainProvider(DrainProviderRequest(name="drained"), timeout=TIMEOUT)


def _report(server: Server) -> None:
    """Providers report later what became of messages."""
    until(server, dispatch(server, of("delivers", sms())), DELIVERED)
    until(server, dispatch(server, of("bounces", sms())), UNDELIVERED)
    host, _, port = str(server.wait_for_event("serving")["receipts_listen"]).rpartition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)) as connection:
        connection.request("POST", "/receipts/reporting", b"{}")
        assert connection.getresponse().status == 401, "it is not signed"


def _refuse(server: Server) -> None:
    assert refused(lambda: dispatch(server, email())).reason == "INVALID_ROUTING"
    assert refused(lambda: dispatch(server, sms(to="nobody"))).code is grpc.StatusCode.INVALID_ARGUMENT
    results = list(
        server.dispatch.DispatchStream(iter([pb.DispatchStreamRequest(requests=[request()])]), timeout=TIMEOUT)
    )
    assert len(results) == 1
