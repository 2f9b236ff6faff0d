"""The kind `vonage`, against answers as Vonage's pages say they are."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.http_conformance import QUOTED, HttpConformance
from tests.support.http_counterpart import HttpCall, HttpReply

from postwire.core.message import OutboundMessage, Sms
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import Context, Provider
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpResponse
from postwire.providers.vonage import KIND, SENDER_REFUSED, TABLE, Vonage, VonageSettings
from postwire.testing import Answer, Request

KEY, SECRET = "k3y-0f-0urs", "s3cret-0f-0urs"


def answer(*statuses: str) -> HttpReply:
    """https://developer.vonage.com/en/messaging/sms/guides/troubleshooting-sms"""
    parts = [
        {"to": "15005550187", "message-id": f"0C{at}", "status": status, "remaining-balance": "15.5"}
        if status == "0"
        else {"status": status, "error-text": "No" + QUOTED}
        for at, status in enumerate(statuses)
    ]
    return HttpReply.of_json(200, {"message-count": str(len(parts)), "messages": parts})


CODES = {
    **dict.fromkeys(("1", "10"), Outcome.RATE_LIMITED),
    **dict.fromkeys(("5", "3", "6"), Outcome.ERROR),
    **dict.fromkeys(("7", "12", "33"), Outcome.REJECTED),
    **dict.fromkeys(("4", "8", "9", "11", "14", "15", "23", "29"), Outcome.MISCONFIGURED),
    "99": Outcome.ERROR,  # not listed
}
REPLIES = {
    Answer.RATE_LIMITED: answer("1"),
    Answer.REJECTED: answer("7"),
    Answer.ERROR: answer("5"),
    Answer.UNCERTAIN: HttpReply(502, QUOTED.encode()),
    Answer.MISCONFIGURED: answer("4"),
}


def settings(**changes: Any) -> VonageSettings:
    return VonageSettings(**{"api_key": KEY, "api_secret": SECRET, "sender": "+15005550006"} | changes)


class TestVonage(HttpConformance):
    kind = "vonage"
    declared = KIND
    secrets = (KEY, SECRET)
    success = answer("0")
    probed = HttpReply.of_json(200, {"value": 15.5, "autoReload": False})
    replies = REPLIES
    codes = CODES
    provider_faults = frozenset({"5"})

    def code_reply(self, code: str) -> HttpReply:
        return answer(code)

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.target == "/sms/json"
        return Request(call.body, text=dict(call.form())["text"])


def test_every_row_is_held_against_its_page() -> None:
    assert {*TABLE, SENDER_REFUSED} == set(CODES) - {"99"}


def test_a_sender_that_the_caller_has_chosen_is_no_fault_of_the_configuration() -> None:
    chosen = OutboundMessage(Sms("+447700900001", "x", "Chosen"))
    found = Vonage(settings()).verdict(chosen, HttpResponse(200, {}, answer("15").body), Handover("k"))
    assert (found.outcome, found.provider_fault) == (Outcome.ERROR, False)


MESSAGE = OutboundMessage(Sms("+447700900001", "x"))


def verdict(*statuses: str) -> DispatchResult:
    return Vonage(settings()).verdict(MESSAGE, HttpResponse(200, {}, answer(*statuses).body), Handover("k"))


def test_all_ids_of_what_was_taken_are_kept() -> None:
    assert verdict("0", "0", "0").provider_message_id == "0C0,0C1,0C2"


@pytest.mark.parametrize(
    ("statuses", "outcome", "code"),
    [
        (("0", "1"), Outcome.UNCERTAIN, "1"),
        (("7", "0"), Outcome.UNCERTAIN, "7"),
        (("7", "1"), Outcome.RATE_LIMITED, "1"),
        (("7", "4", "1"), Outcome.MISCONFIGURED, "4"),
        (("7", "7"), Outcome.REJECTED, "7"),
    ],
)
def test_parts_that_fare_differently_make_one_outcome(statuses: tuple[str, ...], outcome: Outcome, code: str) -> None:
    found = verdict(*statuses)
    assert (found.outcome, found.error_code) == (outcome, code)


def fields(content: Sms, handover: Handover | None = None, **changes: Any) -> dict[str, str]:
    request = Vonage(settings(**changes)).request(OutboundMessage(content), handover or Handover("k"))
    assert isinstance(request.body, bytes)
    return dict(HttpCall("POST", "", {}, request.body).form())


def test_a_request_has_what_vonage_asks_for() -> None:
    handover = Handover("k", deadline=90_000_000, now=30_000_000, message_id="m", callback_url="https://example.com/in")
    assert fields(Sms("+447700900001", "Hi"), handover) == {
        "api_key": KEY,
        "api_secret": SECRET,
        "to": "447700900001",
        "from": "15005550006",
        "text": "Hi",
        "client-ref": "m",
        "ttl": "60000",
        "callback": "https://example.com/in",
    }


def test_what_is_not_in_the_alphabet_of_phones_goes_as_unicode() -> None:
    assert fields(Sms("+447700900001", "\u65e5"))["type"] == "unicode"
    assert "type" not in fields(Sms("+447700900001", "\u20ac"))


@pytest.mark.parametrize(("seconds", "ttl"), [(1, "20000"), (10**7, "604800000")])
def test_a_validity_is_within_what_vonage_takes(seconds: int, ttl: str) -> None:
    assert fields(Sms("+447700900001", "x"), Handover("k", deadline=seconds * 1_000_000 + 1, now=1))["ttl"] == ttl


def test_a_name_stays_as_it_is() -> None:
    assert fields(Sms("+447700900001", "x", "Acme"))["from"] == "Acme"
