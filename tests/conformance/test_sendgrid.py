"""The kind `sendgrid`, against answers as SendGrid's pages say they are."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.http_conformance import QUOTED, HttpConformance
from tests.support.http_counterpart import HttpCall, HttpReply

from postwire.core.message import Attachment, Email, OutboundMessage
from postwire.providers.base import Context, Provider
from postwire.providers.handover import Handover
from postwire.providers.pieces import whole
from postwire.providers.sendgrid import KIND, SendGrid, SendGridSettings
from postwire.testing import Answer, Request

KEY = "SG.k3y-0f-0urs"


def refusal(status: int) -> HttpReply:
    """https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors"""
    return HttpReply.of_json(status, {"errors": [{"message": "No" + QUOTED, "field": "from", "help": None}]})


REPLIES = {
    Answer.RATE_LIMITED: refusal(429),
    Answer.ERROR: refusal(400),
    Answer.UNCERTAIN: refusal(500),
    Answer.MISCONFIGURED: refusal(401),
}


def settings(**changes: Any) -> SendGridSettings:
    return SendGridSettings(**{"api_key": KEY, "sender": "Us <us@example.com>"} | changes)


class TestSendGrid(HttpConformance):
    kind = "sendgrid"
    declared = KIND
    secrets = (KEY,)
    # It has no codes, so that nothing it says is known to be final.
    answers = frozenset(Answer) - {Answer.DEFERRED, Answer.REJECTED}
    success = HttpReply(202, b"", {"X-Message-Id": "14c5d75ce93"})
    probed = HttpReply.of_json(200, {"scopes": ["mail.send"]})
    replies = REPLIES

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.target == "/v3/mail/send"
        assert call.headers["authorization"] == f"Bearer {KEY}"
        value = call.json()
        (to,) = value["personalizations"]
        recipients = [one["email"] for name in ("to", "cc", "bcc") for one in to.get(name, ())]
        return Request(call.body, text=value["content"][0]["value"], recipients=tuple(recipients))


def test_a_request_has_what_sendgrid_asks_for() -> None:
    email = Email(
        ("a@example.com",),
        ("b@example.com",),
        ("c@b\u00fccher.example",),
        "Subject",
        "Text",
        "<p>",
        "",
        '"Last, First" <r@example.com>',
        {"X-A": "b"},
        (Attachment("a.txt", "text/plain", b"abc"),),
    )
    request = SendGrid(settings()).request(OutboundMessage(email), Handover("k", message_id="m-1"))
    assert HttpCall("POST", "", {}, whole(request.body)).json() == {
        "personalizations": [
            {
                "to": [{"email": "a@example.com"}],
                "cc": [{"email": "b@example.com"}],
                "bcc": [{"email": "c@xn--bcher-kva.example"}],
            }
        ],
        "from": {"email": "us@example.com", "name": "Us"},
        "reply_to": {"email": "r@example.com", "name": "Last, First"},
        "subject": "Subject",
        "content": [{"type": "text/plain", "value": "Text"}, {"type": "text/html", "value": "<p>"}],
        "custom_args": {"message_id": "m-1"},
        "headers": {"X-A": "b"},
        "attachments": [{"content": "YWJj", "filename": "a.txt", "type": "text/plain", "disposition": "attachment"}],
    }


GOOD = Email(("a@example.com", "b@example.com"), subject="S", text="T")


@pytest.mark.parametrize(
    ("email", "positions", "field"),
    [
        (GOOD, (0,), "message.email.to"),
        (Email(("a@example.com",), ("A@example.com",), subject="S", text="T"), None, "message.email.to"),
        (Email(tuple(f"{at}@example.com" for at in range(1001)), subject="S", text="T"), None, "message.email.to"),
        (Email(("a@example.com",), text="T"), None, "message.email.subject"),
        (Email(("a@example.com",), subject="S"), None, "message.email.text"),
    ],
)
def test_it_says_what_it_cannot_carry(email: Email, positions: tuple[int, ...] | None, field: str) -> None:
    why = SendGrid(settings()).carries(OutboundMessage(email), positions)
    assert why is not None
    assert why.field == field


def test_it_carries_an_email_to_all_of_its_recipients() -> None:
    assert SendGrid(settings()).carries(OutboundMessage(GOOD), None) is None
    assert SendGrid(settings()).carries(OutboundMessage(GOOD), (0, 1)) is None
    why = SendGrid(settings(sender=None)).carries(OutboundMessage(GOOD), None)
    assert why is not None
    assert why.field == "message.email.sender"


@pytest.mark.parametrize("sender", ["", "us", "Us <us>"])
def test_a_sender_that_is_none_is_refused(sender: str) -> None:
    with pytest.raises(ValueError, match=r"^sender: "):
        settings(sender=sender).check()
