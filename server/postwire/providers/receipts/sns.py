"""Amazon SNS: messages of topics, and whether they are its own.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from postwire.providers.receipts.base import Fetch, Forged, ReceiptCall, Unreadable
from postwire.providers.receipts.payloads import json_object, text_of, unproven
from postwire.providers.receipts.signatures import decoded_base64

NOTIFICATION: Final = "Notification"
CONFIRMATION: Final = "SubscriptionConfirmation"

_SIGNED: Final = MappingProxyType(
    {
        # https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html
        NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
        CONFIRMATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
        "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    }
)
_HASHES: Final = MappingProxyType({"1": hashes.SHA1(), "2": hashes.SHA256()})
_TOPIC: Final = re.compile(r"arn:(aws(?:-cn|-us-gov)?):sns:([a-z]{2}(?:-[a-z]+)+-[0-9]):[0-9]{12}:[A-Za-z0-9_-]{1,256}")
_CERTIFICATE: Final = re.compile(r"/SimpleNotificationService-[A-Za-z0-9]+\.pem")
_SUBSCRIBE: Final = "/?Action=ConfirmSubscription&"

_MAX_MESSAGE: Final = 256 * 1024
"""Bytes: an event of SES, which names fifty recipients at most and leaves out what is long, has far less."""

_MAX_CERTIFICATES: Final = 8
_MAX_FETCHES: Final = 20
_WINDOW: Final = 60 * 1_000_000
"""Certificates that are kept, and how many are fetched in how many µs: anybody can name more."""


def check_topics(topics: Collection[str]) -> None:
    """Raises ValueError, led by the key `topics`, where one is not the ARN of a topic."""
    if not all(_TOPIC.fullmatch(topic) for topic in topics):
        raise ValueError("topics: must be ARNs of SNS topics, such as arn:aws:sns:eu-west-1:123456789012:mail")


@dataclass(frozen=True, slots=True, repr=False)
class SnsMessage:
    """A message of SNS, unproven. `fields` are those that have texts."""

    kind: str
    topic: str
    fields: Mapping[str, str]

    @classmethod
    def read(cls, body: bytes) -> SnsMessage:
        """Raises Unreadable: it is none."""
        found = json_object(unproven(body, _MAX_MESSAGE))
        fields = {name: text for name, value in found.items() if (text := text_of(value))}
        kind = fields.get("Type", "")
        if kind not in _SIGNED or not fields.get("TopicArn"):
            raise Unreadable("is not a message of SNS")
        return cls(kind, fields["TopicArn"], fields)

    @property
    def signed(self) -> bytes:
        """What its signature is of. A subject is there only if it has one."""
        names = (name for name in _SIGNED[self.kind] if name != "Subject" or name in self.fields)
        return "".join(f"{name}\n{self.fields.get(name, '')}\n" for name in names).encode()


class SnsVerifier:
    """Says whether messages are of SNS and of these topics, and confirms the subscriptions that they ask for.

    Certificates are kept by their addresses, which change when they do.
    """

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = frozenset(topics)
        self._certificates: OrderedDict[str, x509.Certificate] = OrderedDict()
        self._fetched: deque[int] = deque(maxlen=_MAX_FETCHES)

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`."""
        if call.headers.get("x-amz-sns-rawdelivery"):
            raise Forged("missing")  # what is delivered raw is not signed
        try:
            message = SnsMessage.read(call.body)
        except Unreadable:
            raise Forged("signature") from None
        if message.topic not in self._topics:
            raise Forged("topic")
        host = _host(message.topic)
        signature = decoded_base64(message.fields.get("Signature", ""))
        algorithm = _HASHES.get(message.fields.get("SignatureVersion", ""))
        if not signature or algorithm is None:
            raise Forged("missing")
        certificate = await self._certificate(message.fields.get("SigningCertURL", ""), host, call.now, fetch)
        key = certificate.public_key()
        if not isinstance(key, RSAPublicKey):
            raise Forged("signature")
        try:
            key.verify(signature, message.signed, padding.PKCS1v15(), algorithm)
        except (InvalidSignature, UnsupportedAlgorithm):
            raise Forged("signature") from None
        if message.kind == CONFIRMATION:
            await _confirm(message.fields.get("SubscribeURL", ""), host, fetch)

    async def _certificate(self, url: str, host: str, now: int, fetch: Fetch) -> x509.Certificate:
        """The certificate at an address of SNS itself, in the topic's region.

        Raises:
            Forged: the address is another, or what is there is not valid now.
            OSError: it cannot be fetched now.
        """
        start = f"https://{host}"
        if not url.startswith(start) or not _CERTIFICATE.fullmatch(url[len(start) :]):
            raise Forged("signature")
        certificate = self._certificates.get(url)
        if certificate is None:
            certificate = await self._fetch(url, now, fetch)
        today = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now)
        if not certificate.not_valid_before_utc <= today <= certificate.not_valid_after_utc:
            raise Forged("signature")
        return certificate

    async def _fetch(self, url: str, now: int, fetch: Fetch) -> x509.Certificate:
        if len(self._fetched) == _MAX_FETCHES and now - self._fetched[0] < _WINDOW:
            raise OSError("too many certificates are asked for")
        self._fetched.append(now)
        answer = await fetch(url)
        if answer.status != 200:
            raise OSError(f"the certificate is answered with {answer.status}")
        try:
            certificate = x509.load_pem_x509_certificate(answer.body)
        except ValueError:
            raise Forged("signature") from None
        self._certificates[url] = certificate
        if len(self._certificates) > _MAX_CERTIFICATES:
            self._certificates.popitem(last=False)
        return certificate


def _host(topic: str) -> str:
    """Where SNS is in the region of a topic: the one place that its certificates and confirmations are at."""
    found = _TOPIC.fullmatch(topic)
    assert found, "see check_topics"
    partition, region = found.groups()
    return f"sns.{region}.amazonaws.com" + (".cn" if partition == "aws-cn" else "")


async def _confirm(url: str, host: str, fetch: Fetch) -> None:
    """Confirm a subscription: https://docs.aws.amazon.com/sns/latest/dg/SendMessageToHttp.confirm.html.

    Raises:
        Forged: the address is not that of SNS.
        OSError: it cannot be done now; SNS asks again.
    """
    if not url.startswith(f"https://{host}{_SUBSCRIBE}") or not url.isascii() or not url.isprintable() or " " in url:
        raise Forged("signature")
    answer = await fetch(url)
    if answer.status != 200:
        raise OSError(f"the confirmation is answered with {answer.status}")
