"""A log that nobody reads, that cannot be written, or that there is no place for: it costs nobody anything."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.e2e.calls import SENT, TIMEOUT, dispatch_all, request, sms
from tests.e2e.conftest import Serve
from tests.e2e.metrics import METRICS, values
from tests.e2e.server import COMMAND, Server, environment
from tests.e2e.streams import sent_through, states
from tests.support.waiting import PATIENCE

from postwire.v1 import dispatch_service_pb2_grpc

SENDS = 600
FRAME = 100
STOP_TIME = 15.0
SERVING = health_pb2.HealthCheckResponse.SERVING


def is_well(server: Server) -> bool:
    return (
        server.health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT).status == SERVING
        and values(server, "postwire_store_available")[()] == 1
    )


def send(server: Server, count: int) -> None:
    assert set(states(sent_through(server, [request() for _ in range(count)]))) == {SENT}


def test_a_log_that_nobody_reads_stops_nothing(serve: Serve) -> None:
    server = serve(**METRICS)
    server.leave_log()
    for _ in range(SENDS // 100):
        assert {message.state for message in dispatch_all(server, [sms()] * 100)} == {SENT}
    assert is_well(server)
    server.send_signal(signal.SIGTERM)
    assert server.wait(STOP_TIME) == 0


def test_lines_that_were_dropped_are_counted_and_told_once_the_log_is_read(serve: Serve) -> None:
    # Whose name makes its lines long, so that there need not be many.
    server = serve(toml=f'[providers.{"long" * 500}]\nkind = "mock"\nchannels = ["sms"]\n', **METRICS)
    server.leave_log()
    sent = 0
    while not (dropped := values(server, "postwire_log_dropped_total")[()]):
        send(server, FRAME)
        sent += FRAME
    assert is_well(server)
    server.read_log()
    server.wait_for_event("log_dropped")
    send(server, 1)
    assert server.terminate() == 0
    missing = sum(line["lines"] for line in server.log("log_dropped"))
    assert missing >= dropped
    assert len(server.log("attempt")) + missing == sent + 1
    assert [line["event"] for line in server.log()[-3:]] == ["attempt", "draining", "stopped"]


# Other ends of a log.


def run(command: Sequence[str], folder: Path, stderr: int, check: Callable[[int], None] = lambda pid: None) -> None:
    """Start a server, have it send, and stop it: all of it has to work. `check` gets its process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        command, cwd=folder, env=environment(folder, server__listen=address), stdin=subprocess.DEVNULL, stderr=stderr
    )
    try:
        with grpc.insecure_channel(address) as channel:
            dispatch = dispatch_service_pb2_grpc.DispatchServiceStub(channel).Dispatch
            for _ in range(10):
                answer = dispatch(request(), timeout=TIMEOUT, wait_for_ready=True)
                assert answer.message.state == SENT
        check(process.pid)
        process.terminate()
        assert process.wait(STOP_TIME) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has none")
def test_a_log_on_a_full_disk_costs_nobody_anything(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        run(COMMAND, tmp_path, full.fileno())


def test_a_log_into_a_pipe_that_was_closed_costs_nobody_anything(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        run(COMMAND, tmp_path, writing)
    finally:
        os.close(writing)


@pytest.mark.parametrize("closed", [(2,), (0, 1, 2)])
def test_a_server_without_a_stderr_starts_and_gives_its_number_to_no_file(
    tmp_path: Path, closed: Sequence[int]
) -> None:
    def check(pid: int) -> None:
        if (descriptors := Path(f"/proc/{pid}/fd")).exists():
            assert {str((descriptors / str(number)).readlink()) for number in closed} == {os.devnull}

    closing = " ".join(f"{number}>&-" for number in closed)
    run(["sh", "-c", f'exec "$@" {closing}', "sh", *COMMAND], tmp_path, subprocess.DEVNULL, check)


class FailingBoot:
    """A server whose boot fails, late or early, as a context."""

    def __init__(self, folder: Path, *, late: bool, stderr: int) -> None:
        self._taken = socket.create_server(("127.0.0.1", 0))
        address = f"127.0.0.1:{self._taken.getsockname()[1]}" if late else "nowhere"
        self.process = subprocess.Popen(
            COMMAND,
            cwd=folder,
            env=environment(folder, telemetry__metrics_listen=address),
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            text=True,
        )

    def __enter__(self) -> subprocess.Popen[str]:
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self._taken.close()


@pytest.mark.parametrize("late", [False, True])
def test_the_last_words_of_a_boot_that_fails_are_seen(tmp_path: Path, late: bool) -> None:
    with FailingBoot(tmp_path, late=late, stderr=subprocess.PIPE) as process:
        _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4
    assert stderr.splitlines()[-1].startswith("postwire: telemetry.metrics_listen")


@pytest.mark.parametrize("late", [False, True])
def test_a_boot_that_fails_ends_though_nobody_reads_its_last_words(tmp_path: Path, late: bool) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"-" * 4096)
    os.set_blocking(writing, True)
    try:
        with FailingBoot(tmp_path, late=late, stderr=writing) as process:
            assert process.wait(PATIENCE) == 4
    finally:
        os.close(reading)
        os.close(writing)
