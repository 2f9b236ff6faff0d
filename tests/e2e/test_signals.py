"""Signals that are not meant to end the server: it goes on, and nothing is sent twice."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.e2e.calls import ACCEPTANCE, SENT, TIMEOUT, dispatch, in_flight, release, request
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, environment, eventually
from tests.support import held_server
from tests.support.waiting import PATIENCE

from postwire.v1 import dispatch_service_pb2_grpc, provider_service_pb2_grpc
from postwire.v1.provider_service_pb2 import ListProvidersRequest, UpdateMockProviderRequest

UNDER_WAY = 5


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2], ids=lambda number: number.name)
def test_what_is_under_way_ends_with_one_attempt_each(serve: Serve, number: signal.Signals) -> None:
    server = serve(held=True, providers__sms_mms__latency="1h")
    calls = [server.dispatch.Dispatch.future(request(), timeout=TIMEOUT) for _ in range(UNDER_WAY)]
    eventually(lambda: in_flight(server) == UNDER_WAY)
    server.send_signal(number)
    assert in_flight(server) == UNDER_WAY
    release(server)
    messages = [call.result().message for call in calls]
    assert [(one.state, len(one.attempts)) for one in messages] == [(SENT, 1)] * UNDER_WAY
    assert dispatch(server).state == SENT, "and it goes on"
    assert server.terminate() == 0
    assert server.log("draining")[0]["signal"] == "SIGTERM"
    assert [row[0] for row in server.rows("SELECT count(*) FROM attempts")] == [UNDER_WAY + 1]


# Reading the configuration again.


def hang_up(server: Server, toml: str | None = None) -> dict[str, Any]:
    """Have it read its configuration again; returns what it says to that."""

    def answers() -> list[dict[str, Any]]:
        return [line for line in server.log() if line["event"] in ("reloaded", "reload_failed")]

    if toml is not None:
        (server.folder / "postwire.toml").write_text(toml, encoding="utf-8")
    before = len(answers())
    server.send_signal(signal.SIGHUP)
    eventually(lambda: len(answers()) > before)
    (answer,) = answers()[before:]
    return answer


def test_the_log_level_changes_while_it_serves(serve: Serve) -> None:
    server = serve(toml="# nothing yet\n")
    assert hang_up(server)["changed"] == []
    dispatch(server)
    eventually(lambda: len(server.log("attempt")) == 1)
    answer = hang_up(server, '[telemetry]\nlog_level = "error"\n')
    assert (answer["changed"], answer["needs_restart"]) == (["telemetry.log_level"], [])
    dispatch(server)
    assert hang_up(server, "")["changed"] == ["telemetry.log_level"]
    dispatch(server)
    assert server.terminate() == 0
    assert len(server.log("attempt")) == 2


def test_what_needs_a_restart_is_named_and_is_as_it_was(serve: Serve) -> None:
    server = serve(toml="# nothing yet\n")
    answer = hang_up(server, '[server]\ngrace = "1s"\n[providers.email]\nkind = "mock"\nchannels = ["email"]\n')
    assert answer["level"] == "info"
    assert answer["changed"] == []
    assert answer["needs_restart"] == ["server.grace", "routes.sms", "routes.mms", "providers.sms-mms"]
    assert dispatch(server).state == SENT, "by a provider that the file does not have any more"


def test_a_configuration_that_is_wrong_changes_nothing_and_says_why(serve: Serve) -> None:
    server = serve(toml="# nothing yet\n")
    answer = hang_up(server, '[telemetry]\nlog_level = "error"\n[server]\ngrace = 5\n[delivery]\nmax_attempts = 0\n')
    assert (answer["event"], answer["level"]) == ("reload_failed", "error")
    assert answer["detail"].startswith("server.grace: ")
    assert "; delivery.max_attempts: " in answer["detail"]
    (server.folder / "postwire.toml").unlink()
    assert "does not exist" in hang_up(server)["detail"]
    dispatch(server)
    eventually(lambda: server.log("attempt"))


def test_a_configuration_that_cannot_be_read_to_its_end_holds_up_nobody(serve: Serve) -> None:
    server = serve(toml="# nothing yet\n")
    file = server.folder / "postwire.toml"
    file.unlink()
    os.mkfifo(file)
    writing: list[int] = []

    def is_being_read() -> bool:
        with suppress(OSError):  # nobody reads it
            writing.append(os.open(file, os.O_WRONLY | os.O_NONBLOCK))
        return bool(writing)

    server.send_signal(signal.SIGHUP)
    eventually(is_being_read)
    assert dispatch(server).state == SENT
    assert server.terminate() == 0
    os.close(writing[0])


# On a terminal.

TAKE_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.setsid()
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class OnTerminal:
    """A server on a terminal of its own, as a context; `ours` is the other end of that."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:{folder / 'socket'}"
        self.ours, theirs = pty.openpty()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", TAKE_TERMINAL, sys.executable, held_server.__file__, "serve"],
                cwd=folder,
                env=environment(folder, server__listen=self.address, providers__sms_mms__latency="1h"),
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
            )
        finally:
            os.close(theirs)
        self._channel = grpc.insecure_channel(self.address)
        self.dispatch = dispatch_service_pb2_grpc.DispatchServiceStub(self._channel)
        self.providers = provider_service_pb2_grpc.ProviderServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self.process.kill()
        self.process.wait()
        if self.ours >= 0:
            os.close(self.ours)

    def in_flight(self) -> int:
        listed = self.providers.ListProviders(ListProvidersRequest(), timeout=TIMEOUT)
        return sum(one.in_flight for one in listed.providers)

    def is_draining(self) -> bool:
        asked = request(wait_for=ACCEPTANCE)
        return isinstance(self.dispatch.Dispatch.future(asked, timeout=TIMEOUT).exception(), grpc.RpcError)

    def release(self) -> None:
        """Let the attempts of its mock end: see `calls.release`."""
        self.providers.UpdateMockProvider(
            UpdateMockProviderRequest(name="sms-mms", latency=Duration()), timeout=TIMEOUT
        )

    def close_terminal(self) -> None:
        """As a window does that is closed: the kernel hangs up."""
        os.close(self.ours)
        self.ours = -1


@pytest.mark.parametrize("closed", [False, True], ids=["a signal", "a terminal that is closed"])
def test_a_terminal_that_is_closed_leaves_no_server_behind_and_cuts_nothing_short(closed: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="pw-") as folder, OnTerminal(Path(folder)) as server:
        reported = b""
        while b"serving" not in reported:
            reported += os.read(server.ours, 4096)
        call = server.dispatch.Dispatch.future(request(), timeout=TIMEOUT, wait_for_ready=True)
        eventually(lambda: server.in_flight() == 1)
        if closed:
            server.close_terminal()
        else:
            server.process.send_signal(signal.SIGHUP)
        eventually(server.is_draining)
        server.release()
        assert call.result().message.state == SENT
        assert server.process.wait(PATIENCE) == 0
