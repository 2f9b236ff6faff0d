"""Receipts of Twilio: the callbacks of its pages, and its own library as the judge of signatures."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.receipt_calls import (
    PUBLIC,
    REFERENCE,
    assert_no_bit_may_change,
    junk_bodies,
    receipt_call,
    refused,
    taken,
    verify,
)
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.receipts.base import Forged, ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.twilio import KIND, TwilioSettings

TOKEN, SHARED, OLD = "t0ken-0f-0urs", "shared-k3y", "0ld-0ne"
SIGNATURE, SETTINGS = "x-twilio-signature", "x-twilio-webhooks-signature-settings"
SID = "SM" + "0123456789abcdef" * 2
SHA256 = "key=webhooks_sharedkey_01,algorithm=HMAC_SHA256"

DELIVERED = {
    # https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
    "SmsSid": SID,
    "SmsStatus": "delivered",
    "MessageStatus": "delivered",
    "To": "+15558675310",
    "MessageSid": SID,
    "AccountSid": "AC" + "0" * 32,
    "From": "+15017122661",
    "ApiVersion": "2010-04-01",
    "RawDlrDoneDate": "",
}

RECEIVED = {
    # https://www.twilio.com/docs/messaging/guides/webhook-request
    "ToCountry": "US",
    "SmsMessageSid": SID,
    "NumMedia": "0",
    "SmsSid": SID,
    "SmsStatus": "received",
    "Body": "Stop it & go = away, häßlich",
    "To": "+15017122661",
    "From": "+15558675310",
    "MessageSid": SID,
}


def reader(auth_token: str | None = TOKEN, **config: Any) -> ReceiptReader:
    settings = TwilioSettings(account_sid="AC" + "0" * 32, auth_token=auth_token, api_key="SK0", api_secret="s")
    made = made_of(settings, **config)
    assert made is not None
    return made


def made_of(settings: TwilioSettings, **config: Any) -> ReceiptReader | None:
    assert KIND.receipts
    return KIND.receipts.make(settings, ProviderReceiptsConfig(**config))


READER = reader()


def call_of(
    fields: Mapping[str, str], token: str = TOKEN, *, algorithm: str = "HMAC_SHA1", settings: str = "", port: str = ""
) -> ReceiptCall:
    """A call that Twilio's library has signed, for an address with `port`."""
    call = receipt_call(urlencode(fields).encode(), reference=REFERENCE)
    signed = call.url.replace("example.com", f"example.com{port}")
    signature = RequestValidator(token).compute_signature(signed, dict(fields), algorithm)
    headers = {SIGNATURE: signature} | ({SETTINGS: settings} if settings else {})
    return replace(call, headers=headers)


def report(**fields: str) -> list[Receipt | Inbound]:
    return taken(READER, call_of(DELIVERED | fields))


def test_a_callback_reports_what_became_of_a_message() -> None:
    expected = Receipt(ReceiptState.DELIVERED, reference=REFERENCE, provider_message_id=SID, recipient="+15558675310")
    assert report() == [expected]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("sent", ReceiptState.ACCEPTED),
        ("delivered", ReceiptState.DELIVERED),
        ("read", ReceiptState.DELIVERED),
        ("undelivered", ReceiptState.UNDELIVERED),
        ("failed", ReceiptState.UNDELIVERED),
        ("canceled", ReceiptState.UNDELIVERED),
    ],
)
def test_what_a_status_says(status: str, state: ReceiptState) -> None:
    (found,) = report(MessageStatus=status)
    assert isinstance(found, Receipt)
    assert found.state is state


@pytest.mark.parametrize("status", ["accepted", "scheduled", "queued", "sending", "", "Delivered", "unheard-of"])
def test_a_status_that_says_nothing_new_reports_nothing(status: str) -> None:
    assert report(MessageStatus=status) == []


@pytest.mark.parametrize(
    ("code", "is_permanent"),
    [("30005", True), ("21211", True), ("21614", True), ("30003", False), ("30006", False), ("30007", False)],
)
def test_a_code_says_whether_it_is_for_good(code: str, is_permanent: bool) -> None:
    (found,) = report(MessageStatus="undelivered", ErrorCode=code)
    assert isinstance(found, Receipt)
    assert (found.code, found.permanent) == (code, is_permanent)


