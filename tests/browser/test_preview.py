"""An email with everything in it that an email can try, in a browser: it does nothing, and nobody hears of it."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

import pytest
from tests.browser.conftest import Serve
from tests.browser.console import MINUTE, Console
from tests.e2e.calls import TIMEOUT, dispatch, email
from tests.support.waiting import PATIENCE

from postwire.v1.inbox_service_pb2 import ListInboxRequest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


class Tracker:
    """Somebody who would like to know: counts everybody who connects."""

    def __enter__(self) -> Self:
        self.connections = 0
        self.heard = threading.Event()
        counted = self._count

        class Counted(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                counted()

        self._server = socketserver.TCPServer(("127.0.0.1", 0), Counted)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(PATIENCE)
        self._server.server_close()

    def _count(self) -> None:
        self.connections += 1
        self.heard.set()


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    with Tracker() as tracker:
        yield tracker


HOSTILE = """<!doctype html><html><head><title>An offer</title>
<base href="{tracker}/base/">
<meta http-equiv="refresh" content="0;url={tracker}/refresh">
<link rel="stylesheet" href="{tracker}/style.css">
<link rel="prefetch" href="{tracker}/prefetch"><link rel="preload" as="image" href="{tracker}/preload">
<link rel="modulepreload" href="{tracker}/module.js"><link rel="icon" href="{tracker}/icon.png">
<style>@import url({tracker}/import.css); @font-face {{ font-family: f; src: url({tracker}/font.woff) }}
body {{ background: url({tracker}/background.png); font-family: f; color: rgb(1, 2, 3) }}</style>
<script>document.title = "ran"; fetch("{tracker}/fetch")</script><script src="{tracker}/script.js"></script>
</head><body onload="document.title = 'loaded'">
<p id="text">Hello</p>
<img id="data" src="data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==">
<img src="{tracker}/picture.png" onerror="document.title = 'failed'">
<picture><source srcset="{tracker}/source.png"></picture><svg><image href="{tracker}/svg.png"/></svg>
<video src="{tracker}/video" autoplay></video><audio src="{tracker}/audio" autoplay></audio>
<iframe src="{tracker}/frame"></iframe><object data="{tracker}/object"></object><embed src="{tracker}/embed">
<form action="{tracker}/form" method="post"><input name="code"><button id="send" type="submit">Send</button></form>
<a id="blank" href="{tracker}/blank" target="_blank">new window</a>
<a id="script" href="javascript:document.title='clicked'">script</a>
</body></html>"""


@pytest.fixture
def hostile(console: Serve, tracker: Tracker) -> tuple[Console, str]:
    """A server that has sent this email, and the path at which it shows it."""
    running = console()
    dispatch(running, email("ada@example.com", html=HOSTILE.format(tracker=tracker.url)))
    (found,) = running.inbox.ListInbox(ListInboxRequest(), timeout=TIMEOUT).messages
    return running, found.preview_path


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    try:
        yield context.new_page()
    finally:
        context.close()


def test_an_email_does_nothing_in_a_browser(hostile: tuple[Console, str], page: Page, tracker: Tracker) -> None:
    running, path = hostile
    page.goto(running.origin + path)
    page.locator("#text").wait_for(timeout=MINUTE)
    for what in ("#send", "#blank", "#script"):
        page.locator(what).click(timeout=MINUTE, no_wait_after=True)
    assert page.url == running.origin + path
    assert page.title() == "An offer"
    assert page.evaluate("origin") == "null"
    assert len(page.context.pages) == 1
    # Its own style and the picture that it brings along are there.
    assert page.locator("#text").evaluate("one => getComputedStyle(one).color") == "rgb(1, 2, 3)"
    assert page.locator("#data").evaluate("one => one.naturalWidth") == 1
    page.close()
    assert tracker.connections == 0
    # And it is not for want of trying.
    elsewhere = page.context.new_page()
    elsewhere.set_content(HOSTILE.format(tracker=tracker.url), wait_until="commit")
    assert tracker.heard.wait(PATIENCE)


def test_the_console_shows_it_in_a_frame_and_nobody_else_does(
    hostile: tuple[Console, str], page: Page, tracker: Tracker
) -> None:
    running, path = hostile
    page.goto(running.url)
    frame = """path => {
        const one = document.createElement("iframe")
        one.sandbox = ""
        one.src = path
        document.body.append(one)
    }"""
    page.evaluate(frame, path)
    page.frame_locator("iframe").locator("#text").wait_for(timeout=MINUTE)
    page.goto("about:blank")
    with page.expect_event("requestfailed", timeout=MINUTE):
        page.evaluate(frame, running.origin + path)
    assert tracker.connections == 0
