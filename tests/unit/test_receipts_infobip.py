"""Receipts of Infobip: the reports of its pages, believed by basic auth or by a reference of ours."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from tests.support.receipt_calls import FOREIGN, NOW, OTHER, REFERENCE, junk_bodies, receipt_call, refused, taken

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.infobip import KIND
from postwire.providers.receipts.base import ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.receipts.infobip import SUPPORT

USERNAME, PASSWORD = "infobip", "pässword"
ID = "MESSAGE-ID-123-xyz"


def reader(**keys: str) -> ReceiptReader:
    made = SUPPORT.make(None, ProviderReceiptsConfig(**keys))  # type: ignore[arg-type]
    assert made is not None
    return made


BY_USER = reader(username=USERNAME, password=PASSWORD)
BY_REFERENCE = reader()


def basic(text: str = f"{USERNAME}:{PASSWORD}", scheme: str = "Basic") -> dict[str, str]:
    return {"authorization": f"{scheme} {b64encode(text.encode()).decode()}"}


def from_user(*results: object) -> ReceiptCall:
    return receipt_call({"results": list(results)}, basic())


def report(group: str, name: str, error: str = "NO_ERROR", **more: Any) -> dict[str, Any]:
    """As https://www.infobip.com/docs/api/channels/sms/logs-and-status-reports/receive-outbound-sms-message-reports-v3
    shows them."""
    return {
        "bulkId": "BULK-ID-123-xyz",
        "price": {"pricePerMessage": 0.01, "currency": "EUR"},
        "status": {"groupId": 3, "groupName": group, "id": 5, "name": name, "description": "to 41793026727"},
        "error": {
            "groupId": 0,
            "groupName": "OK" if error == "NO_ERROR" else "HANDSET_ERRORS",
            "id": 0,
            "name": error,
            "description": "to 41793026727",
            "permanent": True,
        },
        "messageId": ID,
        "to": "41793026727",
        "sender": "InfoSMS",
        "sentAt": "2019-11-09T16:00:00.000+0000",
        "doneAt": "2019-11-09T17:00:00.000+0100",
        "messageCount": 1,
        "callbackData": REFERENCE,
    } | more


DELIVERED = report("DELIVERED", "DELIVERED_TO_HANDSET")
EXPECTED = Receipt(
    ReceiptState.DELIVERED,
    reference=REFERENCE,
    provider_message_id=ID,
    recipient="+41793026727",
    time=1_573_315_200_000_000,
)


def test_all_that_a_report_says_is_read() -> None:
    assert taken(BY_USER, from_user(DELIVERED)) == [EXPECTED]


@pytest.mark.parametrize(
    ("shown", "state", "code", "permanent"),
    [
        (report("PENDING", "PENDING_ENROUTE"), ReceiptState.ACCEPTED, "", False),
        (report("DELIVERED", "DELIVERED_TO_OPERATOR"), ReceiptState.ACCEPTED, "", False),
        (report("DELIVERED", "DELIVERED_TO_HANDSET"), ReceiptState.DELIVERED, "", False),
        (report("EXPIRED", "EXPIRED_DLR_UNKNOWN"), ReceiptState.ACCEPTED, "", False),
        (report("EXPIRED", "EXPIRED_EXPIRED"), ReceiptState.UNDELIVERED, "EXPIRED_EXPIRED", False),
        (
            report("EXPIRED", "EXPIRED_EXPIRED", "EC_VALIDITY_EXPIRED"),
            ReceiptState.UNDELIVERED,
            "EC_VALIDITY_EXPIRED",
            False,
        ),
        (
            report("UNDELIVERABLE", "UNDELIVERABLE_NOT_DELIVERED", "EC_ABSENT_SUBSCRIBER"),
            ReceiptState.UNDELIVERED,
            "EC_ABSENT_SUBSCRIBER",
            False,
        ),
        (
            report("UNDELIVERABLE", "UNDELIVERABLE_NOT_DELIVERED", "EC_UNKNOWN_SUBSCRIBER"),
            ReceiptState.UNDELIVERED,
            "EC_UNKNOWN_SUBSCRIBER",
            True,
        ),
        (report("REJECTED", "REJECTED_DESTINATION"), ReceiptState.UNDELIVERED, "REJECTED_DESTINATION", True),
        (
            report("REJECTED", "REJECTED_PREFIX_MISSING", "EC_INVALID_PDU_FORMAT"),
            ReceiptState.UNDELIVERED,
            "EC_INVALID_PDU_FORMAT",
            True,
        ),
    ],
)
def test_what_a_status_says(shown: dict[str, Any], state: ReceiptState, code: str, permanent: bool) -> None:
    (found,) = taken(BY_USER, from_user(shown))
    assert isinstance(found, Receipt)
    assert (found.state, found.code, found.permanent) == (state, code, permanent)


@pytest.mark.parametrize("code", ["EC_CONTENT_BLOCKED", "EC_SC_BLOCKED_BY_END_USER"])
def test_who_has_opted_out_did_not_get_it_either(code: str) -> None:
    found = taken(BY_USER, from_user(report("UNDELIVERABLE", "UNDELIVERABLE_NOT_DELIVERED", code)))
    states = [(one.state, one.code, one.permanent) for one in found if isinstance(one, Receipt)]
    assert states == [(ReceiptState.UNDELIVERED, code, False), (ReceiptState.OPTED_OUT, code, False)]


@pytest.mark.parametrize("group", ["OK", "NEW", "", 7, None])
def test_statuses_that_report_nothing(group: Any) -> None:
    assert taken(BY_USER, from_user(report(group, "SOMETHING"))) == []


def test_several_reports_come_in_one_call_each_with_its_own_reference() -> None:
    other = report("DELIVERED", "DELIVERED_TO_HANDSET", callbackData=OTHER, messageId="other")
    found = taken(BY_USER, from_user(DELIVERED, other))
    assert [one.reference for one in found if isinstance(one, Receipt)] == [REFERENCE, OTHER]
    found = taken(BY_REFERENCE, receipt_call({"results": [DELIVERED, other]}))
    assert [(one.reference, one.provider_message_id) for one in found if isinstance(one, Receipt)] == [
        (REFERENCE, ""),
        (OTHER, ""),
    ]


@pytest.mark.parametrize("odd", [7, [], {}, "x\ud800", None])
def test_fields_of_other_types_are_left_out(odd: Any) -> None:
    shown = {"status": {"groupName": "DELIVERED", "name": odd}, **dict.fromkeys(("error", "to", "doneAt"), odd)}
    assert taken(BY_USER, from_user(shown, odd, {"status": odd})) == [Receipt(ReceiptState.DELIVERED)]


def received(**more: Any) -> dict[str, Any]:
    """As https://www.infobip.com/docs/api/channels/sms/inbound-sms/receive-inbound-sms-messages shows them."""
    return {
        "messageId": "817790313235066447",
        "from": "385916242493",
        "to": "385921004026",
        "text": "QUIZ Correct answer is Paris",
        "cleanText": "Correct answer is Paris",
        "keyword": "QUIZ",
        "receivedAt": "2019-11-09T16:00:00.000+0000",
        "smsCount": 1,
        "price": {"pricePerMessage": 0, "currency": "EUR"},
        "callbackData": REFERENCE,
    } | more


