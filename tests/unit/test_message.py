"""What is asked to be sent, and what is kept of it."""

from __future__ import annotations

import enum
from dataclasses import replace

import pytest

from postwire.core.message import (
    DEFAULT_TENANT,
    Attachment,
    Attempt,
    Channel,
    Content,
    DeliveryGuarantee,
    DispatchCommand,
    DispatchOptions,
    Email,
    Media,
    MessageRecord,
    MessageState,
    Mms,
    OutboundMessage,
    Priority,
    RecipientStatus,
    Sms,
    WaitFor,
)

CANARY = "Zq9canary7"
SETTLED = {
    MessageState.SENT,
    MessageState.DELIVERED,
    MessageState.UNDELIVERED,
    MessageState.FAILED,
    MessageState.UNCERTAIN,
    MessageState.EXPIRED,
    MessageState.CANCELLED,
}

SMS, EMAIL = Sms("+15005550006", "Hi"), Email(("a@a.test",))
RECORD = MessageRecord("m", "r", Channel.SMS, MessageState.QUEUED, 1, 2, 3)


@pytest.mark.parametrize(
    ("private", "shown"),
    [
        (Sms(CANARY, CANARY, CANARY), "<Sms>"),
        (Media(CANARY, CANARY.encode(), CANARY, CANARY), "<Media>"),
        (Mms(CANARY, CANARY, CANARY, (Media(CANARY),)), "<Mms>"),
        (Attachment(CANARY, CANARY, CANARY.encode()), "<Attachment>"),
        (Email((CANARY,), subject=CANARY, headers={CANARY: CANARY}), "<Email>"),
        (OutboundMessage(Sms(CANARY, CANARY), {CANARY: CANARY}), "<OutboundMessage>"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_holds_somebodys_data_shows_its_type_and_nothing_else(private: object, shown: str) -> None:
    assert repr(private) == shown
    assert f"{private} {[private]}" == f"{shown} [{shown}]"


@pytest.mark.parametrize(
    ("content", "channel"),
    [(Sms("+1", "Hi"), Channel.SMS), (Mms("+1", "Hi"), Channel.MMS), (Email(("a@a.test",)), Channel.EMAIL)],
    ids=["sms", "mms", "email"],
)
def test_the_content_decides_the_channel(content: Content, channel: Channel) -> None:
    assert OutboundMessage(content).channel is channel


def test_recipients_are_numbered_through_to_then_cc_then_bcc() -> None:
    """Their positions are kept with the message and told to callers."""
    assert Email(to=("c", "a"), cc=("d",), bcc=("b", "a")).recipients == ("c", "a", "d", "b", "a")


@pytest.mark.parametrize("state", MessageState)
def test_every_state_but_queued_and_sending_is_settled(state: MessageState) -> None:
    assert replace(RECORD, state=state).settled is (state in SETTLED)


def test_a_record_does_not_show_labels() -> None:
    assert CANARY not in repr(replace(RECORD, labels={CANARY: CANARY}))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Channel, "sms mms email"),
        (MessageState, "queued sending sent delivered undelivered failed uncertain expired cancelled"),
        (Priority, "high normal low"),
        (DeliveryGuarantee, "at_least_once at_most_once"),
        (WaitFor, "outcome acceptance"),
    ],
)
def test_the_words_that_metrics_logs_settings_and_payloads_have_for_it(kind: type[enum.Enum], words: str) -> None:
    assert [one.value for one in kind] == words.split()


def test_whom_messages_belong_to_until_callers_have_identities() -> None:
    assert DEFAULT_TENANT == "default", "or the messages that a store holds belong to nobody"


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (SMS, Sms("+15005550006", "Hi", "")),
        (Mms("+15005550006"), Mms("+15005550006", "", "", ())),
        (Media(), Media("", b"", "", "")),
        (EMAIL, Email(("a@a.test",), (), (), "", "", "", "", "", {}, ())),
        (OutboundMessage(SMS), OutboundMessage(SMS, {})),
        (
            DispatchOptions(),
            DispatchOptions(None, None, Priority.NORMAL, DeliveryGuarantee.AT_LEAST_ONCE, None, None),
        ),
        (
            DispatchCommand(OutboundMessage(SMS)),
            DispatchCommand(OutboundMessage(SMS), "", DispatchOptions(), WaitFor.OUTCOME, 0),
        ),
        (Attempt(1, "p", 0), Attempt(1, "p", 0, None, None, "", "", "", "")),
        (
            RecipientStatus(0, MessageState.SENDING),
            RecipientStatus(0, MessageState.SENDING, None, "", False),
        ),
        (RECORD, MessageRecord("m", "r", Channel.SMS, MessageState.QUEUED, 1, 2, 3, (), (), {}, None, 1, "")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_left_out_is_empty(short: object, long: object) -> None:
    assert short == long
