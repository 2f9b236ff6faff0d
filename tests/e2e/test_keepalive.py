"""Callers that ping to keep a connection alive, as load balancers and proxies make them do."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from tests.e2e.server import Server
from tests.support.http2 import Connection

from postwire.api import transport
from postwire.config.schema import ServerConfig
from postwire.delivery.watch import HEARTBEAT_INTERVAL
from postwire.v1.provider_service_pb2 import WatchProvidersRequest

PINGS = 6
"""More than gRPC forgives: it cuts a caller off at the third ping that comes too early."""


def test_a_caller_that_pings_without_a_pause_is_cut_off(server: Server) -> None:
    with Connection(server.address) as connection:
        assert "too_many_pings" in (connection.ping() for _ in range(PINGS))


async def test_a_caller_that_leaves_the_time_between_its_pings_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "SHORTEST_PING_INTERVAL", 0.02)
    server = grpc.aio.server(options=transport.options(ServerConfig()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert await asyncio.to_thread(ping_with_rests, f"127.0.0.1:{port}", 0.03) == [""] * PINGS
    finally:
        await server.stop(None)


@pytest.mark.long
def test_a_caller_may_ping_as_often_as_libraries_let_it(server: Server) -> None:
    assert ping_with_rests(server.address, transport.SHORTEST_PING_INTERVAL + 0.05) == [""] * PINGS


@pytest.mark.long
def test_a_watch_of_providers_without_a_change_shows_a_sign_of_life(server: Server) -> None:
    watch = server.providers.WatchProviders(WatchProvidersRequest(), timeout=2 * HEARTBEAT_INTERVAL)
    assert next(watch).providers
    assert not next(watch).providers
    watch.cancel()


def ping_with_rests(address: str, seconds: float) -> list[str]:
    """What each of some pings is answered."""
    answers = []
    with Connection(address) as connection:
        for _ in range(PINGS):
            answers.append(connection.ping())
            connection.rest(seconds)
    return answers
