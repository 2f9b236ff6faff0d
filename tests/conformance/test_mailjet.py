"""The kind `mailjet`, against answers as Mailjet's pages say they are."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from tests.support.http_conformance import QUOTED, HttpConformance
from tests.support.http_counterpart import HttpCall, HttpReply

from postwire.core.message import Attachment, Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import Context, Provider
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpResponse
from postwire.providers.mailjet import FORBIDDEN, KIND, SENDER_REFUSED, TABLE, Mailjet, MailjetSettings
from postwire.providers.pieces import whole
from postwire.testing import Answer, Request

KEY, SECRET = "k3y-0f-0urs", "s3cret-0f-0urs"
MESSAGE_ID = 576460756513665525


def refusal(code: str, status: int = 400, *related: str) -> HttpReply:
    """https://dev.mailjet.com/email/guides/send-api-v31/#send-api-errors"""
    error = {
        "ErrorIdentifier": "f987008f-251a-4dff-8ffc-40f1583ad7bc",
        "ErrorCode": code,
        "StatusCode": status,
        "ErrorMessage": "No" + QUOTED,
        "ErrorRelatedTo": list(related or ("To[0].Email",)),
    }
    return HttpReply.of_json(status, {"Messages": [{"Status": "error", "Errors": [error]}]})


def overall(status: int, code: str) -> HttpReply:
    """An error of the call as a whole: the same page."""
    return HttpReply.of_json(status, {"ErrorCode": code, "StatusCode": status, "ErrorMessage": "No" + QUOTED})


def taken(to: int = 1, cc: int = 0, bcc: int = 0) -> HttpReply:
    """https://dev.mailjet.com/email/guides/send-api-v31/#send-a-basic-email"""
    ids = iter(range(MESSAGE_ID, MESSAGE_ID + 99))
    lists = {
        name: [{"Email": "a@example.com", "MessageUUID": "123", "MessageID": next(ids)} for _ in range(count)]
        for name, count in (("To", to), ("Cc", cc), ("Bcc", bcc))
    }
    return HttpReply.of_json(200, {"Messages": [{"Status": "success", "CustomID": "", **lists}]})


CODES = {
    "mj-0013": Outcome.REJECTED,
    **dict.fromkeys(("mj-0001", "mj-0015"), Outcome.MISCONFIGURED),
    **dict.fromkeys(("send-0006", "send-0007", "send-0008"), Outcome.MISCONFIGURED),
    **dict.fromkeys(("send-0003", "mj-0004", "mj-0011"), Outcome.ERROR),  # not listed
}
REPLIES = {
    Answer.RATE_LIMITED: overall(429, "mj-0999"),
    Answer.REJECTED: refusal("mj-0013"),
    Answer.ERROR: refusal("mj-0011"),
    Answer.UNCERTAIN: HttpReply(500, QUOTED.encode()),
    Answer.MISCONFIGURED: overall(401, "mj-0015"),
}


def settings(**changes: Any) -> MailjetSettings:
    return MailjetSettings(**{"api_key": KEY, "api_secret": SECRET, "sender": "us@example.com"} | changes)


class TestMailjet(HttpConformance):
    kind = "mailjet"
    declared = KIND
    secrets = (SECRET, b64encode(f"{KEY}:{SECRET}".encode()).decode())
    success = taken()
    probed = HttpReply.of_json(200, {"Count": 1, "Data": [], "Total": 1})
    replies = REPLIES
    codes = CODES

    def code_reply(self, code: str) -> HttpReply:
        return refusal(code)

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.target == "/v3.1/send"
        assert call.headers["authorization"] == f"Basic {b64encode(f'{KEY}:{SECRET}'.encode()).decode()}"
        (value,) = call.json()["Messages"]
        recipients = [one["Email"] for name in ("To", "Cc", "Bcc") for one in value.get(name, ())]
        return Request(call.body, text=value.get("TextPart", ""), recipients=tuple(recipients))


def test_every_row_is_held_against_its_page() -> None:
    assert TABLE.keys() | SENDER_REFUSED == set(CODES) - {"send-0003", "mj-0004", "mj-0011"}


