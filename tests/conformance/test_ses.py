"""The kind `ses`: against answers as AWS's pages say they are, and against a stand-in for AWS."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
from base64 import b64decode
from datetime import datetime
from typing import Any
from unittest import mock

import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.support.aws import KEY_ID, SECRET, SESSION, ask, kept, stand_in
from tests.support.http_conformance import QUOTED, HttpConformance
from tests.support.http_counterpart import HttpCall, HttpReply

from postwire.core.message import Email, OutboundMessage
from postwire.core.outcome import Outcome
from postwire.providers.base import Context, Provider
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpResponse
from postwire.providers.http.vendor import HttpProvider
from postwire.providers.pieces import whole
from postwire.providers.ses import KIND, SENDER_REFUSED, TABLE, Ses, SesSettings
from postwire.testing import Answer, Request
from postwire.testing.attempts import CREATED


def refusal(status: int, name: str) -> HttpReply:
    """https://docs.aws.amazon.com/ses/latest/APIReference-V2/CommonErrors.html"""
    return HttpReply.of_json(status, {"message": "No" + QUOTED}, x_amzn_errortype=f"{name}:http://example.com/")


CODES = {
    **dict.fromkeys(
        ("TooManyRequestsException", "LimitExceededException", "ThrottlingException"), Outcome.RATE_LIMITED
    ),
    "MessageRejected": Outcome.REJECTED,
    **dict.fromkeys(
        (
            "AccountSuspendedException",
            "SendingPausedException",
            "MailFromDomainNotVerifiedException",
            "NotFoundException",
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
    "BadRequestException": Outcome.ERROR,  # not listed: it may be anything
}
REPLIES = {
    Answer.RATE_LIMITED: refusal(429, "TooManyRequestsException"),
    Answer.REJECTED: refusal(400, "MessageRejected"),
    Answer.ERROR: refusal(400, "BadRequestException"),
    Answer.UNCERTAIN: refusal(500, "InternalFailure"),
    Answer.MISCONFIGURED: refusal(403, "UnrecognizedClientException"),
}


def settings(**changes: Any) -> SesSettings:
    ours = {"access_key_id": KEY_ID, "secret_access_key": SECRET, "session_token": SESSION}
    return SesSettings(**{"region": "eu-west-1", "sender": "Us <us@example.com>"} | ours | changes)


class TestSes(HttpConformance):
    kind = "ses"
    declared = KIND
    secrets = (SECRET, SESSION)
    success = HttpReply.of_json(200, {"MessageId": "0102018c-0000"})
    probed = HttpReply.of_json(200, {"SendingEnabled": True})
    replies = REPLIES
    codes = CODES

    def code_reply(self, code: str) -> HttpReply:
        return refusal(400, code)

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.target == "/v2/email/outbound-emails"
        assert call.headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={KEY_ID}/")
        value = call.json()
        mime = email.message_from_bytes(b64decode(value["Content"]["Raw"]["Data"]), policy=email.policy.SMTP)
        assert mime["From"] == "Us <us@example.com>"
        return Request(call.body, recipients=tuple(value["Destination"]["ToAddresses"]))


def test_every_row_is_held_against_its_page() -> None:
    assert {*TABLE, SENDER_REFUSED} == set(CODES) - {"BadRequestException"}


MESSAGE = OutboundMessage(Email(("a@example.com", "b@example.com"), subject="S", text="x"))
HANDOVER = Handover("k", (1,), message_id="01a3a2c5-5800-7000-8000-000000000001", created=CREATED)


def test_a_code_in_the_body_is_as_good() -> None:
    body = json.dumps({"__type": "com.amazonaws.ses#AccountSuspendedException", "message": QUOTED}).encode()
    assert Ses(settings()).verdict(MESSAGE, HttpResponse(400, {}, body), HANDOVER).outcome is Outcome.MISCONFIGURED


def test_a_signature_is_that_of_the_library_for_the_whole_body() -> None:
    """Ours is made of a hash that was taken piece by piece."""
    request = Ses(settings(configuration_set="ours")).request(MESSAGE, HANDOVER)
    body = whole(request.body)
    at = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  # as botocore has it
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=at):
        assert request.signing is not None
        hasher = request.signing.hasher()
        hasher.update(body)
        ours = request.signing.headers(hasher.digest())
        theirs = AWSRequest(request.method, request.url, dict(request.headers), body)
        theirs.headers["X-Amz-Content-SHA256"] = hasher.digest().hex()
        SigV4Auth(Credentials(KEY_ID, SECRET, SESSION), "ses", "eu-west-1").add_auth(theirs)
    assert ours["Authorization"] == theirs.headers["Authorization"]
    assert ours["X-Amz-Security-Token"] == SESSION
    assert json.loads(body)["ConfigurationSetName"] == "ours"
    assert json.loads(body)["Destination"] == {"ToAddresses": ["b@example.com"]}


def test_a_stand_in_for_aws_takes_an_email(monkeypatch: pytest.MonkeyPatch) -> None:
    """With credentials from the environment, as AWS's tools have them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

    async def sent(aws: str) -> tuple[Outcome, str]:
        found = settings(access_key_id=None, secret_access_key=None, session_token=None, base_url=aws)
        provider = KIND.make(Context("ses", KIND.channels, lambda: 1), found)
        assert isinstance(provider, HttpProvider)
        try:
            result = await provider.send(MESSAGE, HANDOVER)
            return result.outcome, result.error_code or result.provider_message_id
        finally:
            await provider.close()

    with stand_in() as aws:
        assert asyncio.run(sent(aws)) == (Outcome.REJECTED, "MessageRejected")  # the sender is not verified yet
        ask(f"{aws}/v2/email/identities", {"EmailIdentity": "us@example.com"}, "ses")
        outcome, message_id = asyncio.run(sent(aws))
        assert outcome is Outcome.SUCCESS
        assert message_id in str(kept(aws))


def test_without_credentials_nothing_is_sent_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    async def tried() -> tuple[Outcome, str, str]:
        provider = KIND.make(
            Context("ses", KIND.channels, lambda: 1),
            settings(access_key_id=None, secret_access_key=None, session_token=None),
        )
        result = await provider.send(MESSAGE, HANDOVER)
        return result.outcome, result.error_code, (await provider.check()).detail

    assert asyncio.run(tried()) == (Outcome.ERROR, "not_ready", "no AWS credentials were found")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"region": "europe"}, "region: "),
        ({"secret_access_key": None}, "access_key_id, secret_access_key: "),
        ({"access_key_id": None, "secret_access_key": None}, "session_token: "),
        ({"sender": "us"}, "sender: "),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        settings(**changes).check()
