"""The contract from a page of another origin: with connect-web and with `fetch`, as docs/http.md shows it, where that
origin may call; and whatever else a page can try, nothing is sent where it may not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.browser.bundle import PACKAGES, Workshop
from tests.browser.console import MINUTE, Console, Watched
from tests.browser.pages import EMPTY, Site, page
from tests.e2e.calls import TIMEOUT, dispatch
from tests.support.needed import Need
from tests.support.reader import ROOT

from postwire.v1 import dispatch_service_pb2

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TEXT: Final = (ROOT / "docs/http.md").read_text(encoding="utf-8")
SHOWN: Final = "https://postwire.example.com"
"""The server that the page of the docs calls."""

BODY: Final = '{"message": {"sms": {"to": "+15005550006", "body": "Hello."}}}'
PATH: Final = "/postwire.v1.DispatchService/Dispatch"
REBOUND: Final = "rebound.test"
"""A name of somebody else that leads to this machine: see `chromium` in conftest."""

Open = Callable[[str], "Page"]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, need: Need) -> Workshop:
    need("node", lacking="" if PACKAGES.is_dir() else "no packages of the console: make console")
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    """Goes to a page, in a window of its own. An error that a page does not catch fails the test.

    Pages may do whatever a browser lets them: the policy of one that is not theirs does not hold them.
    """
    with chromium.new_context(bypass_csp=True) as context:
        errors: list[str] = []

        def start(url: str) -> Page:
            made = context.new_page()
            made.set_default_timeout(MINUTE)
            made.on("pageerror", lambda error: errors.append(str(error)))
            made.goto(url)
            return made

        yield start
    assert errors == []


def count(server: Console) -> int:
    """How many messages a server has taken."""
    request = dispatch_service_pb2.ListMessagesRequest()
    return len(server.dispatch.ListMessages(request, timeout=TIMEOUT).messages)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("protocol", ["Connect", "gRPC-Web"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
def test_connect_web_calls_from_an_origin_that_may(
    protocol: str, binary: bool, workshop: Workshop, open_page: Open, tmp_path: Path
) -> None:
    script = workshop.build("calls", Path(__file__).with_name("calls.ts").read_text(encoding="utf-8"))
    files = {"/": page("/calls.js"), "/calls.js": script}
    with Site(files) as site, Console(tmp_path, http__cors_origins=site.origin) as server:
        opened = open_page(site.origin)
        found = opened.evaluate(
            "([protocol, url, binary]) => run(protocol, url, binary)", [protocol, server.origin, binary]
        )
        assert found == {
            "state": "SENT",
            "got": True,
            "listed": True,
            "watched": True,
            "left": "Canceled",
            "code": "InvalidArgument",
            "reasons": ["INVALID_MESSAGE"],
            "fields": ["message.sms.to"],
        }
        assert count(server) == 1
        assert server.log("fault") == []


@pytest.mark.parametrize(("language", "sent"), [("js", "MESSAGE_STATE_SENT"), ("ts", 3)])
def test_the_examples_of_the_page_send_and_watch(
    language: str, sent: str | int, workshop: Workshop, open_page: Open, tmp_path: Path
) -> None:
    shown = "globalThis.states = []; const show = (state) => states.push(state);\n"
    files = {"/": page("/example.js")}
    with Site(files) as site, Console(tmp_path, http__cors_origins=site.origin) as server:
        source = shown + "".join(blocks(language))
        assert SHOWN in source
        source = source.replace(SHOWN, server.origin)
        files["/example.js"] = source.encode() if language == "js" else workshop.build("example", source)
        opened = open_page(site.origin)
        opened.wait_for_function("(sent) => globalThis.states?.includes(sent)", arg=sent)
        assert count(server) == 1
        opened.close()  # before the server is, which would end what it watches


FETCH: Final = "([url, body]) => fetch(url, {{method: 'POST', body, {}}})"
FORM: Final = """([url, body]) => new Promise((done) => {{
  const frame = document.createElement("iframe");
  frame.name = "answer";
  const form = document.createElement("form");
  Object.assign(form, {{ action: url, method: "POST", enctype: "{}", target: "answer" }});
  const field = document.createElement("input");
  Object.assign(field, {{ name: body.slice(0, -1) + ', "requestId": "', value: '"}}' }});
  form.append(field);
  document.body.append(frame, form);
  frame.onload = () => setTimeout(done);
  form.submit();
}})"""
FRAME: Final = """([url, body]) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-scripts";
  const headers = '{"Content-Type": "application/json"}';
  frame.srcdoc = `<script>fetch("${url}", {method: "POST", headers: ${headers}, body: ${JSON.stringify(body)}})
    .catch(() => {}).finally(() => parent.postMessage("done", "*"))</` + "script>";
  addEventListener("message", done);
  document.body.append(frame);
})"""
IMAGE: Final = """([url, body]) => new Promise((done) => {
  const image = new Image();
  image.onload = image.onerror = done;
  image.src = `${url}?connect=v1&encoding=json&message=${encodeURIComponent(body)}`;
})"""
BEACON: Final = "([url, body]) => navigator.sendBeacon(url, new Blob([body], {{type: '{}'}}))"
REQUEST: Final = """([url, body]) => new Promise((done) => {
  const request = new XMLHttpRequest();
  request.open("POST", url);
  request.withCredentials = true;
  request.setRequestHeader("Content-Type", "application/json");
  request.onloadend = done;
  request.send(body);
})"""

TRIES: Final = {
    "a form": FORM.format("application/x-www-form-urlencoded"),
    "a form with files": FORM.format("multipart/form-data"),
    "a form that looks like JSON": FORM.format("text/plain"),
    "JSON": FETCH.format("headers: {'Content-Type': 'application/json'}"),
    "JSON of a stream": FETCH.format("headers: {'Content-Type': 'application/connect+json'}"),
    "JSON that is called text": FETCH.format("mode: 'no-cors', headers: {'Content-Type': 'text/plain'}"),
    "JSON behind text": FETCH.format("mode: 'no-cors', headers: {'Content-Type': 'text/plain;application/json'}"),
    "JSON without CORS": FETCH.format("mode: 'no-cors', headers: {'Content-Type': 'application/json'}"),
    "no type": "([url, body]) => fetch(url, {method: 'POST', mode: 'no-cors', body: new Blob([body])})",
    "bytes": "([url, body]) => fetch(url, {method: 'POST', body: new TextEncoder().encode(body)})",
    "a beacon": BEACON.format("text/plain"),
    "a beacon of JSON": BEACON.format("application/json"),
    "a picture": IMAGE,
    "XMLHttpRequest": REQUEST,
    "a frame of no origin": FRAME,
}


def attempt(opened: Page, script: str, url: str) -> None:
    """Have a page try something. Whether its browser has refused it, or the server, is all the same."""
    start = f"(given) => {{ globalThis.ended = Promise.resolve(({script})(given)).catch(() => 0).then(() => true); }}"
    opened.evaluate(start, [url, BODY])
    opened.wait_for_function("globalThis.ended")


def test_a_page_of_another_origin_cannot_send(open_page: Open, tmp_path: Path) -> None:
    with (
        Site({"/": EMPTY}) as site,
        Site({"/": EMPTY}) as elsewhere,
        Console(tmp_path, http__cors_origins=site.origin) as server,
    ):
        for script in TRIES.values():
            attempt(open_page(elsewhere.origin), script, server.origin + PATH)
        # What only looks as if it had been sent, such as a beacon, is there before a call that is made now.
        assert dispatch(server).message_id
        assert count(server) == 1
        attempt(open_page(site.origin), TRIES["JSON"], server.origin + PATH)
        assert count(server) == 2, "what is tried would not send where it may"


def test_a_page_with_a_name_that_leads_here_cannot_send(open_page: Open, tmp_path: Path) -> None:
    """Its browser takes the server for its own origin, so that it may send what it wants."""
    with Console(tmp_path) as server:
        url = f"http://{REBOUND}:{server.origin.rpartition(':')[2]}"
        for script in TRIES.values():
            attempt(open_page(url), script, url + PATH)
        status = open_page(url).evaluate(
            "([url, body]) => fetch(url, {method: 'POST', body}).then((answer) => answer.status)", [url + PATH, BODY]
        )
        assert status == 421
        assert count(server) == 0


def test_the_contract_can_be_read_by_everybody(chromium: Browser, tmp_path: Path) -> None:
    with Console(tmp_path) as server, chromium.new_context(reduced_motion="reduce") as context:
        watched = Watched(context.new_page(), f"{server.origin}/")
        watched.open("openapi")
        assert watched.page.get_by_role("heading", name="DispatchService").is_visible()
        assert watched.obstacles() == []
        watched.picture("openapi")
        watched.check()
