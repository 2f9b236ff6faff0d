"""Receipts of SparkPost: batches of the events of its pages, believed by basic auth or by a reference of ours."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from tests.support.receipt_calls import FOREIGN, NOW, OTHER, REFERENCE, junk_bodies, receipt_call, refused, taken

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.receipts.base import ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.receipts.sparkpost import SUPPORT
from postwire.providers.sparkpost import KIND

USERNAME, PASSWORD = "sparkpost", "pässword"
ID = "65832150921904138"


def reader(**keys: str) -> ReceiptReader:
    made = SUPPORT.make(None, ProviderReceiptsConfig(**keys))  # type: ignore[arg-type]
    assert made is not None
    return made


BY_USER = reader(username=USERNAME, password=PASSWORD)
BY_REFERENCE = reader()


def basic(text: str = f"{USERNAME}:{PASSWORD}") -> dict[str, str]:
    return {"authorization": f"Basic {b64encode(text.encode()).decode()}"}


def from_user(batch: object) -> ReceiptCall:
    return receipt_call(batch, basic())


def shown(event: str, group: str = "message_event", **more: Any) -> dict[str, Any]:
    """As https://developers.sparkpost.com/api/webhooks/#header-webhook-event-types shows them."""
    found = {
        "type": event,
        "campaign_id": "Example Campaign Name",
        "customer_id": "1",
        "delv_method": "esmtp",
        "event_id": "92356927693813856",
        "friendly_from": "sender@example.com",
        "injection_time": "2016-04-18T14:25:07.000Z",
        "ip_address": "127.0.0.1",
        "message_id": "000443ee14578172be22",
        "msg_from": "sender@example.com",
        "num_retries": "2",
        "rcpt_meta": {"customKey": "customValue", "reference": REFERENCE},
        "rcpt_tags": ["male", "US"],
        "rcpt_to": "recipient@example.com",
        "raw_rcpt_to": "Recipient@example.com",
        "rcpt_type": "cc",
        "routing_domain": "example.com",
        "subject": "Summer deals are here!",
        "timestamp": "1460989507",
        "transmission_id": ID,
    }
    return {"msys": {group: found | more}}


def bounce(kind: str, event: str = "bounce", **more: Any) -> dict[str, Any]:
    reason = "MAIL REFUSED - IP (17.99.99.99) is in black list"
    return shown(event, bounce_class=kind, error_code="554", reason=reason, raw_reason=reason, **more)


DELIVERY = shown("delivery")
DELIVERED = Receipt(
    ReceiptState.DELIVERED,
    reference=REFERENCE,
    provider_message_id=ID,
    recipient="Recipient@example.com",
    event_id="92356927693813856",
    time=1460989507_000_000,
)


@pytest.mark.parametrize(
    ("event", "state", "code", "permanent"),
    [
        (shown("injection"), ReceiptState.ACCEPTED, "", False),
        (DELIVERY, ReceiptState.DELIVERED, "", False),
        (bounce("10"), ReceiptState.UNDELIVERED, "554", True),
        (bounce("30"), ReceiptState.UNDELIVERED, "554", True),
        (shown("bounce", bounce_class=10), ReceiptState.UNDELIVERED, "10", True),
        (bounce("1"), ReceiptState.UNDELIVERED, "554", False),
        (bounce("22"), ReceiptState.UNDELIVERED, "554", False),
        (bounce("25"), ReceiptState.UNDELIVERED, "554", False),
        (bounce("51"), ReceiptState.UNDELIVERED, "554", False),
        (bounce("90"), ReceiptState.OPTED_OUT, "", False),
        (bounce("100"), ReceiptState.UNDELIVERED, "554", False),
        (shown("bounce", error_code="words of 554"), ReceiptState.UNDELIVERED, "", False),
        (bounce("10", "out_of_band"), ReceiptState.UNDELIVERED, "554", True),
        (bounce("40", "out_of_band"), ReceiptState.UNDELIVERED, "554", False),
        (shown("policy_rejection", error_code="550"), ReceiptState.UNDELIVERED, "550", False),
        (bounce("10", "policy_rejection"), ReceiptState.UNDELIVERED, "554", False),
        (shown("generation_failure", "gen_event", error_code="554"), ReceiptState.UNDELIVERED, "554", False),
        (shown("generation_rejection", "gen_event", error_code="554"), ReceiptState.UNDELIVERED, "554", False),
        (shown("spam_complaint", fbtype="abuse"), ReceiptState.COMPLAINED, "", False),
        (shown("list_unsubscribe", "unsubscribe_event"), ReceiptState.OPTED_OUT, "", False),
        (shown("link_unsubscribe", "unsubscribe_event"), ReceiptState.OPTED_OUT, "", False),
    ],
)
def test_what_an_event_reports(event: dict[str, Any], state: ReceiptState, code: str, permanent: bool) -> None:
    (found,) = taken(BY_USER, from_user([event]))
    assert isinstance(found, Receipt)
    assert (found.state, found.code, found.permanent) == (state, code, permanent)
    assert (found.reference, found.provider_message_id) == (REFERENCE, ID)
    assert (found.recipient, found.event_id) == ("Recipient@example.com", "92356927693813856")


def test_all_that_an_event_says_is_read() -> None:
    assert taken(BY_USER, from_user([DELIVERY])) == [DELIVERED]


