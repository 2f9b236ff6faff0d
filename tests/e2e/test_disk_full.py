"""The disk runs full in mid-load, and has room again: no OK without durability, and no restart needed."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.e2e.calls import (
    ACCEPTANCE,
    OUTCOME,
    SENDING,
    SENT,
    TIMEOUT,
    Refused,
    email,
    get,
    in_flight,
    refusal_of,
    refused,
    request,
    until,
)
from tests.e2e.conftest import Serve
from tests.e2e.metrics import METRICS, probe, values
from tests.e2e.server import Server, eventually
from tests.e2e.streams import stored

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import Message

SERVICES = ("", "postwire.v1.DispatchService", "postwire.v1.ProviderService")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
MIB = 1 << 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="another process's limits, and tmpfs, are Linux's")


class Disk(Protocol):
    """What a server's store lies on. `fill` and `free` take effect at once, while it runs."""

    folder: Path

    def fill(self, server: Server) -> None: ...

    def free(self, server: Server) -> None: ...


class Limited:
    """A disk on which the server's files cannot grow: the system refuses it more (EFBIG)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, server: Server) -> None:
        self._limit(server, 4096)

    def free(self, server: Server) -> None:
        self._limit(server, None)

    def _limit(self, server: Server, size: int | None) -> None:
        import resource

        _, most = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (most if size is None else size, most))


class Small:
    """A disk of a few MiB that something else fills up (ENOSPC), and then leaves again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, server: Server) -> None:
        with self._ballast.open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def free(self, server: Server) -> None:
        self._ballast.unlink()


