"""Lists of messages: by the contract, by the client, and by the command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.e2e.calls import SENT, TIMEOUT, email, mms, refused, request, sms
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.support import forking

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2
from postwire.v1.dispatch_service_pb2 import MessageFilter
from postwire.v1.message_pb2 import CHANNEL_EMAIL, CHANNEL_MMS, CHANNEL_SMS, Message
from postwire_client import Client

FAILED = message_pb2.MESSAGE_STATE_FAILED
COUNT = 60


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, list[Message]]]:
    """A server, and what was sent through it, oldest first. None of these tests sends more."""
    with Server(tmp_path_factory.mktemp("filled")) as server:
        sent = []
        for number in range(COUNT):
            to = "+15005550001" if number % 6 == 0 else "+14155550132"
            content = (sms(to), mms(to), email())[number % 3]
            content.labels.update({"third": str(number % 3), "number": str(number)})
            sent.append(server.dispatch.Dispatch(request(content), timeout=TIMEOUT).message)
        yield server, sent


def page(server: Server, **fields: Any) -> pb.ListMessagesResponse:
    return server.dispatch.ListMessages(pb.ListMessagesRequest(**fields), timeout=TIMEOUT)


def pages(server: Server, **fields: Any) -> Iterator[list[Message]]:
    token = ""
    while True:
        found = page(server, page_token=token, **fields)
        yield list(found.messages)
        token = found.next_page_token
        if not token:
            return


def every(server: Server, **fields: Any) -> list[Message]:
    return [message for found in pages(server, **fields) for message in found]


def test_the_newest_fifty_come_first_and_then_the_others(filled: tuple[Server, list[Message]]) -> None:
    server, sent = filled
    first = page(server)
    assert list(first.messages) == sent[: -50 - 1 : -1]
    second = page(server, page_token=first.next_page_token)
    assert list(second.messages) == sent[-50 - 1 :: -1]
    assert second.next_page_token == ""


@pytest.mark.parametrize("size", [1, 7, 59, 60, 61, 1000, 100_000])
def test_pages_of_any_size_hold_everything_once(filled: tuple[Server, list[Message]], size: int) -> None:
    server, sent = filled
    found = list(pages(server, page_size=size))
    assert [message for one in found for message in one] == sent[::-1]
    assert all(len(one) <= size for one in found)


@pytest.mark.parametrize(
    "chosen",
    [
        MessageFilter(channels=[CHANNEL_EMAIL]),
        MessageFilter(channels=[CHANNEL_SMS, CHANNEL_MMS]),
        MessageFilter(states=[FAILED]),
        MessageFilter(states=[FAILED, SENT]),
        MessageFilter(provider_names=["email"]),
        MessageFilter(provider_names=["nobody", "sms-mms"]),
        MessageFilter(labels={"third": "1"}),
        MessageFilter(labels={"third": "1", "number": "7"}),
        MessageFilter(channels=[CHANNEL_SMS], states=[FAILED], labels={"third": "0"}, provider_names=["sms-mms"]),
        MessageFilter(labels={"third": "3"}),
        MessageFilter(states=[message_pb2.MESSAGE_STATE_QUEUED]),
    ],
    ids=lambda chosen: " ".join(str(chosen).split()),
)
def test_a_filter_narrows_the_choice(filled: tuple[Server, list[Message]], chosen: MessageFilter) -> None:
    server, sent = filled
    wanted = [
        message
        for message in reversed(sent)
        if message.channel in (chosen.channels or [message.channel])
        and message.state in (chosen.states or [message.state])
        and message.provider_name in (chosen.provider_names or [message.provider_name])
        and dict(chosen.labels).items() <= dict(message.labels).items()
    ]
    for size in (0, 4):
        assert every(server, filter=chosen, page_size=size) == wanted


def test_times_are_from_the_first_and_to_before_the_second(filled: tuple[Server, list[Message]]) -> None:
    server, sent = filled
    start, end = sent[20].create_time, sent[40].create_time
    chosen = MessageFilter(create_time_from=start, create_time_to=end)
    wanted = [
        message
        for message in reversed(sent)
        if start.ToNanoseconds() <= message.create_time.ToNanoseconds() < end.ToNanoseconds()
    ]
    assert every(server, filter=chosen) == wanted
    assert wanted[-1] == sent[20]
    assert every(server, filter=MessageFilter(create_time_from=Timestamp(seconds=253_402_300_799))) == []


def test_a_token_of_another_filter_or_of_nobody_is_refused(filled: tuple[Server, list[Message]]) -> None:
    server, _ = filled
    token = page(server, page_size=1).next_page_token
    for fields, field in (
        ({"page_token": token, "filter": MessageFilter(labels={"third": "1"})}, "page_token"),
        ({"page_token": token + "x"}, "page_token"),
        ({"page_token": "x"}, "page_token"),
        ({"page_size": -1}, "page_size"),
        ({"filter": MessageFilter(create_time_to=Timestamp(seconds=-1))}, "filter.create_time_to"),
    ):
        error = refused(lambda: page(server, **fields))  # noqa: B023  # called at once
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE")
        assert error.fields == [field]


def test_the_client_gives_one_after_another(filled: tuple[Server, list[Message]]) -> None:
    server, sent = filled
    with Client(server.address) as client:
        assert list(client.list_messages()) == sent[::-1]
        chosen = MessageFilter(channels=[CHANNEL_EMAIL])
        assert [message.channel for message in client.list_messages(chosen, page_size=3)] == [CHANNEL_EMAIL] * 20


def command(server: Server, *args: str) -> subprocess.CompletedProcess[str]:
    return forking.run("messages", "list", "--server", server.address, *args)


def test_the_command_shows_them(filled: tuple[Server, list[Message]]) -> None:
    server, sent = filled
    done = command(server, "--state", "failed", "--channel", "sms", "--from", "1h", "--limit", "4")
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    wanted = [one for one in reversed(sent) if (one.state, one.channel) == (FAILED, CHANNEL_SMS)]
    assert [row[0] for row in rows] == ["MESSAGE_ID", *(message.message_id for message in wanted[:4])]
    assert {tuple(row[2:]) for row in rows[1:]} == {("sms", "failed", "rejected", "sms-mms", "1")}
    assert "--limit" in done.stderr

    done = command(server, "--json", "--limit", "1000")
    assert (done.returncode, done.stderr) == (0, "")
    reported = json.loads(done.stdout)
    assert [one["message_id"] for one in reported["messages"]] == [message.message_id for message in reversed(sent)]
    assert reported["more"] is False


def test_pages_go_on_over_a_restart_and_past_what_arrives(serve: Serve) -> None:
    server = serve()

    def send() -> Message:
        return server.dispatch.Dispatch(request(), timeout=TIMEOUT).message

    sent = [send() for _ in range(6)]
    first = page(server, page_size=2)
    late = send()
    server.restart()
    rest = page(server, page_token=first.next_page_token)
    assert [*first.messages, *rest.messages] == sent[::-1]
    assert every(server)[0] == late
