"""The kind `sinch`, against answers as Sinch's pages say they are."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.http_conformance import QUOTED, HttpConformance
from tests.support.http_counterpart import HttpCall, HttpReply

from postwire.core.message import Media, Mms, OutboundMessage, Sms
from postwire.core.outcome import Outcome
from postwire.providers.base import Context, Provider
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpResponse
from postwire.providers.pieces import whole
from postwire.providers.sinch import KIND, SENDER_REFUSED, TABLE, Sinch, SinchSettings
from postwire.testing import Answer, Request

PLAN, TOKEN = "0123456789abcdef0123456789abcdef", "t0ken-0f-0urs"
NOW = 1_800_000_000_000_000
DAY = 24 * 3600 * 1_000_000


def refusal(status: int, code: str) -> HttpReply:
    """https://developers.sinch.com/docs/sms/api-reference/status-codes"""
    return HttpReply.of_json(status, {"code": code, "text": "No" + QUOTED})


CODES = {
    "illegal_number_type": Outcome.REJECTED,
    **dict.fromkeys(
        ("syntax_invalid_json", "syntax_invalid_parameter_format", "syntax_constraint_violation"), Outcome.ERROR
    ),
    **dict.fromkeys(("blocked_account", "unknown_campaign"), Outcome.MISCONFIGURED),
    "unknown_group": Outcome.MISCONFIGURED,  # not listed
}
REPLIES = {
    Answer.RATE_LIMITED: HttpReply(429, QUOTED.encode()),
    Answer.REJECTED: refusal(403, "illegal_number_type"),
    Answer.ERROR: refusal(400, "syntax_invalid_parameter_format"),
    Answer.UNCERTAIN: HttpReply(500, QUOTED.encode()),
    Answer.MISCONFIGURED: refusal(403, "blocked_account"),
}


def settings(**changes: Any) -> SinchSettings:
    return SinchSettings(**{"service_plan_id": PLAN, "api_token": TOKEN, "sender": "+15005550006"} | changes)


class TestSinch(HttpConformance):
    kind = "sinch"
    declared = KIND
    secrets = (TOKEN,)
    success = HttpReply.of_json(201, {"id": "01FC66621XXXXX119Z8PMV1QPQ", "type": "mt_text", "canceled": False})
    probed = HttpReply.of_json(200, {"count": 0, "page": 0, "page_size": 0, "groups": []})
    replies = REPLIES
    codes = CODES

    def code_reply(self, code: str) -> HttpReply:
        return refusal(400 if code.startswith("syntax") else 403, code)

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.target == f"/xms/v1/{PLAN}/batches"
        assert call.headers["authorization"] == f"Bearer {TOKEN}"
        body = call.json()["body"]
        return Request(call.body, text=body if isinstance(body, str) else body.get("message", ""))


def test_every_row_is_held_against_its_page() -> None:
    assert TABLE.keys() | SENDER_REFUSED == set(CODES) - {"unknown_group"}


def value(content: Sms | Mms, handover: Handover | None = None, **changes: Any) -> Any:
    request = Sinch(settings(**changes)).request(OutboundMessage(content), handover or Handover("k", message_id="m"))
    return HttpCall("POST", "", {}, whole(request.body)).json()


def test_a_request_has_what_sinch_asks_for() -> None:
    handover = Handover("k", reference="r", callback_url="https://example.com/in", deadline=NOW + DAY + 1500, now=NOW)
    assert value(Sms("+447700900001", "Hi"), handover) == {
        "to": ["+447700900001"],
        "from": "+15005550006",
        "type": "mt_text",
        "body": "Hi",
        "client_reference": "r",
        "expire_at": "2027-01-16T08:00:00.001Z",
        "delivery_report": "per_recipient",
        "callback_url": "https://example.com/in",
    }
    assert value(Mms("+15005550187", media=(Media(url="https://example.com/a.png"),))) == {
        "to": ["+15005550187"],
        "from": "+15005550006",
        "type": "mt_media",
        "body": {"url": "https://example.com/a.png"},
        "client_reference": "m",
    }
    shown = value(Mms("+15005550187", "Look", media=(Media(url="https://example.com/a.png"),)))
    assert shown["body"] == {"url": "https://example.com/a.png", "message": "Look"}


def test_what_is_valid_for_as_long_as_sinch_tries_says_nothing_of_it() -> None:
    assert "expire_at" not in value(Sms("+447700900001", "Hi"), Handover("k", deadline=NOW + 3 * DAY, now=NOW))
    assert "expire_at" in value(Sms("+447700900001", "Hi"), Handover("k", deadline=NOW + 3 * DAY - 1_000_000, now=NOW))


def test_what_sinch_would_fill_in_stays_as_it_is() -> None:
    shown = value(Sms("+447700900001", "${a.b}, ${a.b} and ${name} of $5, ${}, ${no key} or ${longer_than_sixteen}"))
    assert shown["parameters"] == {"a.b": {"default": "${a.b}"}, "name": {"default": "${name}"}}
    assert "parameters" not in value(Sms("+447700900001", "$5 {name}"))


@pytest.mark.parametrize(
    ("media", "why"),
    [
        ((Media(data=b"x", content_type="image/png"),), "takes no bytes"),
        ((Media(url="https://example.com/a"), Media(url="https://example.com/b")), "exactly one"),
    ],
)
def test_what_an_mms_may_have(media: tuple[Media, ...], why: str) -> None:
    found = Sinch(settings()).carries(OutboundMessage(Mms("+15005550187", "Hi", media=media)), None)
    assert found is not None
    assert (found.field, why in found.description) == ("message.mms.media", True)


def test_a_sender_that_the_message_names_does_not_pass_the_provider_over() -> None:
    reply = HttpResponse(403, body=b'{"code": "unknown_campaign", "text": "No"}')
    for sender, outcome in (("+15005550009", Outcome.ERROR), ("", Outcome.MISCONFIGURED)):
        message = OutboundMessage(Sms("+15005550187", "x", sender))
        assert Sinch(settings()).verdict(message, reply, Handover("k")).outcome is outcome


@pytest.mark.parametrize("plan", ["", "../x", "a b", "é", "a/b", "x" * 65])
def test_a_service_plan_that_is_none_is_refused(plan: str) -> None:
    with pytest.raises(ValueError, match=r"^service_plan_id: "):
        settings(service_plan_id=plan).check()
