"""Which messages a list is about, and its pages' tokens: the core's values, and what the contract's requests become."""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from tests.support import build
from tests.support.clock import START

from postwire.api import convert, listing
from postwire.api.tokens import PlainTokens
from postwire.core.errors import InvalidPage
from postwire.core.ids import is_message_id
from postwire.core.listing import DEFAULT_PAGE_SIZE, MessageFilter, page_token, parse_page_token
from postwire.core.message import DEFAULT_TENANT, Channel, MessageRecord, MessageState
from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2

SECRET = "Zq9canary7"
ID = "019ab0c4-94c8-7000-8f3e-5d2a7c1b9e64"

NONE: Any = 0
NEWER: Any = 99
"""As a newer client's contract would have it."""

# Which messages are meant.


def record(**changes: Any) -> MessageRecord:
    of = build.command(labels={"order": "1", "shop": "eu"})
    return replace(build.ended(build.accepted(of, provider_name="sms-mms", now=START)), **changes)


NARROW: list[tuple[MessageFilter, bool]] = [
    (MessageFilter(), True),
    (MessageFilter(channels=frozenset({Channel.SMS})), True),
    (MessageFilter(channels=frozenset({Channel.SMS, Channel.EMAIL})), True),
    (MessageFilter(channels=frozenset({Channel.EMAIL})), False),
    (MessageFilter(states=frozenset({MessageState.FAILED, MessageState.SENT})), True),
    (MessageFilter(states=frozenset({MessageState.SENDING})), False),
    (MessageFilter(provider_names=frozenset({"email", "sms-mms"})), True),
    (MessageFilter(provider_names=frozenset({"sms"})), False),
    (MessageFilter(labels={"order": "1"}), True),
    (MessageFilter(labels={"shop": "eu", "order": "1"}), True),
    (MessageFilter(labels={"order": "2"}), False),
    (MessageFilter(labels={"order": "1", "other": ""}), False),
    (MessageFilter(create_time_from=START), True),
    (MessageFilter(create_time_from=START + 1), False),
    (MessageFilter(create_time_to=START + 1), True),
    (MessageFilter(create_time_to=START), False),
    (MessageFilter(request_ids=frozenset({"other", "order-1"})), True),
    (MessageFilter(request_ids=frozenset({"other"})), False),
    (MessageFilter(create_time_from=START, create_time_to=START + 1), True),
    (MessageFilter(create_time_from=START + 1, create_time_to=START), False),
    (MessageFilter(channels=frozenset({Channel.SMS}), labels={"order": "2"}), False),
    (MessageFilter(channels=frozenset({Channel.MMS}), labels={"order": "1"}), False),
]


@pytest.mark.parametrize(("chosen", "admitted"), NARROW)
def test_a_filter_admits_what_meets_all_of_it(chosen: MessageFilter, admitted: bool) -> None:
    assert chosen.admits(record(request_id="order-1")) is admitted


def test_the_provider_is_the_last_that_was_tried() -> None:
    first = record().attempts[0]
    moved = record(attempts=(first, replace(first, number=2, provider_name="other")))
    assert MessageFilter(provider_names=frozenset({"other"})).admits(moved)
    assert not MessageFilter(provider_names=frozenset({"sms-mms"})).admits(moved)
    assert not MessageFilter(provider_names=frozenset({"sms-mms"})).admits(record(attempts=()))


def test_a_filter_does_not_show_labels() -> None:
    assert SECRET not in repr(MessageFilter(labels={SECRET: SECRET}))


# Tokens.

FILTERS = [
    MessageFilter(),
    MessageFilter(channels=frozenset({Channel.SMS})),
    MessageFilter(channels=frozenset({Channel.SMS, Channel.EMAIL})),
    MessageFilter(states=frozenset({MessageState.SENT})),
    MessageFilter(provider_names=frozenset({"a", "b"})),
    MessageFilter(provider_names=frozenset({"a,b"})),
    MessageFilter(provider_names=frozenset({"sent"})),
    MessageFilter(labels={"a": "b"}),
    MessageFilter(labels={"b": "a"}),
    MessageFilter(labels={"a": "b", "c": ""}),
    MessageFilter(create_time_from=1),
    MessageFilter(create_time_to=1),
    MessageFilter(create_time_from=0),
    MessageFilter(create_time_from=1, create_time_to=1),
    MessageFilter(request_ids=frozenset({"a", "b"})),
    MessageFilter(request_ids=frozenset({"a"})),
]


