"""What vendors of email, and those by configuration, are given to quote in receipts."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.receipt_calls import REFERENCE

from postwire.core.message import Email, OutboundMessage, Sms
from postwire.providers.brevo import Brevo, BrevoSettings
from postwire.providers.generic_http import AnswerRule, GenericHttp, GenericHttpSettings
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest
from postwire.providers.http.vendor import HttpVendor
from postwire.providers.mailgun import Mailgun, MailgunSettings
from postwire.providers.mailjet import Mailjet, MailjetSettings
from postwire.providers.pieces import whole
from postwire.providers.postmark import Postmark, PostmarkSettings
from postwire.providers.resend import Resend, ResendSettings
from postwire.providers.sendgrid import SendGrid, SendGridSettings
from postwire.providers.sparkpost import SparkPost, SparkPostSettings
from postwire.providers.webhook import Webhook, WebhookSettings

EMAIL = OutboundMessage(Email(("ada@example.com",), subject="Hi", text="Hello"))
SMS = OutboundMessage(Sms("+14155550132", "Hello"))
CALLBACK = f"https://receipts.example.com/receipts/x/{REFERENCE}"
FROM = "us@example.com"


def handover(reference: str = REFERENCE, callback_url: str = CALLBACK) -> Handover:
    return Handover(
        "k", message_id="0197c0de-0000-7000-8000-000000000000", reference=reference, callback_url=callback_url
    )


def body(request: HttpRequest) -> bytes:
    return whole(request.body)


def value(vendor: HttpVendor, **given: str) -> Any:
    return json.loads(body(vendor.request(EMAIL, handover(**given))))


def without(path: str) -> Callable[[Any], Any]:
    def changed(value: Any) -> Any:
        name, _, below = path.partition(".")
        rest = dict(value)
        if below:
            rest[name] = without(below)(rest[name])
        else:
            del rest[name]
        return rest

    return changed


VENDORS: dict[str, tuple[HttpVendor, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "sendgrid": (
        SendGrid(SendGridSettings(api_key="k", sender=FROM)),
        lambda sent: sent["custom_args"]["reference"],
        without("custom_args.reference"),
    ),
    "postmark": (
        Postmark(PostmarkSettings(server_token="t", sender=FROM)),
        lambda sent: sent["Metadata"]["reference"],
        without("Metadata.reference"),
    ),
    "brevo": (
        Brevo(BrevoSettings(api_key="k", sender=FROM)),
        lambda sent: sent["headers"]["X-Mailin-custom"],
        without("headers.X-Mailin-custom"),
    ),
    "resend": (
        Resend(ResendSettings(api_key="k", sender=FROM)),
        lambda sent: {one["name"]: one["value"] for one in sent["tags"]}["reference"],
        without("tags"),
    ),
    "mailjet": (
        Mailjet(MailjetSettings(api_key="k", api_secret="s", sender=FROM)),
        lambda sent: sent["Messages"][0]["CustomID"],
        lambda sent: {"Messages": [without("CustomID")(one) for one in sent["Messages"]]},
    ),
    "sparkpost": (
        SparkPost(SparkPostSettings(api_key="k", sender=FROM)),
        lambda sent: sent["metadata"]["reference"],
        without("metadata.reference"),
    ),
    "webhook": (
        Webhook(WebhookSettings(url="https://x.example.com", secret=b64encode(bytes(24)).decode())),
        lambda sent: sent["reference"],
        lambda sent: without("callback_url")(without("reference")(sent)),
    ),
}


@pytest.mark.parametrize("name", VENDORS)
def test_a_vendor_is_given_the_reference_in_its_own_field_and_nothing_else_changes(name: str) -> None:
    vendor, where, stripped = VENDORS[name]
    sent = value(vendor)
    assert where(sent) == REFERENCE
    assert stripped(sent) == value(vendor, reference="", callback_url="")
    assert body(vendor.request(EMAIL, handover())) == body(vendor.request(EMAIL, handover()))


def test_an_endpoint_of_ones_own_is_told_where_to_report() -> None:
    assert value(VENDORS["webhook"][0])["callback_url"] == CALLBACK


def test_mailgun_is_given_it_as_a_variable() -> None:
    vendor = Mailgun(MailgunSettings(api_key="k", domain="mg.example.com", sender=FROM))
    field = f'Content-Disposition: form-data; name="v:reference"\r\n\r\n{REFERENCE}\r\n'.encode()
    sent, plain = (body(vendor.request(EMAIL, handover(one))) for one in (REFERENCE, ""))
    assert sent.count(field) == 1
    assert b"reference" not in plain
    boundary = plain.split(b"\r\n", 1)[0] + b"\r\n"
    assert sent.replace(boundary + field, b"", 1) == plain


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"query": {"dlr": "{callback_url}?state=%d", "ref": "{reference}"}},
            f"?dlr=https%3A%2F%2Freceipts.example.com%2Freceipts%2Fx%2F{REFERENCE}%3Fstate%3D%25d&ref={REFERENCE}",
        ),
        ({"url": "https://gateway.example.com/send?dlr={callback_url}"}, "?dlr=https%3A%2F%2Freceipts"),
    ],
)
def test_a_gateway_gets_them_where_placeholders_are(keys: dict[str, Any], expected: str) -> None:
    settings: dict[str, Any] = {"url": "https://gateway.example.com/send", "success": AnswerRule(status=(200,))} | keys
    request = GenericHttp(GenericHttpSettings(**settings)).request(SMS, handover())
    assert expected in request.url


def test_and_in_headers_and_json_too() -> None:
    settings = GenericHttpSettings(
        url="https://gateway.example.com/send",
        json={"notify": {"url": "{callback_url}"}},
        headers={"X-Reference": "{reference}"},
        success=AnswerRule(status=(200,)),
    )
    request = GenericHttp(settings).request(SMS, handover())
    assert json.loads(body(request)) == {"notify": {"url": CALLBACK}}
    assert request.headers["X-Reference"] == REFERENCE
