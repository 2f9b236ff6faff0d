"""Receipts of Brevo: the events of its pages, one at a time or batched, believed by basic auth or by a reference."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from tests.support.receipt_calls import FOREIGN, NOW, OTHER, REFERENCE, junk_bodies, receipt_call, refused, taken

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.brevo import KIND
from postwire.providers.receipts.base import ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.receipts.brevo import STATES, SUPPORT

USERNAME, PASSWORD = "brevo", "pässword"
ID = "201798300811.5787683@relay.domain.com"


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
    """As https://developers.brevo.com/docs/transactional-webhooks shows them."""
    return {
        "event": event,
        "email": "example@example.com",
        "id": 17,
        "date": "2020-10-09 00:00:00",
        "ts": 1604933619,
        "message-id": ID,
        "ts_event": 1604933654,
        "subject": "My first Transactional",
        "X-Mailin-custom": REFERENCE,
        "sending_ip": "127.0.0.1",
        "ts_epoch": 1604933654,
        "template_id": 22,
        "contact_id": 8,
        "tags": ["transac_messages"],
    } | more


DELIVERED = Receipt(
    ReceiptState.DELIVERED,
    reference=REFERENCE,
    provider_message_id=ID,
    recipient="example@example.com",
    time=1604933654_000_000,
)


@pytest.mark.parametrize(
    ("event", "state", "code", "permanent"),
    [
        (shown("request"), ReceiptState.ACCEPTED, "", False),
        (shown("delivered"), ReceiptState.DELIVERED, "", False),
        (
            shown("hard_bounce", reason="550 5.1.1 <example@example.com>"),
            ReceiptState.UNDELIVERED,
            "hard_bounce",
            True,
        ),
        (shown("soft_bounce", reason="server is down"), ReceiptState.UNDELIVERED, "soft_bounce", False),
        (shown("blocked"), ReceiptState.UNDELIVERED, "blocked", False),
        (shown("invalid_email"), ReceiptState.UNDELIVERED, "invalid_email", False),
        (shown("error", reason="the sender is not valid"), ReceiptState.UNDELIVERED, "error", False),
        (shown("spam"), ReceiptState.COMPLAINED, "spam", False),
        (shown("unsubscribed"), ReceiptState.OPTED_OUT, "unsubscribed", False),
        (shown("unsubscribe"), ReceiptState.OPTED_OUT, "unsubscribe", False),
    ],
)
def test_what_an_event_reports(event: dict[str, Any], state: ReceiptState, code: str, permanent: bool) -> None:
    (found,) = taken(BY_USER, from_user(event))
    assert isinstance(found, Receipt)
    assert (found.state, found.code, found.permanent) == (state, code, permanent)
    assert (found.reference, found.provider_message_id, found.recipient) == (REFERENCE, ID, "example@example.com")
    assert found.time == 1604933654_000_000


def test_all_states_are_tried() -> None:
    assert len(STATES) == 10


def test_all_that_an_event_says_is_read() -> None:
    assert taken(BY_USER, from_user(shown("delivered"))) == [DELIVERED]


@pytest.mark.parametrize("name", ["deferred", "opened", "unique_opened", "proxy_open", "click", "list_addition", "new"])
def test_events_that_report_nothing(name: str) -> None:
    assert taken(BY_USER, from_user(shown(name))) == []


def test_an_id_in_brackets_is_the_same() -> None:
    assert taken(BY_USER, from_user(shown("delivered", **{"message-id": f"<{ID}>"}))) == [DELIVERED]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"ts_epoch": 1604933654123}, 1604933654_123_000),
        ({"ts_epoch": 1604933654}, 1604933654_000_000),
        ({"ts_epoch": None, "ts_event": 1604933655}, 1604933655_000_000),
        ({"ts_epoch": "x", "ts_event": None}, None),
        ({"ts_epoch": 10**400, "ts_event": 10**400}, None),
        ({"ts_epoch": -1, "ts_event": True}, None),
    ],
)
def test_when_it_happened(times: dict[str, Any], expected: int | None) -> None:
    (found,) = taken(BY_USER, from_user(shown("delivered", **times)))
    assert isinstance(found, Receipt)
    assert found.time == expected


def test_events_come_batched_as_well_and_odd_ones_spoil_none() -> None:
    batch = [shown("delivered"), None, 7, shown("opened"), {"event": 7}, shown("spam")]
    found = taken(BY_USER, from_user(batch))
    assert [one.state for one in found if isinstance(one, Receipt)] == [ReceiptState.DELIVERED, ReceiptState.COMPLAINED]
    odd = shown("delivered", **{"message-id": [], "X-Mailin-custom": {}, "email": 7, "ts_epoch": [], "ts_event": {}})
    assert taken(BY_USER, from_user([odd])) == [Receipt(ReceiptState.DELIVERED)]
    assert taken(BY_USER, from_user([])) == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic(f"{USERNAME}:wrong"),
        basic(f"other:{PASSWORD}"),
        {"authorization": "Basic"},
        {"authorization": "Basic é"},
        {"authorization": "Basic ====="},
    ],
)
def test_where_there_is_a_user_nobody_else_is_believed(headers: dict[str, str]) -> None:
    event = shown("delivered")
    assert refused(BY_USER, receipt_call(event, headers)) == "credentials"
    assert refused(BY_USER, receipt_call(event, headers, reference=REFERENCE)) == "credentials"


def test_without_a_user_each_event_needs_a_reference_and_nothing_beside_it_is_believed() -> None:
    (found,) = taken(BY_REFERENCE, receipt_call(shown("delivered")))
    assert isinstance(found, Receipt)
    assert (found.reference, found.provider_message_id) == (REFERENCE, "")
    batch = [
        shown("delivered", **{"X-Mailin-custom": FOREIGN}),
        shown("delivered", **{"X-Mailin-custom": ""}),
        shown("delivered"),
        shown("blocked", **{"X-Mailin-custom": OTHER}),
    ]
    found, other = taken(BY_REFERENCE, receipt_call(batch))
    assert isinstance(found, Receipt)
    assert isinstance(other, Receipt)
    assert (found.reference, other.reference) == (REFERENCE, OTHER)


@pytest.mark.parametrize("quoted", ["", None, FOREIGN, 7, REFERENCE[:-1], [REFERENCE[:-1]], f"x{REFERENCE}"])
def test_and_nobody_is_believed_who_has_none(quoted: object) -> None:
    event = shown("delivered", **{"X-Mailin-custom": quoted}, tags=[REFERENCE])
    assert refused(BY_REFERENCE, receipt_call(event)) == "reference"
    assert refused(BY_REFERENCE, receipt_call([event], basic())) == "reference"


@pytest.mark.parametrize("body", [one for one in junk_bodies() if json.dumps([]).encode() != one])
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