def test_a_token_is_good_for_its_own_filter_and_for_no_other() -> None:
    for mine in FILTERS:
        token = page_token(ID, mine)
        for other in FILTERS:
            if other is mine:
                assert parse_page_token(token, other) == ID
                continue
            with pytest.raises(ValueError, match=r"^belongs to another filter: keep the filter from page to page$"):
                parse_page_token(token, other)


def test_the_order_in_which_a_filter_was_written_is_no_part_of_it() -> None:
    one = MessageFilter(labels={"a": "1", "b": "2"}, provider_names=frozenset(("x", "y", "z")))
    other = MessageFilter(labels={"b": "2", "a": "1"}, provider_names=frozenset(("z", "y", "x")))
    assert parse_page_token(page_token(ID, one), other) == ID


def test_a_token_holds_nobodys_data_and_is_no_trouble_in_a_shell_or_an_address() -> None:
    token = page_token(ID, MessageFilter(labels={SECRET: SECRET}, provider_names=frozenset({SECRET})))
    assert SECRET.encode() not in base64.urlsafe_b64decode(token)
    assert token.replace("-", "").replace("_", "").replace("=", "").isalnum()


GOOD = "opOhg8q3uoswMTlhYjBjNC05NGM4LTcwMDAtOGYzZS01ZDJhN2MxYjllNjQ="
"""Goes on after `ID`, without a filter."""


def test_a_token_is_as_good_after_an_upgrade() -> None:
    every = MessageFilter(
        channels=frozenset({Channel.SMS, Channel.EMAIL}),
        states=frozenset({MessageState.SENT, MessageState.FAILED}),
        provider_names=frozenset({"b", "a"}),
        labels={"order": "1", "a": ""},
        create_time_from=1,
        create_time_to=2,
    )
    assert page_token(ID, MessageFilter()) == GOOD
    assert page_token(ID, every) == "RPs4pel91ycwMTlhYjBjNC05NGM4LTcwMDAtOGYzZS01ZDJhN2MxYjllNjQ="


BAD_TOKENS = [
    "x",
    "====",
    ID,
    GOOD[:-1],
    GOOD[1:],
    GOOD + "A",
    GOOD + "\n",
    " " + GOOD,
    GOOD.replace("0", "?"),
    "é" * 40,
    base64.urlsafe_b64encode(b"12345678").decode(),
    base64.urlsafe_b64encode(b"12345678" + b"\xff" * 36).decode(),
    base64.urlsafe_b64encode(base64.urlsafe_b64decode(GOOD)[:8] + ID.upper().encode()).decode(),
    base64.urlsafe_b64encode(base64.urlsafe_b64decode(GOOD)[:8] + ID.replace("-", "").encode()).decode(),
    base64.urlsafe_b64encode(base64.urlsafe_b64decode(GOOD) + b" OR 1=1").decode(),
]


@pytest.mark.parametrize("token", BAD_TOKENS)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a token that a page before gave, or left out$"):
        parse_page_token(token, MessageFilter())


@given(st.one_of(st.text(), st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode())))
def test_no_text_is_taken_for_a_token_by_chance(text: str) -> None:
    with pytest.raises(ValueError, match="token"):
        parse_page_token(text, MessageFilter())


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("AZaz09-_=+/ "))
def test_a_token_that_was_changed_gives_a_message_id_or_is_refused(at: int, put: str) -> None:
    with suppress(ValueError):
        assert is_message_id(parse_page_token(GOOD[:at] + put + GOOD[at + 1 :], MessageFilter()))


# What the contract's request becomes.


def page(**fields: Any) -> pb.ListMessagesRequest:
    return pb.ListMessagesRequest(**fields)


def page_from(request: pb.ListMessagesRequest) -> tuple[MessageFilter, int, str | None]:
    return listing.page_from(request, PlainTokens(), DEFAULT_TENANT)


def test_what_is_left_out_does_not_narrow_the_choice() -> None:
    assert page_from(page()) == (MessageFilter(), DEFAULT_PAGE_SIZE, None)
    assert page_from(page(filter=pb.MessageFilter())) == (MessageFilter(), 50, None)


