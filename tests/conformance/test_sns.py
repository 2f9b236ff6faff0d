"""The kind `sns`: against answers as AWS's pages say they are, and against a stand-in for AWS."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any
from unittest import mock

import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.support.aws import KEY_ID, SECRET, SESSION, kept, stand_in
from tests.support.http_conformance import QUOTED, HttpConformance
from tests.support.http_counterpart import HttpCall, HttpReply

from postwire.core.message import OutboundMessage, Sms
from postwire.core.outcome import Outcome
from postwire.providers.base import Context, Provider
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpResponse
from postwire.providers.http.vendor import HttpProvider
from postwire.providers.pieces import whole
from postwire.providers.sns import KIND, MAX_CHARACTERS, TABLE, Sns, SnsSettings
from postwire.testing import Answer, Request

XMLNS = "http://sns.amazonaws.com/doc/2010-03-31/"
MESSAGE_ID = "567910cd-659e-55d4-8ccb-5aaf14679dc0"
# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html#API_Publish_Examples
TAKEN = (
    f'<PublishResponse xmlns="{XMLNS}">\n  <PublishResult>\n    <MessageId>{MESSAGE_ID}</MessageId>\n'
    "  </PublishResult>\n"
    "  <ResponseMetadata>\n    <RequestId>d74b8436-ae13-5ab4-a9ff-ce54dfea72a0</RequestId>\n  </ResponseMetadata>\n"
    "</PublishResponse>"
)


def refusal(status: int, code: str) -> HttpReply:
    """As https://docs.aws.amazon.com/sns/latest/dg/sns-making-api-requests.html shows it."""
    text = (
        f'<ErrorResponse xmlns="{XMLNS}">\n  <Error>\n    <Type>Sender</Type>\n    <Code>{code}</Code>\n'
        f"    <Message>Invalid parameter: PhoneNumber Reason: {QUOTED}</Message>\n  </Error>\n"
        "  <RequestId>57480dcc-2e5a-5f8f-8b1c-52b6a3d5f6ef</RequestId>\n</ErrorResponse>"
    )
    return HttpReply(status, text.encode())


CODES = {
    **dict.fromkeys(("Throttled", "ThrottlingException"), Outcome.RATE_LIMITED),
    **dict.fromkeys(
        (
            "AuthorizationError",
            "InvalidSecurity",
            "AccessDeniedException",
            "ExpiredTokenException",
            "IncompleteSignature",
            "InvalidClientTokenId",
            "RequestExpired",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ),
        Outcome.MISCONFIGURED,
    ),
    "InvalidParameter": Outcome.ERROR,  # not listed: it may be the region
}
REPLIES = {
    Answer.RATE_LIMITED: refusal(429, "Throttled"),
    Answer.ERROR: refusal(400, "InvalidParameter"),
    Answer.UNCERTAIN: refusal(500, "InternalError"),
    Answer.MISCONFIGURED: refusal(403, "AuthorizationError"),
}


def settings(**changes: Any) -> SnsSettings:
    ours = {"access_key_id": KEY_ID, "secret_access_key": SECRET, "session_token": SESSION}
    return SnsSettings(**{"region": "eu-west-1"} | ours | changes)


class TestSns(HttpConformance):
    kind = "sns"
    declared = KIND
    secrets = (SECRET, SESSION)
    success = HttpReply(200, TAKEN.encode())
    probed = HttpReply(200, f'<GetSMSAttributesResponse xmlns="{XMLNS}"/>'.encode())
    replies = REPLIES
    codes = CODES
    answers = HttpConformance.answers - {Answer.REJECTED}  # nothing that it says of a message is final

    def code_reply(self, code: str) -> HttpReply:
        return refusal(400, code)

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.target == "/"
        assert call.headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={KEY_ID}/")
        form = dict(call.form())
        assert (form["Action"], form["Version"]) == ("Publish", "2010-03-31")
        assert form["PhoneNumber"].startswith("+")
        return Request(call.body, text=form["Message"])


def test_every_row_is_held_against_its_page() -> None:
    assert TABLE.keys() == CODES.keys() - {"InvalidParameter"}


def sms(body: str = "Hi", sender: str = "") -> OutboundMessage:
    return OutboundMessage(Sms("+447700900001", body, sender))


def fields(message: OutboundMessage, **changes: Any) -> dict[str, str]:
    request = Sns(settings(**changes)).request(message, Handover("k"))
    return dict(HttpCall("POST", "", {}, whole(request.body)).form())


PLAIN = {"Action": "Publish", "Version": "2010-03-31", "PhoneNumber": "+447700900001", "Message": "Hi"}


def attribute(at: int, name: str, value: str, kind: str = "String") -> dict[str, str]:
    entry = f"MessageAttributes.entry.{at}"
    return {f"{entry}.Name": name, f"{entry}.Value.DataType": kind, f"{entry}.Value.StringValue": value}


