"""Receipts of Plivo: the callbacks of its pages, and what it signs, in either way."""

from __future__ import annotations

import hmac
from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.receipt_calls import (
    NOW,
    PUBLIC,
    REFERENCE,
    assert_no_bit_may_change,
    junk_bodies,
    receipt_call,
    refused,
    taken,
    verify,
)

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.plivo import KIND, PlivoSettings
from postwire.providers.receipts.base import ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.receipts.plivo import V2, V3

TOKEN, BEFORE = "t0ken", "t0ken-bef0re"
NONCE = "05429567804466091622"


def reader(**keys: str) -> ReceiptReader:
    assert KIND.receipts
    settings = PlivoSettings(auth_id="MA" + "0" * 18, auth_token=TOKEN)
    made = KIND.receipts.make(settings, ProviderReceiptsConfig(**keys))  # type: ignore[arg-type]
    assert made is not None
    return made


READER = reader()


def signature(signed: str, token: str = TOKEN) -> str:
    return b64encode(hmac.digest(token.encode(), signed.encode(), "sha256")).decode()


def v3(fields: dict[str, str], *, reference: str = "", token: str = TOKEN, nonce: str = NONCE) -> dict[str, str]:
    url = f"{PUBLIC}/{reference}" if reference else PUBLIC
    text = "".join(name + fields[name] for name in sorted(fields))
    return {V3: signature(f"{url}?{text}.{nonce}", token), f"{V3}-nonce": nonce}


def v2(*, reference: str = "", nonce: str = NONCE) -> dict[str, str]:
    url = f"{PUBLIC}/{reference}" if reference else PUBLIC
    return {V2: signature(url + nonce), f"{V2}-nonce": nonce}


def signed(fields: dict[str, str], reference: str = REFERENCE) -> ReceiptCall:
    return receipt_call(urlencode(fields).encode(), v3(fields, reference=reference), reference=reference)


def callback(status: str = "delivered", **more: str) -> dict[str, str]:
    """As https://docs.plivo.com/docs/messaging/api/message/message-status-callbacks shows them."""
    return {
        "MessageUUID": "db3ce55a-7f1d-11e1-8ea7-1231380bc196",
        "To": "14155550132",
        "From": "15005550006",
        "Type": "sms",
        "Status": status,
        "Units": "1",
        "TotalRate": "0.00350",
        "TotalAmount": "0.00350",
        "MCC": "310",
        "MNC": "150",
        "ErrorCode": "000",
        "ParentMessageUUID": "db3ce55a-7f1d-11e1-8ea7-1231380bc196",
        "PartInfo": "1 of 1",
        "Sequence": "2",
        "MessageTime": "2026-11-29 10:12:30.123456",
        "PowerpackUUID": "",
    } | more


DELIVERED = Receipt(
    ReceiptState.DELIVERED,
    reference=REFERENCE,
    provider_message_id="db3ce55a-7f1d-11e1-8ea7-1231380bc196",
    recipient="+14155550132",
)


def test_a_callback_reports_what_became_of_a_message() -> None:
    assert taken(READER, signed(callback())) == [DELIVERED]


@pytest.mark.parametrize(
    ("body", "query", "method", "given"),
    [
        (
            {"MessageUUID": "m", "Status": "delivered", "To": "14155550132"},
            "",
            "POST",
            "goc0Oh96Cy2w9SN3gLMeRvvqkb1hc9emQymCTK7r2gE=",
        ),
        (
            {"MessageUUID": "m", "Text": "Grüße &=+", "From": "14155550132"},
            "b=2&a=1&a=0",
            "POST",
            "XVi4OaznjX26cB/bZ63Ml7h5mf7cCH5eLL8M3CfzUDc=",
        ),
        ({}, "", "POST", "QOdQanok2ZHnWP/zlHHtSidth+8TTyFTHqyiTRIENF4="),
        ({}, "MessageUUID=m&Status=sent&To=14155550132", "GET", "MCe3nIP8St420hJ6mbwbJ88DIUN5+ipGnneIzxKiZ8Y="),
    ],
)
def test_what_plivos_own_sdk_signs_is_taken(body: dict[str, str], query: str, method: str, given: str) -> None:
    """Made by `plivo/utils/signature_v3.py` of its SDK for Python, 4.63, which encodes what is not ASCII twice."""
    call = receipt_call(urlencode(body).encode(), {V3: given, f"{V3}-nonce": NONCE}, method=method, query=query)
    verify(READER, call)


