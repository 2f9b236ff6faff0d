"""`postwire providers watch`, against a server in this process that tells of changes."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from tests.support.scripted_server import ScriptedServer, serving
from tests.support.waiting import PATIENCE

from postwire.cli import show, watching
from postwire.cli.failure import Failed
from postwire.cli.options import Connection
from postwire.cli.providers import watch
from postwire.cli.root import root
from postwire.v1.message_pb2 import Channel
from postwire.v1.provider_service_pb2 import Breaker, BreakerState, Provider, WatchProvidersResponse

ESCAPE = "\x1b"


def provider(name: str, state: BreakerState.ValueType, **breaker: Any) -> Provider:
    channels = [Channel.CHANNEL_SMS]
    return Provider(name=name, kind="mock", channels=channels, breaker=Breaker(state=state, **breaker))


def everybody() -> WatchProvidersResponse:
    closed = BreakerState.BREAKER_STATE_CLOSED
    return WatchProvidersResponse(providers=[provider("a-long-name", closed), provider("b", closed)])


def opened() -> WatchProvidersResponse:
    one = provider("b", BreakerState.BREAKER_STATE_OPEN, calls=8, failures=8, failure_ratio=1.0)
    one.breaker.next_probe_time.FromMilliseconds(1_500)
    return WatchProvidersResponse(providers=[one])


def drained() -> WatchProvidersResponse:
    return WatchProvidersResponse(providers=[provider("b", BreakerState.BREAKER_STATE_FORCED_OPEN)])


@pytest.fixture
def scripted() -> ScriptedServer:
    scripted = ScriptedServer()
    scripted.answer = [everybody(), opened(), drained()]
    return scripted


@pytest.fixture
def target(scripted: ScriptedServer) -> Iterator[str]:
    with serving(scripted) as target:
        yield target


Call = Callable[..., Result]


@pytest.fixture
def call(target: str) -> Call:
    """Runs the command against the server."""
    return lambda *args: CliRunner().invoke(root, ["providers", "watch", "--server", target, *args])


class Terminal(io.StringIO):
    """Takes what is printed, and says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_elsewhere_than_on_a_terminal_each_change_is_a_line(call: Call) -> None:
    lines = call().stdout.splitlines()
    time = lines[1].split()[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    blank = " " * len(time)
    assert [blank + line[len(time) :] for line in lines] == [
        f"{blank}  PROVIDER     BREAKER      CALLS  FAILURE_RATIO  NEXT_PROBE_TIME           IN_FLIGHT",
        f"{blank}  a-long-name  closed       0      0.00           -                         0",
        f"{blank}  b            closed       0      0.00           -                         0",
        f"{blank}  b            open         8      1.00           1970-01-01T00:00:01.500Z  0",
        f"{blank}  b            forced_open  0      0.00           -                         0",
    ]


def test_for_programs_each_change_is_an_object_in_a_line(call: Call) -> None:
    shown = [json.loads(line) for line in call("--json").stdout.splitlines()]
    assert [(one["name"], one["breaker"]["state"].removeprefix("BREAKER_STATE_")) for one in shown] == [
        ("a-long-name", "CLOSED"),
        ("b", "CLOSED"),
        ("b", "OPEN"),
        ("b", "FORCED_OPEN"),
    ]


def test_a_server_that_ends_the_watch_is_shutting_down(call: Call, target: str) -> None:
    result = call()
    assert result.exit_code == 3
    assert result.stderr == f"postwire: no answer from {target} any more: it is shutting down\n"
    error = json.loads(call("--json").stderr)["error"]
    assert error["code"] == "UNAVAILABLE"


def test_a_server_that_breaks_off_is_told_as_it_is(call: Call, scripted: ScriptedServer) -> None:
    def broken(request: Any, context: grpc.ServicerContext) -> Iterator[WatchProvidersResponse]:
        yield everybody()
        context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    scripted.answer = broken
    result = call()
    assert result.exit_code == 3
    assert len(result.stdout.splitlines()) == 3
    assert result.stderr.endswith(": Socket closed\n")


def test_a_server_that_is_silent_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        result = CliRunner().invoke(root, ["providers", "watch", "--server", server, "--timeout", "50ms"])
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == f"postwire: no answer from {server} within 0.05s: is the server running? (postwire serve)\n"


def endless(then: Callable[[], None]) -> Callable[[Any, grpc.ServicerContext], Iterator[WatchProvidersResponse]]:
    """A watch that shows everybody, does something, and has no more to tell until its caller ends it."""

    def stream(request: Any, context: grpc.ServicerContext) -> Iterator[WatchProvidersResponse]:
        over = threading.Event()
        context.add_callback(over.set)
        yield everybody()
        then()
        over.wait(PATIENCE)

    return stream


def test_ctrl_c_is_the_usual_end(call: Call, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once something was shown: gRPC hangs if it is interrupted while it makes a call."""
    shown, view_of = threading.Event(), watch._view

    def noting(connection: Any) -> Any:
        view: Any = view_of(connection)
        show_changed = view.show

        def show(changed: Any) -> None:
            show_changed(changed)
            shown.set()

        view.show = show
        return view

    def interrupt() -> None:
        assert shown.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(watch, "_view", noting)
    scripted.answer = endless(interrupt)
    result = call()
    assert (result.exit_code, result.stderr) == (0, "")


def test_it_ends_when_nobody_reads_on_though_there_is_nothing_to_write(scripted: ScriptedServer, target: str) -> None:
    scripted.answer = endless(lambda: None)
    command = [sys.executable, "-m", "postwire", "providers", "watch", "--server", target]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        shown = [process.stdout.readline() for _ in range(3)]
        process.stdout.close()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""
    assert [line.split()[1] for line in shown] == ["PROVIDER", "a-long-name", "b"]


def test_a_pipe_without_a_reader_acts_once_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    acted = threading.Event()
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with watching.reader_gone(acted.set) as is_gone:
            assert not is_gone()
            os.close(reading)
            assert acted.wait(PATIENCE)
            assert is_gone()
        monkeypatch.undo()


# On a terminal.


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def watched(terminal: Terminal, target: str) -> str:
    """What a terminal gets of a watch that the server ends."""
    with redirect_stdout(terminal), pytest.raises(Failed):
        watch.watch_providers(Connection(target, 10.0, as_json=False))
    return terminal.getvalue()


def test_on_a_terminal_it_is_one_table_drawn_over_and_over(terminal: Terminal, target: str) -> None:
    drawn = watched(terminal, target)
    last = drawn.rpartition(f"{ESCAPE}[2K")[2]
    assert f"{ESCAPE}[1A" in drawn, "it moves up to draw in the same place"
    assert f"{ESCAPE}[31mopen" in drawn
    assert f"{ESCAPE}[35mforced_open" in last
    assert f"{ESCAPE}[32mclosed" in last
    assert [last.count(name) for name in ("a-long-name", "b  ", "open")] == [1, 1, 1]
    assert drawn.rstrip().endswith(f"{ESCAPE}[?25h"), "the cursor is shown again"


def test_without_colours_the_states_are_words(terminal: Terminal, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    drawn = watched(terminal, target)
    assert f"{ESCAPE}[3" not in drawn
    assert "forced_open" in drawn


def test_a_terminal_that_cannot_be_written_over_gets_lines(
    terminal: Terminal, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    drawn = watched(terminal, target)
    assert ESCAPE not in drawn
    assert len(drawn.splitlines()) == 5


@pytest.mark.parametrize(("left", "shown"), [(None, ""), (90.4, "in 90s"), (1.0, "in 1s"), (0.5, "due"), (-3.0, "due")])
def test_the_time_to_the_next_probe_runs_down(left: float | None, shown: str) -> None:
    now = datetime(2030, 1, 31, tzinfo=UTC)
    one = provider("b", BreakerState.BREAKER_STATE_OPEN)
    if left is not None:
        one.breaker.next_probe_time.FromDatetime(now + timedelta(seconds=left))
    assert show.next_probe(one, now) == shown
