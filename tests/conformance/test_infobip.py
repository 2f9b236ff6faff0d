"""The kind `infobip`, against answers as Infobip's pages say they are."""

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
from postwire.providers.infobip import KIND, SENDER_REFUSED, TABLE, Infobip, InfobipSettings
from postwire.providers.pieces import whole
from postwire.testing import Answer, Request

KEY = "k3y-0f-0urs"
UNLISTED = "UNDELIVERABLE_REJECTED_OPERATOR"


def answered(name: str, group: str, **more: Any) -> HttpReply:
    """https://www.infobip.com/docs/api/channels/sms/outbound-sms/send-message/send-sms-messages"""
    status = {"groupId": 5, "groupName": group, "id": 6, "name": name, "description": "No" + QUOTED}
    one = {"messageId": "2250be2d4219-3af1-78856-aabe-1362af1edfd2", "status": status, "destination": "15005550187"}
    return HttpReply.of_json(200, {"bulkId": "2034072219640523072", "messages": [one | more]})


def refusal(name: str) -> HttpReply:
    return answered(name, "REJECTED")


def failure(status: int) -> HttpReply:
    """https://www.infobip.com/docs/api/platform/errors"""
    return HttpReply.of_json(
        status, {"errorCode": f"E{status}", "description": "No" + QUOTED, "action": "", "violations": []}
    )


CODES = {
    **dict.fromkeys(
        (
            "REJECTED_PREFIX_MISSING",
            "REJECTED_DESTINATION",
            "MISSING_TO",
            "REJECTED_DND",
            "REJECTED_DESTINATION_BLOCKLISTED",
            "REJECTED_MESSAGE_TOO_LONG",
            "REJECTED_MESSAGE_TEXT_TOO_LONG",
            "SIGNALS_BLOCKED",
        ),
        Outcome.REJECTED,
    ),
    **dict.fromkeys(
        (
            "REJECTED_NETWORK",
            "REJECTED_DESTINATION_NOT_REGISTERED",
            "REJECTED_FLOODING_FILTER",
            "REJECTED_SYSTEM_ERROR",
            UNLISTED,
        ),
        Outcome.ERROR,
    ),
    **dict.fromkeys(
        (
            "REJECTED_NOT_ENOUGH_CREDITS",
            "REJECTED_PREPAID_PACKAGE_EXPIRED",
            "REJECTED_ROUTE_NOT_AVAILABLE",
            "REJECTED_INVALID_NOTIFY_URL",
            "REJECTED_SOURCE",
            "REJECTED_SENDER",
        ),
        Outcome.MISCONFIGURED,
    ),
}
REPLIES = {
    Answer.RATE_LIMITED: failure(429),
    Answer.REJECTED: refusal("REJECTED_DESTINATION"),
    Answer.ERROR: refusal("REJECTED_NETWORK"),
    Answer.UNCERTAIN: failure(500),
    Answer.MISCONFIGURED: failure(401),
}


def settings(**changes: Any) -> InfobipSettings:
    return InfobipSettings(
        **{"api_key": KEY, "sender": "+15005550006", "base_url": "https://x.api.infobip.com"} | changes
    )


class TestInfobip(HttpConformance):
    kind = "infobip"
    declared = KIND
    secrets = (KEY,)
    success = answered("PENDING_ACCEPTED", "PENDING")
    probed = HttpReply.of_json(200, {"balance": 47.79134, "currency": "EUR"})
    replies = REPLIES
    codes = CODES
    provider_faults = frozenset({"REJECTED_SYSTEM_ERROR"})

    def code_reply(self, code: str) -> HttpReply:
        return refusal(code)

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.headers["authorization"] == f"App {KEY}"
        (message,) = call.json()["messages"]
        if call.target == "/sms/3/messages":
            return Request(call.body, text=message["content"]["text"])
        assert call.target == "/mms/2/messages"
        texts = [one["text"] for one in message["content"]["messageSegments"] if one["type"] == "TEXT"]
        return Request(call.body, text="".join(texts))


def test_every_row_is_held_against_its_page() -> None:
    assert TABLE.keys() | SENDER_REFUSED == set(CODES) - {UNLISTED}


MESSAGE = OutboundMessage(Sms("+447700900001", "x"))


def outcome(reply: HttpReply, message: OutboundMessage = MESSAGE) -> tuple[Outcome, str, str]:
    found = Infobip(settings()).verdict(message, HttpResponse(reply.status, {}, reply.body), Handover("k"))
    return found.outcome, found.error_code, found.provider_message_id


