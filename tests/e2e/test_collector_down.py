"""A collector that is gone, deaf or stuck: messages go on unharmed, and the server ends in time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import grpc
import pytest
from tests.e2e.calls import ACCEPTANCE, SENT, TIMEOUT, request
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.support.otlp import Collector

from postwire.v1.provider_service_pb2 import ListProvidersRequest

GRACE: Final = 0.5

HOUR: Final = "3600000"
QUICK = {
    "OTEL_BSP_SCHEDULE_DELAY": "10",
    "OTEL_METRIC_EXPORT_INTERVAL": "50",
    **dict.fromkeys(("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_METRIC_EXPORT_TIMEOUT"), HOUR),
}
MESSAGES = 50


@contextmanager
def closed() -> Iterator[str]:
    """Nobody listens."""
    with socket.socket() as taken:  # bound and not listening, so that nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def deaf() -> Iterator[str]:
    """Somebody listens, and takes no connection up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


class _Stuck(grpc.GenericRpcHandler):
    """Takes every call, and answers none until it is let go."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def service(self, handler_call_details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._wait)

    def _wait(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.released.wait()
        return b""


@contextmanager
def stuck() -> Iterator[str]:
    """A collector that takes what it is sent, and never answers."""
    handler = _Stuck()
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, handlers=[handler], options=[("grpc.so_reuseport", 0)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            handler.released.set()
            server.stop(None).wait()


@pytest.fixture(params=[closed, deaf, stuck], ids=lambda collector: collector.__name__)
def endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    with request.param() as address:
        yield f"http://{address}"


def ends_in_time(server: Server) -> None:
    """Ask the server to end. To wait for an export would take an hour."""
    assert server.terminate() == 0


def send(server: Server, count: int = MESSAGES) -> None:
    """Send so many at once, and hold all of them to be sent."""
    calls = [server.dispatch.Dispatch.future(request(), timeout=TIMEOUT) for _ in range(count)]
    assert {call.result().message.state for call in calls} == {SENT}


def test_messages_go_on_and_an_idle_server_ends_in_time(endpoint: str, serve: Serve) -> None:
    server = serve(telemetry__otlp_endpoint=endpoint, server__grace=f"{GRACE}s", **QUICK)
    send(server)
    assert server.dispatch.Dispatch(request(), timeout=TIMEOUT).message.attempts[0].trace_id
    ends_in_time(server)
    assert server.log("internal_error") == []
    assert server.log("stopped")[0]["unfinished"] == 0
    assert server.rows("SELECT count(*) FROM messages WHERE state = 'sent'") == [(MESSAGES + 1,)]


def test_a_server_that_needs_all_of_its_grace_ends_in_time(endpoint: str, serve: Serve) -> None:
    server = serve(
        telemetry__otlp_endpoint=endpoint, server__grace=f"{GRACE}s", providers__sms_mms__latency="1h", **QUICK
    )
    server.dispatch.Dispatch(request(wait_for=ACCEPTANCE), timeout=TIMEOUT)
    waiting = server.dispatch.Dispatch.future(request(), timeout=TIMEOUT)
    eventually(
        lambda: (
            sum(
                one.in_flight
                for one in server.providers.ListProviders(ListProvidersRequest(), timeout=TIMEOUT).providers
            )
            == 2
        )
    )
    ends_in_time(server)
    waiting.exception()
    assert server.log("stopped")[0]["unfinished"] == 2


def test_what_cannot_be_sent_is_dropped_and_seldom_spoken_of(serve: Serve) -> None:
    with deaf() as address:
        server = serve(
            telemetry__otlp_endpoint=f"http://{address}",
            server__grace=f"{GRACE}s",
            OTEL_BSP_MAX_QUEUE_SIZE="16",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="16",
            **QUICK,
        )
        for _ in range(4):
            send(server, 100)
        ends_in_time(server)
        lines = server.log("library")
        assert len(lines) < 40
        assert len(server.log("attempt")) == 400


def test_a_collector_that_comes_late_is_told_from_then_on(serve: Serve) -> None:
    with closed() as address:
        server = serve(telemetry__otlp_endpoint=f"http://{address}", server__grace=f"{GRACE}s", **QUICK)
        send(server)
    with Collector(address) as collector:

        def reported() -> object:
            send(server, 1)
            return collector.spans()

        eventually(reported)
        server.stop()
    assert server.log("internal_error") == []
