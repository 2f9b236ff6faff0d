"""The kind `resend`, against answers as Resend's pages say they are."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.http_conformance import QUOTED, HttpConformance
from tests.support.http_counterpart import HttpCall, HttpReply

from postwire.core.message import Attachment, Email, OutboundMessage
from postwire.core.outcome import Outcome
from postwire.providers.base import Context, Provider
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpResponse
from postwire.providers.pieces import whole
from postwire.providers.resend import KIND, SENDER_REFUSED, TABLE, Resend, ResendSettings
from postwire.testing import Answer, Request

KEY = "re_k3y0f0urs"


def refusal(status: int, name: str) -> HttpReply:
    """https://resend.com/docs/api-reference/errors"""
    return HttpReply.of_json(status, {"statusCode": status, "name": name, "message": "No" + QUOTED})


CODES = {
    "invalid_attachment": Outcome.REJECTED,
    **dict.fromkeys(("missing_api_key", "invalid_api_key", "restricted_api_key"), Outcome.MISCONFIGURED),
    **dict.fromkeys(("rate_limit_exceeded", "daily_quota_exceeded", "monthly_quota_exceeded"), Outcome.RATE_LIMITED),
    **dict.fromkeys(("invalid_idempotent_request", "concurrent_idempotent_requests"), Outcome.UNCERTAIN),
    "invalid_from_address": Outcome.MISCONFIGURED,
    "validation_error": Outcome.ERROR,  # not listed: it may be anything
}
REPLIES = {
    Answer.RATE_LIMITED: refusal(429, "rate_limit_exceeded"),
    Answer.REJECTED: refusal(422, "invalid_attachment"),
    Answer.ERROR: refusal(422, "validation_error"),
    Answer.UNCERTAIN: refusal(409, "concurrent_idempotent_requests"),
    Answer.MISCONFIGURED: refusal(403, "invalid_api_key"),
}


def settings(**changes: Any) -> ResendSettings:
    return ResendSettings(**{"api_key": KEY, "sender": "us@example.com"} | changes)


class TestResend(HttpConformance):
    kind = "resend"
    declared = KIND
    secrets = (KEY,)
    success = HttpReply.of_json(200, {"id": "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"})
    probed = HttpReply.of_json(200, {"data": []})
    replies = REPLIES
    codes = CODES

    def code_reply(self, code: str) -> HttpReply:
        return refusal(422, code)

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.target == "/emails"
        assert call.headers["authorization"] == f"Bearer {KEY}"
        value = call.json()
        recipients = [one for name in ("to", "cc", "bcc") for one in value.get(name, ())]
        return Request(call.body, call.headers["idempotency-key"], value.get("text", ""), tuple(recipients))


def test_every_row_is_held_against_its_page() -> None:
    assert {*TABLE, SENDER_REFUSED} == set(CODES) - {"validation_error"}


@pytest.mark.parametrize(("sender", "outcome"), [("", Outcome.MISCONFIGURED), ("other@example.com", Outcome.ERROR)])
def test_a_domain_that_is_not_verified_is_the_fault_of_who_chose_it(sender: str, outcome: Outcome) -> None:
    message = OutboundMessage(Email(("a@example.com",), subject="S", text="x", sender=sender))
    response = HttpResponse(403, {}, refusal(403, "validation_error").body)
    assert Resend(settings()).verdict(message, response, Handover("k")).outcome is outcome


@pytest.mark.parametrize(
    ("reply", "is_ok", "is_misconfigured"),
    [
        (refusal(401, "restricted_api_key"), True, False),  # it may send, and nothing else
        (refusal(401, "missing_api_key"), False, True),
        (refusal(400, "validation_error"), False, True),
        (refusal(403, "invalid_api_key"), False, True),
        (refusal(500, "internal_server_error"), False, False),
    ],
)
def test_a_check_knows_a_key_that_may_only_send(reply: HttpReply, is_ok: bool, is_misconfigured: bool) -> None:
    health = Resend(settings()).health(HttpResponse(reply.status, {}, reply.body))
    assert (health.ok, health.misconfigured) == (is_ok, is_misconfigured)


def test_a_request_has_what_resend_asks_for() -> None:
    email = Email(
        ("a@example.com",),
        ("b@example.com",),
        subject="Subject",
        text="Text",
        reply_to="r@example.com",
        headers={"X-A": "b"},
        attachments=(Attachment("a.txt", "text/plain", b"abc"),),
    )
    request = Resend(settings()).request(OutboundMessage(email), Handover("the-key"))
    assert request.headers["Idempotency-Key"] == "the-key"
    assert HttpCall("POST", "", {}, whole(request.body)).json() == {
        "from": "us@example.com",
        "to": ["a@example.com"],
        "cc": ["b@example.com"],
        "reply_to": "r@example.com",
        "subject": "Subject",
        "text": "Text",
        "headers": {"X-A": "b"},
        "attachments": [{"filename": "a.txt", "content": "YWJj", "content_type": "text/plain"}],
    }
