"""Receipts of Mailjet: the events of its pages, one at a time or grouped, believed by basic auth or by a reference."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from tests.support.receipt_calls import FOREIGN, NOW, OTHER, REFERENCE, junk_bodies, receipt_call, refused, taken

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.mailjet import KIND
from postwire.providers.receipts.base import ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.receipts.mailjet import ERRORS, SUPPORT

USERNAME, PASSWORD = "mailjet", "pässword"
ID = 19421777835146490


def reader(**keys: str) -> ReceiptReader:
    made = SUPPORT.make(None, ProviderReceiptsConfig(**keys))  # type: ignore[arg-type]
    assert made is not None
    return made


BY_USER = reader(username=USERNAME, password=PASSWORD)
BY_REFERENCE = reader()


def basic(text: str = f"{USERNAME}:{PASSWORD}") -> dict[str, str]:
    return {"authorization": f"Basic {b64encode(text.encode()).decode()}"}


def from_user(event: object) -> ReceiptCall:
    return receipt_call(event, basic())


def shown(event: str, **more: Any) -> dict[str, Any]:
    """As https://dev.mailjet.com/email/guides/webhooks/#event-types shows them."""
    return {
        "event": event,
        "time": 1433333949,
        "MessageID": ID,
        "Message_GUID": "1ab23cd4-e567-8901-2345-6789f0gh1i2j",
        "email": "api@example.com",
        "mj_campaign_id": 7257,
        "mj_contact_id": 4,
        "customcampaign": "",
        "CustomID": REFERENCE,
        "Payload": "0197c0de-0000-7000-8000-000000000000",
    } | more


SENT = shown("sent", mj_message_id=str(ID), smtp_reply="sent (250 2.0.0 OK 1433333948 fa5si855896wjc.199 - gsmtp)")
BOUNCE = shown("bounce", blocked=True, hard_bounce=True, error_related_to="recipient", error="user unknown")
DELIVERED = Receipt(
    ReceiptState.DELIVERED,
    reference=REFERENCE,
    provider_message_id=str(ID),
    recipient="api@example.com",
    time=1433333949_000_000,
)


@pytest.mark.parametrize(
    ("event", "state", "code", "permanent"),
    [
        (SENT, ReceiptState.DELIVERED, "", False),
        (BOUNCE, ReceiptState.UNDELIVERED, "user_unknown", True),
        (BOUNCE | {"hard_bounce": False}, ReceiptState.UNDELIVERED, "user_unknown", False),
        (BOUNCE | {"hard_bounce": "true"}, ReceiptState.UNDELIVERED, "user_unknown", False),
        (BOUNCE | {"error": "quota exceeded"}, ReceiptState.UNDELIVERED, "quota_exceeded", False),
        (BOUNCE | {"error": "mailbox inactive"}, ReceiptState.UNDELIVERED, "mailbox_inactive", True),
        (BOUNCE | {"error": "invalid domain"}, ReceiptState.UNDELIVERED, "invalid_domain", True),
        # The sender's fault, however hard.
        (BOUNCE | {"error": "sender blocked"}, ReceiptState.UNDELIVERED, "sender_blocked", False),
        (BOUNCE | {"error": "new words of api@example.com"}, ReceiptState.UNDELIVERED, "", False),
        (BOUNCE | {"error": None}, ReceiptState.UNDELIVERED, "", False),
        (shown("blocked", error="preblocked"), ReceiptState.UNDELIVERED, "preblocked", False),
        (shown("blocked", error="user unknown"), ReceiptState.UNDELIVERED, "user_unknown", False),
        (shown("spam", source="JMRPP"), ReceiptState.COMPLAINED, "", False),
        (shown("unsub", mj_list_id=1, ip="127.0.0.1"), ReceiptState.OPTED_OUT, "", False),
    ],
)
def test_what_an_event_reports(event: dict[str, Any], state: ReceiptState, code: str, permanent: bool) -> None:
    (found,) = taken(BY_USER, from_user(event))
    assert isinstance(found, Receipt)
    assert (found.state, found.code, found.permanent) == (state, code, permanent)
    assert (found.reference, found.provider_message_id) == (REFERENCE, str(ID))
    assert (found.recipient, found.time) == ("api@example.com", 1433333949_000_000)


def test_all_that_an_event_says_is_read() -> None:
    assert taken(BY_USER, from_user(SENT)) == [DELIVERED]


@pytest.mark.parametrize(
    "event",
    [
        shown("open", ip="127.0.0.1"),
        shown("click", url="https://example.com"),
        shown("new"),
        BOUNCE | {"error": "greylisted", "hard_bounce": False},  # it is tried again
    ],
)
def test_events_that_report_nothing(event: dict[str, Any]) -> None:
    assert taken(BY_USER, from_user(event)) == []
    assert taken(BY_USER, from_user([event])) == []


