"""Receipts of Vonage: those of its pages, and the signatures that its libraries test themselves by."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.receipt_calls import (
    OTHER,
    REFERENCE,
    assert_no_bit_may_change,
    flipped,
    junk_bodies,
    receipt_call,
    refused,
    taken,
    verify,
)

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.message import OutboundMessage, Sms
from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest
from postwire.providers.receipts.base import ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.vonage import KIND, Vonage, VonageSettings

SECRET, OLD = "s1gnature-s3cret", "0ld-0ne"
SETTINGS = VonageSettings(api_key="k", api_secret="s", sender="Acme")

DELIVERED = {
    # https://developer.vonage.com/en/messaging/sms/guides/delivery-receipts#understanding-the-delivery-receipt
    "err-code": "0",
    "message-timestamp": "2018-10-25 12:10:29",
    "messageId": "0B00000127FDBC63",
    "msisdn": "447547232824",
    "network-code": "23410",
    "price": "0.03330000",
    "scts": "1810251310",
    "status": "delivered",
    "to": "Nexmo CLI",
    "client-ref": REFERENCE,
    "nonce": "ec11dd3e-1e7f-4db5-9467-82b02cd223b9",
    "timestamp": "1540469429",
}
RECEIVED = {
    # https://developer.vonage.com/en/messaging/sms/guides/inbound-sms
    "msisdn": "447700900001",
    "to": "447700900000",
    "messageId": "0A0000000123ABCD1",
    "text": "Stop & go = away",
    "type": "text",
    "keyword": "STOP",
    "message-timestamp": "2020-01-01 12:00:00",
}


def made_of(**config: Any) -> ReceiptReader | None:
    assert KIND.receipts
    return KIND.receipts.make(SETTINGS, ProviderReceiptsConfig(**config))


def reader(secret: str = SECRET, **config: Any) -> ReceiptReader:
    made = made_of(secret=secret, **config)
    assert made is not None
    return made


READER = reader()
HASHES = ("md5hash", "md5", "sha1", "sha256", "sha512")


def signature(fields: Mapping[str, str], secret: str = SECRET, method: str = "md5hash") -> str:
    """As https://developer.vonage.com/en/getting-started/concepts/signing-messages says."""
    pairs = [
        f"&{name}={value}"
        for name, value in sorted((n, v.replace("&", "_").replace("=", "_")) for n, v in fields.items())
    ]
    signed = "".join(pairs).encode()
    if method == "md5hash":
        return hashlib.md5(signed + secret.encode()).hexdigest()
    return hmac.new(secret.encode(), signed, method).hexdigest()


def call_of(
    fields: Mapping[str, str], sig: str | None = None, *, how: str = "form", reference: str = ""
) -> ReceiptCall:
    everything = {**fields, "sig": signature(fields) if sig is None else sig}
    if how == "GET":
        return receipt_call(method="GET", query=urlencode(everything), reference=reference)
    if how == "JSON":
        return receipt_call(json.dumps(everything).encode(), reference=reference)
    return receipt_call(urlencode(everything).encode(), reference=reference)


def report(**fields: str) -> list[Receipt | Inbound]:
    return taken(READER, call_of(DELIVERED | fields))


@pytest.mark.parametrize("how", ["GET", "form", "JSON"])
def test_a_receipt_reports_what_became_of_a_part(how: str) -> None:
    expected = Receipt(
        ReceiptState.DELIVERED,
        reference=REFERENCE,
        provider_message_id="0B00000127FDBC63",
        recipient="+447547232824",
        time=1_540_469_429_000_000,
    )
    assert taken(READER, call_of(DELIVERED, how=how)) == [expected]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("accepted", ReceiptState.ACCEPTED),
        ("buffered", ReceiptState.ACCEPTED),
        ("delivered", ReceiptState.DELIVERED),
        ("expired", ReceiptState.UNDELIVERED),
        ("failed", ReceiptState.UNDELIVERED),
        ("rejected", ReceiptState.UNDELIVERED),
    ],
)
def test_what_a_status_says(status: str, state: ReceiptState) -> None:
    (found,) = report(status=status)
    assert isinstance(found, Receipt)
    assert found.state is state


