"""Clients in other languages, and the tools and servers of others, with a server process: `make interop` alone.

They need toolchains that a machine may not have. What is missing is named, and its tests are skipped; with `--complete`
they fail.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

import pytest
from tests.interop.table import Row, render
from tests.support.reader import ROOT

pytest.register_assert_rewrite("tests.interop.account")

TOOLS: Final = ROOT / "build" / "interop"
"""Where the programs are built that tests run."""

_ROWS = pytest.StashKey[list[Row]]()
_ROW = pytest.StashKey[Row]()


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("interop")


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    """A row of the table at the end, for the test to fill in. Its result is the test's."""
    made = Row(request.node.callspec.id if hasattr(request.node, "callspec") else request.node.name)
    request.config.stash.setdefault(_ROWS, []).append(made)
    request.node.stash[_ROW] = made
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if (row := item.stash.get(_ROW, None)) and report.when == "call":
        why = f": {report.longrepr[2].removeprefix('Skipped: ')}" if isinstance(report.longrepr, tuple) else ""
        row.result = f"{report.outcome}{why}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if rows := terminalreporter.config.stash.get(_ROWS, []):
        terminalreporter.write_sep("=", "clients")
        for line in render(rows):
            terminalreporter.write_line(line)
