"""A real browser that uses the console of a real server: `make browser` alone.

It is Debian's Chromium, or whatever Chromium the PATH has. What goes wrong in a page that nobody would notice fails the
test as well: an error on its console, a script that stops, a request to anybody else, or what its policy had to forbid.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.browser.console import MINUTE, PICTURES, Console, Watched
from tests.support.needed import Need
from tests.support.reader import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

# `make test` does without what drives a browser; only `make browser` installs it.
collect_ignore_glob = [] if find_spec("playwright") else ["test_*.py"]

DOCS: Final = ROOT / "docs"
NAMES: Final = ("chromium", "chromium-browser", "google-chrome")

Serve = Callable[..., Console]
Open = Callable[..., Watched]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-docs", action="store_true", help="renew the pictures that docs/console.md shows")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--write-docs"):
        for shown in re.findall(r"\(console/([\w-]+\.png)\)", (DOCS / "console.md").read_text(encoding="utf-8")):
            if (taken := PICTURES / shown).exists():
                shutil.copyfile(taken, DOCS / "console" / shown)


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("browser")


@pytest.fixture(scope="session")
def playwright(need: Need) -> Iterator[Playwright]:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=MINUTE)
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def chromium(playwright: Playwright, need: Need) -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        need(NAMES[0])
    # Its own sandbox is refused to root, as whom tests run in a container.
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    args.append("--host-resolver-rules=MAP rebound.test 127.0.0.1")  # somebody else's name that leads here
    browser = playwright.chromium.launch(executable_path=found, args=args)
    yield browser
    browser.close()


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Serve]:
    """Starts a server of the test's own that has a console, with settings as `tests.e2e.server` takes them."""
    with ExitStack() as stack:

        def start(*, toml: str = "", **settings: str) -> Console:
            if toml:
                (tmp_path / "postwire.toml").write_text(toml, encoding="utf-8")
            return stack.enter_context(Console(tmp_path, **settings))

        yield start


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A server with the defaults, shared by the tests of a module: none of them may stop or drain anything in it."""
    with Console(tmp_path_factory.mktemp("console"), console__compose="true") as running:
        yield running


@pytest.fixture
def browse(chromium: Browser) -> Iterator[Open]:
    """Opens a page of a console, in a window of its own: `browse(console, "messages")`.

    Other arguments are those of Playwright's `Browser.new_context`. `expected` are words of errors on its console that
    the test asks for.
    """
    with ExitStack() as stack:

        def start(console: Console, path: str = "", *, expected: tuple[str, ...] = (), **options: object) -> Watched:
            context = chromium.new_context(**{"reduced_motion": "reduce", **options})
            stack.callback(context.close)
            watched = Watched(context.new_page(), console.url, expected)
            stack.callback(watched.check)
            watched.open(path)
            return watched

        yield start
