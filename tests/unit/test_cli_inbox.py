"""`postwire inbox`, against a server in this process that answers as it is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from google.rpc.error_details_pb2 import ErrorInfo
from tests.support.scripted_server import ScriptedServer, serving

from postwire.cli import show
from postwire.cli.root import root
from postwire.v1.inbox_service_pb2 import (
    ClearInboxResponse,
    InboxFilter,
    InboxMessage,
    ListInboxRequest,
    ListInboxResponse,
    WaitForMessageRequest,
    WaitForMessageResponse,
    WatchInboxRequest,
    WatchInboxResponse,
)
from postwire.v1.message_pb2 import CHANNEL_EMAIL, CHANNEL_SMS, Email, Mms, OutboundMessage, Sms
from postwire_client import calls

ADA = "+14155550132"
Call = Callable[..., Result]


def taken(name: str = "b00b1e55-1", **content: Any) -> InboxMessage:
    message = OutboundMessage(**(content or {"sms": Sms(to=ADA, body="Your code\nis 417")}))
    one = InboxMessage(inbox_message_id=name, message_id="m-1", provider_name="trial", message=message)
    one.receive_time.FromMilliseconds(1_500)
    return one


@pytest.fixture
def scripted() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def call(scripted: ScriptedServer) -> Iterator[Call]:
    with serving(scripted) as target:
        yield lambda name, *args: CliRunner().invoke(root, ["inbox", name, "--server", target, *args])


def test_wait_prints_the_text(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = WaitForMessageResponse(message=taken())
    done = call("wait", "--to", ADA, "--match", "code", "--since", "2030-01-31T12:00:00Z")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "Your code\nis 417\n", "")
    asked = WaitForMessageRequest(to=ADA, match="code")
    asked.receive_time_from.FromJsonString("2030-01-31T12:00:00Z")
    assert scripted.asked == [asked]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"mms": Mms(to=ADA, body="Look")}, "Look\n"),
        ({"email": Email(to=["ada@example.com"], text="Hi", html="<p>Hi")}, "Hi\n"),
        ({"email": Email(to=["ada@example.com"], html="<p>Hi")}, "<p>Hi\n"),
    ],
    ids=["mms", "text", "html"],
)
def test_of_an_email_it_prints_the_text_or_the_html(
    call: Call, scripted: ScriptedServer, content: dict[str, Any], text: str
) -> None:
    scripted.answer = WaitForMessageResponse(message=taken(**content))
    assert call("wait", "--to", "ada@example.com").stdout == text


def test_a_terminal_is_not_steered_by_a_text(
    call: Call, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.answer = WaitForMessageResponse(message=taken(sms=Sms(to=ADA, body="1\x1b[2J\n2")))
    assert call("wait", "--to", ADA).stdout == "1\x1b[2J\n2\n"
    monkeypatch.setattr(show, "at_terminal", lambda: True)
    assert call("wait", "--to", ADA).stdout == "1\\x1b[2J\n2\n"


def test_wait_says_where_none_has_come(call: Call, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_ANSWERED_EARLY", 1000.0)
    scripted.answer = WaitForMessageResponse()
    done = call("wait", "--to", ADA, "--timeout", "20s")
    assert (done.exit_code, done.stdout) == (6, "")
    assert done.stderr == "postwire: no such message has come within 20s (--timeout)\n"
    done = call("wait", "--to", ADA, "--timeout", "20s", "--json")
    assert json.loads(done.stderr)["error"]["message"] == "no such message has come within 20s (--timeout)"


def test_wait_needs_a_recipient(call: Call) -> None:
    done = call("wait", "--match", "code")
    assert (done.exit_code, "--to" in done.stderr) == (2, True)


def test_as_json_a_message_has_all_that_it_says(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = WaitForMessageResponse(message=taken())
    shown = json.loads(call("wait", "--to", ADA, "--json").stdout)
    assert shown["message"]["sms"]["body"] == "Your code\nis 417"
    assert shown["receive_time"] == "1970-01-01T00:00:01.500Z"


LETTER = Email(to=["ada@example.com"], cc=["bob@example.com", "eve@example.com"], subject="Grüße", text="x")


def test_list_shows_a_line_for_each(call: Call, scripted: ScriptedServer) -> None:
    some = taken(email=LETTER)
    some.recipient_indices.append(1)
    scripted.answer = ListInboxResponse(
        messages=[taken(), taken(mms=Mms(to=ADA, body="x" * 100)), taken(email=LETTER), some]
    )
    done = call("list", "--to", ADA, "--match", "x", "--channel", "sms", "--channel", "EMAIL")
    lines = [line.split(None, 4) for line in done.stdout.splitlines()]
    assert lines[0] == ["TIME", "PROVIDER", "CHANNEL", "TO", "TEXT"]
    assert lines[1] == ["1970-01-01T00:00:01.500Z", "trial", "sms", ADA, "Your code is 417"]
    assert lines[2][4] == f"{'x' * 79}…"
    assert " ".join(lines[3][3:]).split() == ["ada@example.com", "and", "2", "more", "Grüße"]
    assert lines[4][3:] == ["bob@example.com", "Grüße"]
    assert scripted.asked == [
        ListInboxRequest(filter=InboxFilter(to=ADA, match="x", channels=[CHANNEL_SMS, CHANNEL_EMAIL]), page_size=51)
    ]


def test_what_is_of_an_unknown_channel_is_listed_all_the_same(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = ListInboxResponse(messages=[InboxMessage(provider_name="trial")])
    assert call("list").stdout.splitlines()[1].split() == ["-", "trial", "-", "-", "-"]
    scripted.answer = WaitForMessageResponse(message=InboxMessage(provider_name="trial"))
    assert (call("wait", "--to", ADA).exit_code, call("wait", "--to", ADA).stdout) == (0, "\n")


def test_list_says_that_there_are_more(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = ListInboxResponse(messages=[taken("a"), taken("b")])
    done = call("list", "--limit", "1")
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == "There are more: these are the newest 1 (--limit).\n"
    shown = json.loads(call("list", "--limit", "1", "--json").stdout)
    assert ([one["inbox_message_id"] for one in shown["messages"]], shown["more"]) == (["a"], True)


def test_watch_shows_a_line_for_each(call: Call, scripted: ScriptedServer) -> None:
    answers = [WatchInboxResponse(), WatchInboxResponse(message=taken()), WatchInboxResponse()]
    asked = 0

    def answer(request: Any, context: Any) -> Iterator[Any]:
        nonlocal asked
        asked += 1
        if asked % 2 == 0:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "enough")
        yield from answers

    scripted.answer = answer
    done = call("watch", "--to", ADA)
    assert [line.split(None, 4) for line in done.stdout.splitlines()] == [
        ["TIME", "PROVIDER", "CHANNEL", "TO", "TEXT"],
        ["1970-01-01T00:00:01.500Z", "trial", "sms", ADA, "Your code is 417"],
    ]
    assert done.exit_code == 1
    done = call("watch", "--json")
    assert [json.loads(line)["inbox_message_id"] for line in done.stdout.splitlines()] == ["b00b1e55-1"]
    assert scripted.asked[0] == WatchInboxRequest(filter=InboxFilter(to=ADA))


def test_clear_says_how_many_there_were(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = ClearInboxResponse(removed=1_234)
    assert call("clear").stdout == "removed  1,234\n"
    assert json.loads(call("clear", "--json").stdout) == {"removed": 1_234}


def test_a_server_in_production_says_so(call: Call, scripted: ScriptedServer) -> None:
    text = "there is no inbox where server.environment is production"
    scripted.refuse(grpc.StatusCode.FAILED_PRECONDITION, text, ErrorInfo(reason="INBOX_DISABLED", domain="postwire"))
    done = call("list")
    assert done.exit_code == 1
    assert done.stderr == f"postwire: FAILED_PRECONDITION INBOX_DISABLED: {text}\n"