@pytest.mark.parametrize("status", ["unknown", "", "unheard-of"])
def test_a_status_that_says_nothing_reports_nothing(status: str) -> None:
    assert report(status=status) == []


@pytest.mark.parametrize(
    ("code", "is_permanent"), [("1", False), ("2", False), ("3", True), ("4", True), ("14", False), ("99", False)]
)
def test_a_code_says_whether_it_is_for_good(code: str, is_permanent: bool) -> None:
    (found,) = report(status="failed", **{"err-code": code})
    assert isinstance(found, Receipt)
    assert (found.code, found.permanent) == (code, is_permanent)


def test_who_has_opted_out_did_not_get_it_either() -> None:
    found = [one for one in report(status="failed", **{"err-code": "9"}) if isinstance(one, Receipt)]
    assert [one.state for one in found] == [ReceiptState.UNDELIVERED, ReceiptState.OPTED_OUT]
    (one,) = report(**{"err-code": "9"})  # what was delivered, was
    assert isinstance(one, Receipt)


def test_the_reference_that_is_signed_goes_before_that_of_the_address() -> None:
    (found,) = taken(READER, call_of(DELIVERED, reference=OTHER))
    assert isinstance(found, Receipt)
    assert found.reference == REFERENCE
    (found,) = taken(READER, call_of(DELIVERED | {"client-ref": "m"}, reference=OTHER))
    assert isinstance(found, Receipt)
    assert found.reference == OTHER


def test_what_somebody_has_sent_to_us_comes_by_the_same_address() -> None:
    expected = Inbound("+447700900001", "+447700900000", RECEIVED["text"], RECEIVED["messageId"])
    assert taken(READER, call_of(RECEIVED)) == [expected]
    assert taken(READER, call_of(RECEIVED | {"msisdn": "Acme"})) == []


def test_without_an_id_it_cannot_be_read() -> None:
    with pytest.raises(Unreadable, match="messageId"):
        taken(READER, call_of({"status": "delivered"}))


@pytest.mark.parametrize(
    "sig",
    [
        # Of the tests of Vonage's own library: https://github.com/Vonage/vonage-python-sdk/blob/v3.15.0/tests/test_signature.py
        "6af838ef94998832dbfc29020b564830",
        "c15c21ced558c93a226c305f58f902f2",
        "3e19a4e6880fdc2c1426bfd0587c98b9532f0210",
        "a321e824b9b816be7c3f28859a31749a098713d39f613c80d455bbaffae1cd24",
        "812a18f76680fa0fe1b8bd9ee1625466ceb1bd96242e4d050d2cfd9a7b40166c"
        "63ed26ec9702168781b6edcf1633db8ff95af9341701004eec3fcf9550572ee8",
    ],
)
def test_signatures_that_vonage_publishes(sig: str) -> None:
    fields = {"a": "1", "b": "2", "timestamp": "1461605396"}
    for text in (sig, sig.upper()):
        verify(reader("secret"), call_of(fields, text))
    assert refused(reader("secret"), call_of(fields, sig[:8].upper() + sig[8:])) == "signature"
    assert refused(READER, call_of(fields, sig)) == "signature"


@pytest.mark.parametrize("method", HASHES)
def test_either_secret_is_good_while_both_are_set(method: str) -> None:
    both = reader(previous_secret=OLD)
    for secret in (SECRET, OLD):
        verify(both, call_of(DELIVERED, signature(DELIVERED, secret, method)))
    assert refused(READER, call_of(DELIVERED, signature(DELIVERED, OLD, method))) == "signature"


@pytest.mark.parametrize("how", ["form", "JSON"])
def test_what_is_larger_than_any_receipt_is_not_looked_into(how: str) -> None:
    large = DELIVERED | {"more": "x" * 70_000}
    assert refused(READER, call_of(large, how=how)) == "signature"
    verify(READER, call_of(DELIVERED | {"more": "x" * 60_000}, how=how))