def test_an_array_has_several_and_the_id_as_a_text() -> None:
    grouped = [
        {name: value for name, value in SENT.items() if name != "MessageID"},
        shown("open"),
        shown("spam", MessageID=7, CustomID=""),
    ]
    first, second = taken(BY_USER, from_user(grouped))
    assert first == DELIVERED
    assert isinstance(second, Receipt)
    assert (second.state, second.reference, second.provider_message_id) == (ReceiptState.COMPLAINED, "", "7")


def test_what_cannot_be_read_in_an_array_leaves_the_others_as_they_are() -> None:
    junk: list[Any] = [None, 7, [], {}, {"event": 7}, {"event": "sent\ud800"}, {"event": None}]
    assert taken(BY_USER, from_user([*junk, SENT, *junk])) == [DELIVERED]
    assert taken(BY_REFERENCE, receipt_call([*junk, SENT, *junk]))[0].event_id == ""
    (odd,) = taken(BY_USER, from_user([SENT | {"MessageID": [], "mj_message_id": {}, "email": 7, "time": "x"}]))
    assert odd == Receipt(ReceiptState.DELIVERED, reference=REFERENCE)


def test_an_empty_array_reports_nothing() -> None:
    assert taken(BY_USER, from_user([])) == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic(f"{USERNAME}:wrong"),
        basic(f"other:{PASSWORD}"),
        {"authorization": "Basic"},
        {"authorization": "Basic é"},
        {"authorization": "Basic \udc80"},
        {"authorization": "Basic ====="},
    ],
)
def test_where_there_is_a_user_nobody_else_is_believed(headers: dict[str, str]) -> None:
    assert refused(BY_USER, receipt_call(SENT, headers)) == "credentials"
    assert refused(BY_USER, receipt_call(SENT, headers, reference=REFERENCE)) == "credentials"


def test_without_a_user_each_event_needs_a_reference_and_nothing_beside_it_is_believed() -> None:
    (found,) = taken(BY_REFERENCE, receipt_call(SENT))
    assert isinstance(found, Receipt)
    assert (found.reference, found.provider_message_id) == (REFERENCE, "")
    grouped = [shown("sent", CustomID=FOREIGN), shown("sent", CustomID=""), SENT, shown("bounce", CustomID=OTHER)]
    found, other = taken(BY_REFERENCE, receipt_call(grouped))
    assert isinstance(found, Receipt)
    assert isinstance(other, Receipt)
    assert (found.reference, other.reference) == (REFERENCE, OTHER)


@pytest.mark.parametrize("quoted", ["", None, FOREIGN, 7, REFERENCE[:-1], [REFERENCE[:-1]], f"x{REFERENCE}"])
def test_and_nobody_is_believed_who_has_none(quoted: object) -> None:
    event = shown("sent", CustomID=quoted, Payload=REFERENCE)
    assert refused(BY_REFERENCE, receipt_call(event)) == "reference"
    assert refused(BY_REFERENCE, receipt_call([event], basic())) == "reference"


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")])
def test_a_reference_is_found_however_json_is_written(separators: tuple[str, str]) -> None:
    body = json.dumps([shown("open", CustomID=""), SENT], separators=separators).encode()
    assert len(taken(BY_REFERENCE, receipt_call(body))) == 1


def test_a_reference_that_stands_elsewhere_vouches_for_nothing() -> None:
    """It is searched for before all is read: what is found must be of the event itself, to count for it."""
    event = shown("sent", CustomID="", Payload={"CustomID": REFERENCE})
    assert taken(BY_REFERENCE, receipt_call(event)) == []


@pytest.mark.parametrize("body", [one for one in junk_bodies() if json.dumps([]).encode() != one])
def test_what_cannot_be_read_is_said(body: bytes) -> None:
    assert refused(BY_REFERENCE, receipt_call(body)) == "reference"
    for reader, call in ((BY_USER, receipt_call(body)), (BY_REFERENCE, receipt_call(body, reference=REFERENCE))):
        with pytest.raises(Unreadable):
            reader.read(call, NOW)


def test_large_arrays_are_read_and_strangers_are_not() -> None:
    grouped = [shown("open") | {"agent": "x" * 100} for _ in range(2_000)] + [SENT]
    assert taken(BY_USER, from_user(grouped)) == [DELIVERED]
    assert len(taken(BY_REFERENCE, receipt_call(grouped))) == 1
    strangers = [shown("sent", CustomID=FOREIGN) for _ in range(2_000)]
    assert refused(BY_REFERENCE, receipt_call(strangers)) == "reference"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [({"username": "x"}, "password: is missing"), ({"password": "x"}, "username: is missing")],
)
def test_half_a_user_is_refused(keys: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}"):
        reader(**keys)


def test_codes_can_be_kept() -> None:
    assert all(code.replace("_", "").isalpha() for code, _ in ERRORS.values())


def test_the_kind_has_it() -> None:
    assert KIND.receipts is SUPPORT
