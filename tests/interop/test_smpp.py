"""The kind `smpp` with SMS centres of others: one by node-smpp, one by jSMPP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.calls import ACCEPTANCE, SENT, dispatch, get, provider, request, sms, tried, until, until_eligible
from tests.e2e.server import Server, eventually
from tests.e2e.streams import sent_through
from tests.interop.conftest import TOOLS
from tests.interop.smpp_centre import (
    NO_SUCH_NUMBER,
    PASSWORD,
    PROGRAMS,
    QUEUE_FULL,
    SYSTEM_ID,
    THROTTLED,
    Centre,
    build,
)
from tests.support.certificates import Authority
from tests.support.needed import Need
from tests.support.waiting import PATIENCE

from postwire.v1 import message_pb2
from postwire.v1.dispatch_service_pb2 import ListMessagesRequest
from postwire.v1.message_pb2 import Message
from postwire.v1.provider_service_pb2 import AVAILABILITY_AVAILABLE, AVAILABILITY_MISCONFIGURED

DELIVERED = message_pb2.MESSAGE_STATE_DELIVERED
UNDELIVERED = message_pb2.MESSAGE_STATE_UNDELIVERED
FAILED = message_pb2.MESSAGE_STATE_FAILED

DECLARED = """
[delivery]
backoff_base = "50ms"
backoff_max = "100ms"
[inbound]
stop = ["STOP"]
[providers.smsc]
kind = "smpp"
channels = ["sms"]
host = "127.0.0.1"
port = {port}
system_id = "{system_id}"
password_file = "password"
sender = "+447700900000"
{more}
[providers.smsc.breaker]
open_for = "50ms"
open_for_max = "100ms"
"""

FRAME = 500
"""Messages in each frame of a stream."""

TO = "+447700900001"

TEXTS = {
    "plain": "Your code is 4711.",
    "alphabet": "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ!\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà",
    "extended": "^{}\\[~]|€",
    "whole": "a" * 160,
    "two": "b" * 161,
    "escape at the border": "c" * 152 + "€{[" + "d" * 60,
    "ucs-2": "Zażółć gęślą jaźń. 日本 مرحبا",
    "ucs-2, whole": "ж" * 70,
    "ucs-2, two": "ж" * 71,
    "emoji at the border": "ж" * 66 + "🚚" * 40 + "end",
    "long": "".join(chr(ord("a") + number % 26) for number in range(900)),
}


@pytest.fixture(scope="module", params=sorted(PROGRAMS))
def command(request: pytest.FixtureRequest, need: Need) -> tuple[str, ...]:
    need(*PROGRAMS[request.param])
    return build(request.param, TOOLS / "smpp")


@pytest.fixture(scope="module")
def node(need: Need) -> tuple[str, ...]:
    need(*PROGRAMS["node"])
    return build("node", TOOLS / "smpp")


@pytest.fixture
def centre(command: tuple[str, ...], tmp_path: Path) -> Iterator[Centre]:
    with Centre(command, tmp_path) as running:
        yield running


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server whose provider sends by a centre; what else is given are keys of the provider."""
    started: list[Server] = []

    def start(centre: Centre, *more: str, password: str = PASSWORD) -> Server:
        folder = tmp_path / "postwire"
        folder.mkdir()
        toml = DECLARED.format(port=centre.port, system_id=SYSTEM_ID, more="\n".join(more))
        (folder / "postwire.toml").write_text(toml, encoding="utf-8")
        (folder / "password").write_text(f"{password}\n", encoding="utf-8")
        server = Server(folder)
        started.append(server)
        server.start()
        if password == PASSWORD:
            until_eligible(server, sms(TO))
        return server

    yield start
    for server in started:
        server.stop()