def test_what_is_not_ascii_is_taken_as_the_sdk_for_node_has_it_too() -> None:
    """`lib/utils/v3Security.js` encodes it once."""
    fields = RECEIVED | {"Text": "Grüße"}
    assert len(taken(READER, signed(fields, ""))) == 1


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("sent", ReceiptState.ACCEPTED),
        ("delivered", ReceiptState.DELIVERED),
        ("undelivered", ReceiptState.UNDELIVERED),
        ("failed", ReceiptState.UNDELIVERED),
        ("rejected", ReceiptState.UNDELIVERED),
    ],
)
def test_what_a_status_says(status: str, state: ReceiptState) -> None:
    (found,) = taken(READER, signed(callback(status)))
    assert isinstance(found, Receipt)
    assert found.state is state


@pytest.mark.parametrize("status", ["queued", "unheard-of", ""])
def test_statuses_that_report_nothing(status: str) -> None:
    assert taken(READER, signed(callback(status))) == []


@pytest.mark.parametrize(
    ("code", "is_permanent"),
    [("50", True), ("70", True), ("80", False), ("30", False), ("420", False), ("1000", False)],
)
def test_a_code_says_whether_it_is_for_good(code: str, is_permanent: bool) -> None:
    (found,) = taken(READER, signed(callback("undelivered", ErrorCode=code)))
    assert isinstance(found, Receipt)
    assert (found.code, found.permanent) == (code, is_permanent)


def test_who_has_opted_out_did_not_get_it_either() -> None:
    found = taken(READER, signed(callback("failed", ErrorCode="200")))
    assert [(one.state, one.code, one.permanent) for one in found if isinstance(one, Receipt)] == [
        (ReceiptState.UNDELIVERED, "200", False),
        (ReceiptState.OPTED_OUT, "200", False),
    ]


RECEIVED = {
    "From": "14155550132",
    "To": "15005550006",
    "Type": "sms",
    "Text": "Stop it",
    "MessageUUID": "db3ce55a-7f1d-11e1-8ea7-1231380bc196",
}
"""As https://docs.plivo.com/docs/messaging/xml/request shows it."""


def test_what_somebody_has_sent_to_us_comes_by_the_same_address() -> None:
    expected = Inbound("+14155550132", "+15005550006", "Stop it", DELIVERED.provider_message_id)
    assert taken(READER, signed(RECEIVED, "")) == [expected]
    assert taken(READER, receipt_call(urlencode(RECEIVED).encode(), v2())) == [expected]
    assert taken(READER, signed(RECEIVED | {"From": "Acme"}, "")) == []
    assert taken(READER, signed({"MessageUUID": "m", "From": "14155550132"}, "")) == []


def test_the_older_signature_is_of_the_address_alone() -> None:
    body = urlencode(callback()).encode()
    assert taken(READER, receipt_call(body, v2(reference=REFERENCE), reference=REFERENCE)) == [DELIVERED]
    assert refused(READER, receipt_call(body, v2(), reference=REFERENCE)) == "signature"
    # Nobody may take off its end, and put it in front of what is signed behind it.
    moved = {V2: v2(reference=REFERENCE)[V2], f"{V2}-nonce": f"/{REFERENCE}{NONCE}"}
    assert refused(READER, receipt_call(body, moved)) == "signature"


def test_what_is_signed_by_the_address_alone_is_believed_of_nothing_but_what_that_is_for() -> None:
    """Who has seen one such call can make others: of the attempt that it names, and not of any message or number."""
    callback_body, received_body = urlencode(callback()).encode(), urlencode(RECEIVED).encode()
    assert taken(READER, receipt_call(callback_body, v2())) == []
    assert taken(READER, receipt_call(received_body, v2(reference=REFERENCE), reference=REFERENCE)) == []
    assert taken(READER, signed(callback(), "")) == [replace(DELIVERED, reference="")]