@pytest.fixture(params=["limited", "small"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "limited":
        yield Limited(folder)
        return
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield Small(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def serve(disk: Disk, serve: Serve) -> Serve:
    """As ever, but on the disk, which outlives the server."""

    def start(**settings: str) -> Server:
        server = serve(store__path=str(disk.folder / "postwire.db"), **settings)
        server.store = disk.folder / "postwire.db"
        return server

    return start


class Load:
    """Callers who send one message after another, until they are told to stop; `answers` and `refusals` by request."""

    CALLERS = 4

    def __init__(self, server: Server) -> None:
        self.answers: list[tuple[pb.DispatchRequest, Message]] = []
        self.refusals: list[tuple[pb.DispatchRequest, Refused]] = []
        self._server = server
        self._stop = threading.Event()
        self._turn = threading.Condition()
        self._pool = ThreadPoolExecutor(self.CALLERS)
        self._callers = [self._pool.submit(self._send) for _ in range(self.CALLERS)]

    def stop(self) -> None:
        self._stop.set()
        for caller in self._callers:
            caller.result()
        self._pool.shutdown()

    def more_answers(self, count: int = 20) -> None:
        """Return once so many more calls were answered with OK."""
        self._wait(self.answers, count)

    def more_refusals(self, count: int = 20) -> None:
        """Return once so many more calls were refused."""
        self._wait(self.refusals, count)

    def _wait(self, happened: list[Any], count: int) -> None:
        with self._turn:
            wanted = len(happened) + count
            assert self._turn.wait_for(lambda: len(happened) >= wanted, TIMEOUT), f"{len(happened)} of {wanted}"

    def _send(self) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            asked = request(email(text="x" * 2_000), wait_for=OUTCOME if number % 2 else ACCEPTANCE)
            try:
                answer = self._server.dispatch.Dispatch(asked, timeout=TIMEOUT).message
            except grpc.RpcError as error:
                with self._turn:
                    self.refusals.append((asked, refusal_of(error)))
                    self._turn.notify_all()
            else:
                with self._turn:
                    self.answers.append((asked, answer))
                    self._turn.notify_all()


@pytest.fixture
def load() -> Iterator[list[Load]]:
    """Where a test puts its load, for it to be stopped however the test ends."""
    running: list[Load] = []
    yield running
    for one in running:
        one.stop()


def says(server: Server, service: str) -> int:
    status: int = server.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT).status
    return status


def test_a_disk_that_runs_full_in_mid_load_is_told_of_and_loses_nothing(
    disk: Disk, serve: Serve, load: list[Load]
) -> None:
    server = serve(**METRICS)
    statuses = {
        service: server.health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT * 3)
        for service in SERVICES
    }
    assert {service: next(status).status for service, status in statuses.items()} == dict.fromkeys(SERVICES, SERVING)
    load.append(running := Load(server))
    running.more_answers()

    for _ in range(2):
        disk.fill(server)
        assert {service: next(status).status for service, status in statuses.items()} == dict.fromkeys(
            SERVICES, NOT_SERVING
        )
        running.more_refusals()
        # Whoever reads still gets what is owned.
        _, known = running.answers[0]
        assert get(server, known.message_id).request_id == known.request_id
        assert refused(lambda: server.dispatch.Dispatch(request(), timeout=TIMEOUT)).reason == "STORE_UNAVAILABLE"
        assert [says(server, service) for service in SERVICES] == [NOT_SERVING] * 3
        assert probe(server, "/readyz") == (503, "the store cannot commit\n")
        # Who restarts what is not alive would make no room.
        assert says(server, "liveness") == SERVING
        assert probe(server, "/livez") == (200, "ok\n")
        assert values(server, "postwire_store_available") == {(): 0}

        disk.free(server)
        assert {service: next(status).status for service, status in statuses.items()} == dict.fromkeys(
            SERVICES, SERVING
        )
        assert values(server, "postwire_store_available") == {(): 1}
        assert probe(server, "/readyz") == (200, "ok\n")
        running.more_answers()
    running.stop()
    for status in statuses.values():
        status.cancel()

    for _, one in running.refusals:
        assert (one.code, one.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert one.retry_delay
        assert "grpc-retry-pushback-ms" not in one.trailers
    # An outcome that could not be recorded then is recorded since.
    eventually(lambda: {get(server, one.message_id).state for _, one in running.answers[-200:]} == {SENT})
    eventually(lambda: len(server.log("store_available")) >= 2)  # lines may wait a moment before they are written
    server.kill()
    changes = [line["event"] for line in server.log() if line["event"].startswith("store_")]
    assert changes == ["store_unavailable", "store_available"] * 2, "once each per change"
    assert [line["level"] for line in server.log("store_unavailable")] == ["error"] * 2
    assert server.log("internal_error") == []
    server.start(delivery__backoff_base="1ms", delivery__backoff_max="1ms")
    for asked, answer in running.answers:
        found = until(server, answer, SENT)
        assert (found.request_id, found.create_time) == (asked.request_id, answer.create_time)
        if answer.state == SENT:
            assert found == answer, "what was told is what is kept"
    # What was refused is unknown: whoever repeats it gets one message, and that is his.
    for asked, _ in running.refusals[:50]:
        again = server.dispatch.Dispatch(asked, timeout=TIMEOUT).message
        assert again.request_id == asked.request_id
    assert server.terminate() == 0
    ((rows, request_ids),) = server.rows("SELECT count(*), count(DISTINCT request_id) FROM messages")
    assert rows == request_ids >= len(running.answers)
    assert server.rows("SELECT count(*) FROM messages LEFT JOIN contents USING (key) WHERE content IS NULL") == [(0,)]
    assert server.rows("PRAGMA integrity_check") == [("ok",)]


def test_a_message_in_mid_send_when_the_disk_runs_full_is_answered_and_recorded_later(disk: Disk, serve: Serve) -> None:
    server = serve(providers__email__latency="1s")
    asked = request(email())
    call = server.dispatch.Dispatch.future(asked, timeout=TIMEOUT)
    accepted = request(email(), wait_for=ACCEPTANCE)
    other = server.dispatch.Dispatch(accepted, timeout=TIMEOUT).message
    eventually(lambda: in_flight(server) == 2)
    eventually(lambda: stored(server) == 2)  # what is not yet would be refused
    disk.fill(server)
    server.wait_for_event("store_unavailable")
    # It was accepted, so it is OK; its outcome is not durable yet, so it is not told.
    answer = call.result().message
    assert answer.state == SENDING
    assert not answer.attempts[0].HasField("duration")
    assert get(server, answer.message_id) == answer
    disk.free(server)
    server.wait_for_event("store_available")
    for message_id in (answer.message_id, other.message_id):
        eventually(lambda: get(server, message_id).state == SENT)  # noqa: B023  # called at once
    server.kill()
    server.start()
    assert [get(server, one.message_id).state for one in (answer, other)] == [SENT, SENT]
    assert len(get(server, answer.message_id).attempts) == 1


def test_a_server_whose_disk_is_full_ends_in_good_order(disk: Disk, serve: Serve) -> None:
    server = serve(server__grace="1s")
    sent = server.dispatch.Dispatch(request(), timeout=TIMEOUT).message
    disk.fill(server)
    assert refused(lambda: server.dispatch.Dispatch(request(), timeout=TIMEOUT)).reason == "STORE_UNAVAILABLE"
    assert server.terminate() == 0
    assert server.log("internal_error") == []
    with suppress(FileNotFoundError):
        (disk.folder / "ballast").unlink()
    server.start()
    assert get(server, sent.message_id) == sent