def test_what_is_sent_comes_as_it_was_written(centre: Centre, start: Start) -> None:
    server = start(centre)
    for name, text in TEXTS.items():
        message = dispatch(server, sms(TO, text))
        assert tried(message) == [("smsc", "success")], name
        assert message.provider_message_id
        [arrived] = centre.until("message", text=text, patience=10)
        assert (arrived["from"], arrived["to"]) == ("447700900000", "447700900001")
    assert centre.texts() == list(TEXTS.values())
    for part in centre.found("submit"):
        part["text"].encode()  # a surrogate that is alone is no text
        assert (part["from_ton"], part["from_npi"], part["to_ton"], part["to_npi"]) == (1, 1, 1, 1)
        assert part["validity"], "how long the centre may try"
    assert provider(server, "smsc").availability == AVAILABILITY_AVAILABLE


@pytest.mark.parametrize(
    ("sender", "ton", "npi"), [("Acme", 5, 0), ("12345", 3, 0), ("+447700900002", 1, 1)]
)  # fmt: skip
def test_a_sender_is_named_as_what_it_is(centre: Centre, start: Start, sender: str, ton: int, npi: int) -> None:
    server = start(centre)
    dispatch(server, sms(TO, "x", sender=sender))
    [arrived] = centre.until("submit")
    assert (arrived["from"], arrived["from_ton"]) == (sender.removeprefix("+"), ton)


@pytest.mark.parametrize("text", ["short", "long " * 80])
@pytest.mark.parametrize(("reported", "state"), [("DELIVRD", DELIVERED), ("UNDELIV", UNDELIVERED)])
def test_a_receipt_settles(centre: Centre, start: Start, text: str, reported: str, state: Any) -> None:
    centre.set(receipts=reported)
    server = start(centre)
    message = until(server, dispatch(server, sms(TO, text)), state)
    parts = len(centre.found("submit"))
    assert all(one["registered"] & 1 for one in centre.found("submit"))
    centre.until("delivered", kind="receipt", status=0, count=parts)
    assert len(message.attempts) == 1


@pytest.mark.parametrize(("form", "first"), [("auto", False), ("hex", False), ("hex", True)])
def test_a_receipt_is_found_by_an_id_in_another_form_before_or_after_the_response(
    node: tuple[str, ...], start: Start, tmp_path: Path, form: str, first: bool
) -> None:
    with Centre(node, tmp_path, receipts="DELIVRD", first=first) as centre:
        server = start(centre, f'message_id_format = "{form}"')
        messages = [dispatch(server, sms(TO, f"number {number}")) for number in range(40)]
        for message in messages:
            until(server, message, DELIVERED)
        centre.until("delivered", kind="receipt", status=0, count=40)


def test_a_wrong_password_is_said_and_a_mended_one_sends_what_waited(centre: Centre, start: Start) -> None:
    server = start(centre, password="n0ne0f1t")
    eventually(lambda: provider(server, "smsc").availability == AVAILABILITY_MISCONFIGURED)
    message = dispatch(server, sms(TO, "x"), wait_for=ACCEPTANCE)
    assert get(server, message).state == message_pb2.MESSAGE_STATE_QUEUED
    (server.folder / "password").write_text(PASSWORD, encoding="utf-8")
    assert tried(until(server, message, SENT))[-1] == ("smsc", "success")
    assert "n0ne0f1t" not in server.log_text()


def test_who_writes_stop_gets_no_more(centre: Centre, start: Start) -> None:
    server = start(centre)
    dispatch(server, sms(TO, "first"))
    assert centre.deliver("447700900001", "447700900000", " stop ")["status"] == 0
    refused = dispatch(server, sms(TO, "second"))
    assert (refused.state, refused.error_code) == (FAILED, "suppressed")
    assert centre.texts() == ["first"]


def test_a_number_that_does_not_exist_is_rejected(centre: Centre, start: Start) -> None:
    server = start(centre)
    centre.set(refuse=[{"every": 1, "status": NO_SUCH_NUMBER}])
    assert tried(dispatch(server, sms(TO, "x"))) == [("smsc", "rejected")]


def test_what_waits_while_the_centre_is_away_is_sent_once_when_it_is_back(
    command: tuple[str, ...], start: Start, tmp_path: Path
) -> None:
    centre = Centre(command, tmp_path)
    with centre:
        server = start(centre)
        dispatch(server, sms(TO, "first"))
    message = dispatch(server, sms(TO, "second"), wait_for=ACCEPTANCE)
    with centre:
        until(server, message, SENT)
        assert centre.texts() == ["first", "second"]