def test_a_request_has_what_sns_asks_for() -> None:
    assert fields(sms()) == PLAIN  # the account has its own sender, type and limit
    assert fields(sms(sender="Acme"), sender="+15005550006", sms_type="transactional", max_price=0.5) == (
        PLAIN
        | attribute(1, "AWS.SNS.SMS.SenderID", "Acme")
        | attribute(2, "AWS.SNS.SMS.SMSType", "Transactional")
        | attribute(3, "AWS.SNS.SMS.MaxPrice", "0.5", "Number")
    )
    assert fields(sms(), senders={"+44": "+447700900999"}) == PLAIN | attribute(
        1, "AWS.MM.SMS.OriginationNumber", "+447700900999"
    )
    assert fields(sms(), sender="12345", sms_type="promotional") == PLAIN | attribute(
        1, "AWS.MM.SMS.OriginationNumber", "12345"
    ) | attribute(2, "AWS.SNS.SMS.SMSType", "Promotional")


@pytest.mark.parametrize(
    ("price", "text"), [(0.0001, "0.0001"), (0.000125, "0.000125"), (0.07, "0.07"), (1.0, "1.0"), (1000.0, "1000.0")]
)
def test_a_price_is_written_as_it_was_given(price: float, text: str) -> None:
    assert fields(sms(), max_price=price) == PLAIN | attribute(1, "AWS.SNS.SMS.MaxPrice", text, "Number")


@pytest.mark.parametrize("sender", ["Our shop", "123", "+123456789012345"])
def test_a_sender_that_sns_does_not_take_is_left_to_others(sender: str) -> None:
    vendor = Sns(settings())
    found = vendor.carries(sms(sender=sender), None)
    assert found is not None
    assert found.field == "message.sms.sender"
    assert vendor.carries(sms(sender="Shop7"), None) is None
    assert vendor.carries(sms(), None) is None


def test_a_text_that_is_too_long_is_left_to_others() -> None:
    vendor = Sns(settings())
    assert vendor.carries(sms("x" * MAX_CHARACTERS), None) is None
    found = vendor.carries(sms("x" * (MAX_CHARACTERS + 1)), None)
    assert found is not None
    assert found.field == "message.sms.body"
    few = Sns(settings(max_segments=1)).carries(sms("x" * 161), None)
    assert few is not None
    assert few.field == "message.sms.body"


def test_a_signature_is_that_of_the_library_for_the_whole_body() -> None:
    """Ours is made of a hash that was taken piece by piece."""
    request = Sns(settings()).request(sms("Grüße & more"), Handover("k"))
    body = whole(request.body)
    at = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  # as botocore has it
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=at):
        assert request.signing is not None
        hasher = request.signing.hasher()
        hasher.update(body)
        ours = request.signing.headers(hasher.digest())
        theirs = AWSRequest(request.method, request.url, dict(request.headers), body)
        theirs.headers["X-Amz-Content-SHA256"] = hasher.digest().hex()
        SigV4Auth(Credentials(KEY_ID, SECRET, SESSION), "sns", "eu-west-1").add_auth(theirs)
    assert request.url == "https://sns.eu-west-1.amazonaws.com/"
    assert ours["Authorization"] == theirs.headers["Authorization"]
    assert ours["X-Amz-Security-Token"] == SESSION


def test_an_answer_that_was_cut_short_says_nothing() -> None:
    response = HttpResponse(200, {}, TAKEN.encode(), complete=False)
    assert Sns(settings()).verdict(sms(), response, Handover("k")).outcome is Outcome.UNCERTAIN


def test_a_stand_in_for_aws_takes_a_text() -> None:
    message = sms("Grüße & 100 % <more>\n+1", "Acme")

    async def sent(aws: str) -> str:
        provider = KIND.make(Context("sns", KIND.channels, lambda: 1), settings(base_url=aws, max_price=0.05))
        assert isinstance(provider, HttpProvider)
        try:
            assert (await provider.check()).ok
            result = await provider.send(message, Handover("k"))
            assert result.outcome is Outcome.SUCCESS
            refused = await provider.send(OutboundMessage(Sms("+", "x")), Handover("k"))
            assert (refused.outcome, refused.error_code) == (Outcome.ERROR, "InvalidParameter")
            return result.provider_message_id
        finally:
            await provider.close()

    with stand_in() as aws:
        message_id = asyncio.run(sent(aws))
        assert kept(aws)["sns"]["SMS"] == [
            {"message_id": message_id, "phone_number": "+447700900001", "message": "Grüße & 100 % <more>\n+1"}
        ]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"region": "europe"}, "region: "),
        ({"secret_access_key": None}, "access_key_id, secret_access_key: "),
        ({"sender": "Our shop"}, "sender: "),
        ({"senders": {"+1": "+15005550006", "+44": "x" * 12}}, "senders: "),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}"):
        settings(**changes).check()
