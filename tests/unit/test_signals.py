"""Which signals do what to a server, by how it was started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from postwire import signals

TAKEN = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in TAKEN}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(params=[True, False], ids=["terminal", "no terminal"])
def is_terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(os, "isatty", lambda descriptor: request.param and descriptor == 2)
    return bool(request.param)


def test_the_signals_of_users_are_ignored(is_terminal: bool) -> None:
    signals.take_over()
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        assert signal.getsignal(number) is signal.SIG_IGN
        signal.raise_signal(number)


def test_a_hang_up_drains_if_a_terminal_may_have_been_closed(is_terminal: bool) -> None:
    hang_up = signals.take_over()
    assert hang_up.drains is is_terminal
    assert (signal.getsignal(signal.SIGHUP) is signal.SIG_DFL) is is_terminal, (
        "before it serves there is nothing to drain"
    )


def test_under_nohup_it_never_drains(is_terminal: bool) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert not signals.take_over().drains


def test_one_that_comes_early_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda descriptor: False)
    hang_up = signals.take_over()
    assert not hang_up.is_pending
    signal.raise_signal(signal.SIGHUP)
    assert hang_up.is_pending
