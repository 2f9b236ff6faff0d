"""Messages of SNS, as a certificate of the tests' own signs them."""

from __future__ import annotations

import functools
import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.receipt_calls import NOW, receipt_call

from postwire.providers.receipts.base import Fetched, ReceiptCall

TOPIC = "arn:aws:sns:us-west-2:123456789012:mail"
HOST = "https://sns.us-west-2.amazonaws.com"
CERTIFICATE_URL = f"{HOST}/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem"
SUBSCRIBE_URL = f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37"
KEY = rsa.generate_private_key(65537, 2048)
TODAY = datetime.fromtimestamp(NOW / 1e6, UTC)
PKCS1 = padding.PKCS1v15()


def certificate(key: Any = KEY, *, since: datetime = TODAY, days: int = 2) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(since - timedelta(1)).not_valid_after(since + timedelta(days))
    return built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


GOOD = certificate()


class Fetcher:
    """What is at which address, and what was fetched."""

    def __init__(self, found: dict[str, bytes] | None = None, status: int = 200) -> None:
        self.found = (
            {CERTIFICATE_URL: GOOD, SUBSCRIBE_URL: b"<ConfirmSubscriptionResponse/>"} if found is None else found
        )
        self.status = status
        self.fetched: list[str] = []

    async def __call__(self, url: str) -> Fetched:
        self.fetched.append(url)
        if url not in self.found:
            raise OSError("nobody is there")
        return Fetched(self.status, self.found[url])


def notification(message: object, **changes: Any) -> dict[str, Any]:
    """As https://docs.aws.amazon.com/sns/latest/dg/http-notification-json.html shows it."""
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Subject": "Amazon SES Email Event Notification",
        "Message": message if isinstance(message, str) else json.dumps(message),
        "Timestamp": "2012-05-02T00:54:06.655Z",
        "SignatureVersion": "1",
        "SigningCertURL": CERTIFICATE_URL,
        "UnsubscribeURL": f"{HOST}/?Action=Unsubscribe&SubscriptionArn={TOPIC}:c9135db0",
    } | changes


def confirmation(**changes: Any) -> dict[str, Any]:
    """As https://docs.aws.amazon.com/sns/latest/dg/http-subscription-confirmation-json.html shows it."""
    return {
        "Type": "SubscriptionConfirmation",
        "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
        "Token": "2336412f37",
        "TopicArn": TOPIC,
        "Message": f"You have chosen to subscribe to the topic {TOPIC}.\nTo confirm, visit the SubscribeURL.",
        "SubscribeURL": SUBSCRIBE_URL,
        "Timestamp": "2012-04-26T20:45:04.751Z",
        "SignatureVersion": "1",
        "SigningCertURL": CERTIFICATE_URL,
    } | changes


def signature(fields: dict[str, Any]) -> str:
    # https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html
    more = ("SubscribeURL", "Token") if fields["Type"] != "Notification" else ("Subject",)
    names = sorted(
        {"Message", "MessageId", "Timestamp", "TopicArn", "Type", *(name for name in more if name in fields)}
    )
    signed = "".join(f"{name}\n{fields[name]}\n" for name in names).encode()
    return _signed(signed, fields["SignatureVersion"])


@functools.cache
def _signed(text: bytes, version: str) -> str:
    """Always the same, and dear."""
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
    return b64encode(KEY.sign(text, PKCS1, algorithm)).decode()


def call_of(fields: dict[str, Any], **changes: Any) -> ReceiptCall:
    """A call whose message is signed before it is changed."""
    return receipt_call(fields | {"Signature": signature(fields)} | changes)
