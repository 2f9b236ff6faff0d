"""Readers of receipts, as targets: what anybody can send to them, and what a vendor may."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support import sns_messages

from postwire.core.receipts import Inbound, Receipt
from postwire.core.reference import References
from postwire.providers.receipts import (
    bird,
    brevo,
    infobip,
    mailgun,
    mailjet,
    plivo,
    postmark,
    resend,
    sendgrid,
    ses,
    sinch,
    sparkpost,
    telnyx,
    twilio,
    vonage,
    webhook,
)
from postwire.providers.receipts.base import Fetched, Forged, ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.receipts.basic_auth import BasicAuth
from postwire.providers.receipts.generic_http import GenericHttpReceipts, ReceiptRules
from postwire.providers.receipts.standard_webhooks import StandardWebhooks
from postwire.providers.receipts.unsigned import UserOrReference

NOW: Final = 1_800_000_000_000_000

_REFERENCES: Final = References(bytes(32))
REFERENCE: Final = _REFERENCES.make("0197c0de-0000-7000-8000-000000000000", 1)
_SIGNS: Final = derive_private_key(4711, SECP256R1())
_CHANNEL: Final = "614208aa-b153-4d5d-9989-2fddfc0ce4c3"
_RULES: Final = ReceiptRules(state="state", id="/id", code="code", reference="ref", delivered="^1", permanent="^00")

READERS: Final[Mapping[str, ReceiptReader]] = MappingProxyType(
    {
        "sendgrid": sendgrid.SendGridReceipts(_SIGNS.public_key()),
        "mailgun": mailgun.MailgunReceipts((b"k",)),
        "resend": resend.ResendReceipts(StandardWebhooks((bytes(32),), resend.HEADERS)),
        "webhook": webhook.WebhookReceipts(StandardWebhooks((bytes(32),))),
        "postmark": postmark.PostmarkReceipts(UserOrReference(None, postmark.REFERENCE)),
        "brevo": brevo.BrevoReceipts(UserOrReference(None, brevo.REFERENCE)),
        "mailjet": mailjet.MailjetReceipts(UserOrReference(None, mailjet.REFERENCE)),
        "sparkpost": sparkpost.SparkPostReceipts(UserOrReference(None, sparkpost.REFERENCE)),
        "twilio": twilio.TwilioReceipts(tokens=(b"k",), shared_keys=(b"s",)),
        "vonage": vonage.VonageReceipts((b"k",)),
        "bird": bird.BirdReceipts((b"k",), _CHANNEL),
        "sinch": sinch.SinchReceipts((b"k",)),
        "telnyx": telnyx.TelnyxReceipts(Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()),
        "plivo": plivo.PlivoReceipts((b"k",)),
        "infobip": infobip.InfobipReceipts(BasicAuth("u", "p")),
        "ses": ses.SesReceipts((sns_messages.TOPIC,)),
        "http": GenericHttpReceipts(_RULES, None, lambda value, _: value),
    }
)
"""By kind. Each has a target of its own."""

HEADERS: Final = (
    "content-type",
    "authorization",
    sendgrid.SIGNATURE,
    sendgrid.TIMESTAMP,
    *(f"{prefix}-{name}" for prefix in ("webhook", resend.HEADERS) for name in ("id", "timestamp", "signature")),
    "x-twilio-signature",
    "x-twilio-webhooks-signature-settings",
    "telnyx-signature-ed25519",
    "telnyx-timestamp",
    "x-amz-sns-rawdelivery",
    sinch.SIGNATURE,
    sinch.TIMESTAMP,
    sinch.NONCE,
    sinch.ALGORITHM,
    *(f"{name}{more}" for name in (plivo.V3, plivo.V2) for more in ("", "-nonce")),
    bird.SIGNATURE,
    bird.TIMESTAMP,
)
"""Those that any reader looks at."""


async def _fetch(url: str) -> Fetched:
    if url == sns_messages.CERTIFICATE_URL:
        return Fetched(200, sns_messages.GOOD)
    raise OSError("nothing else can be fetched here")


def read(reader: ReceiptReader, data: bytes) -> None:
    """A call: the first line is its query, the next are headers, and after an empty one there is the body."""
    head, _, body = data.partition(b"\n\n")
    query, *lines = head.decode("latin-1").split("\n")
    headers = dict(zip(HEADERS, lines, strict=False))
    for method in ("GET", "POST"):
        call = ReceiptCall(
            method,
            f"https://receipts.example.com/receipts/x?{query}",
            headers,
            body,
            "",
            NOW,
            is_reference=lambda text: _REFERENCES.read(text) is not None,
        )
        with suppress(Forged, StopIteration, OSError):
            reader.verify(call, _fetch).send(None)
        try:
            found = reader.read(call, NOW)
        except (Unreadable, Forged):  # the latter of one that has not been verified
            continue
        assert all(isinstance(one, Receipt | Inbound) for one in found)
        for one in found:
            for value in asdict(one).values():
                str(value).encode()  # what cannot be written in UTF-8 cannot be kept


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = MappingProxyType(
    {f"receipts_{kind}": partial(read, reader) for kind, reader in READERS.items()}
)


def _seed(value: Any, query: str = "", **headers: str) -> bytes:
    lines = [query, *(headers.get(name.replace("-", "_"), "") for name in HEADERS)]
    return "\n".join(lines).encode() + b"\n\n" + (value if isinstance(value, bytes) else json.dumps(value).encode())


SEEDS: Final[Mapping[str, list[bytes]]] = MappingProxyType(
    {
        "receipts_sendgrid": [
            _seed(
                [{"event": "bounce", "type": "bounce", "status": "5.1.1", "timestamp": 1, "reference": REFERENCE}],
                x_twilio_email_event_webhook_signature="MEUCIQ==",
                x_twilio_email_event_webhook_timestamp="1800000000",
            )
        ],
        "receipts_mailgun": [
            _seed(
                {
                    "signature": {"timestamp": "1", "token": "t", "signature": "00"},
                    "event-data": {
                        "event": "failed",
                        "severity": "permanent",
                        "reason": "bounce",
                        "delivery-status": {"code": 550},
                        "message": {"headers": {"message-id": "a@b"}},
                        "timestamp": 1.5,
                    },
                }
            )
        ],
        "receipts_resend": [
            _seed(
                {
                    "type": "email.bounced",
                    "created_at": "2026-11-22T23:41:12.126Z",
                    "data": {"to": ["a@example.com"], "tags": [{"name": "reference", "value": REFERENCE}]},
                },
                svix_id="m",
                svix_timestamp="1800000000",
                svix_signature="v1,x",
            )
        ],
        "receipts_webhook": [
            _seed(
                {"reference": REFERENCE, "state": "delivered", "code": "c", "event_id": "e", "permanent": True},
                webhook_id="m",
                webhook_timestamp="1800000000",
                webhook_signature="v1,x",
            )
        ],
        "receipts_postmark": [
            _seed({"RecordType": "Bounce", "ID": 7, "Type": "HardBounce", "Metadata": {"reference": REFERENCE}}),
            _seed(
                {"RecordType": "SubscriptionChange", "SuppressSending": True, "SuppressionReason": "ManualSuppression"},
                authorization="Basic dTpw",
            ),
        ],
        "receipts_brevo": [
            _seed(
                {
                    "event": "hard_bounce",
                    "email": "a@example.com",
                    "message-id": "<m@example.com>",
                    "X-Mailin-custom": REFERENCE,
                    "ts_event": 1,
                    "ts_epoch": 1604933654000,
                }
            ),
            _seed([{"event": "delivered", "X-Mailin-custom": REFERENCE}, None, {"event": "request"}]),
        ],
        "receipts_mailjet": [
            _seed(
                {
                    "event": "bounce",
                    "time": 1,
                    "MessageID": 7,
                    "email": "a@example.com",
                    "CustomID": REFERENCE,
                    "hard_bounce": True,
                    "error": "user unknown",
                }
            ),
            _seed([{"event": "sent", "mj_message_id": "7", "CustomID": REFERENCE}, None, {"event": "unsub"}]),
        ],
        "receipts_sparkpost": [
            _seed(
                [
                    {
                        "msys": {
                            "message_event": {
                                "type": "bounce",
                                "bounce_class": "10",
                                "error_code": "550",
                                "event_id": "e",
                                "rcpt_meta": {"reference": REFERENCE},
                                "rcpt_to": "a@example.com",
                                "timestamp": "1460989507",
                                "transmission_id": "t",
                            }
                        }
                    },
                    {"msys": {"unsubscribe_event": {"type": "link_unsubscribe"}}},
                    {"msys": {}},
                ]
            ),
            _seed([{"msys": {}}], authorization="Basic dTpw"),
        ],
        "receipts_twilio": [
            _seed(
                b"MessageSid=SM1&MessageStatus=failed&ErrorCode=21610&To=%2B15558675310&From=%2B15017122661",
                x_twilio_signature="hqeF3G9Hrnv6/R0jOhoYDD2PPUs=",
            ),
            _seed(
                b"",
                "MessageSid=SM1&SmsStatus=received&From=%2B15558675310&To=%2B15017122661&Body=Stop&OptOutType=STOP",
                x_twilio_signature="hqeF3G9Hrnv6/R0jOhoYDD2PPUs=",
                x_twilio_webhooks_signature_settings="key=k,algorithm=HMAC_SHA256",
            ),
        ],
        "receipts_vonage": [
            _seed(
                {
                    "messageId": "0B",
                    "msisdn": "447547232824",
                    "status": "failed",
                    "err-code": "9",
                    "client-ref": REFERENCE,
                    "message-timestamp": "2018-10-25 12:10:29",
                    "sig": "6af838ef94998832dbfc29020b564830",
                }
            ),
            _seed(
                b"", "messageId=0A&msisdn=447700900001&to=447700900000&text=Stop&sig=6AF838EF94998832DBFC29020B564830"
            ),
        ],
        "receipts_telnyx": [
            _seed(
                {
                    "data": {
                        "event_type": "message.finalized",
                        "id": "e",
                        "occurred_at": "2019-12-09T21:32:14.148+00:00",
                        "payload": {
                            "id": "m",
                            "to": [{"phone_number": "+13125550002", "status": "delivery_failed"}],
                            "errors": [{"code": "40300"}],
                            "webhook_url": f"https://example.com/{REFERENCE}",
                        },
                    }
                },
                telnyx_signature_ed25519="A" * 86 + "==",
                telnyx_timestamp="1800000000",
            )
        ],
        "receipts_plivo": [
            _seed(
                b"MessageUUID=m&Status=undelivered&ErrorCode=200&To=14155550132&From=15005550006&Units=1",
                x_plivo_signature_v3="hqeF3G9Hrnv6/R0jOhoYDD2PPUvfQ0fKZtQKfVr9W1A=",
                x_plivo_signature_v3_nonce="05429567804466091622",
            ),
            _seed(
                b"MessageUUID=m&From=14155550132&To=15005550006&Text=Stop&Type=sms",
                "a=1",
                x_plivo_signature_v2="hqeF3G9Hrnv6/R0jOhoYDD2PPUvfQ0fKZtQKfVr9W1A=",
                x_plivo_signature_v2_nonce="05429567804466091622",
            ),
        ],
        "receipts_infobip": [
            _seed(
                {
                    "results": [
                        {
                            "messageId": "m",
                            "to": "41793026727",
                            "callbackData": REFERENCE,
                            "status": {"groupName": "UNDELIVERABLE", "name": "UNDELIVERABLE_NOT_DELIVERED"},
                            "error": {"groupName": "HANDSET_ERRORS", "name": "EC_CONTENT_BLOCKED"},
                            "doneAt": "2019-11-09T16:00:00.000+0000",
                        },
                        {"messageId": "i", "from": "385916242493", "to": "385921004026", "text": "Stop"},
                    ]
                }
            ),
            _seed({"results": [{"from": "385916242493", "text": "Stop"}]}, authorization="Basic dTpw"),
        ],
        "receipts_sinch": [
            _seed(
                {
                    "type": "recipient_delivery_report_sms",
                    "batch_id": "b",
                    "recipient": "13125550002",
                    "code": 150,
                    "status": "Failed",
                    "at": "2022-08-30T08:16:08.930Z",
                    "client_reference": REFERENCE,
                },
                x_sinch_webhook_signature="A" * 43 + "=",
                x_sinch_webhook_signature_timestamp="1800000000",
                x_sinch_webhook_signature_nonce="n",
                x_sinch_webhook_signature_algorithm="HmacSHA256",
            ),
            _seed({"type": "mo_media", "id": "m", "from": "13125550002", "to": "12345", "body": {"message": "Stop"}}),
        ],
        "receipts_bird": [
            _seed(
                {
                    "event": "sms.outbound",
                    "payload": {
                        "id": "m",
                        "channelId": _CHANNEL,
                        "receiver": {"contacts": [{"identifierValue": "+31612345678"}]},
                        "reference": REFERENCE,
                        "status": "delivery_failed",
                        "failure": {"code": 15005, "source": {"name": "sms-messagebird", "code": "1"}},
                        "lastStatusAt": "2022-12-22T08:32:50.736Z",
                    },
                },
                messagebird_signature="A" * 43 + "=",
                messagebird_request_timestamp="1800000000",
            ),
            _seed(
                {
                    "event": "sms.inbound",
                    "payload": {
                        "id": "m",
                        "channelId": _CHANNEL,
                        "sender": {"contact": {"identifierValue": "+31612345678"}},
                        "body": {"type": "text", "text": {"text": "Stop"}},
                    },
                }
            ),
        ],
        "receipts_ses": [
            b"\n\n" + sns_messages.call_of(one).body
            for one in (
                sns_messages.confirmation(),
                sns_messages.notification(
                    {
                        "eventType": "Bounce",
                        "mail": {"messageId": "m", "tags": {ses.TAG: [REFERENCE]}},
                        "bounce": {
                            "bounceType": "Permanent",
                            "bouncedRecipients": [{"emailAddress": "a@example.com", "status": "5.1.1"}],
                        },
                    }
                ),
            )
        ],
        "receipts_http": [
            _seed(b"", f"state=1&code=001&ref={REFERENCE}"),
            _seed(b"state=1&code=001", content_type="application/x-www-form-urlencoded"),
            _seed({"state": 1, "id": {"a": []}}, content_type="application/json"),
        ],
    }
)
"""What each target begins with."""
