"""The kind `sparkpost`, against answers as SparkPost's pages say they are."""

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
from postwire.providers.http.vendor import HttpProvider
from postwire.providers.pieces import whole
from postwire.providers.sparkpost import (
    GENERATION_REJECTED,
    KIND,
    SENDER_REFUSED,
    TABLE,
    SparkPost,
    SparkPostSettings,
    literal,
)
from postwire.testing import Answer, Request

KEY = "14ac5499-0f-0urs"
MESSAGE_ID = "11668787484950529"


def refusal(status: int, code: str = "", words: str = "") -> HttpReply:
    """https://developers.sparkpost.com/api/#header-errors"""
    error = {"message": "No" + QUOTED, "description": words + QUOTED} | ({"code": code} if code else {})
    return HttpReply.of_json(status, {"errors": [error]})


def taken(accepted: int = 1, rejected: int = 0, *named: str) -> HttpReply:
    """https://developers.sparkpost.com/api/transmissions/#transmissions-post-send-a-template"""
    results: dict[str, Any] = {
        "total_rejected_recipients": rejected,
        "total_accepted_recipients": accepted,
        "id": MESSAGE_ID,
    }
    if not rejected:
        return HttpReply.of_json(200, {"results": results})
    results["rcpt_to_errors"] = [
        {
            "message": "invalid data format/type",
            "description": f"invalid recipient address.email: {one}",
            "code": "1300",
        }
        for one in named
    ]
    errors = [{"message": "transmission created, but with validation errors", "code": "2000"}]
    return HttpReply.of_json(200, {"errors": errors, "results": results})


CODES = {
    "5002": Outcome.REJECTED,
    **dict.fromkeys(("2101", "2102", "420"), Outcome.RATE_LIMITED),
    **dict.fromkeys(("1500", "1501", "1502", "1900"), Outcome.ERROR),
    **dict.fromkeys(("1100", "1303", "1304", "7000", "7001"), Outcome.MISCONFIGURED),
    **dict.fromkeys(("1902", "1300", "3000"), Outcome.ERROR),  # not known to be final
}
REPLIES = {
    Answer.RATE_LIMITED: refusal(420, "2101"),
    Answer.REJECTED: refusal(400, "5002"),
    Answer.ERROR: refusal(422, "1300"),
    Answer.UNCERTAIN: HttpReply(504, QUOTED.encode()),
    Answer.MISCONFIGURED: refusal(401),
}


def settings(**changes: Any) -> SparkPostSettings:
    return SparkPostSettings(**{"api_key": KEY, "sender": "us@example.com"} | changes)


class TestSparkPost(HttpConformance):
    kind = "sparkpost"
    declared = KIND
    secrets = (KEY,)
    success = taken()
    probed = HttpReply.of_json(200, {"results": []})
    replies = REPLIES
    codes = CODES
    provider_faults = frozenset({"1500", "1501", "1502", "1900"})

    def code_reply(self, code: str) -> HttpReply:
        return refusal(420) if code == "420" else refusal(400, code)

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.target == "/api/v1/transmissions"
        assert call.headers["authorization"] == KEY
        value = call.json()
        recipients = tuple(one["address"]["email"] for one in value["recipients"])
        return Request(call.body, text=rendered(value["content"].get("text", "")), recipients=recipients)


def rendered(text: str) -> str:
    """What SparkPost makes of a text: https://developers.sparkpost.com/api/template-language/"""
    for start, end in (("{{{", "}}}"), ("{{", "}}")):
        for name, brace in (("brace_open", "\0"), ("brace_close", "\1")):
            text = text.replace(f"{start}{name}{end}", brace)
    assert "{{" not in text
    return text.replace("\0", "{").replace("\1", "}")


def test_every_row_is_held_against_its_page() -> None:
    assert TABLE.keys() | SENDER_REFUSED | {GENERATION_REJECTED} == set(CODES) - {"1300", "3000"}


THREE = OutboundMessage(
    Email(("a@example.com", "a@b\u00fccher.example"), bcc=("C@example.com",), subject="s", text="x")
)
ONE = OutboundMessage(Email(("a@example.com",), subject="s", text="x"))


def verdict(
    reply: HttpReply, message: OutboundMessage = ONE, positions: tuple[int, ...] | None = None
) -> DispatchResult:
    found = SparkPost(settings()).verdict(message, HttpResponse(reply.status, {}, reply.body), Handover("k", positions))
    assert "example" not in repr(found)
    return found


