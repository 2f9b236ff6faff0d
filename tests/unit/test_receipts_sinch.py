"""Receipts of Sinch: the callbacks of its pages, and what it signs."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.receipt_calls import (
    NOW,
    OTHER,
    REFERENCE,
    SECONDS,
    assert_no_bit_may_change,
    junk_bodies,
    receipt_call,
    refused,
    taken,
    verify,
)

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.receipts.base import ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.sinch import KIND, SinchSettings

SECRET, NONCE = "foo_secret1234", "01FJA8B4A7BM43YGWSG9GBV067"
HEADER = "x-sinch-webhook-signature"


def made_of(**keys: Any) -> ReceiptReader | None:
    assert KIND.receipts
    return KIND.receipts.make(SinchSettings(service_plan_id="p", api_token="t"), ProviderReceiptsConfig(**keys))


def reader(**keys: str) -> ReceiptReader:
    made = made_of(**keys)
    assert made is not None
    return made


READER = reader(secret=SECRET)


def headers(
    signature: str, seconds: str = SECONDS, nonce: str = NONCE, algorithm: str = "HmacSHA256"
) -> dict[str, str]:
    names = {"timestamp": seconds, "nonce": nonce, "algorithm": algorithm}
    return {HEADER: signature} | {f"{HEADER}-{name}": text for name, text in names.items()}


def signature(body: bytes, seconds: str = SECONDS, secret: str = SECRET, algorithm: str = "sha256") -> str:
    signed = body + f".{NONCE}.{seconds}".encode()
    return b64encode(hmac.new(secret.encode(), signed, algorithm).digest()).decode()


def signed(event: object, seconds: str = SECONDS, reference: str = "", secret: str = SECRET) -> ReceiptCall:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return receipt_call(body, headers(signature(body, seconds, secret), seconds), reference=reference)


def report(status: Any = "Delivered", code: Any = 0, **fields: Any) -> dict[str, Any]:
    """As https://developers.sinch.com/docs/sms/api-reference/sms/delivery-reports shows them."""
    return {
        "type": "recipient_delivery_report_sms",
        "batch_id": "01FC66621XXXXX119Z8PMV1QPQ",
        "recipient": "13125550002",
        "code": code,
        "status": status,
        "at": "2022-08-30T08:16:08.930Z",
        "operator_status_at": "2022-08-30T08:16:00Z",
        "client_reference": REFERENCE,
        "applied_originator": "+13125550001",
        "encoding": "GSM",
        "number_of_message_parts": 1,
    } | fields


DELIVERED = Receipt(
    ReceiptState.DELIVERED,
    reference=REFERENCE,
    provider_message_id="01FC66621XXXXX119Z8PMV1QPQ",
    recipient="+13125550002",
    time=1_661_847_368_930_000,
)


def test_what_sinchs_own_sdk_is_tested_with() -> None:
    """https://github.com/sinch/sinch-sdk-dotnet: what the headers of its callbacks are made of."""
    contact = (
        '{"contact":{"id":"01FJA8B466Y0R2GNXD78MD9SM1","channel_identities":[{"channel":"SMS","identity":"48123456789"'
        ',"app_id":""}],"display_name":"New Test Contact","email":"new.contact@email.com","external_id":"",'
        '"metadata":"","language":"EN_US"}}'
    )
    body = (
        '{"app_id":"","accepted_time":"2021-10-18T17:49:13.813615Z","project_id":"e2df3a34-a71b-4448-9db5-a8d2baad28e4"'
        f',"contact_create_notification":{contact},"message_metadata":""}}'
    )
    given = headers("6bpJoRmFoXVjfJIVglMoJzYXxnoxRujzR4k2GOXewOE=", "1634579353")
    for names in (given, {name: text for name, text in given.items() if not name.endswith("algorithm")}):
        verify(READER, receipt_call(body.encode(), names, now=1_634_579_353_000_000))


def test_a_report_says_what_became_of_a_message() -> None:
    assert taken(READER, signed(report())) == [DELIVERED]
    assert taken(READER, signed(report(type="recipient_delivery_report_mms"))) == [DELIVERED]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        *((one, ReceiptState.ACCEPTED) for one in ("Queued", "Dispatched", "Unknown")),
        ("Delivered", ReceiptState.DELIVERED),
        *(
            (one, ReceiptState.UNDELIVERED)
            for one in ("Aborted", "Cancelled", "Rejected", "Deleted", "Failed", "Expired")
        ),
    ],
)
def test_what_a_status_says(status: str, state: ReceiptState) -> None:
    (found,) = taken(READER, signed(report(status, 401)))
    assert isinstance(found, Receipt)
    assert (found.state, found.code) == (state, "401" if state is ReceiptState.UNDELIVERED else "")


@pytest.mark.parametrize(
    "shown",
    [
        report("unheard-of"),
        report(status=None),
        {"type": "delivery_report_sms", "batch_id": "b", "statuses": [{"code": 0, "status": "Delivered", "count": 1}]},
        {"type": "mo_binary", "from": "13125550002", "to": "13125550001", "body": "AA==", "udh": "00"},
        {"type": "unheard-of"},
    ],
)
def test_what_reports_nothing(shown: dict[str, Any]) -> None:
    assert taken(READER, signed(shown)) == []


