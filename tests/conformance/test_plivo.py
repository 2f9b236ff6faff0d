"""The kind `plivo`, against answers as Plivo's pages say they are."""

from __future__ import annotations

from base64 import b64encode
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
from postwire.providers.plivo import KIND, Plivo, PlivoSettings
from postwire.testing import Answer, Request

ACCOUNT, TOKEN = "MANWVLYTK4ZWU1YTY4ZT", "t0ken-0f-0urs"
ID = "db3ce55a-7f1d-11e1-8ea7-1231380bc196"


def refusal(status: int, words: str) -> HttpReply:
    """https://www.plivo.com/docs/messaging/api/response"""
    return HttpReply.of_json(status, {"api_id": "a5169572-325d-11ec-8852-0242ac110005", "error": words + QUOTED})


REPLIES = {
    Answer.RATE_LIMITED: refusal(429, "too many requests"),
    Answer.REJECTED: refusal(400, "invalid phone numbers."),
    Answer.ERROR: refusal(400, "src is not valid"),
    Answer.UNCERTAIN: HttpReply(500, QUOTED.encode()),
    Answer.MISCONFIGURED: HttpReply(401, QUOTED.encode()),
}


def settings(**changes: Any) -> PlivoSettings:
    return PlivoSettings(**{"auth_id": ACCOUNT, "auth_token": TOKEN, "sender": "+15005550006"} | changes)


class TestPlivo(HttpConformance):
    kind = "plivo"
    declared = KIND
    secrets = (TOKEN, b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode())
    success = HttpReply.of_json(202, {"message": "message(s) queued", "message_uuid": [ID], "api_id": "db342550"})
    probed = HttpReply.of_json(200, {"account_type": "standard", "cash_credits": "1.0"})
    replies = REPLIES

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.target == f"/v1/Account/{ACCOUNT}/Message/"
        assert call.headers["authorization"] == f"Basic {b64encode(f'{ACCOUNT}:{TOKEN}'.encode()).decode()}"
        return Request(call.body, text=call.json().get("text", ""))


MESSAGE = OutboundMessage(Sms("+447700900001", "x"))


def outcome(reply: HttpReply) -> tuple[Outcome, str, str]:
    found = Plivo(settings()).verdict(MESSAGE, HttpResponse(reply.status, {}, reply.body), Handover("k"))
    return found.outcome, found.error_code, found.provider_message_id


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (HttpReply.of_json(202, {"message_uuid": [ID]}), (Outcome.SUCCESS, "", ID)),
        (HttpReply.of_json(200, {"message_uuid": [ID]}), (Outcome.SUCCESS, "", ID)),
        (HttpReply.of_json(202, {"message_uuid": []}), (Outcome.SUCCESS, "", "")),
        (HttpReply.of_json(202, {"message_uuid": ID}), (Outcome.SUCCESS, "", "")),
        (HttpReply.of_json(202, {"message_uuid": [{}]}), (Outcome.SUCCESS, "", "")),
        (HttpReply.of_json(200, {"message_uuid": []}), (Outcome.UNCERTAIN, "200", "")),
        (refusal(400, "'447700900001' is not a valid phone number."), (Outcome.REJECTED, "400", "")),
        (refusal(400, "'+447700900001' is not a valid phone number."), (Outcome.REJECTED, "400", "")),
        (refusal(400, "'15005550006' is not a valid phone number."), (Outcome.ERROR, "400", "")),
        (refusal(400, "'1447700900001' is not a valid phone number."), (Outcome.ERROR, "400", "")),  # the sender's
        (refusal(400, "Invalid phone numbers."), (Outcome.REJECTED, "400", "")),
        (refusal(400, "Insufficient Credit"), (Outcome.MISCONFIGURED, "400", "")),
        (refusal(402, "Insufficient Credit"), (Outcome.MISCONFIGURED, "402", "")),
        (refusal(500, "Insufficient Credit"), (Outcome.UNCERTAIN, "500", "")),
        (HttpReply.of_json(400, {"error": ["invalid phone numbers."]}), (Outcome.ERROR, "400", "")),
        (HttpReply.of_json(400, {"error": None}), (Outcome.ERROR, "400", "")),
    ],
)
def test_what_an_answer_says(reply: HttpReply, expected: tuple[Outcome, str, str]) -> None:
    assert outcome(reply) == expected