def test_all_taken() -> None:
    assert verdict(taken(3), THREE) == DispatchResult(Outcome.SUCCESS, provider_message_id=MESSAGE_ID)


@pytest.mark.parametrize(
    ("named", "positions", "outcomes"),
    [
        (("a@xn--bcher-kva.example",), None, "srs"),
        (("c@example.com.",), None, "ssr"),
        (("a@example.com", "'C@EXAMPLE.COM'"), None, "rsr"),
        (("c@example.com",), (1, 2), "sr"),
    ],
)
def test_who_is_not_accepted_is_rejected_and_the_others_have_it(
    named: tuple[str, ...], positions: tuple[int, ...] | None, outcomes: str
) -> None:
    found = verdict(taken(len(outcomes) - len(named), len(named), *named), THREE, positions)
    words = {"s": Outcome.SUCCESS, "r": Outcome.REJECTED}
    assert [one.outcome for one in found.recipients] == [words[one] for one in outcomes]
    assert {one.provider_message_id for one in found.recipients if one.outcome is Outcome.SUCCESS} == {MESSAGE_ID}
    assert {one.error_code for one in found.recipients if one.outcome is Outcome.REJECTED} == {"2000"}


@pytest.mark.parametrize("named", [(), ("ba@example.com",), ("a@example.com", "c@example.com"), ("a@example",)])
def test_where_nobody_can_tell_who_that_is_nothing_is_known(named: tuple[str, ...]) -> None:
    found = verdict(taken(2, 1, *named), THREE)
    assert (found.outcome, found.provider_message_id, found.error_code) == (Outcome.UNCERTAIN, MESSAGE_ID, "2000")
    assert found.recipients == ()


def test_counts_that_contradict_each_other_say_nothing() -> None:
    assert verdict(taken(1, 3), THREE).outcome is Outcome.UNCERTAIN
    assert verdict(taken(1, 1), ONE).outcome is Outcome.UNCERTAIN


@pytest.mark.parametrize(("message", "count"), [(ONE, 1), (THREE, 3), (THREE, 7)])
def test_where_nobody_is_accepted_the_email_is_rejected(message: OutboundMessage, count: int) -> None:
    found = verdict(taken(0, count), message)
    assert (found.outcome, found.recipients) == (Outcome.REJECTED, ())


@pytest.mark.parametrize("rejected", [None, "1", -1, [], {}])
def test_a_count_that_is_none_counts_for_nothing(rejected: object) -> None:
    reply = HttpReply.of_json(200, {"results": {"id": MESSAGE_ID, "total_rejected_recipients": rejected}})
    assert verdict(reply, THREE).outcome is Outcome.SUCCESS


@pytest.mark.parametrize("errors", [None, [], [None], [7], {}, [{"code": []}], [{"code": 5.5}]])
def test_a_refusal_without_a_code_goes_by_its_status(errors: object) -> None:
    assert verdict(HttpReply.of_json(400, {"errors": errors})).outcome is Outcome.ERROR
    assert verdict(HttpReply.of_json(420, {"errors": errors})).outcome is Outcome.RATE_LIMITED


def test_only_who_is_suppressed_is_rejected_of_those_whose_email_is_not_made() -> None:
    suppressed = verdict(refusal(400, "1902", "recipient address suppressed due to customer policy"))
    assert (suppressed.outcome, suppressed.error_code) == (Outcome.REJECTED, "1902")
    one_of_three = verdict(refusal(400, "1902", "recipient address suppressed due to customer policy"), THREE, (1,))
    assert one_of_three.outcome is Outcome.REJECTED
    # Which of several is not said, and the others are to have it.
    several = verdict(refusal(400, "1902", "recipient address suppressed due to customer policy"), THREE)
    assert (several.outcome, several.provider_fault) == (Outcome.ERROR, False)
    other = verdict(refusal(400, "1902"))
    assert (other.outcome, other.provider_fault) == (Outcome.ERROR, False)


@pytest.mark.parametrize("code", [7001, "7000"])
def test_a_sender_that_the_caller_has_chosen_is_no_fault_of_the_configuration(code: Any) -> None:
    chosen = OutboundMessage(Email(("a@example.com",), subject="s", text="x", sender="other@example.com"))
    assert verdict(refusal(400, code), chosen).outcome is Outcome.ERROR
    assert verdict(refusal(400, code)).outcome is Outcome.MISCONFIGURED


