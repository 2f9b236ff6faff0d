"""`postwire messages list`, and the client's `list_messages`, against a server in this process that gives pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result

from postwire.cli.messages import read as calls
from postwire.cli.root import root
from postwire.core.message import Channel as CoreChannel
from postwire.core.message import MessageState as CoreState
from postwire.v1.dispatch_service_pb2 import ListMessagesRequest, ListMessagesResponse
from postwire.v1.dispatch_service_pb2_grpc import add_DispatchServiceServicer_to_server
from postwire.v1.message_pb2 import Attempt, Channel, Message, MessageState, Outcome
from postwire_client import Client, InvalidRequest, MessageFilter, TryAgain

FULL = Message(
    message_id="01890a5d-ac96-774b-bcce-b302099a8057",
    channel=Channel.CHANNEL_SMS,
    state=MessageState.MESSAGE_STATE_SENT,
    outcome=Outcome.OUTCOME_SUCCESS,
    provider_name="sms-mms",
    attempts=[Attempt(number=1), Attempt(number=2)],
    labels={"order": "1"},
)
FULL.create_time.FromMilliseconds(1_500)


def messages(count: int) -> list[Message]:
    return [Message(message_id=f"m-{number}") for number in range(count)]


class Pages:
    """Gives `pages`, one after another; a page that is a status code ends its call with that."""

    def __init__(self) -> None:
        self.pages: Sequence[Sequence[Message] | grpc.StatusCode] = [[]]
        self.asked: list[ListMessagesRequest] = []

    def __getattr__(self, method: str) -> Any:
        if not method[0].isupper():
            raise AttributeError(method)
        return None  # not called: gRPC wants one of every name

    def ListMessages(self, request: ListMessagesRequest, context: grpc.ServicerContext) -> ListMessagesResponse:
        self.asked.append(request)
        number = int(request.page_token or "0")
        page = self.pages[number]
        if isinstance(page, grpc.StatusCode):
            context.abort(page, "no")
        more = number + 1 < len(self.pages)
        return ListMessagesResponse(messages=page, next_page_token=str(number + 1) if more else "")


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def target(pages: Any) -> Iterator[str]:
    with ThreadPoolExecutor(max_workers=2) as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        add_DispatchServiceServicer_to_server(pages, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


Call = Callable[..., Result]


@pytest.fixture
def call(target: str) -> Call:
    """Runs the command against the server."""
    return lambda *args: CliRunner().invoke(root, ["messages", "list", "--server", target, *args])


# The client.


def test_the_client_follows_the_pages_empty_ones_too(pages: Pages, target: str) -> None:
    every = messages(5)
    pages.pages = [every[:2], [], [], every[2:3], every[3:], []]
    chosen = MessageFilter(channels=[Channel.CHANNEL_EMAIL], labels={"order": "1"})
    with Client(target) as client:
        assert list(client.list_messages(chosen, page_size=2)) == every
    assert [(one.filter, one.page_size, one.page_token) for one in pages.asked] == [
        (chosen, 2, token) for token in ("", "1", "2", "3", "4", "5")
    ]


def test_the_client_asks_for_no_page_that_nobody_wants(pages: Pages, target: str) -> None:
    every = messages(4)
    pages.pages = [every[:2], every[2:], [Message()]]
    with Client(target) as client:
        listed = client.list_messages()
        assert pages.asked == [], "nothing before the first is wanted"
        assert list(islice(listed, 3)) == every[:3]
    assert [one.page_token for one in pages.asked] == ["", "1"]
    assert pages.asked[0] == ListMessagesRequest(), "what is left out is the server's to choose"


def test_the_client_raises_where_a_page_fails_and_keeps_what_came_before(pages: Pages, target: str) -> None:
    pages.pages = [messages(2), grpc.StatusCode.INVALID_ARGUMENT]
    found = []
    with Client(target, retry=False) as client:
        listed = client.list_messages()
        found += [next(listed), next(listed)]
        with pytest.raises(InvalidRequest):
            next(listed)
        pages.pages = [grpc.StatusCode.UNAVAILABLE]
        with pytest.raises(TryAgain):
            next(client.list_messages())
    assert found == messages(2)


# The command: what is asked.


def test_without_options_it_asks_for_all_and_shows_fifty(call: Call, pages: Pages) -> None:
    pages.pages = [messages(60)]
    result = call()
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1 + 50
    (asked,) = pages.asked
    assert asked == ListMessagesRequest(page_size=51)


def test_every_filter_authenticates(call: Call, pages: Pages) -> None:
    result = call(
        *("--channel", "sms", "--channel", "email", "--state", "failed", "--state", "uncertain"),
        *("--provider", "sms-mms", "--provider", "email", "--label", "order=1", "--label", "note=a=b"),
        *("--from", "2030-01-30", "--to", "2030-01-31T12:00:00.5Z", "--limit", "7"),
    )
    assert result.exit_code == 0
    chosen = MessageFilter(
        channels=[Channel.CHANNEL_SMS, Channel.CHANNEL_EMAIL],
        states=[MessageState.MESSAGE_STATE_FAILED, MessageState.MESSAGE_STATE_UNCERTAIN],
        provider_names=["sms-mms", "email"],
        labels={"order": "1", "note": "a=b"},
    )
    chosen.create_time_from.FromJsonString("2030-01-30T00:00:00Z")
    chosen.create_time_to.FromJsonString("2030-01-31T12:00:00.5Z")
    assert pages.asked == [ListMessagesRequest(filter=chosen, page_size=8)]


@pytest.mark.parametrize(
    ("option", "enum", "prefix", "core"),
    [("--channel", Channel, "CHANNEL_", CoreChannel), ("--state", MessageState, "MESSAGE_STATE_", CoreState)],
)
def test_every_channel_and_state_can_be_asked_for(
    call: Call, pages: Pages, option: str, enum: Any, prefix: str, core: Any
) -> None:
    known = {name.removeprefix(prefix).lower(): value for name, value in enum.items() if value}
    assert known.keys() == {one.value for one in core}
    for word, value in known.items():
        for spelled in (word, word.upper()):
            assert call(option, spelled).exit_code == 0
            chosen = pages.asked.pop().filter
            assert [*chosen.channels, *chosen.states] == [value]


@pytest.mark.parametrize("ago", ["2h", "1.5s", "0s", "400d"])
def test_a_time_may_be_so_long_ago(call: Call, pages: Pages, ago: str) -> None:
    length = {"2h": timedelta(hours=2), "1.5s": timedelta(seconds=1.5), "0s": timedelta(), "400d": timedelta(400)}[ago]
    before = datetime.now(UTC)
    assert call("--from", ago).exit_code == 0
    after = datetime.now(UTC)
    chosen = pages.asked[0].filter
    assert before - length <= chosen.create_time_from.ToDatetime(UTC) <= after - length
    assert not chosen.HasField("create_time_to")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--channel", "pigeon"), "is not one of"),
        (("--state", "posted"), "is not one of"),
        (("--label", "x"), "'x' is not KEY=VALUE"),
        (("--label", "a=1", "--label", "a=2"), "'a' is there twice"),
        (("--from", "yesterday"), "'yesterday' is not a time such as"),
        (("--from", "2030-01-31T12:00:00"), "has no offset: add Z"),
        (("--to", "2030-02-30"), "is not a time such as"),
        (("--to", "10"), "is not a time such as"),
        (("--to", "-1h"), "is not a time such as"),
        (("--from", "99999d"), "is not a time such as"),
        (("--limit", "0"), "is not in the range"),
        (("--limit", "9" * 20), "is not in the range"),
        (("--limit", "many"), "is not a valid integer"),
        (("m-1",), "unexpected extra argument"),
    ],
)
def test_wrong_usage(call: Call, pages: Pages, args: tuple[str, ...], said: str) -> None:
    result = call(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert pages.asked == []


# The command: how much of it.


def test_pages_are_followed_to_the_limit_and_no_further(call: Call, pages: Pages) -> None:
    every = messages(9)
    pages.pages = [every[:3], [], every[3:6], every[6:]]
    result = call("--limit", "4")
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == ["m-0", "m-1", "m-2", "m-3"]
    assert "4" in result.stderr
    assert "more" in result.stderr
    assert len(pages.asked) == 3


@pytest.mark.parametrize("limit", ["9", "10", "5000"])
def test_where_there_are_no_more_nothing_is_said_of_more(call: Call, pages: Pages, limit: str) -> None:
    pages.pages = [messages(4), messages(5), []]
    result = call("--limit", limit)
    assert len(result.stdout.splitlines()) == 1 + 9
    assert result.stderr == ""
    assert pages.asked[0].page_size <= calls.MAX_PAGE_SIZE


# The command: what is shown.


def test_a_table_for_people(call: Call, pages: Pages) -> None:
    pages.pages = [[FULL, Message(message_id="m-2", channel=99)]]  # type: ignore[arg-type]  # of a newer server
    assert call().stdout == (
        "MESSAGE_ID                            CREATED                   CHANNEL  STATE  OUTCOME  PROVIDER  ATTEMPTS\n"
        "01890a5d-ac96-774b-bcce-b302099a8057  1970-01-01T00:00:01.500Z  sms      sent   success  sms-mms   2\n"
        "m-2                                   -                         99       -      -        -         0\n"
    )


def test_none_is_a_table_without_rows(call: Call) -> None:
    result = call()
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.split() == ["MESSAGE_ID", "CREATED", "CHANNEL", "STATE", "OUTCOME", "PROVIDER", "ATTEMPTS"]


def test_one_object_for_programs(call: Call, pages: Pages) -> None:
    pages.pages = [[FULL], messages(2)]
    result = call("--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    reported = json.loads(result.stdout)
    assert reported["more"] is False
    assert [one["message_id"] for one in reported["messages"]] == [FULL.message_id, "m-0", "m-1"]
    assert reported["messages"][0]["state"] == "MESSAGE_STATE_SENT"
    assert reported["messages"][0]["labels"] == {"order": "1"}
    assert reported["messages"][1]["attempts"] == [], "what is empty is there all the same"
    result = call("--json", "--limit", "2")
    assert result.stderr == ""
    reported = json.loads(result.stdout)
    assert (len(reported["messages"]), reported["more"]) == (2, True)


def test_a_page_that_fails_is_told_and_nothing_is_shown(call: Call, pages: Pages) -> None:
    pages.pages = [messages(3), grpc.StatusCode.INVALID_ARGUMENT]
    result = call()
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "postwire: INVALID_ARGUMENT: no\n"
    assert json.loads(call("--json").stderr)["error"]["code"] == "INVALID_ARGUMENT"
    pages.pages = [grpc.StatusCode.UNAVAILABLE]
    assert call().exit_code == 3