def test_who_has_opted_out_did_not_get_it_either() -> None:
    found = [one for one in report(MessageStatus="failed", ErrorCode="21610") if isinstance(one, Receipt)]
    assert [(one.state, one.code, one.permanent) for one in found] == [
        (ReceiptState.UNDELIVERED, "21610", False),
        (ReceiptState.OPTED_OUT, "21610", False),
    ]


def test_a_code_is_no_sentence_and_not_of_what_was_delivered() -> None:
    (failed,) = report(MessageStatus="failed", ErrorCode="call +15558675310 now")
    (delivered,) = report(ErrorCode="30005")
    assert isinstance(failed, Receipt)
    assert isinstance(delivered, Receipt)
    assert failed.code == delivered.code == ""


def test_what_somebody_has_sent_to_us_comes_by_the_same_address() -> None:
    expected = Inbound("+15558675310", "+15017122661", RECEIVED["Body"], SID)
    assert taken(READER, call_of(RECEIVED)) == [expected]
    by_get = replace(receipt_call(query=urlencode(RECEIVED)), method="GET")
    signature = RequestValidator(TOKEN).compute_signature(by_get.url, {})
    assert taken(READER, replace(by_get, headers={SIGNATURE: signature})) == [expected]


def test_a_keyword_that_twilio_knows_goes_before_the_text() -> None:
    (found,) = taken(READER, call_of(RECEIVED | {"Body": "Schluss", "OptOutType": "STOP"}))
    assert isinstance(found, Inbound)
    assert found.text == "STOP"


@pytest.mark.parametrize("changes", [{"From": "whatsapp:+15558675310"}, {"SmsStatus": "queued"}, {"From": ""}])
def test_what_is_no_message_of_a_phone_is_passed_over(changes: dict[str, str]) -> None:
    assert taken(READER, call_of(RECEIVED | changes)) == []


def test_without_an_id_it_cannot_be_read() -> None:
    with pytest.raises(Unreadable, match="MessageSid"):
        taken(READER, call_of({"MessageStatus": "delivered"}))