def request_of(email: Email, positions: tuple[int, ...] | None = None, **keys: Any) -> Any:
    handover = Handover("k", positions, message_id="m-1", reference="r" * 40)
    request = SparkPost(settings(**keys)).request(OutboundMessage(email), handover)
    return HttpCall("POST", "", {}, whole(request.body)).json()


MANY = Email(
    ("a@example.com", "b@b\u00fccher.example"),
    cc=("c@example.com", "d@example.com"),
    bcc=("e@example.com",),
    subject="Subject",
    html="<p>",
    sender="Ada <ada@example.com>",
    reply_to="Help <help@example.com>",
    headers={"X-A": "b"},
    attachments=(Attachment("a.txt", "", b"abc"),),
)
TO = "a@example.com,b@xn--bcher-kva.example"


def test_a_request_has_what_sparkpost_asks_for() -> None:
    assert request_of(MANY, (1, 4), transactional=False) == {
        "options": {"transactional": False, "open_tracking": False, "click_tracking": False},
        "metadata": {"message_id": "m-1", "reference": "r" * 40},
        "substitution_data": {"brace_open": "{", "brace_close": "}"},
        "recipients": [
            {"address": {"email": "b@xn--bcher-kva.example", "header_to": TO}},
            {"address": {"email": "e@example.com", "header_to": TO}},
        ],
        "content": {
            "from": {"email": "ada@example.com", "name": "Ada"},
            "subject": "Subject",
            "reply_to": '"Help" <help@example.com>',
            "html": "<p>",
            "headers": {"X-A": "b", "CC": "c@example.com,d@example.com"},
            "attachments": [{"name": "a.txt", "type": "application/octet-stream", "data": "YWJj"}],
        },
    }


def test_those_in_bcc_are_in_no_header() -> None:
    value = request_of(MANY)
    assert len(value["recipients"]) == 5
    assert {one["address"]["header_to"] for one in value["recipients"]} == {TO}
    assert "e@example.com" not in value["content"]["headers"]["CC"]
    assert value["options"]["transactional"] is True


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "{ } {a} }} }}} @media x{.a{b:c}}",
        "{{name}}",
        "{{{name}}} {{ a }}{{b}}",
        "{}}{{{}{{}",
        "{{{{{{{",
        "{{ if a }}b{{ end }}}",
        "{{brace_open}}",
        "{{opening_double_curly()}}",
        "",
    ],
)
def test_no_text_is_a_template(text: str) -> None:
    assert rendered(literal(text)) == text
    assert rendered(literal(text, html=True)) == text
    assert (literal(text) == text) is ("{{" not in text)


def test_nothing_in_an_email_is_a_template() -> None:
    odd = "{{x}}"
    email = Email(
        ("a@example.com",),
        cc=("{{x}}@example.com",),
        subject=odd,
        text=odd,
        html=odd,
        sender=f"{odd} <us@example.com>",
        reply_to=f"{odd} <us@example.com>",
        headers={"X-A": odd},
    )
    content = request_of(email)["content"]
    assert content["html"] == "{{{brace_open}}}{{{brace_open}}}x{{{brace_close}}}{{{brace_close}}}"
    escaped = "{{brace_open}}{{brace_open}}x{{brace_close}}{{brace_close}}"
    assert content["headers"] == {"X-A": escaped, "CC": f"{escaped}@example.com"}
    assert (content["subject"], content["text"], content["from"]["name"]) == (escaped, escaped, escaped)
    assert content["reply_to"] == f'"{escaped}" <us@example.com>'


def test_a_preview_strikes_the_key_out() -> None:
    provider = KIND.make(Context("x", KIND.channels, lambda: 1, 1.0), settings())
    assert isinstance(provider, HttpProvider)
    shown = provider.preview(ONE, Handover("k", message_id="m-1"))
    assert "Authorization: ***" in shown.lines


def test_more_than_a_hundred_at_a_time_are_left_to_others() -> None:
    vendor = SparkPost(settings())
    many = OutboundMessage(Email(tuple(f"a{at}@example.com" for at in range(101)), subject="s", text="x"))
    assert vendor.carries(many, None) is not None
    assert vendor.carries(many, tuple(range(100))) is None
    for lacking in (Email(("a@example.com",), text="x"), Email(("a@example.com",), subject="s")):
        assert vendor.carries(OutboundMessage(lacking), None) is not None