def test_who_has_both_is_held_to_the_stricter_one() -> None:
    fields = callback()
    wrong = v3(fields, reference=REFERENCE) | v2(reference=REFERENCE) | {V3: signature("x")}
    call = receipt_call(urlencode(fields).encode(), wrong, reference=REFERENCE)
    assert refused(READER, call) == "signature"


def test_while_tokens_change_either_signs() -> None:
    fields = callback()
    body = urlencode(fields).encode()
    before = v3(fields, token=BEFORE)
    assert refused(READER, receipt_call(body, before)) == "signature"
    verify(reader(previous_secret=BEFORE), receipt_call(body, before))
    both = before | {V3: f"{before[V3]}, {v3(fields)[V3]}"}
    verify(READER, receipt_call(body, both))
    verify(reader(previous_secret=BEFORE), receipt_call(body, both))
    many = before | {V3: ",".join([before[V3]] * 20 + [v3(fields)[V3]])}
    assert refused(READER, receipt_call(body, many)) == "signature"


@pytest.mark.parametrize("version", [V3, V2])
def test_no_bit_of_a_signature_may_change(version: str) -> None:
    fields = callback()
    headers = v3(fields) if version == V3 else v2()
    body = urlencode(fields).encode()
    assert_no_bit_may_change(READER, headers[version], lambda text: receipt_call(body, headers | {version: text}))
    nonce = f"{version}-nonce"
    assert_no_bit_may_change(READER, headers[nonce], lambda text: receipt_call(body, headers | {nonce: text}))


@given(st.data())
def test_no_bit_of_a_body_may_change(data: st.DataObject) -> None:
    fields = callback()
    body = urlencode(fields).encode()
    at, bit = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 7))
    changed = body[:at] + bytes([body[at] ^ (1 << bit)]) + body[at + 1 :]
    if sorted(_pairs(changed)) != sorted(_pairs(body)):
        assert refused(READER, receipt_call(changed, v3(fields))) == "signature"


def _pairs(body: bytes) -> list[str]:
    """What a form says, in whatever way it is escaped, as it is signed."""
    try:
        return ["".join(one) for one in sorted(parse_qsl(body.decode("ascii"), keep_blank_values=True))]
    except ValueError:
        return ["junk"]


@pytest.mark.parametrize("nonce", ["", " ", "1.2", "1/2", "é", "\udc80", "1" * 65])
@pytest.mark.parametrize("version", [V3, V2])
def test_a_nonce_that_is_none_is_refused_though_it_is_signed(version: str, nonce: str) -> None:
    with suppress(UnicodeEncodeError):
        headers = v3({"a": "b"}, nonce=nonce) if version == V3 else v2(nonce=nonce)
        assert refused(READER, receipt_call(b"a=b", headers)) in ("signature", "missing")


def test_what_is_missing_is_refused() -> None:
    fields = callback()
    body = urlencode(fields).encode()
    assert refused(READER, receipt_call(body)) == "missing"
    for version, headers in ((V3, v3(fields)), (V2, v2())):
        assert refused(READER, receipt_call(body, {version: headers[version]})) == "missing"
    assert refused(READER, receipt_call(body, {V3: "", f"{V3}-nonce": NONCE} | v2())) == "missing"


@pytest.mark.parametrize("body", junk_bodies())
def test_junk_is_refused_and_never_more(body: bytes) -> None:
    assert refused(READER, receipt_call(body, {V3: signature("x"), f"{V3}-nonce": NONCE})) == "signature"
    call = receipt_call(body, v2())
    verify(READER, call)
    with suppress(Unreadable):
        assert READER.read(call, NOW) == []


def test_a_call_without_an_id_cannot_be_read() -> None:
    fields: dict[str, Any] = {"Status": "delivered"}
    with pytest.raises(Unreadable, match="has no MessageUUID"):
        taken(READER, signed(fields))


def test_the_kind_needs_no_more_than_its_token() -> None:
    assert KIND.receipts
    assert KIND.receipts.in_address
    assert READER.refused_status == 401
