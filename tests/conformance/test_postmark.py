"""The kind `postmark`, against answers as Postmark's pages say they are."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.http_conformance import QUOTED, HttpConformance
from tests.support.http_counterpart import HttpCall, HttpReply

from postwire.core.message import Attachment, Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import Context, Provider
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpResponse
from postwire.providers.pieces import whole
from postwire.providers.postmark import KIND, SENDER_REFUSED, TABLE, Postmark, PostmarkSettings
from postwire.testing import Answer, Request

TOKEN = "t0ken-0f-0urs"
MESSAGE_ID = "0a129aee-e1cd-480d-b08d-4f48548ff48d"


def refusal(status: int, code: int) -> HttpReply:
    """https://postmarkapp.com/developer/api/overview#error-codes"""
    return HttpReply.of_json(status, {"ErrorCode": code, "Message": "No" + QUOTED})


def taken(prose: str = "OK") -> HttpReply:
    return HttpReply.of_json(200, {"MessageID": MESSAGE_ID, "ErrorCode": 0, "Message": prose, "To": "a@example.com"})


CODES = {
    **dict.fromkeys(("300", "406", "411"), Outcome.REJECTED),
    "429": Outcome.RATE_LIMITED,
    "100": Outcome.ERROR,
    **dict.fromkeys(("10", "405", "412", "413", "400", "401"), Outcome.MISCONFIGURED),
    "999": Outcome.ERROR,  # not listed
}
REPLIES = {
    Answer.RATE_LIMITED: refusal(429, 429),
    Answer.REJECTED: refusal(422, 300),
    Answer.ERROR: refusal(422, 402),
    Answer.UNCERTAIN: HttpReply(500, QUOTED.encode()),
    Answer.MISCONFIGURED: refusal(401, 10),
}


def settings(**changes: Any) -> PostmarkSettings:
    return PostmarkSettings(**{"server_token": TOKEN, "sender": "us@example.com"} | changes)


class TestPostmark(HttpConformance):
    kind = "postmark"
    declared = KIND
    secrets = (TOKEN,)
    success = taken()
    probed = HttpReply.of_json(200, {"Name": "ours"})
    replies = REPLIES
    codes = CODES
    provider_faults = frozenset({"100"})

    def code_reply(self, code: str) -> HttpReply:
        return refusal(422, int(code))

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.target == "/email"
        assert call.headers["x-postmark-server-token"] == TOKEN
        value = call.json()
        recipients = [one for name in ("To", "Cc", "Bcc") for one in value.get(name, "").split(",") if one]
        return Request(call.body, text=value.get("TextBody", ""), recipients=tuple(recipients))


def test_every_row_is_held_against_its_page() -> None:
    assert TABLE.keys() | SENDER_REFUSED == set(CODES) - {"999"}


THREE = OutboundMessage(Email(("a@example.com", "a@b\u00fccher.example"), bcc=("c@example.com",), text="x"))


def verdict(prose: str, message: OutboundMessage = THREE) -> DispatchResult:
    return Postmark(settings()).verdict(message, HttpResponse(200, {}, taken(prose).body), Handover("k"))


OK_BUT = "Message OK, but will not deliver to these inactive addresses: "


@pytest.mark.parametrize(
    ("prose", "inactive"),
    [
        ("OK", ()),
        (OK_BUT + "C@example.com. Inactive recipients are ones that have generated a hard bounce.", (2,)),
        (OK_BUT + "a@xn--bcher-kva.example, c@example.com.", (1, 2)),
        (OK_BUT + "somebody@example.com.", ()),
        (OK_BUT + "ba@example.com.", ()),  # which a@example.com ends
    ],
)
def test_who_is_called_inactive_is_rejected_and_the_others_have_it(prose: str, inactive: tuple[int, ...]) -> None:
    found = verdict(prose)
    refused = [at for at, one in enumerate(found.recipients) if one.outcome is Outcome.REJECTED]
    assert tuple(refused) == inactive
    assert {found.recipients[at].error_code for at in refused} <= {"406"}
    assert all(one.provider_message_id == MESSAGE_ID for one in found.recipients if one.outcome is Outcome.SUCCESS)
    assert found.outcome is (Outcome.REJECTED if inactive else Outcome.SUCCESS)
    assert "example" not in repr(found)


def test_a_sender_that_the_caller_has_chosen_is_no_fault_of_the_configuration() -> None:
    chosen = OutboundMessage(Email(("a@example.com",), text="x", sender="other@example.com"))
    response = HttpResponse(422, {}, refusal(422, 400).body)
    assert Postmark(settings()).verdict(chosen, response, Handover("k")).outcome is Outcome.ERROR


def test_a_request_has_what_postmark_asks_for() -> None:
    email = Email(
        ("a@example.com", "b@example.com"),
        bcc=("c@example.com",),
        subject="Subject",
        html="<p>",
        sender="Ada <ada@example.com>",
        headers={"X-A": "b"},
        attachments=(Attachment("a.txt", "", b"abc"),),
    )
    request = Postmark(settings(message_stream="broadcast")).request(
        OutboundMessage(email), Handover("k", message_id="m-1")
    )
    assert HttpCall("POST", "", {}, whole(request.body)).json() == {
        "From": '"Ada" <ada@example.com>',
        "To": "a@example.com,b@example.com",
        "Bcc": "c@example.com",
        "Subject": "Subject",
        "HtmlBody": "<p>",
        "Headers": [{"Name": "X-A", "Value": "b"}],
        "Attachments": [{"Name": "a.txt", "Content": "YWJj", "ContentType": "application/octet-stream"}],
        "MessageStream": "broadcast",
        "Metadata": {"message_id": "m-1"},
    }