ID = "2250be2d4219-3af1-78856-aabe-1362af1edfd2"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (answered("PENDING_ENROUTE", "PENDING"), (Outcome.SUCCESS, "", ID)),
        (answered("DELIVERED_TO_HANDSET", "DELIVERED"), (Outcome.SUCCESS, "", ID)),
        (answered("PENDING_ENROUTE", "PENDING", messageId=None), (Outcome.SUCCESS, "", "")),
        # "Message was received and sent to the operator", or "the delivery status is unknown".
        (answered("EXPIRED_EXPIRED", "EXPIRED"), (Outcome.UNCERTAIN, "EXPIRED_EXPIRED", "")),
        (answered("EXPIRED_DLR_UNKNOWN", "EXPIRED"), (Outcome.UNCERTAIN, "EXPIRED_DLR_UNKNOWN", "")),
        (answered("SIGNALS_BLOCKED", "EXPIRED"), (Outcome.REJECTED, "SIGNALS_BLOCKED", "")),
        (answered("to +15005550187", "REJECTED"), (Outcome.ERROR, "REJECTED", "")),
        (answered("NEW", "NEW"), (Outcome.UNCERTAIN, "NEW", "")),
        (answered("", "", status=None), (Outcome.UNCERTAIN, "200", "")),
        (answered("", "", status={"groupName": 7, "name": []}), (Outcome.UNCERTAIN, "200", "")),
        (HttpReply.of_json(200, {"messages": []}), (Outcome.UNCERTAIN, "200", "")),
        (HttpReply.of_json(200, {"messages": [None]}), (Outcome.UNCERTAIN, "200", "")),
        (HttpReply.of_json(200, {"messages": {"status": {}}}), (Outcome.UNCERTAIN, "200", "")),
        (failure(400), (Outcome.ERROR, "E400", "")),
        (failure(403), (Outcome.MISCONFIGURED, "E403", "")),
        (
            HttpReply.of_json(400, {"requestError": {"serviceException": {"messageId": "BAD_REQUEST", "text": "x"}}}),
            (Outcome.ERROR, "BAD_REQUEST", ""),
        ),
        (HttpReply.of_json(400, {"requestError": {"serviceException": []}}), (Outcome.ERROR, "400", "")),
    ],
)
def test_what_an_answer_says(reply: HttpReply, expected: tuple[Outcome, str, str]) -> None:
    assert outcome(reply) == expected


def test_a_sender_that_the_caller_has_chosen_is_no_fault_of_the_configuration() -> None:
    chosen = OutboundMessage(Sms("+447700900001", "x", "Chosen"))
    assert outcome(refusal("REJECTED_SOURCE"), chosen) == (Outcome.ERROR, "REJECTED_SOURCE", "")


def test_a_key_that_may_only_send_is_a_good_one() -> None:
    infobip = Infobip(settings())
    assert infobip.health(HttpResponse(403)).ok
    assert infobip.health(HttpResponse(401)).misconfigured
    assert infobip.health(HttpResponse(404)).misconfigured


def value(content: Sms | Mms, handover: Handover | None = None, **changes: Any) -> Any:
    request = Infobip(settings(**changes)).request(OutboundMessage(content), handover or Handover("k"))
    return HttpCall("POST", "", {}, whole(request.body)).json()


def test_a_request_has_what_infobip_asks_for() -> None:
    handover = Handover(
        "k", deadline=90_000_000, now=30_000_000, reference="ref", callback_url="https://example.com/in"
    )
    assert value(Sms("+447700900001", "Hi"), handover) == {
        "messages": [
            {
                "sender": "15005550006",
                "destinations": [{"to": "447700900001"}],
                "content": {"text": "Hi"},
                "options": {"validityPeriod": {"amount": 60, "timeUnit": "SECONDS"}},
                "webhooks": {
                    "delivery": {"url": "https://example.com/in"},
                    "contentType": "application/json",
                    "callbackData": "ref",
                },
            }
        ]
    }
    media = (Media(url="https://example.com/a.png", content_type="image/png"), Media(url="https://example.com/b"))
    assert value(Mms("+447700900001", "Look", "Acme", media)) == {
        "messages": [
            {
                "sender": "Acme",
                "destinations": [{"to": "447700900001"}],
                "content": {
                    "messageSegments": [
                        {"type": "TEXT", "text": "Look"},
                        {"type": "LINK", "contentType": "image/png", "contentUrl": "https://example.com/a.png"},
                        {"type": "LINK", "contentUrl": "https://example.com/b"},
                    ]
                },
            }
        ]
    }


def test_a_validity_is_at_most_what_infobip_keeps_to() -> None:
    found = value(Sms("+447700900001", "x"), Handover("k", deadline=10**13, now=1))
    assert found["messages"][0]["options"] == {"validityPeriod": {"amount": 172_800, "timeUnit": "SECONDS"}}


def test_media_have_to_be_at_addresses_and_texts_are_not_too_long() -> None:
    infobip = Infobip(settings())
    for content, path in (
        (Mms("+447700900001", media=(Media(data=b"x", content_type="image/png"),)), "message.mms.media"),
        (Mms("+447700900001", "x" * 1_601), "message.mms.body"),
    ):
        found = infobip.carries(OutboundMessage(content), None)
        assert found is not None
        assert found.field == path
    assert infobip.carries(OutboundMessage(Mms("+447700900001", "x" * 1_600)), None) is None
    unsent = Infobip(settings(sender=None)).carries(MESSAGE, None)
    assert unsent is not None
    assert unsent.field == "message.sms.sender"
