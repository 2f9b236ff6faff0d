"""An email of the inbox in a browser: a page of its own, of which nothing reaches anybody."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPMessage
from typing import Final

import pytest
from tests.e2e.calls import TIMEOUT, dispatch, email, sms
from tests.e2e.conftest import Serve
from tests.e2e.server import Server

from postwire.v1 import inbox_service_pb2 as pb
from postwire.v1.inbox_service_pb2 import InboxMessage

HTML: Final = "<p>Grüße <script>document.title = 'ran'</script><img src='https://example.com/a.png'>"


@pytest.fixture
def shown(serve: Serve) -> Server:
    """A server that shows emails to browsers."""
    return serve(http__listen="127.0.0.1:0")


def get(server: Server, path: str, method: str = "GET") -> tuple[int, HTTPMessage, str]:
    connection = HTTPConnection(str(server.wait_for_event("serving")["http_listen"]), timeout=TIMEOUT)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def newest(server: Server) -> InboxMessage:
    return server.inbox.ListInbox(pb.ListInboxRequest(), timeout=TIMEOUT).messages[0]


def test_whoever_knows_its_path_sees_it_and_it_may_do_nothing(shown: Server) -> None:
    dispatch(shown, email("ada@example.com", html=HTML))
    path = newest(shown).preview_path
    assert path.startswith("/console/preview/")
    assert len(path.removeprefix("/console/preview/")) == 32
    status, headers, body = get(shown, path)
    assert (status, body) == (200, HTML)
    assert headers["content-type"] == "text/html; charset=utf-8"
    policy = headers["content-security-policy"].split("; ")
    assert policy[:4] == ["sandbox", "default-src 'none'", "style-src 'unsafe-inline'", "img-src data:"]
    assert "form-action 'none'" in policy
    assert "script-src" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert len(headers.get_all("content-security-policy") or ()) == 1
    assert newest(shown).preview_path == path


def test_it_is_gone_when_the_message_is(shown: Server) -> None:
    dispatch(shown, email("ada@example.com", html=HTML))
    path = newest(shown).preview_path
    shown.inbox.ClearInbox(pb.ClearInboxRequest(), timeout=TIMEOUT)
    for wrong in (path, "/console/preview/", "/console/preview/" + "0" * 32):
        status, headers, body = get(shown, wrong)
        assert (status, HTML in body) == (404, False) or wrong == "/console/preview/"
        assert "unsafe-inline" not in headers["content-security-policy"]
    assert get(shown, path, "POST")[0] == 405


def test_frames_are_none_in_it(shown: Server) -> None:
    html = "<IFrame src='https://example.com/'></iframe><frameset><frame src='https://example.com/'></frameset>a<b>"
    dispatch(shown, email("ada@example.com", html=html))
    assert get(shown, newest(shown).preview_path)[2] == (
        "<x-IFrame src='https://example.com/'></x-iframe>"
        "<x-frameset><x-frame src='https://example.com/'></x-frameset>a<b>"
    )


def test_what_has_no_html_has_no_path(shown: Server) -> None:
    for message in (sms(), email("ada@example.com", text="Hi")):
        dispatch(shown, message)
        assert newest(shown).preview_path == ""


def test_paths_are_in_no_log(shown: Server) -> None:
    dispatch(shown, email("ada@example.com", html=HTML))
    path = newest(shown).preview_path
    get(shown, path)
    assert shown.terminate() == 0
    assert path.removeprefix("/console/preview/") not in shown.log_text()
