"""The kind `http`, as a configuration that somebody might write for it has it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from tests.support.http_conformance import FAULTS, QUOTED, HttpConformance
from tests.support.http_counterpart import HttpCall, HttpReply

from postwire.config.bind import ConfigError, bind
from postwire.config.shown import rows
from postwire.core.message import Attachment, Email, Media, Mms, OutboundMessage, Sms
from postwire.core.outcome import Outcome
from postwire.providers.base import Context, Provider
from postwire.providers.generic_http import KIND, GenericHttp, GenericHttpSettings
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpResponse
from postwire.providers.pieces import whole
from postwire.testing import Answer, Request

PASSWORD = "pa55w0rd-0f-0urs"
DECLARED = """
url = "http://127.0.0.1:1/send/{key}"
form = { user = "us", password = "pa55w0rd-0f-0urs", to = "{to}", text = "{body}", from = "{sender}" }
sender = "Acme"
headers = { X-Key = "{key}" }
rejected = { status = [200], body = "^NO" }
rate_limited = { status = [429] }
error = { status = [200], body = "^LATER" }
success = { status = [200, 201, 202], body = "^OK" }
id = '^OK (\\S+)'
"""
REPLIES = {
    Answer.RATE_LIMITED: HttpReply(429, QUOTED.encode()),
    Answer.REJECTED: HttpReply(200, b"NO" + QUOTED.encode()),
    Answer.ERROR: HttpReply(200, b"LATER" + QUOTED.encode()),
    Answer.UNCERTAIN: HttpReply(200, b"WHAT" + QUOTED.encode()),
}
UNCERTAIN = Outcome.UNCERTAIN


def settings(toml: str = DECLARED, **changes: Any) -> GenericHttpSettings:
    return bind(GenericHttpSettings, tomllib.loads(toml) | changes, ("providers", "gateway"))


class TestHttp(HttpConformance):
    kind = "http"
    declared = KIND
    secrets = (PASSWORD,)
    answers = frozenset(Answer) - {Answer.DEFERRED, Answer.MISCONFIGURED}
    success = HttpReply(200, b"OK h-1")
    probed = HttpReply(405)
    replies = REPLIES
    # What no rule is met by is uncertain, whatever its status.
    faults = dict.fromkeys(FAULTS, UNCERTAIN) | {
        "429": Outcome.RATE_LIMITED,
        "cut off 201": UNCERTAIN,
        "cut off 202": UNCERTAIN,
    }

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(url=f"{url}/send/{{key}}"))

    def read(self, call: HttpCall) -> Request:
        assert call.target == f"/send/{call.headers['x-key']}"
        fields = dict(call.form())
        recipients = (fields["to"],) if "@" in fields["to"] else None
        return Request(call.body, call.headers["x-key"], fields["text"], recipients)


def asked(content: Sms | Mms | Email, declared: str = DECLARED, **changes: Any) -> tuple[str, str, str]:
    """Method, address and body of a request."""
    request = GenericHttp(settings(declared, **changes)).request(
        OutboundMessage(content), Handover("k-1", message_id="m-1")
    )
    return request.method, request.url, whole(request.body).decode()


SMS = Sms("+447700900001", "{to} & 100% \u00fc\n")


def test_values_are_escaped_for_where_they_stand_and_filled_in_once() -> None:
    assert asked(SMS) == (
        "POST",
        "http://127.0.0.1:1/send/k-1",
        "user=us&password=pa55w0rd-0f-0urs&to=%2B447700900001&text=%7Bto%7D+%26+100%25+%C3%BC%0A&from=Acme",
    )
    query = 'url = "http://127.0.0.1:1/a?b=c"\nmethod = "GET"\nsuccess = { status = [200] }\nquery = { t = "{body}" }'
    assert asked(SMS, query) == (
        "GET",
        "http://127.0.0.1:1/a?b=c&t=%7Bto%7D%20%26%20100%25%20%C3%BC%0A",
        "",
    )
    json = 'url = "http://127.0.0.1:1/{body}"\nsuccess = { status = [200] }\n[json]\na = [{ b = "<{body}>" }, 1, true]'
    assert asked(SMS, json) == (
        "POST",
        "http://127.0.0.1:1/%7Bto%7D%20%26%20100%25%20%C3%BC%0A",
        '{"a":[{"b":"<{to} & 100% \u00fc\\n>"},1,true]}',
    )


def test_numbers_go_without_a_plus_where_the_vendor_wants_that() -> None:
    _, _, body = asked(Sms("+447700900001", "x", "+15005550006"), number_format="digits")
    assert "to=447700900001" in body
    assert "from=15005550006" in body


@pytest.mark.parametrize(
    ("auth", "header"),
    [({"basic": ["us", "pw"]}, "Basic dXM6cHc="), ({"bearer": "t"}, "Bearer t")],
)
def test_it_says_who_we_are(auth: dict[str, Any], header: str) -> None:
    request = GenericHttp(settings(auth=auth)).request(OutboundMessage(SMS), Handover("k"))
    assert request.headers["Authorization"] == header


@pytest.mark.parametrize(
    ("where", "body", "found"),
    [
        ("/messages/0/id", b'{"messages": [{"id": 17}]}', "17"),
        ("/messages/1/id", b'{"messages": [{"id": 17}]}', ""),
        ("/a~1b/c~0d", b'{"a/b": {"c~d": "x"}}', "x"),
        ("/a", b"no json", ""),
        (r"id=(\w+)", b"OK id=abc", "abc"),
        (r"id=(\w+)", b"OK", ""),
        (r"(.*)", b"two words", ""),
    ],
)
def test_the_id_is_found_by_a_pattern_or_a_pointer(where: str, body: bytes, found: str) -> None:
    vendor = GenericHttp(settings(id=where, success={"status": [200]}))
    assert vendor.verdict(OutboundMessage(SMS), HttpResponse(200, {}, body), Handover("k")).provider_message_id == found


def test_rules_are_asked_in_their_order() -> None:
    any_answer = {"status": [200]}
    vendor = GenericHttp(settings(rejected=any_answer, rate_limited=any_answer, error=any_answer, success=any_answer))
    assert vendor.verdict(OutboundMessage(SMS), HttpResponse(200), Handover("k")).outcome is Outcome.REJECTED


MEDIA = Media(url="https://example.com/a.png")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (Email(("a@example.com", "b@example.com"), text="x"), "message.email.to"),
        (Email(("a@example.com",), bcc=("b@example.com",), text="x"), "message.email.to"),
        (Email(("a@example.com",), attachments=(Attachment("a", "a/b", b"1"),)), "message.email.attachments"),
        (Email(("a@example.com",), text="x", headers={"X-A": "b"}), "message.email.headers"),
        (Mms("+15005550006", media=(MEDIA,)), "message.mms.media"),
    ],
)
def test_it_says_what_it_cannot_carry(content: Email | Mms, field: str) -> None:
    why = GenericHttp(settings()).carries(OutboundMessage(content), None)
    assert why is not None
    assert why.field == field


def test_media_at_an_address_goes_where_there_is_a_place_for_it() -> None:
    form = {"to": "{to}", "media": "{media_url}"}
    assert GenericHttp(settings(form=form)).carries(OutboundMessage(Mms("+15005550006", media=(MEDIA,))), None) is None
    assert "media=https%3A%2F%2Fexample.com%2Fa.png" in asked(Mms("+15005550006", media=(MEDIA,)), form=form)[2]


def test_a_sender_authenticates_only_where_there_is_a_place_for_it() -> None:
    message = OutboundMessage(Sms("+15005550006", "x"))
    without = DECLARED.replace('sender = "Acme"', "")
    assert GenericHttp(settings(without)).carries(message, None) is not None
    assert GenericHttp(settings(without, form={"to": "{to}"})).carries(message, None) is None


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"json": {"a": "b"}}, "providers.gateway.form, providers.gateway.json: only one of them can be used"),
        ({"method": "GET"}, "providers.gateway.method: GET has no body, use query"),
        ({"success": {}}, "providers.gateway.success: is missing, say which answers mean that a message was taken"),
        ({"success": {"body": "("}}, "providers.gateway.success.body: is not a regular expression"),
        ({"id": "x"}, "providers.gateway.id: must be a regular expression with one group, or a JSON pointer"),
        ({"headers": {"X-A": "{body}"}}, "providers.gateway.headers: {body} cannot stand in a header"),
        ({"auth": {"basic": ["somebody"]}}, "providers.gateway.auth.basic: must be a name and a password"),
        (
            {"auth": {"basic": ["somebody", "pa55w0rd"], "bearer": "t0ken"}},
            "providers.gateway.auth.basic, providers.gateway.auth.bearer",
        ),
        ({"url": "ftp://example.com"}, "providers.gateway.url: the value is not an address such as"),
        ({"success": {"status": [1000]}}, "providers.gateway.success.status: 1000 is not"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        settings(**changes)
    assert str(refused.value).startswith(line)


def test_what_may_hold_a_password_is_not_shown() -> None:
    shown = dict(rows(settings(auth={"bearer": "t0ken"}), ()))
    assert {name for name, text in shown.items() if text == "(set)"} == {"form", "headers", "auth.bearer"}
    assert PASSWORD not in repr(settings())
