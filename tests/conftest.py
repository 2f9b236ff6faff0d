"""For all tests: what they are told by nobody but themselves."""

from __future__ import annotations

import gc
import os
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from tests.support import needed
from tests.support.needed import need  # noqa: F401  # a fixture
from tests.support.side_by_side import import_share, in_turn

# How fast a machine is says nothing about the code. The examples are the same in every run, so that a verdict is a
# verdict on the code; `make test-long` looks for new ones.
settings.register_profile(
    "repeatable",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    database=None,
    max_examples=25,  # see `tests.support.examples`
)
settings.register_profile("explore", parent=settings.get_profile("repeatable"), derandomize=False, max_examples=100)
settings.load_profile("repeatable")

_FROM_OUTSIDE: Final = re.compile(
    r"(POSTWIRE|OTEL|GRPC|TTY)_.*|(HTTPS?|GRPC|ALL|NO)_PROXY|(NO|FORCE)_COLOR|CLICOLOR(_FORCE)?|COLUMNS|LINES",
    re.IGNORECASE,
)
"""Variables that change what is tested, or how what it prints looks."""

_FORKS: Final = "GRPC_ENABLE_FORK_SUPPORT"
os.environ[_FORKS] = "0"
"""Read when gRPC is first imported, as the next conftest may do. No child of a test goes on with a channel; and what
gRPC does for those that would ends one now and then before it becomes another program."""


def pytest_addoption(parser: pytest.Parser) -> None:
    needed.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    _have_ctrl_c()
    gc.disable()
    config.pluginmanager.register(_Figures())
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(_OneOfSeveral(config.workerinput))


def pytest_collection_finish() -> None:
    """Leave the tests themselves out of what is looked through for garbage: they are a million objects.

    Tests of what is told when it goes ask for that look, which took 0.2 s each. Nor is there any while they are
    collected, which would take a seventh of that.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


def _have_ctrl_c() -> None:
    """Have Ctrl-C mean what it means, for the processes that tests start as well.

    A shell that starts something in the background (`make test &`) has it ignored, and that is inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _environment() -> Iterator[None]:
    """Leave out of the environment what whoever runs the tests has set for other purposes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(_FROM_OUTSIDE.fullmatch, list(os.environ)):
            if name != _FORKS:
                patch.delenv(name)
        yield


class _OneOfSeveral:
    """What differs in one of several processes: see `tests.support.side_by_side`."""

    def __init__(self, workerinput: Mapping[str, Any]) -> None:
        self._number = int(workerinput["workerid"].removeprefix("gw"))
        self._count = int(workerinput["workercount"])

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        if session.config.args_source is pytest.Config.ArgsSource.TESTPATHS:
            import_share(Path(__file__).parent, self._number, self._count)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        place = {path: number for number, path in enumerate(in_turn({item.path for item in items}))}
        items.sort(key=lambda item: place[item.path])


class _Figures:
    """What tests have measured, for the summary. It goes with their reports, which come from other processes."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self._lines += (str(value) for name, value in report.user_properties if name == "figure")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._lines:
            terminalreporter.section("figures")
            for line in self._lines:
                terminalreporter.write_line(line)