@pytest.mark.parametrize("port", ["", ":443"])
def test_the_port_may_be_signed_or_not(port: str) -> None:
    verify(READER, call_of(DELIVERED, port=port))
    assert refused(READER, call_of(DELIVERED, port=":8443")) == "signature"


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        # Those of the library's own tests: https://github.com/twilio/twilio-python/blob/main/tests/unit/test_request_validator.py
        ("https://mycompany.com/myapp.php?foo=1&bar=2", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("https://mycompany.com:1234/myapp.php?foo=1&bar=2", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("https://mycompany.com/myapp.php?foo=1&bar=2", "kvajT1Ptam85bY51eRf/AJRuM3w="),
        ("http://mycompany.com/myapp.php?foo=1&bar=2", "0ZXoZLH/DfblKGATFgpif+LLRf4="),
        ("http://mycompany.com:1234/myapp.php?foo=1&bar=2", "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
        ("https://mycompany.com/myapp.php?foo=1&bar=2#rc=5&rp=all", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    ],
)
def test_signatures_that_twilio_publishes(url: str, signature: str) -> None:
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
        "Caller": "+14158675309",
    }
    call = replace(receipt_call(urlencode(form).encode(), {SIGNATURE: signature}), url=url)
    verify(reader("12345"), call)
    assert refused(reader("12346"), call) == "signature"


def test_a_name_that_repeats_is_signed_once_for_each_value() -> None:
    """Also a signature of the library's tests."""
    form = b"Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=5678"
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    verify(reader("12345"), replace(receipt_call(form, {SIGNATURE: "IK+Dwps556ElfBT0I3Rgjkr1wJU="}), url=url))


def test_a_shared_key_signs_where_the_settings_say_so() -> None:
    both = reader(secret=SHARED, previous_secret=OLD)
    for key in (SHARED, OLD):
        verify(both, call_of(DELIVERED, key, algorithm="HMAC_SHA256", settings=SHA256))
        verify(both, call_of(DELIVERED, key, settings="key=x, algorithm=hmac_sha1"))
    for token in (TOKEN, OLD):
        verify(both, call_of(DELIVERED, token))
        verify(both, call_of(DELIVERED, token, settings="key=x"))
    for key in (TOKEN, "another"):
        assert refused(both, call_of(DELIVERED, key, algorithm="HMAC_SHA256", settings=SHA256)) == "signature"
    assert refused(both, call_of(DELIVERED, SHARED)) == "signature"
    assert refused(both, call_of(DELIVERED, SHARED, settings="algorithm=HMAC_MD5")) == "signature"
    assert refused(READER, call_of(DELIVERED, TOKEN, algorithm="HMAC_SHA256", settings=SHA256)) == "signature"


def test_what_is_larger_than_any_callback_is_not_looked_into() -> None:
    assert refused(READER, call_of(DELIVERED | {"Body": "x" * 70_000})) == "signature"
    verify(READER, call_of(DELIVERED | {"Body": "x" * 60_000}))


def test_no_bit_of_a_signature_may_change() -> None:
    right = call_of(DELIVERED)
    assert_no_bit_may_change(READER, right.headers[SIGNATURE], lambda text: replace(right, headers={SIGNATURE: text}))
    assert refused(READER, replace(right, headers={})) == "missing"


@given(st.data())
def test_no_bit_of_a_form_may_change(data: st.DataObject) -> None:
    """Unless it means the same, as the letters of %2b and %2B do."""
    right = call_of(DELIVERED)
    at, bit = data.draw(st.integers(0, len(right.body) - 1)), data.draw(st.integers(0, 7))
    changed = right.body[:at] + bytes([right.body[at] ^ (1 << bit)]) + right.body[at + 1 :]
    if changed.isascii() and parse_qsl(changed.decode(), keep_blank_values=True) == list(DELIVERED.items()):
        verify(READER, replace(right, body=changed))
    else:
        assert refused(READER, replace(right, body=changed)) == "signature"


@given(st.data())
def test_no_bit_of_an_address_may_change(data: st.DataObject) -> None:
    right = call_of(DELIVERED)
    at, bit = data.draw(st.integers(len(PUBLIC), len(right.url) - 1)), data.draw(st.integers(0, 7))
    changed = right.url[:at] + chr(ord(right.url[at]) ^ (1 << bit)) + right.url[at + 1 :]
    assert refused(READER, replace(right, url=changed)) == "signature"


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(st.characters(exclude_categories=["Cs"]))
    ),
    st.booleans(),
)
def test_what_the_library_takes_is_taken(fields: dict[str, str], is_sha256: bool) -> None:
    algorithm = "HMAC_SHA256" if is_sha256 else "HMAC_SHA1"
    call = call_of(fields, SHARED, algorithm=algorithm, settings=f"algorithm={algorithm}")
    assert RequestValidator(SHARED).validate(call.url, fields, call.headers[SIGNATURE], algorithm)
    verify(reader(secret=SHARED), call)


@pytest.mark.parametrize("body", [*junk_bodies(), b"a=1&" * 2_000, b"MessageSid=%ff%fe", "MessageSid=ü".encode()])
def test_junk_is_refused_and_never_more(body: bytes) -> None:
    for headers in ({}, {SIGNATURE: "AAAA"}, {SIGNATURE: "AAAA", SETTINGS: "algorithm"}, {SIGNATURE: "A" * 27 + "="}):
        refused(READER, receipt_call(body, headers))
    with suppress(Unreadable):
        READER.read(receipt_call(body), 0)


def test_an_address_that_is_none_is_refused() -> None:
    for url in (PUBLIC + "/ü", PUBLIC + "/\udc80", PUBLIC + "?a=\n"):
        with pytest.raises(Forged):
            verify(READER, replace(call_of(DELIVERED), url=url))


def test_what_is_needed_for_receipts() -> None:
    assert KIND.receipts
    assert KIND.receipts.in_address
    without = TwilioSettings(account_sid="AC" + "0" * 32, api_key="SK0", api_secret="s")
    assert made_of(without) is None
    with pytest.raises(ValueError, match=r"^secret: is missing"):
        made_of(without, previous_secret=OLD)
    assert made_of(without, secret=SHARED) is not None
    assert reader(None, secret=SHARED).refused_status == 401
