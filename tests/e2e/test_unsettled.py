"""`store.max_unsettled` over the wire: an outbox at its cap tells new callers to come back, and nobody else."""

from __future__ import annotations

import grpc
import pytest
from tests.e2e.calls import (
    ACCEPTANCE,
    QUEUED,
    SENT,
    TIMEOUT,
    Refused,
    dispatch,
    dispatch_all,
    email,
    get,
    refusal_of,
    refused,
    request,
    sms,
    until,
)
from tests.e2e.conftest import Serve
from tests.e2e.metrics import METRICS, values
from tests.e2e.server import Server, eventually
from tests.e2e.streams import Watch, in_time, later, rejected, sent_through, stored

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import Message
from postwire.v1.provider_service_pb2 import DrainProviderRequest, ResumeProviderRequest
from postwire_client import Client, TryAgain

CAP = 5


def asked_to_repeat(error: Refused) -> None:
    """Hold it to the whole of what the contract promises."""
    assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert error.violations == []
    assert error.retry_delay
    assert error.retry_delay > 0
    assert error.trailers["grpc-retry-pushback-ms"] == str(round(error.retry_delay * 1000))


def fill(server: Server) -> list[Message]:
    """Bring the store to its cap, with messages that are sent in an hour."""
    return [one.message for one in sent_through(server, later(CAP))]


def test_at_the_cap_new_ones_are_asked_to_repeat_and_repeats_are_ok(serve: Serve) -> None:
    server = serve(store__max_unsettled=str(CAP))
    settled = dispatch(server, request_id="settled")
    owned = fill(server)
    for asked in (request(), request(wait_for=ACCEPTANCE), *later(1)):
        asked_to_repeat(refused(lambda: server.dispatch.Dispatch(asked, timeout=TIMEOUT)))  # noqa: B023  # at once
    assert server.dispatch.Dispatch(request(request_id="settled"), timeout=TIMEOUT).message == settled
    reused = request(sms(body="another"), "settled")
    assert refused(lambda: server.dispatch.Dispatch(reused, timeout=TIMEOUT)).reason == "REQUEST_ID_REUSED"
    assert get(server, owned[0]) == owned[0]
    assert len(server.dispatch.ListMessages(pb.ListMessagesRequest(), timeout=TIMEOUT).messages) == CAP + 1
    assert stored(server) == CAP + 1


def test_a_stream_is_told_the_same_request_by_request(serve: Serve) -> None:
    server = serve(store__max_unsettled=str(CAP))
    requests = later(3 * CAP)
    results = sent_through(server, requests)
    assert [one.message.state for one in results[:CAP]] == [QUEUED] * CAP
    for one in map(rejected, results[CAP:]):
        assert (one.code, one.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert one.retry_delay
        assert one.retry_delay > 0
    assert stored(server) == CAP
    again = sent_through(server, requests)
    assert [one.message for one in again[:CAP]] == [one.message for one in results[:CAP]]
    assert all(one.HasField("rejection") for one in again[CAP:])


def test_of_many_at_once_no_more_are_taken_than_there_is_room_for(serve: Serve) -> None:
    server = serve(store__max_unsettled=str(CAP))
    calls = [server.dispatch.Dispatch.future(one, timeout=TIMEOUT) for one in later(20 * CAP)]
    errors = [call.exception() for call in calls if call.exception()]
    assert len(calls) - len(errors) == CAP
    for error in errors:
        asked_to_repeat(refusal_of(error))
    assert stored(server) == CAP


def test_there_is_room_again_once_messages_settle(serve: Serve) -> None:
    server = serve(store__max_unsettled=str(CAP))
    server.providers.DrainProvider(DrainProviderRequest(name="sms-mms"), timeout=TIMEOUT)
    parked = dispatch_all(server, [sms()] * CAP, wait_for=ACCEPTANCE)
    asked_to_repeat(refused(lambda: dispatch(server)))
    server.providers.ResumeProvider(ResumeProviderRequest(name="sms-mms"), timeout=TIMEOUT)
    for message in parked:
        until(server, message, SENT)
    eventually(lambda: _is_taken(server))
    # What is cancelled, what expires.
    owned = fill(server)
    asked_to_repeat(refused(lambda: dispatch(server)))
    server.dispatch.CancelMessage(pb.CancelMessageRequest(message_id=owned[0].message_id), timeout=TIMEOUT)
    short = dispatch(server, send_time=in_time(seconds=0.3), expire_time=in_time(seconds=0.301), wait_for=ACCEPTANCE)
    asked_to_repeat(refused(lambda: dispatch(server)))
    with Watch(server, short.message_id) as watch:
        watch.until(lambda one: one.state != QUEUED)
    eventually(lambda: _is_taken(server))


def _is_taken(server: Server) -> bool:
    """Whether a message gets in: that one has settled is told a moment before it counts no more."""
    call = server.dispatch.Dispatch.future(request(), timeout=TIMEOUT)
    return call.exception() is None


def test_it_is_counted_anew_at_boot(serve: Serve) -> None:
    server = serve(store__max_unsettled=str(CAP))
    owned = fill(server)
    server.kill()
    server.start()
    asked_to_repeat(refused(lambda: dispatch(server)))
    server.dispatch.CancelMessage(pb.CancelMessageRequest(message_id=owned[0].message_id), timeout=TIMEOUT)
    assert dispatch(server).state == SENT
    # With less room in the configuration the store keeps what it has.
    server.kill()
    server.start(store__max_unsettled="2")
    asked_to_repeat(refused(lambda: dispatch(server)))
    assert stored(server, "messages WHERE state = 'queued'") == CAP - 1


def test_a_channel_that_is_out_of_service_does_not_close_the_others(serve: Serve) -> None:
    server = serve(**METRICS, store__max_unsettled="500")
    server.providers.DrainProvider(DrainProviderRequest(name="sms-mms"), timeout=TIMEOUT)
    results = sent_through(server, [request(wait_for=ACCEPTANCE) for _ in range(500)])
    assert [one.message.state for one in results[:400]] == [QUEUED] * 400
    assert {rejected(one).reason for one in results[400:]} == {"OVERLOADED"}
    assert dispatch(server, email()).state == SENT
    asked_to_repeat(refused(lambda: dispatch(server)))
    assert values(server, "postwire_queue_depth") == {("sms",): 400, ("mms",): 0, ("email",): 0}
    assert values(server, "postwire_refused_total")[("OVERLOADED",)] == 101, "those in the stream, and the call"
    server.kill()
    server.start()
    asked_to_repeat(refused(lambda: dispatch(server)))
    assert values(server, "postwire_queue_depth")[("sms",)] == 400


def test_what_is_for_later_takes_half_of_the_room(serve: Serve) -> None:
    server = serve(store__max_unsettled="100", store__max_unsettled_per_queue="90")
    results = sent_through(server, later(60))
    assert [one.HasField("rejection") for one in results] == [False] * 50 + [True] * 10
    assert dispatch(server).state == SENT


def test_a_client_is_told_as_an_exception_of_its_own(serve: Serve) -> None:
    server = serve(store__max_unsettled=str(CAP))
    fill(server)
    with Client(server.address, retry=False) as client, pytest.raises(TryAgain) as caught:
        client.dispatch(sms())
    assert caught.value.reason == "OVERLOADED"
    assert caught.value.retry_delay
