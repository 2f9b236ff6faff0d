"""The kind `brevo`, against answers as Brevo's pages say they are."""

from __future__ import annotations

from email.header import decode_header, make_header
from typing import Any

import pytest
from tests.support.http_conformance import QUOTED, HttpConformance
from tests.support.http_counterpart import HttpCall, HttpReply

from postwire.core.message import Attachment, Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import Context, Provider
from postwire.providers.brevo import KIND, LIMITS, MAX_BYTES, TABLE, Brevo, BrevoSettings
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpResponse
from postwire.providers.pieces import whole
from postwire.testing import Answer, Request

KEY = "xkeysib-0f0urs"
MESSAGE_ID = "201906041124.44340027797@smtp-relay.mailin.fr"


def refusal(status: int, code: str, message: str = "No" + QUOTED) -> HttpReply:
    """https://github.com/getbrevo/brevo-python/blob/main/docs/ErrorModel.md"""
    return HttpReply.of_json(status, {"code": code, "message": message})


CODES = {
    **dict.fromkeys(
        (
            "unauthorized",
            "permission_denied",
            "reseller_permission_denied",
            "account_under_validation",
            "not_enough_credits",
        ),
        Outcome.MISCONFIGURED,
    ),
    **dict.fromkeys(("duplicate_parameter", "duplicate_request"), Outcome.UNCERTAIN),
    **dict.fromkeys(("invalid_parameter", "missing_parameter"), Outcome.ERROR),  # not listed: they may be anything
}
REPLIES = {
    Answer.RATE_LIMITED: HttpReply(429, QUOTED.encode()),
    Answer.ERROR: refusal(400, "invalid_parameter"),
    Answer.UNCERTAIN: HttpReply(500, QUOTED.encode()),
    Answer.MISCONFIGURED: refusal(401, "unauthorized"),
}


def settings(**changes: Any) -> BrevoSettings:
    return BrevoSettings(**{"api_key": KEY, "sender": "us@example.com"} | changes)


class TestBrevo(HttpConformance):
    kind = "brevo"
    declared = KIND
    secrets = (KEY,)
    success = HttpReply.of_json(201, {"messageId": f"<{MESSAGE_ID}>"})
    probed = HttpReply.of_json(200, {"email": "us@example.com", "plan": []})
    replies = REPLIES
    codes = CODES
    answers = HttpConformance.answers - {Answer.REJECTED}  # nothing that it says of an email is final

    def code_reply(self, code: str) -> HttpReply:
        return refusal(400, code)

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.target == "/v3/smtp/email"
        assert call.headers["api-key"] == KEY
        value = call.json()
        recipients = tuple(one["email"] for name in ("to", "cc", "bcc") for one in value.get(name, ()))
        return Request(call.body, value["headers"]["idempotencyKey"], value.get("textContent", ""), recipients)


def test_every_row_is_held_against_its_page() -> None:
    assert TABLE.keys() == CODES.keys() - {"invalid_parameter", "missing_parameter"}


def email(**changes: Any) -> OutboundMessage:
    return OutboundMessage(Email(**{"to": ("a@example.com",), "subject": "S", "text": "x"} | changes))


def verdict(reply: HttpReply) -> DispatchResult:
    return Brevo(settings()).verdict(email(), HttpResponse(reply.status, {}, reply.body), Handover("k"))


def test_an_id_is_kept_without_its_brackets() -> None:
    assert verdict(TestBrevo.success).provider_message_id == MESSAGE_ID


def test_a_key_that_brevo_knows_is_of_an_email_that_it_has_taken() -> None:
    """As https://github.com/getbrevo/brevo-node/issues/94 has it. Other parameters may be there twice, too."""
    known = verdict(refusal(400, "duplicate_parameter", "Email for the idempotency key has already been processed"))
    assert known == DispatchResult(Outcome.SUCCESS)
    assert verdict(refusal(400, "duplicate_parameter")).outcome is Outcome.UNCERTAIN
    other = verdict(refusal(400, "invalid_parameter", "the idempotency key is not valid"))
    assert other.outcome is Outcome.ERROR


def value(message: OutboundMessage, handover: Handover | None = None, **changes: Any) -> Any:
    request = Brevo(settings(**changes)).request(message, handover or Handover("k"))
    return HttpCall("POST", "", {}, whole(request.body)).json()


