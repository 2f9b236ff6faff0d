"""The kind `mailgun`, against answers as Mailgun's pages say they are."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from typing import Any

import pytest
from tests.support.http_conformance import QUOTED, HttpConformance
from tests.support.http_counterpart import HttpCall, HttpReply

from postwire.core.message import Attachment, Email, OutboundMessage
from postwire.providers.base import Context, Provider
from postwire.providers.handover import Handover
from postwire.providers.mailgun import KIND, Mailgun, MailgunSettings
from postwire.providers.pieces import Pieces, whole
from postwire.testing import Answer, Request
from postwire.testing.attempts import CREATED

KEY = "key-0f-0urs"


def refusal(status: int) -> HttpReply:
    return HttpReply.of_json(status, {"message": "No" + QUOTED})


REPLIES = {
    Answer.RATE_LIMITED: refusal(420),
    Answer.ERROR: refusal(400),
    Answer.UNCERTAIN: refusal(500),
    Answer.MISCONFIGURED: HttpReply(401, b"Forbidden"),
}


def settings(**changes: Any) -> MailgunSettings:
    return MailgunSettings(**{"api_key": KEY, "domain": "mg.example.com", "sender": "Us <us@example.com>"} | changes)


def parts_of(content_type: str, body: bytes) -> tuple[list[str], Any]:
    """The envelope and the email of a form."""
    head = f"Content-Type: {content_type}\r\nMIME-Version: 1.0\r\n\r\n".encode()
    form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    *to, message = form.iter_parts()
    assert [one.get_param("name", header="content-disposition") for one in to] == ["to"] * len(to)
    assert message.get_param("name", header="content-disposition") == "message"
    (inner,) = message.iter_parts()
    return [one.get_content().strip() for one in to], inner


class TestMailgun(HttpConformance):
    kind = "mailgun"
    declared = KIND
    secrets = (KEY,)
    # It has no codes, so that nothing it says is known to be final.
    answers = frozenset(Answer) - {Answer.DEFERRED, Answer.REJECTED}
    success = HttpReply.of_json(200, {"id": "<20260101.1@mg.example.com>", "message": "Queued. Thank you."})
    probed = HttpReply.of_json(200, {"domain": {"state": "active"}})
    replies = REPLIES

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.target == "/v3/mg.example.com/messages.mime"
        to, message = parts_of(call.headers["content-type"], call.body)
        text = message.get_body(("plain",))
        assert text is not None
        return Request(call.body, None, None, tuple(to))


HANDOVER = Handover("k", message_id="01a3a2c5-5800-7000-8000-000000000001", created=CREATED)
EMAIL = Email(
    ("a@example.com",),
    ("b@example.com",),
    ("c@example.com",),
    "Subject",
    "Text",
    attachments=(Attachment("a.bin", "application/octet-stream", bytes(range(256)) * 4096),),
)


def test_who_is_to_get_it_is_told_apart_from_what_is_in_it() -> None:
    for positions, expected in ((None, ["a", "b", "c"]), ((0, 2), ["a", "c"])):
        handover = replace_positions(positions)
        request = Mailgun(settings()).request(OutboundMessage(EMAIL), handover)
        assert isinstance(request.body, Pieces)
        to, message = parts_of(request.headers["Content-Type"], whole(request.body))
        assert to == [f"{one}@example.com" for one in expected]
        assert (message["To"], message["Cc"], message["Bcc"]) == ("a@example.com", "b@example.com", None)
        (attachment,) = message.iter_attachments()
        assert attachment.get_content() == EMAIL.attachments[0].data


def replace_positions(positions: tuple[int, ...] | None) -> Handover:
    return Handover("k", positions, message_id=HANDOVER.message_id, created=HANDOVER.created)


@pytest.mark.parametrize("domain", ["", "localhost", "a/b.c", "mg.example.com/x"])
def test_a_domain_that_is_none_is_refused(domain: str) -> None:
    with pytest.raises(ValueError, match=r"^domain: is not a domain"):
        replace(settings(), domain=domain).check()
