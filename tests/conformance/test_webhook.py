"""The kind `webhook`, against an endpoint that checks signatures by the library of Standard Webhooks."""

from __future__ import annotations

import dataclasses
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
import standardwebhooks.webhooks
from tests.support.http_conformance import QUOTED, HttpConformance
from tests.support.http_counterpart import HttpCall, HttpReply

from postwire.core.message import Attachment, Channel, Email, Media, Mms, OutboundMessage, Sms
from postwire.core.outcome import Outcome
from postwire.providers.base import Context, Provider
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpResponse
from postwire.providers.pieces import whole
from postwire.providers.webhook import KIND, Webhook, WebhookSettings
from postwire.testing import Answer, Request
from postwire.testing.attempts import CREATED

SECRET = "whsec_" + b64encode(b"0123456789abcdef01234567").decode()

REPLIES = {
    Answer.RATE_LIMITED: HttpReply(429, QUOTED.encode()),
    Answer.REJECTED: HttpReply.of_json(422, {"error_code": "no_such_number", "message": QUOTED}),
    Answer.ERROR: HttpReply.of_json(422, {"message": QUOTED}),
    Answer.UNCERTAIN: HttpReply(500, QUOTED.encode()),
    Answer.MISCONFIGURED: HttpReply(401, QUOTED.encode()),
}
FAULTS = dict.fromkeys(("garbage", "huge"), Outcome.SUCCESS)


def settings(**changes: Any) -> WebhookSettings:
    return WebhookSettings(**{"url": "http://127.0.0.1/in", "secret": SECRET} | changes)


def checked(call: HttpCall) -> Any:
    """What a request has, once its signature is found good."""
    at = datetime.fromtimestamp(int(call.headers["webhook-timestamp"]), UTC)
    with mock.patch.object(standardwebhooks.webhooks, "datetime", mock.Mock(wraps=datetime, now=lambda tz: at)):
        return standardwebhooks.webhooks.Webhook(SECRET).verify(call.body, dict(call.headers))


class TestWebhook(HttpConformance):
    kind = "webhook"
    declared = KIND
    secrets = (SECRET, SECRET.removeprefix("whsec_"))
    success = HttpReply.of_json(200, {"id": "w-1"})
    probed = HttpReply(405)
    replies = REPLIES
    faults = FAULTS

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(url=f"{url}/in?a=b", dedup_window=60.0))

    def read(self, call: HttpCall) -> Request:
        assert call.target == "/in?a=b"
        value = checked(call)
        text = value.get("body", value.get("text", ""))
        return Request(call.body, call.headers["webhook-id"], text, tuple(value.get("recipients", ())) or None)

    def is_send(self, call: HttpCall) -> bool:
        return "webhook-id" in call.headers


SMS = OutboundMessage(Sms("+447700900001", "x"))
HANDOVER = Handover("the-key", message_id="m-1", now=CREATED, traceparent="00-1-2-01")


def sent(content: Sms | Mms | Email, handover: Handover = HANDOVER) -> Any:
    request = Webhook(settings()).request(OutboundMessage(content, {"team": "a"}), handover)
    assert request.signing is not None
    hasher = request.signing.hasher()
    hasher.update(whole(request.body))
    headers = {**request.headers, **request.signing.headers(hasher.digest())}
    return checked(HttpCall("POST", "/in", {name.lower(): one for name, one in headers.items()}, whole(request.body)))


def test_a_request_has_the_message_in_the_names_of_the_contract() -> None:
    assert sent(Sms("+447700900001", "Hi", "Acme")) == {
        "message_id": "m-1",
        "channel": "sms",
        "to": "+447700900001",
        "body": "Hi",
        "sender": "Acme",
        "labels": {"team": "a"},
    }
    media = (Media(url="https://example.com/a.png"), Media(data=b"\x89", content_type="image/png"))
    assert sent(Mms("+447700900001", media=media))["media"] == [
        {"url": "https://example.com/a.png"},
        {"data": "iQ==", "content_type": "image/png"},
    ]


def test_an_email_says_who_is_to_get_it() -> None:
    content = Email(("a@example.com",), ("b@example.com",), ("c@example.com",), "S", "T")
    assert sent(content)["recipients"] == ["a@example.com", "b@example.com", "c@example.com"]
    some = sent(content, Handover("the-key", (0, 2), message_id="m-1", now=CREATED))
    assert (some["recipients"], some["cc"]) == (["a@example.com", "c@example.com"], ["b@example.com"])


def test_a_large_email_is_signed_as_a_whole() -> None:
    data = bytes(range(256)) * 8192
    email = Email(("a@example.com",), text="\u00fc" * 200_000, attachments=(Attachment("a.bin", "a/b", data),))
    found = sent(email)
    assert found["text"] == email.text
    assert b64decode(found["attachments"][0]["data"]) == data


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_good_answer_is_a_success(status: int) -> None:
    assert Webhook(settings()).verdict(SMS, HttpResponse(status), HANDOVER).outcome is Outcome.SUCCESS


def test_a_reason_is_final_only_where_a_status_says_so() -> None:
    def outcome(status: int) -> Outcome:
        return Webhook(settings()).verdict(SMS, HttpResponse(status, {}, b'{"error_code": "x"}'), HANDOVER).outcome

    assert [status for status in range(400, 500) if outcome(status) is Outcome.REJECTED] == [400, 409, 413, 422]


@pytest.mark.parametrize("secret", ["", "whsec_", "not base64!", b64encode(b"short").decode()])
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValueError, match=r"^secret: must be 24 to 64 bytes in base64") as refused:
        dataclasses.replace(settings(), secret=secret).check()
    assert not secret or secret not in str(refused.value).replace("whsec_ before", "")


def test_it_carries_everything() -> None:
    assert KIND.channels == tuple(Channel)