THREE = OutboundMessage(Email(("a@example.com", "b@example.com"), bcc=("c@example.com",), text="x"))
ONE = OutboundMessage(Email(("a@example.com",), text="x"))


def verdict(reply: HttpReply, message: OutboundMessage = ONE, status: int = 0) -> DispatchResult:
    found = Mailjet(settings()).verdict(message, HttpResponse(status or reply.status, {}, reply.body), Handover("k"))
    assert "example" not in repr(found)
    return found


def test_each_recipient_has_the_id_that_is_his() -> None:
    found = verdict(taken(2, bcc=1), THREE)
    assert (found.outcome, found.provider_message_id) == (Outcome.SUCCESS, str(MESSAGE_ID))
    assert [one.provider_message_id for one in found.recipients] == [str(MESSAGE_ID + at) for at in range(3)]


@pytest.mark.parametrize(
    ("reply", "ids"),
    [
        (taken(1, bcc=1), ["", "", str(MESSAGE_ID + 1)]),  # somebody is left out, and nobody knows who
        (taken(2), [str(MESSAGE_ID), str(MESSAGE_ID + 1), ""]),
        (HttpReply.of_json(200, {"Messages": [{"Status": "success"}]}), ["", "", ""]),
        (HttpReply.of_json(200, {"Messages": [{"Status": "success", "To": [None, {"MessageID": 0}]}]}), [""] * 3),
    ],
)
def test_and_no_other_where_the_answer_does_not_say_whose_it_is(reply: HttpReply, ids: list[str]) -> None:
    found = verdict(reply, THREE)
    assert found.outcome is Outcome.SUCCESS
    assert [one.provider_message_id for one in found.recipients] == ids


def test_an_email_to_one_has_one_id() -> None:
    assert verdict(taken()) == DispatchResult(Outcome.SUCCESS, provider_message_id=str(MESSAGE_ID))


@pytest.mark.parametrize("status", [200, 207, 400, 500])
def test_what_is_said_of_the_message_counts_whatever_the_status(status: int) -> None:
    assert verdict(taken(), status=status).outcome is Outcome.SUCCESS
    assert verdict(refusal("mj-0013"), status=status).outcome is Outcome.REJECTED
    assert verdict(refusal("mj-0004"), status=status).outcome is Outcome.ERROR


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ({"Messages": [{"Status": "error", "Errors": []}]}, Outcome.ERROR),
        ({"Messages": [{"Status": "error", "Errors": [None, 7]}]}, Outcome.ERROR),
        ({"Messages": [{"Status": "error", "Errors": [{"StatusCode": 429}]}]}, Outcome.RATE_LIMITED),
        ({"Messages": [{"Status": "error", "Errors": [{"StatusCode": 500}]}]}, Outcome.UNCERTAIN),
        ({"Messages": [{"Status": "error", "Errors": [{"StatusCode": True}]}]}, Outcome.ERROR),
        ({"Messages": [{"Status": "new"}]}, Outcome.UNCERTAIN),
        ({"Messages": []}, Outcome.UNCERTAIN),
        ({"Messages": [None]}, Outcome.UNCERTAIN),
        ({"ErrorCode": "mj-0013"}, Outcome.UNCERTAIN),
    ],
)
def test_an_answer_of_200_that_says_little(value: object, outcome: Outcome) -> None:
    assert verdict(HttpReply.of_json(200, value)).outcome is outcome


def test_of_several_errors_the_one_that_is_known_counts() -> None:
    errors = [{"ErrorCode": "mj-0004", "StatusCode": 400}, {"ErrorCode": "send-0008", "StatusCode": 403}]
    found = verdict(HttpReply.of_json(400, {"Messages": [{"Status": "error", "Errors": errors}]}))
    assert (found.outcome, found.error_code) == (Outcome.MISCONFIGURED, "send-0008")


