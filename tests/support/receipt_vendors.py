"""Vendors that take messages, and report later what became of them: each signs as its own page says, and not by code of
ours."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from time import time
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from standardwebhooks import Webhook
from tests.support.http_counterpart import HttpCall, HttpReply
from tests.support.receipt_vendor import Report, Vendor
from tests.support.receipt_vendors_sms import Bird, Infobip, Plivo, Sinch, Telnyx, Twilio, Vonage

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_CURVE: Final = derive_private_key(4711, SECP256R1())


class SendGrid(Vendor):
    target = "/v3/mail/send"
    words = ("delivered", "bounce", "processed")

    def settings(self, base_url: str) -> str:
        public = _CURVE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return (
            f'kind = "sendgrid"\napi_key = "k"\nsender = "us@example.com"\nbase_url = "{base_url}"\n'
            f'receipts = {{ public_key = "{b64encode(public).decode()}" }}'
        )

    def take(self, call: HttpCall) -> HttpReply:
        value = call.json()
        recipient = value["personalizations"][0]["to"][0]["email"]
        arguments = value.get("custom_args") or value["personalizations"][0]["custom_args"]
        self.references[recipient] = arguments["reference"]
        return HttpReply(202, headers={"X-Message-Id": self.id_of(recipient)})

    def report(self, recipient: str, state: str, event: str) -> Report:
        found: dict[str, Any] = {
            "email": recipient,
            "event": self.word(state),
            "sg_event_id": event,
            "sg_message_id": f"{self.id_of(recipient)}.filter0001.16648.5515E0B88.0",
        }
        if recipient in self.references:
            found["reference"] = self.references[recipient]
        body, seconds = json.dumps([found]).encode(), str(int(time()))
        signature = b64encode(_CURVE.sign(seconds.encode() + body, ECDSA(SHA256()))).decode()
        headers = {
            "X-Twilio-Email-Event-Webhook-Signature": signature,
            "X-Twilio-Email-Event-Webhook-Timestamp": seconds,
        }
        return Report(f"/receipts/{self.name}", headers, body)


class Mailgun(Vendor):
    target = "/v3/mg.example.com/"
    words = ("delivered", "failed", "accepted")

    def id_of(self, recipient: str) -> str:
        return f"{super().id_of(recipient)}@mg.example.com"

    def settings(self, base_url: str) -> str:
        return (
            f'kind = "mailgun"\napi_key = "k"\ndomain = "mg.example.com"\nsender = "us@example.com"\n'
            f'base_url = "{base_url}"\nreceipts = {{ secret = "s1gns" }}'
        )

    def take(self, call: HttpCall) -> HttpReply:
        parts = {
            part.partition(b'name="')[2].partition(b'"')[0]: part.partition(b"\r\n\r\n")[2].strip()
            for part in call.body.split(b"\r\n--")
        }
        recipient = parts[b"to"].decode()
        self.references[recipient] = parts[b"v:reference"].decode()
        return HttpReply.of_json(200, {"id": f"<{self.id_of(recipient)}>", "message": "Queued."})

    def report(self, recipient: str, state: str, event: str) -> Report:
        found: dict[str, Any] = {
            "event": self.word(state),
            "id": event,
            "recipient": recipient,
            "message": {"headers": {"message-id": self.id_of(recipient)}},
            "severity": "permanent",
            "user-variables": {"reference": self.references[recipient]} if recipient in self.references else {},
        }
        timestamp, token = str(int(time())), hashlib.sha256(event.encode()).hexdigest()[:50]
        signature = hmac.new(b"s1gns", f"{timestamp}{token}".encode(), "sha256").hexdigest()
        signed = {"timestamp": timestamp, "token": token, "signature": signature}
        return Report(f"/receipts/{self.name}", {}, json.dumps({"signature": signed, "event-data": found}).encode())

    def forge(self, report: Report) -> Report:
        """What is signed is not the event."""
        value = json.loads(report.body)
        value["signature"]["token"] = value["signature"]["token"][::-1] + "0"
        return Report(report.path, report.headers, json.dumps(value).encode())


class Resend(Vendor):
    target = "/emails"
    words = ("email.delivered", "email.bounced", "email.sent")

    def settings(self, base_url: str) -> str:
        return (
            f'kind = "resend"\napi_key = "k"\nsender = "us@example.com"\nbase_url = "{base_url}"\n'
            f'receipts = {{ secret = "{SECRET}" }}'
        )

    def take(self, call: HttpCall) -> HttpReply:
        value = call.json()
        (recipient,) = value["to"]
        self.references[recipient] = value["tags"][0]["value"]
        return HttpReply.of_json(200, {"id": self.id_of(recipient)})

    def report(self, recipient: str, state: str, event: str) -> Report:
        data: dict[str, Any] = {"email_id": self.id_of(recipient), "to": [recipient]}
        if recipient in self.references:
            data["tags"] = {"reference": self.references[recipient]}
        return _standard(f"/receipts/{self.name}", "svix", {"type": self.word(state), "data": data}, event)


class Postmark(Vendor):
    target = "/email"
    words = ("Delivery", "Bounce", "Open")
    says_accepted = False

    def settings(self, base_url: str) -> str:
        return (
            f'kind = "postmark"\nserver_token = "k"\nsender = "us@example.com"\nbase_url = "{base_url}"\n'
            f'receipts = {{ username = "pm", password = "p4ss" }}'
        )

    def take(self, call: HttpCall) -> HttpReply:
        value = call.json()
        self.references[value["To"]] = value["Metadata"]["reference"]
        return HttpReply.of_json(200, {"ErrorCode": 0, "Message": "OK", "MessageID": self.id_of(value["To"])})

    def report(self, recipient: str, state: str, event: str) -> Report:
        value: dict[str, Any] = {
            "RecordType": self.word(state),
            "MessageID": self.id_of(recipient),
            "Recipient": recipient,
            "Type": "SoftBounce",
        }
        if recipient in self.references:
            value["Metadata"] = {"reference": self.references[recipient]}
        headers = {"Authorization": f"Basic {b64encode(b'pm:p4ss').decode()}"}
        return Report(f"/receipts/{self.name}", headers, json.dumps(value).encode())

    def forge(self, report: Report) -> Report:
        return Report(report.path, {"Authorization": f"Basic {b64encode(b'pm:pass').decode()}"}, report.body)


class Brevo(Vendor):
    target = "/v3/smtp/email"
    words = ("delivered", "soft_bounce", "request")

    def settings(self, base_url: str) -> str:
        return (
            f'kind = "brevo"\napi_key = "k"\nsender = "us@example.com"\nbase_url = "{base_url}"\n'
            f'receipts = {{ username = "bv", password = "p4ss" }}'
        )

    def take(self, call: HttpCall) -> HttpReply:
        value = call.json()
        recipient = value["to"][0]["email"]
        self.references[recipient] = value["headers"]["X-Mailin-custom"]
        return HttpReply.of_json(201, {"messageId": f"<{self.id_of(recipient)}>"})

    def report(self, recipient: str, state: str, event: str) -> Report:
        value: dict[str, Any] = {
            "event": self.word(state),
            "message-id": f"<{self.id_of(recipient)}>",
            "email": recipient,
            "X-Mailin-custom": self.references.get(recipient, ""),
        }
        headers = {"Authorization": f"Basic {b64encode(b'bv:p4ss').decode()}"}
        return Report(f"/receipts/{self.name}", headers, json.dumps(value).encode())

    def forge(self, report: Report) -> Report:
        return Report(report.path, {"Authorization": f"Basic {b64encode(b'bv:pass').decode()}"}, report.body)


class Mailjet(Vendor):
    target = "/v3.1/send"
    words = ("sent", "blocked", "open")
    says_accepted = False

    def id_of(self, recipient: str) -> str:
        return str(int(super().id_of(recipient)[:12], 16))

    def settings(self, base_url: str) -> str:
        return (
            f'kind = "mailjet"\napi_key = "k"\napi_secret = "s"\nsender = "us@example.com"\nbase_url = "{base_url}"\n'
            f'receipts = {{ username = "mj", password = "p4ss" }}'
        )

    def take(self, call: HttpCall) -> HttpReply:
        (message,) = call.json()["Messages"]
        recipient = message["To"][0]["Email"]
        self.references[recipient] = message["CustomID"]
        to = [{"Email": recipient, "MessageID": int(self.id_of(recipient))}]
        return HttpReply.of_json(200, {"Messages": [{"Status": "success", "To": to, "Cc": [], "Bcc": []}]})

    def report(self, recipient: str, state: str, event: str) -> Report:
        value: dict[str, Any] = {
            "event": self.word(state),
            "MessageID": int(self.id_of(recipient)),
            "email": recipient,
            "CustomID": self.references.get(recipient, ""),
        }
        headers = {"Authorization": f"Basic {b64encode(b'mj:p4ss').decode()}"}
        return Report(f"/receipts/{self.name}", headers, json.dumps([value]).encode())

    def forge(self, report: Report) -> Report:
        return Report(report.path, {"Authorization": f"Basic {b64encode(b'mj:pass').decode()}"}, report.body)


class SparkPost(Vendor):
    target = "/api/v1/transmissions"
    words = ("delivery", "bounce", "injection")

    def settings(self, base_url: str) -> str:
        return (
            f'kind = "sparkpost"\napi_key = "k"\nsender = "us@example.com"\nbase_url = "{base_url}"\n'
            f'receipts = {{ username = "sp", password = "p4ss" }}'
        )

    def take(self, call: HttpCall) -> HttpReply:
        value = call.json()
        recipient = value["recipients"][0]["address"]["email"]
        self.references[recipient] = value["metadata"]["reference"]
        results = {"total_accepted_recipients": 1, "total_rejected_recipients": 0, "id": self.id_of(recipient)}
        return HttpReply.of_json(200, {"results": results})

    def report(self, recipient: str, state: str, event: str) -> Report:
        found: dict[str, Any] = {
            "type": self.word(state),
            "event_id": event,
            "transmission_id": self.id_of(recipient),
            "raw_rcpt_to": recipient,
        }
        if recipient in self.references:
            found["rcpt_meta"] = {"reference": self.references[recipient]}
        headers = {"Authorization": f"Basic {b64encode(b'sp:p4ss').decode()}"}
        batch = [{"msys": {"message_event": found}}]
        return Report(f"/receipts/{self.name}", headers, json.dumps(batch).encode())

    def forge(self, report: Report) -> Report:
        return Report(report.path, {"Authorization": f"Basic {b64encode(b'sp:pass').decode()}"}, report.body)


class Webhooks(Vendor):
    target = "/hook"

    def settings(self, base_url: str) -> str:
        return f'kind = "webhook"\nurl = "{base_url}/hook"\nsecret = "{SECRET}"\nreceipts = {{ secret = "{SECRET}" }}'

    def take(self, call: HttpCall) -> HttpReply:
        value = call.json()
        (recipient,) = value["email"]["to"] if "email" in value else value["to"]
        self.references[recipient] = value["reference"]
        return HttpReply.of_json(200, {"id": self.id_of(recipient)})

    def report(self, recipient: str, state: str, event: str) -> Report:
        value = {"state": state, "provider_message_id": self.id_of(recipient), "event_id": event}
        if recipient in self.references:
            value["reference"] = self.references[recipient]
        return _standard(f"/receipts/{self.name}", "webhook", value, event)


class Gateway(Vendor):
    target = "/send"
    channel = "sms"
    words = ("1", "2", "8")
    keeps_ids = False

    def settings(self, base_url: str) -> str:
        return (
            f'kind = "http"\nurl = "{base_url}/send"\nform = {{ to = "{{to}}", dlr = "{{callback_url}}?state=%d" }}\n'
            "success = { status = [202] }\n"
            'receipt = { state = "state", delivered = "^1$", undelivered = "^2$", accepted = "^8$" }'
        )

    def take(self, call: HttpCall) -> HttpReply:
        form = dict(call.form())
        self.references[form["to"]] = urlsplit(form["dlr"]).path
        return HttpReply(202, b"0: Accepted for delivery")

    def report(self, recipient: str, state: str, event: str) -> Report:
        return Report(f"{self.path(recipient)}?state={self.word(state)}", {}, b"", "GET")

    def forge(self, report: Report) -> Report:
        path, _, query = report.path.partition("?")
        return Report(f"{path[:-1]}{'A' if path[-1] != 'A' else 'B'}?{query}", {}, b"", "GET")


def take_for(vendors: Sequence[Vendor], call: HttpCall) -> HttpReply:
    """Answer a call for the vendor that has its path; whoever asks whether one is there is told so."""
    if call.method != "POST" or not call.body:
        return HttpReply.of_json(200, {})
    # The longest, since one vendor's path begins as another's does.
    asked = max((one for one in vendors if call.target.startswith(one.target)), key=lambda one: len(one.target))
    return asked.take(call)


def _standard(path: str, prefix: str, value: object, event: str) -> Report:
    body, seconds = json.dumps(value).encode(), int(time())
    signature = Webhook(SECRET).sign(event, datetime.fromtimestamp(seconds, UTC), body.decode())
    headers = {f"{prefix}-id": event, f"{prefix}-timestamp": str(seconds), f"{prefix}-signature": signature}
    return Report(path, headers, body)


def every_vendor() -> list[Vendor]:
    """One of each, but for Amazon SES, whose certificates are fetched from Amazon alone."""
    return [
        Twilio(),
        Vonage(),
        Telnyx(),
        Infobip(),
        Sinch(),
        Plivo(),
        Bird(),
        SendGrid(),
        Mailgun(),
        Resend(),
        Postmark(),
        Brevo(),
        Mailjet(),
        SparkPost(),
        Webhooks(),
        Gateway(),
    ]