def value(content: Sms | Mms, handover: Handover | None = None, **changes: Any) -> Any:
    request = Plivo(settings(**changes)).request(OutboundMessage(content), handover or Handover("k"))
    return HttpCall("POST", "", {}, whole(request.body)).json()


def test_a_request_has_what_plivo_asks_for() -> None:
    assert value(Sms("+447700900001", "Hi"), Handover("k", callback_url="https://example.com/in")) == {
        "src": "15005550006",
        "dst": "447700900001",
        "type": "sms",
        "text": "Hi",
        "url": "https://example.com/in",
        "method": "POST",
    }
    assert value(Mms("+447700900001", media=(Media(url="https://example.com/a.png"),))) == {
        "src": "15005550006",
        "dst": "447700900001",
        "type": "mms",
        "media_urls": ["https://example.com/a.png"],
    }
    assert value(Sms("+447700900001", "Hi", "Acme"))["src"] == "Acme"


def test_a_powerpack_chooses_the_number_where_there_is_no_sender() -> None:
    assert Plivo(settings(sender=None)).carries(MESSAGE, None) is not None
    assert Plivo(settings(sender=None, powerpack_uuid="p")).carries(MESSAGE, None) is None
    sent = value(Sms("+447700900001", "x"), sender=None, powerpack_uuid="p")
    assert sent["powerpack_uuid"] == "p"
    assert "src" not in sent
    assert "powerpack_uuid" not in value(Sms("+447700900001", "x"), powerpack_uuid="p")


@pytest.mark.parametrize(("seconds", "expiry"), [(1, 5), (60, 60), (10**7, 10_799)])
def test_a_validity_is_within_what_plivo_takes(seconds: int, expiry: int) -> None:
    handover = Handover("k", deadline=seconds * 1_000_000 + 1, now=1)
    assert value(Sms("+447700900001", "x"), handover)["message_expiry"] == expiry


@pytest.mark.parametrize(
    ("body", "is_carried"),
    [
        ("x" * 1_600, True),
        ("x" * 1_601, False),
        ("\u65e5" * 737, True),
        ("\u65e5" * 738, False),
        ("\U0001f69a" * 368, True),
        ("\U0001f69a" * 369, False),
    ],
)
def test_texts_are_not_too_long(body: str, is_carried: bool) -> None:
    found = Plivo(settings()).carries(OutboundMessage(Sms("+447700900001", body)), None)
    assert (found is None) is is_carried


def test_media_have_to_be_at_addresses() -> None:
    for media in ((Media(data=b"x", content_type="image/png"),), (Media(url="https://example.com/a"),) * 11):
        found = Plivo(settings()).carries(OutboundMessage(Mms("+447700900001", media=media)), None)
        assert found is not None
        assert found.field == "message.mms.media"


def test_a_powerpack_that_would_never_be_used_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^powerpack_uuid: is never used beside sender"):
        settings(powerpack_uuid="p").check()
    settings(powerpack_uuid="p", sender=None, senders={"+44": "Acme"}).check()


@pytest.mark.parametrize("account", ["", "x", "AC" + "0" * 18, "MA" + "0" * 17, "MA" + "0" * 17 + "/", "ma" + "0" * 18])
def test_an_account_that_is_none_is_refused(account: str) -> None:
    with pytest.raises(ValueError, match=r"^auth_id: must be MA or SA and 18 letters or digits"):
        settings(auth_id=account).check()
    settings().check()
