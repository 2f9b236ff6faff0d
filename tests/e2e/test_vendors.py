"""Vendors that are called over HTTP, by a real server: failover, wrong keys, and who gets a message how often."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.conformance import test_twilio as twilio_answers
from tests.conformance import test_vonage as vonage_answers
from tests.e2e.calls import (
    ACCEPTANCE,
    QUEUED,
    SENDING,
    SENT,
    TIMEOUT,
    dispatch,
    email,
    explain,
    get,
    mms,
    provider,
    request,
    sms,
    tried,
    until,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.e2e.streams import Stream, stored
from tests.support.http_counterpart import CounterpartThread, HttpCall, HttpReply, counterpart_thread

from postwire.testing import BlackHole
from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2
from postwire.v1.message_pb2 import Message
from postwire.v1.provider_service_pb2 import AVAILABILITY_AVAILABLE, AVAILABILITY_MISCONFIGURED, BREAKER_STATE_OPEN

TWO: Final = """
[delivery]
backoff_base = "20ms"
backoff_max = "100ms"
[providers.twilio]
kind = "twilio"
channels = ["sms", "mms"]
account_sid = "{sid}"
auth_token = "t0ken-0f-0urs"
sender = "+15005550006"
base_url = "{twilio}"
{more}
[providers.twilio.breaker]
open_for = "50ms"
open_for_max = "100ms"
[providers.vonage]
kind = "vonage"
channels = ["sms"]
api_key = "k3y-0f-0urs"
api_secret = "s3cret-0f-0urs"
sender = "Acme"
base_url = "{vonage}"
[providers.vonage.breaker]
open_for = "50ms"
open_for_max = "100ms"
[routes]
sms = ["twilio", "vonage"]
"""
TAKEN = {"twilio": HttpReply.of_json(201, twilio_answers.MESSAGE), "vonage": vonage_answers.answer("0")}
FRAME: Final = 50


@pytest.fixture
def twilio() -> Iterator[CounterpartThread]:
    with counterpart_thread(TAKEN["twilio"]) as thread:
        yield thread


@pytest.fixture
def vonage() -> Iterator[CounterpartThread]:
    with counterpart_thread(TAKEN["vonage"]) as thread:
        yield thread


def toml(twilio: str, vonage: CounterpartThread, more: str = "") -> str:
    return TWO.format(sid=twilio_answers.SID, twilio=twilio, vonage=vonage.counterpart.url, more=more)


def numbers(thread: CounterpartThread, field: str) -> Counter[str]:
    """How often each number was in a request."""
    return Counter(dict(call.form())[field].lstrip("+") for call in thread.counterpart.calls if call.method == "POST")


def test_a_message_goes_by_the_first_and_by_the_second_where_that_refuses(
    serve: Serve, twilio: CounterpartThread, vonage: CounterpartThread
) -> None:
    server = serve(toml=toml(twilio.counterpart.url, vonage))
    message = dispatch(server)
    assert tried(message) == [("twilio", "success")]
    assert message.provider_message_id == twilio_answers.MESSAGE["sid"]
    twilio.counterpart.reply = twilio_answers.refusal(400, 21408)
    message = dispatch(server)
    assert tried(message) == [("twilio", "error"), ("vonage", "success")]
    assert message.attempts[0].error_code == "21408"
    assert provider(server, "twilio").breaker.failures == 0, "the refusal says nothing of its health"
    twilio.counterpart.reply = twilio_answers.refusal(400, 21211)
    message = dispatch(server)
    assert (tried(message), message.state) == ([("twilio", "rejected")], message_pb2.MESSAGE_STATE_FAILED)


@pytest.mark.parametrize("many", [500, pytest.param(2_000, marks=pytest.mark.long)])
def test_of_many_all_settle_and_nobody_gets_two_unless_an_attempt_is_uncertain(
    serve: Serve, twilio: CounterpartThread, vonage: CounterpartThread, many: int
) -> None:
    """The first vendor is stopped in the middle, the second is started again."""
    server = serve(toml=toml(twilio.counterpart.url, vonage))
    sent = [request(sms(f"+1415{at:07}"), wait_for=ACCEPTANCE, max_attempts=100) for at in range(many)]
    with Stream(server, timeout=TIMEOUT) as stream:
        for at in range(0, many, FRAME):
            stream.send(sent[at : at + FRAME])
            if at == many // 2:
                eventually(lambda: len(twilio.counterpart.calls) > many // 10)
                twilio.stop()
                eventually(lambda: numbers(vonage, "to"))
                vonage.stop()
                vonage.start()
        stream.done_sending()
        ids = [result.message.message_id for result in stream.results(many)]
    eventually(lambda: not stored(server, "messages WHERE state IN ('queued', 'sending')"))
    ledger = {message_id: get(server, message_id) for message_id in ids}
    assert {message.state for message in ledger.values()} == {SENT}
    received = numbers(twilio, "To") + numbers(vonage, "to")
    assert len(received) == many
    for at, message_id in enumerate(ids):
        outcomes = [outcome for _, outcome in tried(ledger[message_id])]
        if received[f"1415{at:07}"] > 1:
            assert "uncertain" in outcomes, "somebody got it twice, and the ledger does not say why"
        # What the vendors have had is what the ledger says was, or may have been, handed over.
        handed_over = outcomes.count("success") + outcomes.count("uncertain")
        assert outcomes.count("success") <= received[f"1415{at:07}"] <= handed_over


def test_an_address_where_nobody_answers_fails_over_and_opens_its_breaker(
    serve: Serve, vonage: CounterpartThread
) -> None:
    with BlackHole() as hole:
        server = serve(toml=toml(f"http://127.0.0.1:{hole.port}", vonage, 'connect_timeout = "50ms"'))
        for _ in range(10):
            message = dispatch(server)
            assert tried(message) == [("twilio", "error"), ("vonage", "success")]
            assert message.attempts[0].error_code in ("connect", "connect_timeout")
            if provider(server, "twilio").breaker.state == BREAKER_STATE_OPEN:
                return
    raise AssertionError("its breaker has not opened")


def test_a_wrong_key_fails_over_counts_no_attempt_and_is_told_once(
    serve: Serve, twilio: CounterpartThread, vonage: CounterpartThread
) -> None:
    server = serve(toml=toml(twilio.counterpart.url, vonage))
    twilio.counterpart.reply = twilio_answers.refusal(401, 20003)
    for _ in range(5):
        assert dispatch(server, max_attempts=1).state == SENT
    assert provider(server, "twilio").availability == AVAILABILITY_MISCONFIGURED
    assert provider(server, "vonage").availability == AVAILABILITY_AVAILABLE
    (first, _) = explain(server).candidates
    assert first.obstacle == pb.ROUTE_OBSTACLE_MISCONFIGURED
    eventually(lambda: server.log("provider_availability"))
    assert len(server.log("provider_availability")) == 1
    parked: Message = dispatch(server, mms(), wait_for=ACCEPTANCE)
    assert get(server, parked).state == message_pb2.MESSAGE_STATE_QUEUED


def test_the_right_key_is_taken_over_and_what_waits_goes(
    serve: Serve, twilio: CounterpartThread, vonage: CounterpartThread, tmp_path: Path
) -> None:
    """None fails, no attempt counts, and there is one line for all of it."""
    (file := tmp_path / "token").write_text("wr0ng-0f-0urs\n", encoding="utf-8")
    declared = toml(twilio.counterpart.url, vonage).replace(
        'auth_token = "t0ken-0f-0urs"', f'auth_token_file = "{file}"'
    )
    right = f"Basic {b64encode(f'{twilio_answers.SID}:t0ken-0f-0urs'.encode()).decode()}"

    def answered(call: HttpCall) -> HttpReply:
        return TAKEN["twilio"] if call.headers["authorization"] == right else twilio_answers.refusal(401, 20003)

    twilio.counterpart.reply = answered
    server = serve(toml=declared)
    parked = [dispatch(server, mms(), wait_for=ACCEPTANCE, max_attempts=1) for _ in range(10)]
    eventually(lambda: provider(server, "twilio").availability == AVAILABILITY_MISCONFIGURED)
    assert {get(server, message).state for message in parked} <= {QUEUED, SENDING}
    (new := tmp_path / "new").write_text("t0ken-0f-0urs\n", encoding="utf-8")
    new.rename(file)
    for message in parked:
        record = until(server, message, SENT)
        assert tried(record)[-1] == ("twilio", "success")
        assert {attempt.error_code for attempt in record.attempts[:-1]} <= {"20003"}
    eventually(lambda: len(server.log("provider_availability")) == 2)
    assert [line["availability"] for line in server.log("provider_availability")] == ["misconfigured", "available"]
    assert not any(secret in server.log_text() for secret in ("0f-0urs", right))


def test_a_webhook_gets_every_channel_and_nothing_of_it_is_shown(serve: Serve) -> None:
    def taken(call: HttpCall) -> HttpReply:
        if call.method == "OPTIONS":  # the check at the boot
            return HttpReply(204)
        return HttpReply.of_json(200, {"id": f"w-{json.loads(call.body)['channel']}"})

    with counterpart_thread(taken) as endpoint:
        declared = (
            '[providers.own]\nkind = "webhook"\nchannels = ["sms", "mms", "email"]\n'
            f'url = "{endpoint.counterpart.url}/in"\nsecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"\n'
        )
        server: Server = serve(toml=declared)
        canary = "zq9canary7"
        for message in (sms(body=canary), mms(body=canary), email(f"{canary}@example.com", subject=canary)):
            assert dispatch(server, message).provider_message_id.startswith("w-")
        calls = [call for call in endpoint.counterpart.calls if call.method == "POST"]
        assert [json.loads(call.body)["channel"] for call in calls] == ["sms", "mms", "email"]
    assert server.terminate() == 0
    assert canary not in server.log_text()
    assert "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3" not in server.log_text()
