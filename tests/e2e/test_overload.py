"""Ten times more than it can carry: the surplus is told to come back, and what was accepted is finished."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.e2e.calls import (
    ACCEPTANCE,
    SENT,
    SUCCESS,
    TIMEOUT,
    Refused,
    email,
    in_flight,
    refusal_of,
    release,
    request,
    sms,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.support.waiting import PATIENCE

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import dispatch_service_pb2_grpc
from postwire.v1.message_pb2 import Attachment, Message
from postwire_client import Client

ROOM = 20
TAKEN = 15
"""How many of `ROOM` the messages of one queue may take: four times what they leave of nine tenths of it."""
KIB = 1 << 10
MIB = 1 << 20


def at_once(
    server: Server,
    requests: Sequence[pb.DispatchRequest],
    meanwhile: Callable[[Sequence[Any]], None] = lambda calls: None,
) -> tuple[list[Message], list[Refused]]:
    """Make all calls at the same time, over several connections."""
    stubs = [dispatch_service_pb2_grpc.DispatchServiceStub(server.channel()) for _ in range(4)]
    calls = [
        stubs[number % len(stubs)].Dispatch.future(one, timeout=TIMEOUT, wait_for_ready=True)
        for number, one in enumerate(requests)
    ]
    meanwhile(calls)
    refusals = [refusal_of(call.exception()) for call in calls if call.exception()]
    return [call.result().message for call in calls if not call.exception()], refusals


def asked_to_repeat(refusals: Sequence[Refused]) -> None:
    """Hold each of them to the whole of what the contract promises."""
    for one in refusals:
        assert (one.code, one.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert one.violations == []
        assert one.retry_delay
        assert one.retry_delay > 0
        assert one.trailers["grpc-retry-pushback-ms"] == str(round(one.retry_delay * 1000))


def sends_as_ever(server: Server) -> None:
    for message in (sms(), email()):
        assert server.dispatch.Dispatch(request(message), timeout=TIMEOUT).message.state == SENT


def test_the_surplus_is_asked_to_repeat_and_what_was_accepted_is_finished(serve: Serve) -> None:
    server = serve(held=True, server__max_in_flight=str(ROOM), providers__sms_mms__latency="1h")
    requests = [request() for _ in range(10 * ROOM)]

    def until_full(calls: Sequence[Any]) -> None:
        eventually(lambda: sum(call.done() for call in calls) + in_flight(server) == len(calls))
        release(server)

    messages, refusals = at_once(server, requests, until_full)
    assert len(messages) + len(refusals) == 10 * ROOM
    assert len(messages) >= TAKEN
    assert refusals
    assert {(one.state, one.outcome, len(one.attempts)) for one in messages} == {(SENT, SUCCESS, 1)}
    asked_to_repeat(refusals)

    # What was refused has left nothing, and goes when it comes back.
    accepted = {one.request_id for one in messages}
    again, refusals = at_once(server, [one for one in requests if one.request_id not in accepted][:TAKEN])
    assert refusals == []
    assert {one.state for one in again} == {SENT}
    sends_as_ever(server)
    assert server.terminate() == 0
    assert server.rows("SELECT count(*), count(DISTINCT request_id) FROM messages WHERE state = 'sent'") == [
        (len(messages) + TAKEN + 2, len(messages) + TAKEN + 2)
    ]
    assert server.log("internal_error") == []


def test_a_repeat_of_what_is_owned_is_ok_however_full_it_is(serve: Serve) -> None:
    server = serve(server__max_in_flight=str(ROOM), providers__sms_mms__latency="1h")
    requests = [request(wait_for=ACCEPTANCE) for _ in range(TAKEN)]
    owned, refusals = at_once(server, requests)
    assert (len(owned), refusals) == (TAKEN, [])
    surplus = [request(wait_for=ACCEPTANCE) for _ in range(10 * TAKEN)]
    mixed: list[pb.DispatchRequest] = []
    for number, one in enumerate(surplus):
        mixed += [one, requests[number % TAKEN]]
    messages, refusals = at_once(server, mixed)
    asked_to_repeat(refusals)
    assert len(refusals) == 10 * TAKEN
    assert Counter(one.message_id for one in messages) == {one.message_id: 10 for one in owned}
    # Whoever has the id, and other content, hears of that and not of the load.
    other = request(sms(body="other"), requests[0].request_id)
    assert refusal_of(server.dispatch.Dispatch.future(other, timeout=TIMEOUT).exception()).reason == "REQUEST_ID_REUSED"
    # Reading is not sending.
    asked = pb.GetMessageRequest(message_id=owned[0].message_id)
    assert server.dispatch.GetMessage(asked, timeout=TIMEOUT).message == owned[0]
    assert len(server.dispatch.ListMessages(pb.ListMessagesRequest(), timeout=TIMEOUT).messages) == TAKEN
    server.kill()


def test_bytes_are_limited_as_well_as_messages(serve: Serve) -> None:
    server = serve(server__max_message_bytes="64KiB", providers__email__latency="1h")
    half = email(attachments=[Attachment(file_name="a", data=bytes(32 * KIB))])
    messages, refusals = at_once(server, [request(half, wait_for=ACCEPTANCE) for _ in range(200)])
    asked_to_repeat(refusals)
    # Eight of the largest may be in flight at once: as many of these, which are half that and a little, as are at most
    # four times what they leave of nine tenths of that.
    assert len(messages) == 12
    assert len(refusals) == 188
    assert in_flight(server) == 12
    # There is room for small ones still.
    for _ in range(3):
        assert server.dispatch.Dispatch(request(), timeout=TIMEOUT).message.state == SENT
    server.kill()


def resident(server: Server) -> int:
    """The memory that the server's process has, in bytes."""
    for line in Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * KIB
    raise AssertionError("no VmRSS")


@pytest.mark.skipif(sys.platform != "linux", reason="another process's memory is told by Linux's /proc")
def test_memory_stays_bounded_and_the_service_answers_as_ever_afterwards(serve: Serve) -> None:
    server = serve(
        server__max_in_flight=str(ROOM), server__max_message_bytes="256KiB", providers__email__latency="50ms"
    )
    sends_as_ever(server)
    before = resident(server)
    large = email(attachments=[Attachment(file_name="a", data=bytes(128 * KIB))])
    for _ in range(6):
        messages, refusals = at_once(server, [request(large) for _ in range(10 * ROOM)])
        assert len(messages) + len(refusals) == 10 * ROOM
        assert len(messages) >= 12
        assert {one.state for one in messages} == {SENT}
        asked_to_repeat(refusals)
        # All that came at once are 25 MiB, and 150 have gone through; those that were refused are not to be held.
        assert resident(server) - before < 75 * MIB
    eventually(lambda: in_flight(server) == 0)
    sends_as_ever(server)
    assert server.log("internal_error") == []


def test_a_client_that_does_as_it_is_told_gets_everything_through(serve: Serve) -> None:
    """The trailer is what gRPC's own retries go by: the client that comes with the service needs no code for it."""
    server = serve(server__max_in_flight="2", providers__sms_mms__latency="20ms")
    with Client(server.address, timeout=PATIENCE) as client:
        first: Any = sms().sms
        for number in range(20):
            assert client.dispatch(sms(to=first.to, body=str(number))).state == SENT
        calls = [server.dispatch.Dispatch.future(request(), timeout=TIMEOUT) for _ in range(40)]
        assert client.dispatch(sms()).state == SENT
        assert any(call.exception() for call in calls), "or there was no load"