@pytest.mark.parametrize(
    ("code", "is_permanent"), [(150, True), (152, False), (153, False), (402, False), (408, False)]
)
def test_a_code_says_whether_it_is_for_good(code: int, is_permanent: bool) -> None:
    (found,) = taken(READER, signed(report("Failed", code)))
    assert isinstance(found, Receipt)
    assert (found.code, found.permanent) == (str(code), is_permanent)


def test_the_reference_that_is_signed_goes_before_that_of_the_address() -> None:
    assert taken(READER, signed(report(), reference=OTHER)) == [DELIVERED]
    for other in (None, "mine", 7):
        (found,) = taken(READER, signed(report(client_reference=other), reference=OTHER))
        assert isinstance(found, Receipt)
        assert found.reference == OTHER


def test_what_somebody_has_sent_to_us_comes_by_the_same_address() -> None:
    """As https://developers.sinch.com/docs/sms/api-reference/sms/inbounds shows it."""
    shown = {
        "type": "mo_text",
        "id": "01XXXXX21XXXXX119Z8P1XXXXX",
        "from": "13125550002",
        "to": "13125550001",
        "body": "Stop it",
        "operator_id": "35000",
        "received_at": "2022-08-24T14:15:22Z",
    }
    expected = Inbound("+13125550002", "+13125550001", "Stop it", "01XXXXX21XXXXX119Z8P1XXXXX")
    assert taken(READER, signed(shown)) == [expected]
    media = {"type": "mo_media", "body": {"subject": "s", "message": "Stop it", "media": []}}
    assert taken(READER, signed(shown | media)) == [expected]
    assert taken(READER, signed(shown | {"from": "MTN"})) == []
    (found,) = taken(READER, signed(shown | {"body": 7}))
    assert isinstance(found, Inbound)
    assert found.text == ""


def test_fields_of_other_types_are_left_out() -> None:
    odd = report("Failed", recipient=[], code={}, at=7, client_reference={})
    expected = Receipt(ReceiptState.UNDELIVERED, provider_message_id=DELIVERED.provider_message_id)
    assert taken(READER, signed(odd)) == [expected]
    with pytest.raises(Unreadable, match="batch_id"):
        taken(READER, signed(report(batch_id=None)))
    with pytest.raises(Unreadable, match="type"):
        taken(READER, signed({"type": []}))


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_the_hash_that_the_call_names_is_taken(algorithm: str) -> None:
    body = json.dumps(report()).encode()
    right = signature(body, algorithm=algorithm)
    verify(READER, receipt_call(body, headers(right, algorithm=f"Hmac{algorithm.upper()}")))


@pytest.mark.parametrize("algorithm", ["HmacMD5", "HmacSHA1", "none", "é", "HmacSHA256 "])
def test_no_other_hash_is(algorithm: str) -> None:
    body = json.dumps(report()).encode()
    with_it = algorithm.strip().removeprefix("Hmac").lower()
    right = signature(body, algorithm=with_it if with_it in hashlib.algorithms_guaranteed else "sha256")
    assert refused(READER, receipt_call(body, headers(right, algorithm=algorithm))) == "signature"


def test_no_bit_of_a_signature_may_change() -> None:
    body = json.dumps(report()).encode()
    right = signature(body)
    assert_no_bit_may_change(READER, right, lambda text: receipt_call(body, headers(text)))
    assert_no_bit_may_change(READER, SECONDS, lambda text: receipt_call(body, headers(right, text)))
    assert_no_bit_may_change(READER, NONCE, lambda text: receipt_call(body, headers(right, nonce=text)))


@given(st.data())
def test_no_bit_of_a_body_may_change(data: st.DataObject) -> None:
    body = json.dumps(report()).encode()
    at, bit = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 7))
    changed = body[:at] + bytes([body[at] ^ (1 << bit)]) + body[at + 1 :]
    assert refused(READER, receipt_call(changed, headers(signature(body)))) == "signature"


@pytest.mark.parametrize(("off", "is_taken"), [(-86_401, False), (-86_400, True), (86_400, True), (86_401, False)])
def test_a_call_is_good_for_as_long_as_it_is_tried(off: int, is_taken: bool) -> None:
    call = signed(report(), str(NOW // 1_000_000 + off))
    if is_taken:
        verify(READER, call)
    else:
        assert refused(READER, call) == "stale"


@pytest.mark.parametrize("seconds", ["soon", "1e9", "-1", f" {SECONDS}", "0" + SECONDS, "9" * 30])
def test_a_time_that_is_none_is_refused_though_it_is_signed(seconds: str) -> None:
    assert refused(READER, signed(report(), seconds)) == "signature"


@pytest.mark.parametrize("name", ["", "-timestamp", "-nonce"])
def test_what_is_missing_is_refused(name: str) -> None:
    given = headers(signature(b"{}"))
    del given[HEADER + name]
    assert refused(READER, receipt_call(b"{}", given)) == "missing"


def test_two_secrets_are_good_while_one_is_changed() -> None:
    both = reader(secret="new", previous_secret=SECRET)
    verify(both, signed(report()))
    verify(both, signed(report(), secret="new"))
    assert refused(both, signed(report(), secret="other")) == "signature"


def test_without_a_secret_nothing_is_taken() -> None:
    assert made_of() is None
    with pytest.raises(ValueError, match=r"^secret: is missing"):
        made_of(previous_secret=SECRET)


@pytest.mark.parametrize("body", junk_bodies())
def test_what_nobody_sends_breaks_nothing(body: bytes) -> None:
    assert refused(READER, receipt_call(body)) == "missing"
    with suppress(Unreadable):
        taken(READER, signed(body))
