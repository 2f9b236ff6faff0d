"""The kind `telnyx`, against answers as Telnyx's pages say they are."""

from __future__ import annotations

from typing import Any

from tests.support.http_conformance import QUOTED, HttpConformance
from tests.support.http_counterpart import HttpCall, HttpReply

from postwire.core.message import Media, Mms, OutboundMessage, Sms
from postwire.core.outcome import Outcome
from postwire.providers.base import Context, Provider
from postwire.providers.handover import Handover
from postwire.providers.pieces import whole
from postwire.providers.telnyx import KIND, SENDER_REFUSED, TABLE, Telnyx, TelnyxSettings
from postwire.testing import Answer, Request

KEY = "KEY0f0urs"


def refusal(status: int, code: str) -> HttpReply:
    """https://developers.telnyx.com/development/api-fundamentals/api-errors"""
    return HttpReply.of_json(status, {"errors": [{"code": code, "title": "No", "detail": "No" + QUOTED}]})


CODES = {
    **dict.fromkeys(("40300", "40310", "40316", "40317", "10002"), Outcome.REJECTED),
    **dict.fromkeys(("40309",), Outcome.ERROR),
    **dict.fromkeys(("40318", "10011"), Outcome.RATE_LIMITED),
    **dict.fromkeys(("40312", "40314", "40321", "10009", "10010", "20100", "40305", "40306"), Outcome.MISCONFIGURED),
    "40999": Outcome.ERROR,  # not listed
}
REPLIES = {
    Answer.RATE_LIMITED: refusal(429, "10011"),
    Answer.REJECTED: refusal(409, "40300"),
    Answer.ERROR: refusal(400, "40309"),
    Answer.UNCERTAIN: HttpReply(500, QUOTED.encode()),
    Answer.MISCONFIGURED: refusal(401, "10009"),
}


def settings(**changes: Any) -> TelnyxSettings:
    return TelnyxSettings(**{"api_key": KEY, "sender": "+15005550006"} | changes)


class TestTelnyx(HttpConformance):
    kind = "telnyx"
    declared = KIND
    secrets = (KEY,)
    success = HttpReply.of_json(200, {"data": {"id": "40385f64-5717-4562-b3fc-2c963f66afa6", "record_type": "message"}})
    probed = HttpReply.of_json(200, {"data": {"balance": "1.0"}})
    replies = REPLIES
    codes = CODES

    def code_reply(self, code: str) -> HttpReply:
        return refusal(422, code)

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.target == "/v2/messages"
        assert call.headers["authorization"] == f"Bearer {KEY}"
        return Request(call.body, text=call.json().get("text", ""))


def test_every_row_is_held_against_its_page() -> None:
    assert TABLE.keys() | SENDER_REFUSED == set(CODES) - {"40999"}


def value(content: Sms | Mms, handover: Handover | None = None, **changes: Any) -> Any:
    request = Telnyx(settings(**changes)).request(OutboundMessage(content), handover or Handover("k"))
    return HttpCall("POST", "", {}, whole(request.body)).json()


def test_a_request_has_what_telnyx_asks_for() -> None:
    handover = Handover("k", callback_url="https://example.com/in")
    assert value(Sms("+447700900001", "Hi"), handover, messaging_profile_id="p") == {
        "to": "+447700900001",
        "from": "+15005550006",
        "messaging_profile_id": "p",
        "text": "Hi",
        "webhook_url": "https://example.com/in",
        "use_profile_webhooks": False,
    }
    assert value(Mms("+447700900001", media=(Media(url="https://example.com/a.png"),))) == {
        "to": "+447700900001",
        "from": "+15005550006",
        "type": "MMS",
        "media_urls": ["https://example.com/a.png"],
    }


def test_a_profile_chooses_the_number_where_there_is_no_sender() -> None:
    message = OutboundMessage(Sms("+447700900001", "x"))
    assert Telnyx(settings(sender=None)).carries(message, None) is not None
    assert Telnyx(settings(sender=None, messaging_profile_id="p")).carries(message, None) is None
    assert "from" not in value(Sms("+447700900001", "x"), sender=None, messaging_profile_id="p")