def test_a_request_has_what_brevo_asks_for() -> None:
    message = email(
        to=("a@example.com", "b@b\u00fccher.example"),
        cc=("c@example.com",),
        bcc=("d@example.com",),
        html="<p>",
        sender="Ada <ada@example.com>",
        reply_to="Bob <bob@example.com>",
        headers={"X-A": "b"},
        attachments=(Attachment("a.TXT", "text/plain", b"abc"),),
    )
    assert value(message, Handover("k", reference="r")) == {
        "sender": {"email": "ada@example.com", "name": "Ada"},
        "to": [{"email": "a@example.com"}, {"email": "b@xn--bcher-kva.example"}],
        "cc": [{"email": "c@example.com"}],
        "bcc": [{"email": "d@example.com"}],
        "subject": "S",
        "textContent": "x",
        "htmlContent": "<p>",
        "headers": {"X-A": "b", "idempotencyKey": "k", "X-Mailin-custom": "r"},
        "attachment": [{"name": "a.TXT", "content": "YWJj"}],
        "replyTo": {"email": "bob@example.com", "name": "Bob"},
    }
    assert value(email()) == {
        "sender": {"email": "us@example.com"},
        "to": [{"email": "a@example.com"}],
        "subject": "S",
        "textContent": "x",
        "headers": {"idempotencyKey": "k"},
    }


@pytest.mark.parametrize("name", ["J\u00f6rg", "M\u00fcller, J\u00f6rg", "\u5c71\u7530" * 40 + " (x)"])
def test_a_name_comes_through_that_brevo_would_lose(name: str) -> None:
    sent = value(email(sender=f'"{name}" <us@example.com>', reply_to=f'"{name}" <us@example.com>'))
    is_plain = "," not in name and "(" not in name
    assert (sent["sender"]["name"] == name) is is_plain
    for mailbox in [sent["replyTo"]] + [sent["sender"]] * (not is_plain):
        assert mailbox["name"].isascii()
        assert "\n" not in mailbox["name"]
        assert str(make_header(decode_header(mailbox["name"]))) == name


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"headers": {"IdempotencyKey": "x"}}, "headers"),
        ({"headers": {"Sender.IP": "127.0.0.1"}}, "headers"),
        ({"headers": {"X-Sib-Sandbox": "drop"}}, "headers"),
        ({"headers": {"X-A": "\u00fc"}}, "headers"),
        ({"to": ("m\u00fcller@example.com",)}, "to"),
        ({"cc": ("a@example.com", "m\u00fcller@example.com")}, "cc"),
        ({"subject": "Hi {{ contact.FIRSTNAME }}"}, "subject"),
        ({"text": "{% if x %}"}, "text"),
        ({"html": "<p>{{x}}"}, "html"),
        ({"subject": ""}, "subject"),
        ({"text": ""}, "text"),
        ({"attachments": (Attachment("a.exe", "", b"x"),)}, "attachments"),
        ({"attachments": (Attachment("a.pdf", "", b"x"), Attachment("pdf", "", b"x"))}, "attachments"),
        ({"attachments": (Attachment("a.pdf", "", bytes(MAX_BYTES)),)}, "attachments"),
        ({"to": tuple(f"u{at}@example.com" for at in range(LIMITS.recipients + 1))}, "to"),
    ],
)
def test_what_brevo_would_not_send_as_it_is_is_left_to_others(changes: dict[str, Any], field: str) -> None:
    found = Brevo(settings()).carries(email(**changes), None)
    assert found is not None
    assert found.field == f"message.email.{field}"


def test_an_email_goes_to_all_of_its_recipients_or_to_none() -> None:
    vendor, message = Brevo(settings()), email(to=("a@example.com", "b@example.com"))
    assert vendor.carries(message, None) is None
    assert vendor.carries(message, (0, 1)) is None
    found = vendor.carries(message, (1,))
    assert found is not None
    assert found.field == "message.email.to"


def test_braces_and_large_emails_are_no_matter() -> None:
    styled = "<style>@media print{#top{display:none}}</style>"
    attachment = Attachment("a.pdf", "", bytes(MAX_BYTES - 100))
    assert Brevo(settings()).carries(email(html=styled, attachments=(attachment,)), None) is None
