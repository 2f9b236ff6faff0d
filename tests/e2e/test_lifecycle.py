"""The server's way up and its way down."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import apsw
import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.e2e.calls import ACCEPTANCE, SENDING, SENT, SUCCESS, TIMEOUT, in_flight, refused, release, request
from tests.e2e.conftest import Serve
from tests.e2e.metrics import METRICS, probe
from tests.e2e.server import Server, environment, eventually
from tests.support import forking

SERVICES = ("", "postwire.v1.DispatchService", "postwire.v1.ProviderService")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def watch(server: Server, service: str) -> Any:
    """A stream of what health says."""
    return server.health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT)


@pytest.mark.parametrize("service", [*SERVICES, "liveness"])
def test_every_service_is_healthy(server: Server, service: str) -> None:
    assert server.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT).status == SERVING
    status = watch(server, service)
    assert next(status).status == SERVING
    status.cancel()


def test_nobody_knows_the_health_of_a_service_that_is_not_there(server: Server) -> None:
    asked = health_pb2.HealthCheckRequest(service="nobody")
    assert refused(lambda: server.health.Check(asked, timeout=TIMEOUT)).code is grpc.StatusCode.NOT_FOUND


def test_the_log_tells_what_was_booted(server: Server) -> None:
    assert {line["provider_name"]: line["channels"] for line in server.log("provider")} == {
        "sms-mms": ["sms", "mms"],
        "email": ["email"],
    }
    (serving,) = server.log("serving")
    assert serving["store"] == str(server.store)
    assert serving["listen"] == server.address
    warned = [line for line in server.log("warning") if "mock" in line["detail"]]
    assert [line["channel"] for line in warned] == ["sms", "mms", "email"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_shutdown_finishes_what_is_under_way_and_takes_nothing_new(serve: Serve, number: signal.Signals) -> None:
    server = serve(held=True, providers__sms_mms__latency="1h", server__grace="1h", **METRICS)
    statuses = {service: watch(server, service) for service in SERVICES}
    assert {service: next(status).status for service, status in statuses.items()} == dict.fromkeys(SERVICES, SERVING)
    asked = request()
    call = server.dispatch.Dispatch.future(asked, timeout=TIMEOUT)
    eventually(lambda: in_flight(server) == 1)

    server.send_signal(number)
    assert {service: next(status).status for service, status in statuses.items()} == dict.fromkeys(
        SERVICES, NOT_SERVING
    )
    assert probe(server, "/readyz") == (503, "shutting down\n")
    # What restarts a server that is not alive would cut the call short.
    liveness = health_pb2.HealthCheckRequest(service="liveness")
    assert server.health.Check(liveness, timeout=TIMEOUT).status == SERVING
    assert probe(server, "/livez") == (200, "ok\n")
    assert not call.done()
    error = refused(lambda: server.dispatch.Dispatch(request(), timeout=TIMEOUT))
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    assert error.retry_delay
    assert refused(lambda: over_a_new_connection(server)).code is grpc.StatusCode.UNAVAILABLE
    release(server)
    answer = call.result().message
    assert (answer.state, answer.outcome) == (SENT, SUCCESS)
    for status in statuses.values():
        status.cancel()
    assert server.wait() == 0
    assert not server.store.with_name("postwire.db-wal").exists(), "the log is folded into the file"
    assert server.log("draining")[0]["signal"] == number.name
    assert server.log("draining")[0]["in_flight"] == 1
    assert server.log("stopped")[0]["unfinished"] == 0
    assert server.log("internal_error") == server.log("library") == []
    assert server.rows("SELECT request_id, state FROM messages") == [(asked.request_id, "sent")]


def over_a_new_connection(server: Server) -> object:
    call: Any = server.channel().unary_unary("/postwire.v1.DispatchService/Dispatch")
    return call(request().SerializeToString(), timeout=TIMEOUT)


def test_an_idle_server_stops_at_once_though_somebody_watches_its_health(serve: Serve) -> None:
    server = serve(server__grace="1h")
    status = watch(server, "")
    assert next(status).status == SERVING
    server.send_signal(signal.SIGTERM)
    assert next(status).status == NOT_SERVING
    assert server.wait() == 0


def test_what_does_not_end_within_the_grace_is_let_go_as_it_is(serve: Serve) -> None:
    server = serve(providers__sms_mms__latency="1h", server__grace="200ms")
    waiting = server.dispatch.Dispatch.future(request(), timeout=TIMEOUT)
    accepted = server.dispatch.Dispatch(request(wait_for=ACCEPTANCE), timeout=TIMEOUT).message
    eventually(lambda: in_flight(server) == 2)
    assert server.terminate() == 0
    assert server.log("stopped")[0]["unfinished"] == 2
    # OK with the last durable state, or an error without our details: whatever it is, it comes.
    if not waiting.exception():
        assert waiting.result().message.state == SENDING
    assert server.rows("SELECT state FROM messages") == [("sending",)] * 2
    assert server.rows("SELECT outcome FROM attempts") == [(None,)] * 2
    assert accepted.state == SENDING


def test_a_second_signal_does_no_harm(serve: Serve) -> None:
    server = serve(held=True, providers__sms_mms__latency="1h", server__grace="1h")
    call = server.dispatch.Dispatch.future(request(), timeout=TIMEOUT)
    eventually(lambda: in_flight(server) == 1)
    server.send_signal(signal.SIGTERM)
    server.wait_for_event("draining")
    server.send_signal(signal.SIGTERM)
    server.send_signal(signal.SIGINT)
    release(server)
    assert call.result().message.state == SENT
    assert server.wait() == 0


# Boots that fail.


def boot(folder: Path, **settings: str) -> str:
    """Start a server that has to refuse; returns the one line that it says."""
    done = forking.run("serve", cwd=folder, env=environment(folder, **settings))
    assert done.returncode not in (0, None)
    assert done.returncode > 0, "not by a signal"
    assert done.stdout == ""
    line = done.stderr.rstrip("\n")
    assert line
    assert "\n" not in line, line
    assert "Traceback" not in line
    return line


def test_a_port_in_use_stops_the_boot(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = boot(tmp_path, server__listen=address)
    assert "server.listen" in line
    assert address in line


def test_another_server_s_port_and_store_stop_the_boot(server: Server, tmp_path: Path) -> None:
    assert "server.listen" in boot(tmp_path, server__listen=server.address)
    line = boot(tmp_path, store__path=str(server.store))
    assert "store.path" in line
    assert "in use" in line
    assert server.dispatch.Dispatch(request(), timeout=TIMEOUT).message.state == SENT


@pytest.mark.parametrize("place", ["file/postwire.db", "missing/postwire.db", "folder"])
def test_a_store_that_cannot_be_made_stops_the_boot(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    line = boot(tmp_path, store__path=str(tmp_path / place))
    assert "store.path" in line
    assert str(tmp_path / place) in line


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_store_that_is_read_only_stops_the_boot(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "store.path" in boot(tmp_path)


def test_a_store_that_is_not_ours_stops_the_boot(tmp_path: Path) -> None:
    store = tmp_path / "postwire.db"
    store.write_bytes(b"This is a letter, and no database at all. " * 100)
    before = store.read_bytes()
    assert "store.path" in boot(tmp_path)
    assert store.read_bytes() == before

    other = tmp_path / "other.db"
    connection = apsw.Connection(str(other))
    connection.execute("CREATE TABLE letters (text TEXT)")
    connection.close()
    assert "another program" in boot(tmp_path, store__path=str(other))


def test_a_store_of_a_newer_release_stops_the_boot_and_is_left_alone(serve: Serve) -> None:
    server = serve()
    server.dispatch.Dispatch(request(), timeout=TIMEOUT)
    assert server.terminate() == 0
    connection = apsw.Connection(str(server.store))
    version = connection.pragma("user_version")
    connection.pragma("user_version", 1000)
    connection.close()
    line = boot(server.folder)
    assert "store.path" in line
    assert "newer" in line
    assert server.rows("PRAGMA user_version") == [(1000,)]

    connection = apsw.Connection(str(server.store))
    connection.pragma("user_version", version)
    connection.close()
    server.start()


WRONG = {
    "an unknown key": ({"server__listten": "127.0.0.1:0"}, "POSTWIRE_SERVER__LISTTEN"),
    "an unknown section": ({"servers__listen": "127.0.0.1:0"}, "POSTWIRE_SERVERS__LISTEN"),
    "an unknown provider": ({"providers__nobody__seed": "1"}, "POSTWIRE_PROVIDERS__NOBODY__SEED"),
    "a bad ratio": ({"providers__email__error_ratio": "1.5"}, "providers.email.error_ratio"),
    "a sum over 1": (
        {"providers__email__error_ratio": "0.6", "providers__email__rejected_ratio": "0.6"},
        "providers.email.error_ratio",
    ),
    "a route to nobody": ({"routes__sms": "nobody"}, "routes.sms"),
    "a route to another channel's provider": ({"routes__sms": "email"}, "routes.sms"),
    "a duration without a unit": ({"server__grace": "5"}, "server.grace"),
    "a bad address": ({"server__listen": "nowhere"}, "server.listen"),
    "an address of another machine": ({"server__listen": "192.0.2.1:0", "server__insecure": "true"}, "server.listen"),
}


@pytest.mark.parametrize(("settings", "key"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_setting_stops_the_boot_with_a_line_that_names_it(
    tmp_path: Path, settings: dict[str, str], key: str
) -> None:
    assert key in boot(tmp_path, **settings)
    assert not (tmp_path / "postwire.db").exists() or "server.listen" in key


def test_a_wrong_file_stops_the_boot(tmp_path: Path) -> None:
    (tmp_path / "postwire.toml").write_text("[server]\ngrace = 5\n", encoding="utf-8")
    assert "server.grace" in boot(tmp_path)