def test_who_has_an_address_that_is_not_valid_is_rejected_and_the_others_are_not() -> None:
    found = verdict(refusal("mj-0013", 400, "To[1].Email", "Bcc[0].Email"), THREE)
    assert [one.outcome for one in found.recipients] == [Outcome.ERROR, Outcome.REJECTED, Outcome.REJECTED]
    assert (found.outcome, found.error_code, found.provider_fault) == (Outcome.ERROR, "mj-0013", False)


def test_where_all_addresses_are_not_valid_the_email_is_rejected() -> None:
    found = verdict(refusal("mj-0013", 400, "To[0].Email", "To[1]", "Bcc[0]"), THREE)
    assert (found.outcome, found.recipients) == (Outcome.REJECTED, ())
    assert verdict(refusal("mj-0013", 400, "To")).outcome is Outcome.REJECTED


@pytest.mark.parametrize(
    "reply",
    [
        *(refusal("mj-0013", 400, one) for one in ("To", "Cc[0].Email", "To[7].Email", "ReplyTo.Email")),
        overall(400, "mj-0013"),
    ],
)
def test_where_it_is_not_said_whose_address_is_not_valid_nobody_is_rejected_for_it(reply: HttpReply) -> None:
    found = verdict(reply, THREE)
    assert (found.outcome, found.error_code, found.recipients) == (Outcome.ERROR, "mj-0013", ())
    assert not found.provider_fault


@pytest.mark.parametrize("reply", [refusal("send-0008", 403, "From"), refusal("mj-0013", 400, "From.Email")])
def test_a_sender_that_the_caller_has_chosen_is_no_fault_of_the_configuration(reply: HttpReply) -> None:
    chosen = OutboundMessage(Email(("a@example.com",), text="x", sender="other@example.com"))
    assert verdict(reply, chosen).outcome is Outcome.ERROR
    assert verdict(reply).outcome is Outcome.MISCONFIGURED


@pytest.mark.parametrize("name", [*sorted(FORBIDDEN), "X-Mailer", "X-Mailjet-DeduplicateCampaign"])
def test_an_email_with_a_header_that_mailjet_refuses_is_left_to_others(name: str) -> None:
    email = OutboundMessage(Email(("a@example.com",), text="x", headers={name: "y"}))
    found = Mailjet(settings()).carries(email, None)
    assert found is not None
    assert (found.field, name in found.description) == ("message.email.headers", False)


def test_it_cannot_send_to_some_alone() -> None:
    vendor = Mailjet(settings())
    assert vendor.carries(THREE, None) is None
    assert vendor.carries(THREE, (0, 1, 2)) is None
    assert vendor.carries(THREE, (0,)) is not None
    many = OutboundMessage(Email(tuple(f"a{at}@example.com" for at in range(51)), text="x"))
    assert vendor.carries(many, None) is not None


def test_a_key_with_a_colon_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^api_key: has a colon"):
        settings(api_key="a:b").check()


def test_a_request_has_what_mailjet_asks_for() -> None:
    email = Email(
        ("a@example.com", "b@b\u00fccher.example"),
        bcc=("c@example.com",),
        subject="Subject",
        html="<p>",
        sender="Ada <ada@example.com>",
        reply_to="help@example.com",
        headers={"X-A": "b"},
        attachments=(Attachment("a.txt", "", b"abc"),),
    )
    handover = Handover("k", message_id="m-1", reference="r" * 40)
    request = Mailjet(settings()).request(OutboundMessage(email), handover)
    assert HttpCall("POST", "", {}, whole(request.body)).json() == {
        "Messages": [
            {
                "From": {"Email": "ada@example.com", "Name": "Ada"},
                "To": [{"Email": "a@example.com"}, {"Email": "b@xn--bcher-kva.example"}],
                "Bcc": [{"Email": "c@example.com"}],
                "ReplyTo": {"Email": "help@example.com"},
                "Subject": "Subject",
                "HTMLPart": "<p>",
                "Headers": {"X-A": "b"},
                "Attachments": [
                    {"Filename": "a.txt", "ContentType": "application/octet-stream", "Base64Content": "YWJj"}
                ],
                "CustomID": "r" * 40,
                "EventPayload": "m-1",
            }
        ]
    }
