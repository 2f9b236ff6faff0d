"""Whether messages are of SNS: signed by a certificate of these tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from tests.support.receipt_calls import NOW, flipped, junk_bodies, receipt_call
from tests.support.sns_messages import (
    CERTIFICATE_URL,
    GOOD,
    HOST,
    SUBSCRIBE_URL,
    TODAY,
    TOPIC,
    Fetcher,
    call_of,
    certificate,
    confirmation,
    notification,
    signature,
)

from postwire.providers.receipts.base import Forged, ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.receipts.ses import SesReceipts


def reader(*topics: str) -> ReceiptReader:
    return SesReceipts(topics or (TOPIC,))


READER = reader()
FETCHER = Fetcher()


def verify(call: ReceiptCall, by: ReceiptReader = READER, fetch: Fetcher = FETCHER) -> None:
    asyncio.run(by.verify(call, fetch))


def refused(call: ReceiptCall, by: ReceiptReader = READER, fetch: Fetcher = FETCHER) -> str:
    with pytest.raises(Forged) as found:
        verify(call, by, fetch)
    return found.value.reason


@pytest.mark.parametrize("version", ["1", "2"])
def test_both_versions_of_the_signature_are_taken(version: str) -> None:
    verify(call_of(notification("x", SignatureVersion=version)))
    without = notification("x", SignatureVersion=version)
    del without["Subject"]
    verify(call_of(without))
    other = "2" if version == "1" else "1"
    assert refused(call_of(notification("x", SignatureVersion=version), SignatureVersion=other)) == "signature"
    assert refused(call_of(notification("x"), SignatureVersion="3")) == "missing"


def test_what_is_larger_than_any_message_is_not_looked_into() -> None:
    assert refused(call_of(notification("x" * 300_000))) == "signature"
    verify(call_of(notification("x" * 200_000)))


def test_a_subscription_of_a_topic_that_is_ours_is_confirmed() -> None:
    fetch = Fetcher()
    call = call_of(confirmation())
    verify(call, reader(), fetch)
    assert fetch.fetched == [CERTIFICATE_URL, SUBSCRIBE_URL]
    assert READER.read(call, NOW) == ()
    with pytest.raises(OSError, match="nobody"):
        verify(call, reader(), Fetcher({CERTIFICATE_URL: GOOD}))


def test_a_subscription_of_another_topic_fetches_nothing() -> None:
    fetch = Fetcher()
    other = "arn:aws:sns:us-west-2:999999999999:mail"
    for fields in (confirmation(TopicArn=other), notification("x", TopicArn=other)):
        assert refused(call_of(fields), reader(), fetch) == "topic"
    assert fetch.fetched == []


@pytest.mark.parametrize(
    "url",
    [
        SUBSCRIBE_URL.replace("https", "http"),
        SUBSCRIBE_URL.replace("amazonaws.com", "amazonaws.com.example.com"),
        SUBSCRIBE_URL.replace("sns.us-west-2", "sns.us-east-1"),
        SUBSCRIBE_URL.replace("ConfirmSubscription", "Unsubscribe"),
        SUBSCRIBE_URL + " x",
        SUBSCRIBE_URL + "\nx",
        "",
    ],
)
def test_only_sns_itself_is_asked_to_confirm(url: str) -> None:
    fetch = Fetcher()
    assert refused(call_of(confirmation(SubscribeURL=url)), reader(), fetch) == "signature"
    assert fetch.fetched == [CERTIFICATE_URL]


def test_the_end_of_a_subscription_is_not_undone() -> None:
    fetch = Fetcher()
    call = call_of(confirmation(Type="UnsubscribeConfirmation"))
    verify(call, reader(), fetch)
    assert fetch.fetched == [CERTIFICATE_URL]
    assert READER.read(call, NOW) == ()


@pytest.mark.parametrize(
    "url",
    [
        CERTIFICATE_URL.replace("https", "http"),
        CERTIFICATE_URL.replace("sns.", "sns.evil."),
        CERTIFICATE_URL.replace("amazonaws.com", "amazonaws.com.example.com"),
        CERTIFICATE_URL.replace("amazonaws.com", "amazonaws.com:444"),
        CERTIFICATE_URL.replace("amazonaws.com", "amazonaws.com@example.com"),
        CERTIFICATE_URL.replace("amazonaws.com", "amazonaws.com.cn"),
        CERTIFICATE_URL.replace("us-west-2", "us-east-1"),
        CERTIFICATE_URL.replace("/Simple", "/x/../Simple"),
        CERTIFICATE_URL + "?x",
        CERTIFICATE_URL + "\n",
        f"{HOST}/other.pem",
        "file:///etc/passwd",
        "",
    ],
)
def test_certificates_are_fetched_from_sns_alone(url: str) -> None:
    fetch = Fetcher()
    assert refused(call_of(notification("x", SigningCertURL=url)), reader(), fetch) == "signature"
    assert fetch.fetched == []


def test_regions_in_china_have_another_domain() -> None:
    topic = "arn:aws-cn:sns:cn-north-1:123456789012:mail"
    url = "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-f3ec.pem"
    verify(call_of(notification("x", TopicArn=topic, SigningCertURL=url)), reader(topic), Fetcher({url: GOOD}))


def test_a_certificate_is_fetched_once_and_again_where_it_could_not_be() -> None:
    by, call = reader(), call_of(notification("x"))
    for failing in (Fetcher({}), Fetcher(status=503)):
        with pytest.raises(OSError, match=r"nobody|503"):
            verify(call, by, failing)
    fetch = Fetcher()
    for _ in range(3):
        verify(call, by, fetch)
    assert fetch.fetched == [CERTIFICATE_URL]


def test_nobody_can_have_us_fetch_without_end() -> None:
    by = reader()
    names = [CERTIFICATE_URL.replace(".pem", f"{at}.pem") for at in range(21)]
    fetch = Fetcher(dict.fromkeys(names, GOOD))
    for url in names[:20]:
        verify(call_of(notification("x", SigningCertURL=url)), by, fetch)
    late = notification("x", SigningCertURL=names[20])
    with pytest.raises(OSError, match="too many"):
        verify(call_of(late), by, fetch)
    verify(call_of(notification("x", SigningCertURL=names[19])), by, fetch)  # one that is kept
    assert len(fetch.fetched) == 20
    later = call_of(late)
    verify(receipt_call(later.body, now=NOW + 61_000_000), by, fetch)


@pytest.mark.parametrize(
    "found",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        certificate(rsa.generate_private_key(65537, 2048)),
        certificate(ec.generate_private_key(ec.SECP256R1())),
        certificate(since=TODAY - timedelta(9)),
        certificate(since=TODAY + timedelta(9)),
    ],
    ids=["none", "broken", "another's", "no RSA", "past", "future"],
)
def test_a_certificate_has_to_be_the_signers_and_valid(found: bytes) -> None:
    assert refused(call_of(notification("x")), reader(), Fetcher({CERTIFICATE_URL: found})) == "signature"


def test_what_is_delivered_raw_is_not_signed_and_so_not_taken() -> None:
    message = {"eventType": "Delivery", "mail": {"messageId": "m"}, "delivery": {"recipients": ["a@example.com"]}}
    headers = {"x-amz-sns-rawdelivery": "true", "x-amz-sns-topic-arn": TOPIC}
    assert refused(receipt_call(message, headers)) == "missing"


@pytest.mark.parametrize("make", [notification, confirmation])
def test_no_bit_of_what_is_signed_may_change(make: Callable[..., dict[str, Any]]) -> None:
    fields = make(Message="Hi") if make is confirmation else make("Hi")
    right = call_of(fields)
    verify(right)
    for name in ("Message", "MessageId", "Subject", "Timestamp", "Token", "Type"):
        for changed in flipped(fields.get(name, "")):
            assert refused(call_of(fields, **{name: changed})) == "signature"
    for changed in flipped(TOPIC):
        assert refused(call_of(fields, TopicArn=changed)) == "topic"


@given(st.data())
def test_no_bit_of_a_signature_may_change(data: st.DataObject) -> None:
    fields = notification("x")
    right = signature(fields)
    at, bit = data.draw(st.integers(0, len(right) - 1)), data.draw(st.integers(0, 7))
    changed = right[:at] + chr(ord(right[at]) ^ (1 << bit)) + right[at + 1 :]
    assert refused(call_of(fields, Signature=changed)) == "signature"


@pytest.mark.parametrize("junk", ["", "é", "\ud800", " ", "AAAA", 7, None, []])
def test_a_signature_that_is_none_is_refused(junk: object) -> None:
    assert refused(call_of(notification("x"), Signature=junk)) in ("signature", "missing")


@pytest.mark.parametrize("body", junk_bodies())
def test_junk_is_refused_and_never_more(body: bytes) -> None:
    assert refused(receipt_call(body)) == "signature"
    with suppress(Unreadable):
        READER.read(receipt_call(body), 0)