def test_what_somebody_has_sent_to_us_comes_by_the_same_address() -> None:
    expected = Inbound("+385916242493", "+385921004026", "Stop", "817790313235066447")
    assert taken(BY_USER, from_user(received(text="Stop"), DELIVERED)) == [expected, EXPECTED]
    assert taken(BY_USER, from_user(received(**{"from": "InfoSMS"}))) == []


@pytest.mark.parametrize("reference", ["", REFERENCE])
def test_and_nobody_but_the_user_is_believed_in_it(reference: str) -> None:
    """Who has a reference to one attempt could have anybody suppressed."""
    for made in (BY_REFERENCE, BY_USER):
        assert taken(made, receipt_call({"results": [received(text="Stop")]}, reference=reference)) == []


@pytest.mark.parametrize(
    "headers",
    [
        basic(f"{USERNAME}:wrong"),
        basic(scheme="Bearer"),
        {"authorization": "Basic é"},
        {"authorization": "Basic \udc80"},
        {"authorization": "Basic ====="},
    ],
)
def test_who_logs_in_has_to_be_the_user(headers: dict[str, str]) -> None:
    shown = {"results": [DELIVERED]}
    assert refused(BY_USER, receipt_call(shown, headers)) == "credentials"
    assert refused(BY_USER, receipt_call(shown, headers, reference=REFERENCE)) == "credentials"


def test_who_does_not_is_believed_of_the_attempt_alone_that_a_reference_names() -> None:
    """The address that a message names is called without logging in, also where subscriptions do."""
    shown = {"results": [report("DELIVERED", "DELIVERED_TO_HANDSET", callbackData="")]}
    assert refused(BY_USER, receipt_call(shown)) == "reference"
    (found,) = taken(BY_USER, receipt_call(shown, reference=REFERENCE))
    assert isinstance(found, Receipt)
    assert (found.reference, found.provider_message_id) == (REFERENCE, "")


@pytest.mark.parametrize("quoted", [None, "", FOREIGN, 7, REFERENCE[:-1]])
def test_without_a_user_nobody_is_believed_who_has_no_reference(quoted: object) -> None:
    stranger = report("DELIVERED", "DELIVERED_TO_HANDSET", callbackData=quoted)
    assert refused(BY_REFERENCE, receipt_call({"results": [stranger]})) == "reference"
    # Beside one that is believed, it is left out.
    assert len(taken(BY_REFERENCE, receipt_call({"results": [stranger, DELIVERED]}))) == 1


def test_the_address_vouches_for_its_attempt_alone() -> None:
    call = receipt_call({"results": [report("DELIVERED", "DELIVERED_TO_HANDSET", callbackData="")]}, reference=OTHER)
    (found,) = taken(BY_REFERENCE, call)
    assert isinstance(found, Receipt)
    assert (found.reference, found.provider_message_id) == (OTHER, "")


@pytest.mark.parametrize("body", [*junk_bodies(), b'{"results": {}}'])
def test_what_cannot_be_read_is_said(body: bytes) -> None:
    assert refused(BY_REFERENCE, receipt_call(body)) == "reference"
    for made, call in ((BY_USER, receipt_call(body)), (BY_REFERENCE, receipt_call(body, reference=REFERENCE))):
        with pytest.raises(Unreadable):
            made.read(call, NOW)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [({"username": "x"}, "password: is missing"), ({"password": "x"}, "username: is missing")],
)
def test_half_a_user_is_refused(keys: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}"):
        reader(**keys)


def test_the_kind_has_it() -> None:
    assert KIND.receipts is SUPPORT
    assert SUPPORT.in_address
    assert BY_USER.refused_status == 401
