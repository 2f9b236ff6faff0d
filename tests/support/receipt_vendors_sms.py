"""Vendors of SMS: see `receipt_vendors`."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from time import time
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.http_counterpart import HttpCall, HttpReply
from tests.support.receipt_vendor import FORM, PUBLIC_URL, Report, Vendor
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

_EDWARDS: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class Twilio(Vendor):
    target = "/2010-04-01/"
    channel = "sms"
    words = ("delivered", "undelivered", "sent")

    def id_of(self, recipient: str) -> str:
        return f"SM{super().id_of(recipient)}"

    def settings(self, base_url: str) -> str:
        return (
            f'kind = "twilio"\naccount_sid = "AC{"0" * 32}"\nauth_token = "t0ken"\nsender = "+15005550001"\n'
            f'base_url = "{base_url}"'
        )

    def take(self, call: HttpCall) -> HttpReply:
        form = dict(call.form())
        self.references[form["To"]] = urlsplit(form["StatusCallback"]).path
        return HttpReply.of_json(201, {"sid": self.id_of(form["To"])})

    def report(self, recipient: str, state: str, event: str) -> Report:
        fields = {"MessageSid": self.id_of(recipient), "MessageStatus": self.word(state), "To": recipient}
        path = self.path(recipient)
        signature = RequestValidator("t0ken").compute_signature(PUBLIC_URL + path, fields)
        return Report(path, {"X-Twilio-Signature": signature, "Content-Type": FORM}, urlencode(fields).encode())

    def forge(self, report: Report) -> Report:
        return Report(report.path, report.headers, report.body + b"&x=1")


class Vonage(Vendor):
    target = "/sms/json"
    channel = "sms"
    words = ("delivered", "failed", "accepted")

    def settings(self, base_url: str) -> str:
        return (
            f'kind = "vonage"\napi_key = "k"\napi_secret = "s"\nsender = "Acme"\nbase_url = "{base_url}"\n'
            f'receipts = {{ secret = "s1gns" }}'
        )

    def take(self, call: HttpCall) -> HttpReply:
        form = dict(call.form())
        recipient = f"+{form['to']}"
        self.references[recipient] = form["client-ref"]
        return HttpReply.of_json(200, {"messages": [{"status": "0", "message-id": self.id_of(recipient)}]})

    def report(self, recipient: str, state: str, event: str) -> Report:
        fields = {"messageId": self.id_of(recipient), "status": self.word(state), "msisdn": recipient[1:]}
        if recipient in self.references:
            fields["client-ref"] = self.references[recipient]
        signed = "".join(f"&{name}={value}" for name, value in sorted(fields.items()))
        fields["sig"] = hmac.new(b"s1gns", signed.encode(), "sha256").hexdigest()
        return Report(f"/receipts/{self.name}?{urlencode(fields)}", {}, b"", "GET")

    def forge(self, report: Report) -> Report:
        return Report(f"{report.path}&x=1", report.headers, b"", "GET")


class Telnyx(Vendor):
    target = "/v2/messages"
    channel = "sms"
    words = ("delivered", "delivery_failed", "delivery_unconfirmed")

    def settings(self, base_url: str) -> str:
        key = b64encode(_EDWARDS.public_key().public_bytes_raw()).decode()
        return (
            f'kind = "telnyx"\napi_key = "k"\nsender = "+15005550001"\nbase_url = "{base_url}"\n'
            f'receipts = {{ public_key = "{key}" }}'
        )

    def take(self, call: HttpCall) -> HttpReply:
        value = call.json()
        self.references[value["to"]] = urlsplit(value["webhook_url"]).path
        return HttpReply.of_json(200, {"data": {"id": self.id_of(value["to"])}})

    def report(self, recipient: str, state: str, event: str) -> Report:
        path = self.path(recipient)
        payload = {
            "id": self.id_of(recipient),
            "to": [{"phone_number": recipient, "status": self.word(state)}],
            "webhook_url": PUBLIC_URL + path,
            "errors": [],
        }
        value = {"data": {"id": event, "event_type": "message.finalized", "payload": payload}}
        body, seconds = json.dumps(value).encode(), str(int(time()))
        signature = b64encode(_EDWARDS.sign(f"{seconds}|".encode() + body)).decode()
        return Report(path, {"telnyx-signature-ed25519": signature, "telnyx-timestamp": seconds}, body)


class Infobip(Vendor):
    target = "/sms/3/messages"
    channel = "sms"
    words = ("DELIVERED", "UNDELIVERABLE", "PENDING")

    def settings(self, base_url: str) -> str:
        return (
            f'kind = "infobip"\napi_key = "k"\nsender = "Acme"\nbase_url = "{base_url}"\n'
            f'receipts = {{ username = "ib", password = "p4ss" }}'
        )

    def take(self, call: HttpCall) -> HttpReply:
        (message,) = call.json()["messages"]
        recipient = f"+{message['destinations'][0]['to']}"
        self.references[recipient] = message["webhooks"]["callbackData"]
        status = {"groupId": 1, "groupName": "PENDING", "id": 26, "name": "PENDING_ACCEPTED"}
        return HttpReply.of_json(200, {"messages": [{"messageId": self.id_of(recipient), "status": status}]})

    def report(self, recipient: str, state: str, event: str) -> Report:
        one: dict[str, Any] = {
            "messageId": self.id_of(recipient),
            "to": recipient[1:],
            "status": {"groupName": self.word(state), "name": "A_NAME"},
            "error": {"groupName": "OK", "name": "NO_ERROR"},
        }
        if recipient in self.references:
            one["callbackData"] = self.references[recipient]
        headers = {"Authorization": f"Basic {b64encode(b'ib:p4ss').decode()}"}
        return Report(f"/receipts/{self.name}", headers, json.dumps({"results": [one]}).encode())

    def forge(self, report: Report) -> Report:
        return Report(report.path, {"Authorization": f"Basic {b64encode(b'ib:pass').decode()}"}, report.body)


class Sinch(Vendor):
    target = "/xms/v1/"
    channel = "sms"
    words = ("Delivered", "Failed", "Dispatched")

    def settings(self, base_url: str) -> str:
        return (
            f'kind = "sinch"\nservice_plan_id = "p"\napi_token = "k"\nsender = "+15005550001"\n'
            f'base_url = "{base_url}"\nreceipts = {{ secret = "s1gns" }}'
        )

    def take(self, call: HttpCall) -> HttpReply:
        value = call.json()
        (recipient,) = value["to"]
        self.references[recipient] = urlsplit(value["callback_url"]).path
        return HttpReply.of_json(201, {"id": self.id_of(recipient)})

    def report(self, recipient: str, state: str, event: str) -> Report:
        path = self.path(recipient)
        value = {
            "type": "recipient_delivery_report_sms",
            "batch_id": self.id_of(recipient),
            "recipient": recipient[1:],
            "status": self.word(state),
            "client_reference": path.rpartition("/")[2],
            "code": 0,
        }
        body, seconds = json.dumps(value).encode(), str(int(time()))
        signature = hmac.new(b"s1gns", body + f".{event}.{seconds}".encode(), "sha256").digest()
        prefix = "x-sinch-webhook-signature"
        headers = {
            prefix: b64encode(signature).decode(),
            f"{prefix}-timestamp": seconds,
            f"{prefix}-nonce": event,
            f"{prefix}-algorithm": "HmacSHA256",
        }
        return Report(path, headers, body)


class Plivo(Vendor):
    target = "/v1/Account/"
    channel = "sms"
    words = ("delivered", "undelivered", "sent")

    def settings(self, base_url: str) -> str:
        return (
            f'kind = "plivo"\nauth_id = "MA{"0" * 18}"\nauth_token = "t0ken"\nsender = "+15005550001"\n'
            f'base_url = "{base_url}"'
        )

    def take(self, call: HttpCall) -> HttpReply:
        value = call.json()
        recipient = f"+{value['dst']}"
        self.references[recipient] = urlsplit(value["url"]).path
        return HttpReply.of_json(202, {"message_uuid": [self.id_of(recipient)], "message": "message(s) queued"})

    def report(self, recipient: str, state: str, event: str) -> Report:
        fields = {"MessageUUID": self.id_of(recipient), "Status": self.word(state), "To": recipient[1:]}
        path = self.path(recipient)
        signed = f"{PUBLIC_URL}{path}?{''.join(name + fields[name] for name in sorted(fields))}.0542956"
        signature = b64encode(hmac.digest(b"t0ken", signed.encode(), "sha256")).decode()
        headers = {"X-Plivo-Signature-V3": signature, "X-Plivo-Signature-V3-Nonce": "0542956", "Content-Type": FORM}
        return Report(path, headers, urlencode(fields).encode())

    def forge(self, report: Report) -> Report:
        return Report(report.path, report.headers, report.body + b"&x=1")


class Bird(Vendor):
    target = "/workspaces/"
    channel = "sms"
    words = ("delivered", "delivery_failed", "sent")
    channel_id = "614208aa-b153-4d5d-9989-2fddfc0ce4c3"

    def settings(self, base_url: str) -> str:
        return (
            f'kind = "bird"\naccess_key = "k"\nworkspace_id = "{self.channel_id}"\nchannel_id = "{self.channel_id}"\n'
            f'base_url = "{base_url}"\nreceipts = {{ secret = "s1gns" }}'
        )

    def take(self, call: HttpCall) -> HttpReply:
        value = call.json()
        recipient = value["receiver"]["contacts"][0]["identifierValue"]
        self.references[recipient] = value["reference"]
        return HttpReply.of_json(202, {"id": self.id_of(recipient), "status": "accepted"})

    def report(self, recipient: str, state: str, event: str) -> Report:
        message = {
            "id": self.id_of(recipient),
            "channelId": self.channel_id,
            "receiver": {"contacts": [{"identifierKey": "phonenumber", "identifierValue": recipient}]},
            "reference": self.references.get(recipient, ""),
            "status": self.word(state),
        }
        path = f"/receipts/{self.name}"
        body = json.dumps({"service": "channels", "event": "sms.outbound", "payload": message}).encode()
        seconds = str(int(time()))
        signed = f"{seconds}\n{PUBLIC_URL}{path}\n".encode() + hashlib.sha256(body).digest()
        signature = b64encode(hmac.new(b"s1gns", signed, "sha256").digest()).decode()
        return Report(path, {"messagebird-signature": signature, "messagebird-request-timestamp": seconds}, body)
