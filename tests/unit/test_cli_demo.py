"""The demo, and the process that it looks after."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import forking

from postwire.cli.demo import server as demo_server
from postwire.cli.demo.command import CONFIG, LABEL, SAMPLES, _program, read_samples
from postwire.cli.demo.server import Interrupts, Server, ServerFailed, environ, running
from postwire.config.schema import load
from postwire.core.message import Channel
from postwire.providers.builtin import KINDS

ENDS = {
    1: ("sms-mms", "success", "sent"),
    2: ("email", "success", "sent"),
    7: ("sms-mms", "rejected", "failed"),
    9: ("email", "uncertain, success", "sent"),
    10: ("sms-mms", "rate_limited, error, success", "sent"),
    13: ("sms-mms", "uncertain", "uncertain"),
    14: ("email", "error, error, error", "failed"),
    17: ("-", "-", "queued"),
    21: ("sms-mms", "rate_limited, success", "sent"),
    22: ("email", "rate_limited", "queued"),
}
"""What the seeds and the simulators make of some samples: provider, outcomes and state. The same in every run."""

SERVING = 'print("some line", file=sys.stderr); print(\'{"event":"serving","listen":"127.0.0.1:1"}\', file=sys.stderr)'


def script(*lines: str) -> list[str]:
    """A command that runs these lines in place of a server."""
    return [sys.executable, "-c", "\n".join(("import os, signal, sys", *lines))]


WAITS = script("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))", SERVING, "while True: signal.pause()")


class Run:
    """Runs a command as the demo runs its server; `during` gets it once it serves. `pid` is its process's."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.pid = 0

    def __call__(self, during: Callable[[Server], None]) -> None:
        with running(self.command, os.environ) as server:
            self.pid = server.pid
            server.wait_until_serving()
            during(server)

    def is_gone(self) -> bool:
        return is_gone(self.pid)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_it_shows_what_it_promises() -> None:
    done = forking.run("demo")
    assert done.stderr == ""
    assert done.returncode == 0
    samples = read_samples()
    rows = [line for line in done.stdout.splitlines() if re.match(r"\d+ ", line)]
    assert len(rows) == len(samples)
    ends: Counter[str] = Counter()
    for row, sample in zip(rows, samples, strict=True):
        head, label, tail = row.partition(sample.message.labels[LABEL])
        assert label
        provider, outcomes, state, *_ = re.split(" {2,}", tail.strip())
        reported = (provider, outcomes, state)
        assert reported == ENDS.get(int(head.split()[0]), reported), row
        ends[state] += 1
    assert ends == {"refused": 6, "sent": 10, "failed": 3, "uncertain": 1, "queued": 2}
    for shown in (
        "sent",
        "success",
        "rejected",
        "rate_limited",
        "error",
        "uncertain",
        "INVALID_MESSAGE: message.sms.to",
    ):
        assert shown in done.stdout
    table = [line.split() for line in done.stdout.splitlines()]
    assert ["sms-mms", "sms,mms", "29", "6", "2", "1", "1", "1"] in table
    assert ["email", "email", "93", "4", "1", "3", "1", "1"] in table
    assert "the same message came back, sent once" in done.stdout
    assert "with exit code 0" in done.stdout


def test_the_samples_are_of_every_channel_and_say_what_they_show() -> None:
    samples = read_samples()
    assert {sample.message.WhichOneof("content") for sample in samples} == {"sms", "mms", "email", None}
    assert all(sample.message.labels[LABEL] for sample in samples)
    assert all(sample.request_id for sample in samples)
    assert SAMPLES.endswith(".jsonl")


def test_its_configuration_is_seeded_and_carries_every_channel(tmp_path: Path) -> None:
    file = tmp_path / "demo.toml"
    file.write_text(CONFIG)
    config = load(path=file, environ={}, kinds=KINDS)
    assert config.server.listen.endswith(":0")
    assert all(config.routes[channel] for channel in Channel)
    assert {"providers.sms-mms.seed", "providers.email.seed"} <= config.explicit


def test_settings_for_servers_do_not_reach_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTWIRE_SERVER__LISTEN", "0.0.0.0:1")
    monkeypatch.setenv("POSTWIRE_TARGET", "kept")
    theirs = environ(Path("store"))
    assert "POSTWIRE_SERVER__LISTEN" not in theirs
    assert theirs["POSTWIRE_TARGET"] == "kept"
    assert theirs["POSTWIRE_STORE__PATH"] == "store"


@pytest.mark.parametrize(
    ("called", "program"),
    [("somewhere/bin/postwire", "somewhere/bin/postwire"), ("x/__main__.py", "python -m postwire")],
)
def test_what_to_try_next_is_called_as_the_demo_was(monkeypatch: pytest.MonkeyPatch, called: str, program: str) -> None:
    monkeypatch.setattr(sys, "argv", [called, "demo"])
    assert _program() == program


def test_a_server_that_serves_and_stops() -> None:
    with running(WAITS, os.environ) as server:
        assert server.wait_until_serving() == "127.0.0.1:1"
        server.stop()
    assert is_gone(server.pid)


def test_a_server_that_does_not_boot_is_told_in_its_own_words() -> None:
    run = Run(script('print("postwire: store.path: is in use", file=sys.stderr)', "sys.exit(4)"))
    with pytest.raises(ServerFailed, match=r"ended with exit code 4: store\.path: is in use"):
        run(Server.stop)
    assert run.is_gone()


def test_a_server_that_says_nothing_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_server, "BOOT_TIMEOUT", 0.01)
    run = Run(script("signal.pause()"))
    with pytest.raises(ServerFailed, match="did not start within"):
        run(Server.stop)
    assert run.is_gone()


def test_a_server_that_stops_badly() -> None:
    run = Run(script("signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))", SERVING, "while True: signal.pause()"))
    with pytest.raises(ServerFailed, match="stopped with exit code 7"):
        run(Server.stop)
    assert run.is_gone()


def test_a_server_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_server, "STOP_TIMEOUT", 0.01)
    run = Run(script("signal.signal(signal.SIGTERM, signal.SIG_IGN)", SERVING, "while True: signal.pause()"))
    with pytest.raises(ServerFailed, match="did not stop within"):
        run(Server.stop)
    assert run.is_gone()


def test_a_fault_leaves_no_process_behind() -> None:
    def fail(server: Server) -> None:
        raise ZeroDivisionError

    run = Run(WAITS)
    with pytest.raises(ZeroDivisionError):
        run(fail)
    assert run.is_gone()


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit), (signal.SIGHUP, SystemExit)],
)
def test_an_interrupt_leaves_no_process_behind(number: signal.Signals, error: type[BaseException]) -> None:
    usual = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, usual)  # under nohup SIGHUP is ignored
    try:
        run = Run(WAITS)
        with pytest.raises(error):
            run(lambda server: signal.raise_signal(number))
        assert run.is_gone()
        assert signal.getsignal(number) is usual
    finally:
        signal.signal(number, before)


def test_a_second_interrupt_kills_a_server_that_will_not_stop() -> None:
    # Asked to stop, it interrupts us once more, and goes on.
    defiance = "signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getppid(), signal.SIGINT))"
    run = Run(script(defiance, SERVING, "while True: signal.pause()"))
    with pytest.raises(KeyboardInterrupt):
        run(lambda server: signal.raise_signal(signal.SIGINT))
    assert run.is_gone()


def test_an_interrupt_that_came_too_early_is_not_lost() -> None:
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.let_raise()


def test_an_interrupt_that_came_too_late_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts():
        signal.raise_signal(signal.SIGINT)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