def test_binds_are_as_many_as_asked_for_and_of_the_kind(centre: Centre, start: Start) -> None:
    centre.set(receipts="DELIVRD")
    server = start(centre, 'bind = "pair"', "binds = 2", 'system_type = "VMS"')
    until(server, dispatch(server, sms(TO, "x")), DELIVERED)
    centre.until("bind", status=0, count=4)
    modes = Counter((one["mode"], one["system_id"], one["system_type"]) for one in centre.found("bind"))
    assert modes == {("bind_transmitter", SYSTEM_ID, "VMS"): 2, ("bind_receiver", SYSTEM_ID, "VMS"): 2}
    assert server.terminate() == 0
    centre.until("unbind", count=4)


def test_a_link_is_enquired_about_where_nothing_else_is_said(centre: Centre, start: Start) -> None:
    start(centre, 'enquire_link = "100ms"')
    centre.until("enquire_link", count=3)
    assert len(centre.found("bind")) == 1


def test_a_connection_that_says_nothing_more_is_made_anew(node: tuple[str, ...], start: Start, tmp_path: Path) -> None:
    with Centre(node, tmp_path, idle=True) as centre:
        start(centre, 'enquire_link = "100ms"', 'response_timeout = "200ms"')
        centre.until("bind", status=0, count=2)


def test_it_goes_by_tls(node: tuple[str, ...], start: Start, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    authority.certify("127.0.0.1")
    with Centre(node, tmp_path, tls=str(tmp_path / "authority/127.0.0.1.pem")) as centre:
        server = start(centre, "tls = true", f'ca_file = "{authority.ca_file}"')
        dispatch(server, sms(TO, "x"))
        assert centre.texts() == ["x"]


def everything(server: Server) -> list[Message]:
    found: list[Message] = []
    token = ""
    while True:
        page = server.dispatch.ListMessages(ListMessagesRequest(page_size=1000, page_token=token))
        found += page.messages
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("count", [10_000])
def test_ten_thousand_settle_and_none_comes_twice_unless_it_was_uncertain(
    node: tuple[str, ...], start: Start, tmp_path: Path, count: int
) -> None:
    refused = [{"every": 601, "status": THROTTLED}, {"every": 907, "status": QUEUE_FULL}]
    with Centre(node, tmp_path, receipts="DELIVRD", refuse=refused, cut=count // 2) as centre:
        server = start(centre, "window = 10", 'enquire_link = "200ms"')
        settle(server, centre, count)
        assert centre.found("refused", status=THROTTLED)
        assert centre.found("refused", status=QUEUE_FULL)
        assert len(centre.found("cut")) == 1
        assert len(centre.found("bind", status=0)) == 2


def test_two_thousand_settle_at_another_centre(need: Need, start: Start, tmp_path: Path) -> None:
    need(*PROGRAMS["java"])
    refused = [{"every": 301, "status": THROTTLED}, {"every": 509, "status": QUEUE_FULL}]
    with Centre(build("java", TOOLS / "smpp"), tmp_path, receipts="DELIVRD", refuse=refused) as centre:
        settle(start(centre, "window = 10"), centre, 2000)


def settle(server: Server, centre: Centre, count: int) -> None:
    """Send so many, and see that each comes to the end of its way, and to the centre once."""
    for first in range(0, count, FRAME):
        texts = [f"number {number}" for number in range(first, first + FRAME)]
        results = sent_through(server, [request(sms(TO, text), wait_for=ACCEPTANCE) for text in texts])
        assert all(one.message.message_id for one in results)
    centre.until("delivered", kind="receipt", status=0, count=count, patience=5 * PATIENCE)
    eventually(lambda: {one.state for one in everything(server)} == {DELIVERED})
    arrived = Counter(centre.texts())
    assert set(arrived) == {f"number {number}" for number in range(count)}
    uncertain = sum("uncertain" in {outcome for _, outcome in tried(one)} for one in everything(server))
    twice = sum(times - 1 for times in arrived.values())
    assert twice <= uncertain <= 10, (twice, uncertain)