def test_every_part_of_a_filter_is_taken_over() -> None:
    wire = pb.MessageFilter(
        channels=[message_pb2.CHANNEL_SMS, message_pb2.CHANNEL_EMAIL, message_pb2.CHANNEL_SMS],
        states=[message_pb2.MESSAGE_STATE_UNCERTAIN],
        provider_names=["a", "b"],
        labels={"order": "1", "": ""},
        create_time_from=Timestamp(seconds=1, nanos=2_999),
        create_time_to=Timestamp(seconds=253_402_300_799, nanos=999_999_999),
        request_ids=["r", "s", "r"],
    )
    chosen, size, after = page_from(page(filter=wire, page_size=7))
    assert chosen == MessageFilter(
        channels=frozenset({Channel.SMS, Channel.EMAIL}),
        states=frozenset({MessageState.UNCERTAIN}),
        provider_names=frozenset({"a", "b"}),
        labels={"order": "1", "": ""},
        create_time_from=1_000_002,
        create_time_to=253_402_300_799_999_999,
        request_ids=frozenset({"r", "s"}),
    )
    assert (size, after) == (7, None)


@pytest.mark.parametrize("channel", Channel)
def test_every_channel_can_be_chosen(channel: Channel) -> None:
    chosen, _, _ = page_from(page(filter=pb.MessageFilter(channels=[convert.CHANNELS[channel]])))
    assert chosen.channels == {channel}


@pytest.mark.parametrize("state", MessageState)
def test_every_state_can_be_chosen(state: MessageState) -> None:
    chosen, _, _ = page_from(page(filter=pb.MessageFilter(states=[convert.STATES[state]])))
    assert chosen.states == {state}


@pytest.mark.parametrize(
    ("asked", "given"), [(0, 50), (1, 1), (999, 999), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)]
)
def test_more_than_a_page_may_hold_is_taken_as_that(asked: int, given: int) -> None:
    assert page_from(page(page_size=asked))[1] == given


def test_a_token_goes_on_where_the_page_before_ended() -> None:
    wire = pb.MessageFilter(labels={"order": "1"})
    chosen, _, _ = page_from(page(filter=wire))
    asked = page(filter=wire, page_token=page_token(ID, chosen), page_size=3)
    assert page_from(asked) == (chosen, 3, ID)
    asked.page_size = 4
    assert page_from(asked) == (chosen, 4, ID), "the size is no part of the filter"


BAD: list[tuple[pb.ListMessagesRequest, list[str]]] = [
    (page(page_size=-1), ["page_size"]),
    (page(page_token=SECRET), ["page_token"]),
    (page(page_token=page_token(ID, MessageFilter(labels={SECRET: SECRET}))), ["page_token"]),
    (
        page(filter=pb.MessageFilter(channels=[message_pb2.CHANNEL_SMS, NONE, NEWER])),
        ["filter.channels[1]", "filter.channels[2]"],
    ),
    (page(filter=pb.MessageFilter(states=[NONE, NEWER])), ["filter.states[0]", "filter.states[1]"]),
    *(
        (page(filter=pb.MessageFilter(create_time_from=time)), ["filter.create_time_from"])
        for time in (
            Timestamp(seconds=-1),
            Timestamp(nanos=-1),
            Timestamp(nanos=10**9),
            Timestamp(seconds=253_402_300_800),
        )
    ),
    (page(filter=pb.MessageFilter(create_time_to=Timestamp(seconds=-1))), ["filter.create_time_to"]),
    (
        page(filter=pb.MessageFilter(request_ids=["r", "", SECRET * 20, SECRET + "\n"])),
        [f"filter.request_ids[{index}]" for index in (1, 2, 3)],
    ),
    (
        # Of a filter that is wrong, the token cannot be judged.
        page(page_size=-5, page_token="x", filter=pb.MessageFilter(channels=[NEWER], labels={SECRET: SECRET})),
        ["filter.channels[0]", "page_size"],
    ),
]


@pytest.mark.parametrize(("request_", "fields"), BAD)
def test_a_bad_page_is_refused_and_every_bad_field_named(request_: pb.ListMessagesRequest, fields: list[str]) -> None:
    with pytest.raises(InvalidPage) as refused:
        page_from(request_)
    assert [one.field for one in refused.value.violations] == fields
    assert str(refused.value).startswith(f"{fields[0]}: ")
    assert SECRET not in f"{refused.value} {refused.value.violations}"


@pytest.mark.parametrize(
    ("name", "many"),
    [
        ("channels", [1] * 101),
        ("states", [99] * 101),
        ("provider_names", ["a"] * 101),
        ("labels", {str(n): "" for n in range(101)}),
        ("request_ids", ["r"] * 1_001),
    ],
)
def test_a_filter_that_names_too_much_is_not_looked_into(name: str, many: Any) -> None:
    """Each name is looked for in each message, on the one thread that reads."""
    with pytest.raises(InvalidPage) as refused:
        page_from(pb.ListMessagesRequest(filter=pb.MessageFilter(**{name: many})))
    assert [one.field for one in refused.value.violations] == [f"filter.{name}"]