def test_numbers_in_json_are_signed_as_they_are_written() -> None:
    fields = {"messageId": "1", "price": "0.03330000", "err-code": "0", "status": "delivered"}
    body = '{"messageId": 1, "price": 0.03330000, "err-code": 0, "status": "delivered", "sig": "%s"}'
    verify(READER, receipt_call((body % signature(fields)).encode()))


@pytest.mark.parametrize("method", HASHES)
def test_no_bit_of_a_signature_may_change(method: str) -> None:
    right = signature(DELIVERED, method=method)
    if method == "md5hash":
        assert_no_bit_may_change(READER, right, lambda text: call_of(DELIVERED, text, how="JSON"))
    for changed in list(flipped(right))[::7]:
        assert refused(READER, call_of(DELIVERED, changed, how="JSON")) in ("signature", "missing")


@given(st.data())
def test_no_bit_of_a_form_may_change(data: st.DataObject) -> None:
    body = call_of(DELIVERED).body
    at, bit = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 7))
    changed = body[:at] + bytes([body[at] ^ (1 << bit)]) + body[at + 1 :]
    if changed.isascii() and parse_qsl(changed.decode(), keep_blank_values=True) == parse_qsl(body.decode()):
        verify(READER, receipt_call(changed))
    else:
        assert refused(READER, receipt_call(changed)) in ("signature", "missing")


@pytest.mark.parametrize(
    "fields",
    [
        {"a=1&b": "2", "timestamp": "1461605396"},  # would be signed as the fields `a` and `b` are
        {"a": "1", "b": "2&timestamp=1461605396"},
        {"b": "2", "timestamp": "1461605396"},
        {"a": "1", "b": "2", "timestamp": "1461605396", "c": ""},
    ],
)
def test_fields_cannot_be_moved_into_others(fields: dict[str, str]) -> None:
    sig = "6af838ef94998832dbfc29020b564830"
    verify(reader("secret"), call_of({"a": "1", "b": "2", "timestamp": "1461605396"}, sig))
    for how in ("GET", "form", "JSON"):
        assert refused(reader("secret"), call_of(fields, sig, how=how)) == "signature"


def test_a_field_that_comes_twice_is_refused() -> None:
    form = call_of(DELIVERED).body
    assert refused(READER, receipt_call(form + b"&status=failed")) == "signature"
    text = call_of(DELIVERED, how="JSON").body.decode()
    assert refused(READER, receipt_call((text[:-1] + ', "status": "failed"}').encode())) == "signature"


@pytest.mark.parametrize("value", [None, True, [], {}, ["x"], "\ud800"])
def test_json_has_texts_and_numbers_alone(value: object) -> None:
    call = receipt_call({**DELIVERED, "more": value, "sig": "a" * 32})
    assert refused(READER, call) == "signature"


@pytest.mark.parametrize(
    "body", [*junk_bodies(), b"sig=&a=b", b"sig=abc", b"sig=%ff", b'{"sig": "aa"}', b"a=1&" * 2_000]
)
def test_junk_is_refused_and_never_more(body: bytes) -> None:
    assert refused(READER, receipt_call(body)) in ("signature", "missing")
    assert refused(READER, receipt_call(body, method="GET", query="sig=00")) == "signature"
    with suppress(Unreadable):
        READER.read(receipt_call(body), 0)


def test_what_is_needed_for_receipts() -> None:
    assert KIND.receipts
    assert KIND.receipts.in_address
    assert made_of() is None
    with pytest.raises(ValueError, match=r"^secret: is missing"):
        made_of(previous_secret=OLD)
    assert READER.refused_status == 401


def test_a_message_goes_out_with_its_reference() -> None:
    """In Vonage's field, which holds no more than that."""

    def sent(handover: Handover) -> HttpRequest:
        return Vonage(SETTINGS).request(OutboundMessage(Sms("+447700900001", "x")), handover)

    first, second = (sent(Handover("k", message_id="m", now=now, reference=REFERENCE)) for now in (1, 2))
    assert first.body == second.body
    assert isinstance(first.body, bytes)
    assert dict(parse_qsl(first.body.decode()))["client-ref"] == REFERENCE
    assert len(REFERENCE) == 40
