"""The kind `twilio`, against answers as Twilio's pages say they are."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.http_conformance import QUOTED, HttpConformance
from tests.support.http_counterpart import HttpCall, HttpReply

from postwire.core.message import Channel, Media, Mms, OutboundMessage, Sms
from postwire.core.outcome import Outcome
from postwire.providers.base import Context, Provider
from postwire.providers.handover import Handover
from postwire.providers.twilio import KIND, SENDER_REFUSED, TABLE, Twilio, TwilioSettings
from postwire.testing import Answer, Request

SID = "AC" + "0123456789abcdef" * 2
SERVICE = "MG" + "0123456789abcdef" * 2
TOKEN = "t0ken-0f-0urs"
MESSAGE = {"sid": "SM" + "f" * 32, "status": "queued", "error_code": None}
REJECTED, MISCONFIGURED, ERROR, RATE_LIMITED = (
    Outcome.REJECTED,
    Outcome.MISCONFIGURED,
    Outcome.ERROR,
    Outcome.RATE_LIMITED,
)


def refusal(status: int, code: int) -> HttpReply:
    """https://www.twilio.com/docs/usage/twilios-response#response-formats-exceptions"""
    more = f"https://www.twilio.com/docs/errors/{code}"
    return HttpReply.of_json(status, {"code": code, "message": "No" + QUOTED, "more_info": more, "status": status})


def settings(**changes: Any) -> TwilioSettings:
    return TwilioSettings(**{"account_sid": SID, "auth_token": TOKEN, "sender": "+15005550006"} | changes)


REPLIES = {
    Answer.RATE_LIMITED: refusal(429, 20429),
    Answer.REJECTED: refusal(400, 21211),
    Answer.ERROR: refusal(400, 21408),
    Answer.UNCERTAIN: HttpReply(500, QUOTED.encode()),
    Answer.MISCONFIGURED: refusal(401, 20003),
}
CODES = {
    **dict.fromkeys(("20429", "21611", "14107"), RATE_LIMITED),
    **dict.fromkeys(("21211", "21214", "21217", "21265", "21610", "21614", "21617", "21619"), REJECTED),
    **dict.fromkeys(("21620", "21623"), REJECTED),
    **dict.fromkeys(("21408", "21608", "21612", "21635"), ERROR),
    **dict.fromkeys(("10001", "20003", "20005", "20404", "21603"), MISCONFIGURED),
    **dict.fromkeys(("21701", "21703", "21704", "21705", "21606", "21659", "21660"), MISCONFIGURED),
    "21999": ERROR,  # not listed
}


class TestTwilio(HttpConformance):
    kind = "twilio"
    declared = KIND
    secrets = (TOKEN,)
    success = HttpReply.of_json(201, MESSAGE)
    probed = HttpReply.of_json(200, {"sid": SID, "status": "active"})
    replies = REPLIES
    codes = CODES

    def code_reply(self, code: str) -> HttpReply:
        return refusal(400, int(code))

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.target == f"/2010-04-01/Accounts/{SID}/Messages.json"
        return Request(call.body, text=dict(call.form()).get("Body", ""))


def test_every_row_is_held_against_its_page() -> None:
    assert TABLE.keys() | SENDER_REFUSED == set(CODES) - {"21999"}


def fields(content: Sms | Mms, handover: Handover | None = None, **changes: Any) -> list[tuple[str, str]]:
    request = Twilio(settings(**changes)).request(OutboundMessage(content), handover or Handover("k"))
    assert isinstance(request.body, bytes)
    return HttpCall("POST", "", {}, request.body).form()


def test_a_request_has_what_twilio_asks_for() -> None:
    handover = Handover("k", deadline=90_000_000, now=30_000_000, callback_url="https://example.com/in")
    media = (Media(url="https://example.com/a.png"), Media(url="https://example.com/b.png"))
    assert fields(Mms("+447700900001", "Hi", media=media), handover) == [
        ("To", "+447700900001"),
        ("Body", "Hi"),
        ("From", "+15005550006"),
        ("MediaUrl", "https://example.com/a.png"),
        ("MediaUrl", "https://example.com/b.png"),
        ("ValidityPeriod", "60"),
        ("StatusCallback", "https://example.com/in#rc=5&rp=all"),
    ]


@pytest.mark.parametrize(
    ("content", "changes", "sender"),
    [
        (Sms("+447700900001", "x", "+447700900009"), {}, ("From", "+447700900009")),
        (Sms("+447700900001", "x"), {"senders": {"+44": "Acme", "+4477": "+447700900008"}}, ("From", "+447700900008")),
        (
            Sms("+15005550009", "x"),
            {"messaging_service_sid": SERVICE, "sender": None},
            ("MessagingServiceSid", SERVICE),
        ),
    ],
)
def test_the_sender_is_the_messages_or_the_one_for_the_number(
    content: Sms, changes: dict[str, Any], sender: tuple[str, str]
) -> None:
    assert [pair for pair in fields(content, **changes) if pair[0] in ("From", "MessagingServiceSid")] == [sender]


def test_a_validity_is_at_most_ten_hours() -> None:
    handover = Handover("k", deadline=86_400_000_000, now=1)
    assert ("ValidityPeriod", "36000") in fields(Sms("+447700900001", "x"), handover)


def test_it_carries_media_at_addresses_only_and_needs_a_sender() -> None:
    twilio = Twilio(settings(sender=None))
    why = twilio.carries(OutboundMessage(Sms("+15005550009", "x")), None)
    assert why is not None
    assert why.field == "message.sms.sender"
    why = Twilio(settings()).carries(OutboundMessage(Mms("+15005550009", media=(Media(data=b"1"),))), None)
    assert why is not None
    assert why.field == "message.mms.media"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"account_sid": "AC12"}, "account_sid: "),
        ({"auth_token": None}, "auth_token: "),
        ({"api_key": "SK1"}, "api_key, api_secret: "),
        ({"messaging_service_sid": "x"}, "messaging_service_sid: "),
        ({"ca_file": "/nowhere"}, "ca_file: "),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        settings(**changes).check()


def test_it_carries_sms_and_mms() -> None:
    assert KIND.channels == (Channel.SMS, Channel.MMS)
