"""Nobody's data in telemetry, whoever carries it: every kind that sends, and vendors that quote what they refuse."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any, Final

import pytest
from aiosmtpd.smtp import SMTP
from google.protobuf import text_format
from tests.conformance import (
    test_bird,
    test_brevo,
    test_infobip,
    test_mailgun,
    test_mailjet,
    test_plivo,
    test_postmark,
    test_resend,
    test_sendgrid,
    test_ses,
    test_sinch,
    test_sns,
    test_sparkpost,
    test_telnyx,
    test_twilio,
    test_vonage,
    test_webhook,
)
from tests.e2e.calls import dispatch, email, get, providers, sms
from tests.e2e.conftest import Serve
from tests.e2e.metrics import METRICS, fetch
from tests.e2e.server import Server
from tests.support.http_counterpart import HttpCall, HttpReply, counterpart_thread
from tests.support.otlp import Collector
from tests.support.smsc import PASSWORD, Reply, smsc_thread

from postwire.core.message import Channel
from postwire.providers.builtin import KINDS
from postwire.providers.smpp.pdu import Status
from postwire.testing import Answer
from postwire.v1.message_pb2 import Message, OutboundMessage

CANARY, PHONE = "zq9canary7", "+15005550187"
QUOTED: Final = f" to {PHONE} <{CANARY}@example.com>: {CANARY}"
SECRET: Final = "s3cr3t0f0urs"

DECLARED: Final = f"""
[delivery]
max_attempts = 1
[providers.twilio]
kind = "twilio"
channels = ["sms"]
account_sid = "{test_twilio.SID}"
auth_token = "{SECRET}"
sender = "+15005550006"
base_url = "URL"
[providers.vonage]
kind = "vonage"
channels = ["sms"]
api_key = "{SECRET}"
api_secret = "{SECRET}"
sender = "+15005550006"
base_url = "URL"
[providers.telnyx]
kind = "telnyx"
channels = ["sms"]
api_key = "{SECRET}"
sender = "+15005550006"
base_url = "URL"
[providers.plivo]
kind = "plivo"
channels = ["sms"]
auth_id = "{test_plivo.ACCOUNT}"
auth_token = "{SECRET}"
sender = "+15005550006"
base_url = "URL"
[providers.infobip]
kind = "infobip"
channels = ["sms"]
api_key = "{SECRET}"
sender = "Acme"
base_url = "URL"
[providers.sinch]
kind = "sinch"
channels = ["sms"]
service_plan_id = "p"
api_token = "{SECRET}"
sender = "+15005550006"
base_url = "URL"
[providers.sns]
kind = "sns"
channels = ["sms"]
region = "eu-west-1"
access_key_id = "x"
secret_access_key = "{SECRET}"
sender = "+15005550006"
base_url = "URL"
[providers.bird]
kind = "bird"
channels = ["sms"]
access_key = "{SECRET}"
workspace_id = "{test_bird.WORKSPACE}"
channel_id = "{test_bird.CHANNEL}"
base_url = "URL"
[providers.http]
kind = "http"
channels = ["sms", "email"]
url = "URL/http"
json = {{ to = "{{to}}", body = "{{body}}", key = "{SECRET}" }}
success = {{ status = [200], body = "^OK" }}
rejected = {{ status = [400] }}
[providers.webhook]
kind = "webhook"
channels = ["sms", "email"]
url = "URL/webhook"
secret = "whsec_{SECRET}{SECRET}{SECRET}"
[providers.sendgrid]
kind = "sendgrid"
channels = ["email"]
api_key = "{SECRET}"
sender = "us@example.com"
base_url = "URL"
[providers.postmark]
kind = "postmark"
channels = ["email"]
server_token = "{SECRET}"
sender = "us@example.com"
base_url = "URL"
[providers.resend]
kind = "resend"
channels = ["email"]
api_key = "{SECRET}"
sender = "us@example.com"
base_url = "URL"
[providers.mailgun]
kind = "mailgun"
channels = ["email"]
api_key = "{SECRET}"
domain = "mg.example.com"
sender = "us@example.com"
base_url = "URL"
[providers.mailjet]
kind = "mailjet"
channels = ["email"]
api_key = "{SECRET}"
api_secret = "{SECRET}"
sender = "us@example.com"
base_url = "URL"
[providers.sparkpost]
kind = "sparkpost"
channels = ["email"]
api_key = "{SECRET}"
sender = "us@example.com"
base_url = "URL"
[providers.brevo]
kind = "brevo"
channels = ["email"]
api_key = "{SECRET}"
sender = "us@example.com"
base_url = "URL"
[providers.ses]
kind = "ses"
channels = ["email"]
region = "eu-west-1"
access_key_id = "x"
secret_access_key = "{SECRET}"
sender = "us@example.com"
base_url = "URL"
[providers.smpp]
kind = "smpp"
channels = ["sms"]
host = "127.0.0.1"
port = CENTRE
system_id = "postwire"
password = "PASSWORD"
sender = "+15005550006"
[providers.smtp]
kind = "smtp"
channels = ["email"]
host = "127.0.0.1"
port = PORT
security = "none"
sender = "us@example.com"
[providers.sandbox]
kind = "sandbox"
channels = ["email"]
"""

REFUSALS: Final[dict[str, HttpReply]] = {
    "/2010": test_twilio.refusal(400, 21211),
    "/sms/json": test_vonage.answer("7"),
    "/v2/messages": test_telnyx.refusal(422, "40310"),
    "/v1/Account": test_plivo.refusal(400, "invalid phone numbers."),
    "/sms/3": test_infobip.refusal("REJECTED_DESTINATION"),
    "/xms/v1": test_sinch.refusal(403, "illegal_number_type"),
    "/": test_sns.refusal(400, "InvalidParameter"),
    "/workspaces": test_bird.refusal(422, "InvalidPayload"),
    "/http": HttpReply(400, QUOTED.encode()),
    "/webhook": test_webhook.REPLIES[Answer.REJECTED],
    "/v3/mail/send": test_sendgrid.refusal(400),
    "/email": test_postmark.refusal(422, 300),
    "/emails": test_resend.refusal(422, "invalid_attachment"),
    "/v3/mg.example.com": test_mailgun.refusal(400),
    "/v3.1/send": test_mailjet.refusal("mj-0013"),
    "/api/v1/transmissions": test_sparkpost.refusal(400, "1902"),
    "/v3/smtp/email": test_brevo.refusal(400, "invalid_parameter"),
    "/v2/email": test_ses.refusal(400, "MessageRejected"),
}
TAKEN: Final[dict[str, HttpReply]] = {
    "/2010": HttpReply.of_json(201, test_twilio.MESSAGE),
    "/sms/json": test_vonage.answer("0"),
    "/v2/messages": test_telnyx.TestTelnyx.success,
    "/v1/Account": test_plivo.TestPlivo.success,
    "/sms/3": test_infobip.TestInfobip.success,
    "/xms/v1": test_sinch.TestSinch.success,
    "/": test_sns.TestSns.success,
    "/workspaces": test_bird.TestBird.success,
    "/http": HttpReply(200, b"OK"),
    "/webhook": HttpReply(200, QUOTED.encode()),
    "/v3/mail/send": test_sendgrid.TestSendGrid.success,
    "/email": test_postmark.taken(f"Message OK, but not to these inactive addresses: {CANARY}@example.com."),
    "/emails": test_resend.TestResend.success,
    "/v3/mg.example.com": test_mailgun.TestMailgun.success,
    "/v3.1/send": test_mailjet.TestMailjet.success,
    "/api/v1/transmissions": test_sparkpost.TestSparkPost.success,
    "/v3/smtp/email": test_brevo.TestBrevo.success,
    "/v2/email": test_ses.TestSes.success,
}


def answer_of(answers: dict[str, HttpReply], call: HttpCall) -> HttpReply:
    """The answer for the longest path that a request begins with; a check is told that all is well."""
    if call.method != "POST":
        return HttpReply(200, b"{}")
    return answers[max((path for path in answers if call.target.startswith(path)), key=len)]


class Refusing:
    """A mail server that quotes who and what it refuses, or takes everything."""

    refuses = True

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """See aiosmtpd."""
        return f"550 5.7.1 No{QUOTED}" if self.refuses else f"250 OK{QUOTED}"


@pytest.fixture
def mail() -> Iterator[tuple[Refusing, int]]:
    handler, loop = Refusing(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> asyncio.Server:
        return await loop.create_server(lambda: SMTP(handler, hostname="mail.example.com", loop=loop), "127.0.0.1", 0)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    yield handler, server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def marked(name: str) -> OutboundMessage:
    """A message that a provider carries, with marks in all of its parts."""
    if Channel.EMAIL not in KINDS[name].channels:
        return sms(PHONE, f"{CANARY} body")
    return email(f"{CANARY}@example.com", subject=f"{CANARY} subject", text=f"{CANARY} body")


def test_nothing_of_a_message_a_secret_or_a_vendors_words_is_anywhere(serve: Serve, mail: tuple[Refusing, int]) -> None:
    answers = REFUSALS
    with (
        counterpart_thread(lambda call: answer_of(answers, call)) as vendor,
        smsc_thread() as (smsc, _),
        Collector() as collector,
    ):
        handler, port = mail
        toml = DECLARED.replace("URL", vendor.counterpart.url).replace("PORT", str(port))
        toml = toml.replace("CENTRE", str(smsc.port)).replace("PASSWORD", PASSWORD)
        smsc.reply = Reply(Status.ESME_RINVDSTADR)
        server: Server = serve(
            toml=toml, telemetry__otlp_endpoint=collector.endpoint, OTEL_BSP_SCHEDULE_DELAY="10", **METRICS
        )
        names = [name for name in providers(server) if name in KINDS]
        assert set(names) == set(KINDS) - {"mock"}
        records = [dispatch(server, marked(name), provider_name=name) for name in names]
        assert all(record.attempts for record in records)
        answers, handler.refuses = TAKEN, False
        smsc.reply = Reply(message_id=f"{CANARY} 4711")
        taken = [dispatch(server, marked(name), provider_name=name) for name in names]
        shown = "".join(text_format.MessageToString(one) for one in (*_again(server, records), *_again(server, taken)))
        shown += "".join(text_format.MessageToString(one) for one in providers(server).values())
        shown += fetch(server)
        collector.wait_for_spans(2 * len(names))
        assert server.terminate() == 0
        shown += collector.everything() + server.log_text()
    for word in (CANARY, PHONE[1:], SECRET, PASSWORD):
        assert shown.count(word) == 0, "something of a message, or a secret, can be seen outside"


def _again(server: Server, records: list[Message]) -> list[Message]:
    return [get(server, record) for record in records]