@pytest.mark.parametrize(
    "event",
    [
        shown("delay", bounce_class="70", error_code="451"),
        bounce("60", "out_of_band"),
        bounce("70"),
        bounce("80", "out_of_band"),
        shown("spam_complaint", fbtype="not-spam"),
        shown("open", "track_event"),
        shown("click", "track_event"),
        shown("relay_delivery", "relay_event"),
        shown("new"),
        {"msys": {}},
        {"msys": {"message_event": {}}},
        {"msys": {"message_event": None}},
    ],
)
def test_events_that_report_nothing(event: dict[str, Any]) -> None:
    assert taken(BY_USER, from_user([event])) == []


@pytest.mark.parametrize(
    ("timestamp", "time"),
    [
        ("1460989507", 1460989507_000_000),
        (1460989508, 1460989508_000_000),
        ("2016-04-18T14:25:07.000+00:00", 1460989507_000_000),
        ("²", None),
        ("9" * 400, None),
        ("-1", None),
        ("", None),
        (None, None),
        ([], None),
    ],
)
def test_a_time_is_read_in_each_form(timestamp: object, time: int | None) -> None:
    (found,) = taken(BY_USER, from_user([shown("delivery", timestamp=timestamp)]))
    assert isinstance(found, Receipt)
    assert found.time == time


def test_where_the_recipient_is_not_given_as_he_was_written_he_is_all_the_same() -> None:
    (found,) = taken(BY_USER, from_user([shown("delivery", raw_rcpt_to=None)]))
    assert isinstance(found, Receipt)
    assert found.recipient == "recipient@example.com"


JUNK: list[Any] = [None, 7, [], {}, {"msys": 7}, {"msys": {"a": 7}}, {"msys": {"a": {"type": []}}}]


def test_what_cannot_be_read_in_a_batch_leaves_the_others_as_they_are() -> None:
    assert taken(BY_USER, from_user([*JUNK, DELIVERY, *JUNK])) == [DELIVERED]
    assert len(taken(BY_REFERENCE, receipt_call([*JUNK, DELIVERY, *JUNK]))) == 1
    odd = shown("delivery", rcpt_meta=[], transmission_id={}, raw_rcpt_to=7, rcpt_to="\ud800", event_id="a b")
    (found,) = taken(BY_USER, from_user([odd]))
    assert found == Receipt(ReceiptState.DELIVERED, time=1460989507_000_000)


PINGS = [b"", b" \r\n", b"[]", b'[{"msys": {}}]', b'[ {"msys":{}}, {"msys":{}} ]']


@pytest.mark.parametrize("body", PINGS)
def test_who_only_asks_whether_somebody_is_there_is_told_so(body: bytes) -> None:
    """SparkPost makes no webhook where the first call is not answered with 200."""
    assert taken(BY_REFERENCE, receipt_call(body)) == []
    assert taken(BY_USER, receipt_call(body, basic())) == []
    assert refused(BY_USER, receipt_call(body)) == "credentials"


@pytest.mark.parametrize("body", [b" " * 300, b'[{"msys": {"x": {}}}]', b'[{"msys": []}]', b'{"msys": {}}', b"[7]"])
def test_and_nothing_else_passes_for_that(body: bytes) -> None:
    assert refused(BY_REFERENCE, receipt_call(body)) == "reference"


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
    assert refused(BY_USER, receipt_call([DELIVERY], headers)) == "credentials"
    assert refused(BY_USER, receipt_call([DELIVERY], headers, reference=REFERENCE)) == "credentials"


def test_without_a_user_each_event_needs_a_reference_and_nothing_beside_it_is_believed() -> None:
    batch = [
        shown("delivery", rcpt_meta={"reference": FOREIGN}),
        shown("delivery", rcpt_meta={}),
        DELIVERY,
        bounce("10", rcpt_meta={"reference": OTHER}),
    ]
    first, second = taken(BY_REFERENCE, receipt_call(batch))
    assert isinstance(first, Receipt)
    assert isinstance(second, Receipt)
    assert (first.reference, second.reference) == (REFERENCE, OTHER)
    assert (first.provider_message_id, second.provider_message_id) == ("", "")


@pytest.mark.parametrize(
    "meta", [{}, None, [], {"reference": FOREIGN}, {"reference": 7}, {"reference": REFERENCE[:-1]}]
)
def test_and_nobody_is_believed_who_has_none(meta: object) -> None:
    assert refused(BY_REFERENCE, receipt_call([shown("delivery", rcpt_meta=meta)])) == "reference"
    assert refused(BY_REFERENCE, receipt_call([shown("delivery", rcpt_meta=meta)], basic())) == "reference"


def test_large_batches_are_read_and_strangers_are_not() -> None:
    batch = [shown("click", "track_event", rcpt_meta={}) for _ in range(1_000)] + [DELIVERY]
    assert taken(BY_USER, from_user(batch)) == [DELIVERED]
    assert len(taken(BY_REFERENCE, receipt_call(batch))) == 1
    strangers = [shown("delivery", rcpt_meta={"reference": FOREIGN}) for _ in range(1_000)]
    assert refused(BY_REFERENCE, receipt_call(strangers)) == "reference"


@pytest.mark.parametrize("body", [one for one in junk_bodies() if one not in (b"", json.dumps([]).encode())])
def test_what_cannot_be_read_is_said(body: bytes) -> None:
    assert refused(BY_REFERENCE, receipt_call(body)) == "reference"
    for reader, call in ((BY_USER, receipt_call(body)), (BY_REFERENCE, receipt_call(body, reference=REFERENCE))):
        with pytest.raises(Unreadable):
            reader.read(call, NOW)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [({"username": "x"}, "password: is missing"), ({"password": "x"}, "username: is missing")],
)
def test_half_a_user_is_refused(keys: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}"):
        reader(**keys)


def test_the_kind_has_it() -> None:
    assert KIND.receipts is SUPPORT
