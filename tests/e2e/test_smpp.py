"""Messages by SMPP through a real server, and what the message centre says of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.e2e.calls import (
    ACCEPTANCE,
    AT_MOST_ONCE,
    FAILED,
    SENT,
    UNCERTAIN,
    dispatch,
    get,
    provider,
    request,
    sms,
    until,
    until_eligible,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.e2e.streams import Stream
from tests.support.smsc import PASSWORD, SYSTEM_ID, Reply, Smsc, receipt_of, smsc_thread

from postwire.providers.smpp.bodies import DeliverSm, SubmitSm
from postwire.providers.smpp.pdu import Status
from postwire.v1.message_pb2 import MESSAGE_STATE_DELIVERED, MESSAGE_STATE_UNDELIVERED, OUTCOME_UNCERTAIN, Message
from postwire.v1.provider_service_pb2 import AVAILABILITY_AVAILABLE, AVAILABILITY_MISCONFIGURED

DELIVERED, UNDELIVERED = MESSAGE_STATE_DELIVERED, MESSAGE_STATE_UNDELIVERED
TO: Final = "+15005550187"
CONFIG: Final = f"""
[delivery]
backoff_base = "20ms"
backoff_max = "100ms"
max_attempts = 50
[providers.centre]
kind = "smpp"
channels = ["sms"]
host = "127.0.0.1"
port = PORT
system_id = "{SYSTEM_ID}"
password = "{PASSWORD}"
sender = "+15005550006"
"""
Centre = tuple[Smsc, asyncio.AbstractEventLoop]


@pytest.fixture
def centre() -> Iterator[Centre]:
    with smsc_thread() as running:
        yield running


def served(serve: Serve, smsc: Smsc, more: str = "") -> Server:
    """A server that sends by a message centre, once it is bound to it."""
    server: Server = serve(toml=CONFIG.replace("PORT", str(smsc.port)) + more)
    until_eligible(server)
    return server


def do(centre: Centre, deliver: DeliverSm) -> None:
    """Have the message centre deliver something, and wait until it is answered."""
    smsc, loop = centre
    before = len(smsc.delivered)
    loop.call_soon_threadsafe(smsc.deliver, deliver)
    eventually(lambda: len(smsc.delivered) > before)
    assert smsc.delivered[-1].status == Status.ESME_ROK


def test_a_message_goes_from_sent_to_delivered_or_not(serve: Serve, centre: Centre) -> None:
    smsc, _ = centre
    server = served(serve, smsc)
    sent = dispatch(server, sms(TO))
    assert (sent.state, sent.provider_message_id) == (SENT, "1")
    do(centre, receipt_of("0000000001", "DELIVRD"))
    assert until(server, sent, DELIVERED).receipts[0].provider_name == "centre"
    sent = dispatch(server, sms(TO))
    do(centre, receipt_of("0000000002", "UNDELIV", "011"))
    assert until(server, sent, UNDELIVERED).error_code
    before = smsc.unbound
    assert server.terminate() == 0
    assert smsc.unbound == before + 1, "it has left without a word"


def test_a_message_of_several_parts_is_delivered_once_all_are(serve: Serve, centre: Centre) -> None:
    smsc, _ = centre
    server = served(serve, smsc)
    sent = dispatch(server, sms(TO, "\U0001f600" * 60))
    assert sent.provider_message_id == "1,2"
    do(centre, receipt_of("0000000002", "DELIVRD"))
    assert get(server, sent).state == SENT
    do(centre, receipt_of("0000000001", "DELIVRD"))
    until(server, sent, DELIVERED)


def test_the_ids_of_the_longest_message_are_all_known(serve: Serve, centre: Centre) -> None:
    smsc, loop = centre
    smsc.reply = lambda body: Reply(message_id=f"{'x' * 40}-{body.short_message[5]}")
    server = served(serve, smsc)
    sent = dispatch(server, sms(TO, "\U0001f600" * 1_600))
    assert sent.state == SENT
    ids = sent.provider_message_id.split(",")
    assert len(ids) == len(smsc.submitted) == 49
    for message_id in ids:
        loop.call_soon_threadsafe(smsc.receipt, message_id)
    until(server, sent, DELIVERED)


def test_a_receipt_may_come_before_the_answer(serve: Serve, centre: Centre) -> None:
    smsc, _ = centre
    smsc.reply = Reply(receipt="DELIVRD", early=True)
    server = served(serve, smsc)
    for sent in [dispatch(server, sms(TO)) for _ in range(5)]:
        until(server, sent, DELIVERED)


def test_what_is_not_answered_is_uncertain(serve: Serve, centre: Centre) -> None:
    smsc, _ = centre
    smsc.reply = Reply(silent=True)
    server = served(serve, smsc, 'response_timeout = "100ms"\n')
    ended = dispatch(server, sms(TO), delivery_guarantee=AT_MOST_ONCE)
    assert (ended.state, ended.attempts[0].error_code) == (UNCERTAIN, "no_answer")


def test_who_writes_stop_gets_nothing_more(serve: Serve, centre: Centre) -> None:
    smsc, _ = centre
    server = served(serve, smsc)
    numbers = {"source_addr_ton": 1, "source_addr_npi": 1, "dest_addr_ton": 1, "dest_addr_npi": 1}
    said = DeliverSm(
        **numbers,  # type: ignore[arg-type]
        source_addr=TO[1:],
        destination_addr="15005550006",
        short_message=b"stop",
    )
    do(centre, said)
    assert dispatch(server, sms(TO)).state == FAILED
    assert not smsc.submitted


def test_a_wrong_password_is_shown_and_a_right_one_is_taken_over(serve: Serve, centre: Centre, tmp_path: Path) -> None:
    smsc, _ = centre
    word = tmp_path / "word"
    word.write_text("wrong", encoding="utf-8")
    config = CONFIG.replace("PORT", str(smsc.port)).replace(f'password = "{PASSWORD}"', f'password_file = "{word}"')
    server: Server = serve(toml=config)
    eventually(lambda: provider(server, "centre").availability == AVAILABILITY_MISCONFIGURED)
    word.write_text(PASSWORD, encoding="utf-8")
    eventually(lambda: provider(server, "centre").availability == AVAILABILITY_AVAILABLE)
    assert dispatch(server, sms(TO)).state == SENT


def settled(server: Server, message_id: str) -> Message:
    """The record of a message once it is delivered: of thousands, each is asked for as seldom as can be."""
    record = get(server, message_id)
    return record if record.state == DELIVERED else until(server, record, DELIVERED)


@pytest.mark.parametrize("count", [250, pytest.param(10_000, marks=pytest.mark.long)])
def test_all_settle_and_none_is_sent_twice_unless_it_is_uncertain(serve: Serve, centre: Centre, count: int) -> None:
    """Over a window of 10, with throttling, a queue that is full, questions for a sign of life, and a connection that
    is cut in the middle."""
    smsc, loop = centre
    taken = 0

    def reply(body: SubmitSm) -> Reply:
        nonlocal taken
        number = len(smsc.submitted)
        if number % 200 == 100:
            return Reply(Status.ESME_RTHROTTLED)
        if number % 300 == 150:
            return Reply(Status.ESME_RMSGQFUL)
        if number == count // 2 + 1:
            loop.call_soon(smsc.hang_up)
        taken += 1
        return Reply(receipt="DELIVRD", early=taken % 2 == 0)

    smsc.reply = reply
    server = served(serve, smsc, 'enquire_link = "20ms"\nwindow = 10\n[providers.centre.breaker]\nopen_for = "50ms"\n')
    bodies = [f"{number} \U0001f680" * (40 if number % 50 == 0 else 1) for number in range(count)]
    sent: list[str] = []
    with Stream(server) as stream:
        for at in range(0, count, 100):
            stream.send([request(sms(TO, body), wait_for=ACCEPTANCE) for body in bodies[at : at + 100]])
        sent += [one.message.message_id for one in stream.rest()]
    assert len(sent) == count
    records = [settled(server, message_id) for message_id in sent]
    assert len(smsc.bound) == 2
    eventually(lambda: smsc.enquiries > 0)
    assert smsc.most_waiting <= 10
    parts = Counter(one.body.short_message for one in smsc.submitted if one.is_taken)
    texts = Counter(one.text for one in smsc.submitted if one.is_taken and not one.body.esm_class & 0x40)
    assert set(texts) == {body for body in bodies if len(body) < 70}
    twice = sum(times - 1 for times in parts.values())
    uncertain = sum(one.outcome == OUTCOME_UNCERTAIN for record in records for one in record.attempts)
    assert twice <= 4 * uncertain, "something was sent twice, and nobody said so"
    assert sum(times - 1 for times in texts.values()) <= uncertain <= 10
