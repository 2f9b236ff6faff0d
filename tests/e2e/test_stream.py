"""`DispatchStream` over a real socket: results, rejections, repeats and limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import pytest
from tests.e2e.calls import (
    ACCEPTANCE,
    OUTCOME,
    QUEUED,
    SENDING,
    SENT,
    TIMEOUT,
    dispatch,
    email,
    get,
    in_flight,
    mms,
    new_request_id,
    refused,
    release,
    request,
    sms,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.e2e.streams import Stream, in_time, later, rejected, sent_through, sequences, states, stored
from tests.support.waiting import PATIENCE

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import dispatch_service_pb2_grpc
from postwire.v1.message_pb2 import Attachment

MIB = 1 << 20
WINDOW = 4_000
"""How many requests may be without an answer before no more are taken."""

TAKEN = "messages WHERE channel = 'sms'"


# Results.


def test_acceptances_come_in_order_over_frames_of_any_size(server: Server) -> None:
    sizes = [1, 1_000, 0, 7, 300]
    requests = later(sum(sizes))
    with Stream(server) as stream:
        rest = iter(requests)
        for size in sizes:
            stream.send([next(rest) for _ in range(size)])
        results = stream.rest()
    assert sequences(results) == list(range(len(requests)))
    assert [one.message.request_id for one in results] == [one.request_id for one in requests]
    assert set(states(results)) == {QUEUED}
    for result in results[::200]:
        assert get(server, result.message.message_id) == result.message, "it is durable"


def test_outcomes_come_as_they_complete(serve: Serve) -> None:
    server = serve(held=True, providers__sms_mms__latency="1h")
    with Stream(server) as stream:
        stream.send([request(one) for one in (sms(), email(), mms(), email())])
        first = stream.results(2)
        release(server)
        then = stream.rest()
    assert sorted(sequences(first)) == [1, 3]
    assert sorted(sequences(then)) == [0, 2]
    assert set(states([*first, *then])) == {SENT}


def test_results_come_while_the_caller_goes_on_sending(server: Server) -> None:
    with Stream(server) as stream:
        for sequence in range(10):
            wait_for = ACCEPTANCE if sequence % 2 else OUTCOME
            stream.send([request(wait_for=wait_for)])
            (result,) = stream.results(1)
            assert result.sequence == sequence
        assert stream.rest() == []


def test_empty_frames_and_an_empty_stream_are_fine(server: Server) -> None:
    with Stream(server) as stream:
        assert stream.rest() == []
    with Stream(server) as stream:
        for _ in range(3):
            stream.send()
        stream.send(later(1))
        assert sequences(stream.results(1)) == [0]
        stream.send()
        assert stream.rest() == []


def test_large_records_do_not_break_a_client_with_the_usual_limits(server: Server) -> None:
    requests = later(1_000)
    for one in requests:
        one.message.labels.update({f"{number:02}" + "k" * 60: "v" * 256 for number in range(16)})
    with grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = dispatch_service_pb2_grpc.DispatchServiceStub(channel)
        responses = list(stub.DispatchStream(iter([pb.DispatchStreamRequest(requests=requests)]), timeout=TIMEOUT))
    assert sequences(one for response in responses for one in response.results) == list(range(1_000))
    assert sum(response.ByteSize() for response in responses) > 4 * MIB
    assert len(responses) > 1


# Rejections.


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> object:
    settings = {"routes__mms": "", "server__max_message_bytes": "64KiB", "store__max_unsettled": "3"}
    with Server(tmp_path_factory.mktemp("strict"), **settings) as running:
        known = dispatch(running, request_id="known")
        assert known.state == SENT
        waiting = sent_through(running, later(3))
        assert set(states(waiting)) == {QUEUED}
        yield running


BAD: dict[str, Callable[[], pb.DispatchRequest]] = {
    "a bad field": lambda: request(sms(to="x", body="")),
    "many bad fields": lambda: request(email(*["x"] * 40)),
    "nothing": pb.DispatchRequest,
    "an enum of another release": lambda: request(priority=99),
    "a time that has gone": lambda: request(expire_time=in_time(hours=-1)),
    "too large": lambda: request(email(attachments=[Attachment(file_name="a", data=bytes(1 << 17))])),
    "nobody carries it": lambda: request(mms()),
    "a provider that is not there": lambda: request(provider_name="nobody"),
    "a provider of another channel": lambda: request(provider_name="email"),
    "a request id of another": lambda: request(sms(body="another"), "known"),
    "no room in the store": lambda: request(),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_rejection_says_what_a_call_would_have_been_told_and_ends_nothing(strict: Server, bad: str) -> None:
    asked = BAD[bad]()
    asked.request_id = asked.request_id or new_request_id()
    alone = refused(lambda: strict.dispatch.Dispatch(asked, timeout=TIMEOUT))
    known = request(request_id="known")
    with Stream(strict) as stream:
        stream.send([asked, known, asked])
        stream.send([asked])
        stream.send([known])
        results = stream.rest()
    assert sorted(sequences(results)) == list(range(5))
    by_sequence = {one.sequence: one for one in results}
    for sequence in (0, 2, 3):
        one = rejected(by_sequence[sequence])
        assert (one.code, one.reason, one.text, one.violations) == (
            alone.code,
            alone.reason,
            alone.text,
            alone.violations,
        )
        assert one.retry_delay == alone.retry_delay
    assert by_sequence[1].message.state == by_sequence[4].message.state == SENT
    assert strict.log("internal_error") == []


def test_those_are_all_the_reasons_for_which_a_request_is_refused(strict: Server) -> None:
    requests = [make() for make in BAD.values()]
    reasons = {rejected(one).reason for one in sent_through(strict, requests)}
    assert reasons == {
        "INVALID_MESSAGE",
        "MESSAGE_TOO_LARGE",
        "INVALID_ROUTING",
        "INVALID_PROVIDER",
        "REQUEST_ID_REUSED",
        "OVERLOADED",
    }


def test_a_request_id_is_needed(server: Server) -> None:
    asked = pb.DispatchRequest(message=sms())
    (result,) = sent_through(server, [asked])
    one = rejected(result)
    assert (one.code, one.reason, one.fields) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MESSAGE", ["request_id"])


def test_a_frame_that_is_too_long_is_refused_entry_by_entry(server: Server) -> None:
    before = stored(server)
    with Stream(server) as stream:
        stream.send(later(1_001))
        stream.send(later(2))
        results = stream.rest()
    assert sequences(results) == list(range(1_003))
    assert {(rejected(one).reason, tuple(rejected(one).fields)) for one in results[:1_001]} == {
        ("INVALID_MESSAGE", ("requests",))
    }
    assert states(results[1_001:]) == [QUEUED] * 2
    assert stored(server) == before + 2


def test_frames_that_the_transport_refuses_end_the_call_and_leave_nothing(serve: Serve) -> None:
    server = serve(server__max_message_bytes="64KiB")
    large = email(attachments=[Attachment(file_name="a", data=bytes(5 * MIB))])
    with Stream(server) as stream:
        stream.send([request(large)])
        assert stream.end().code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert stored(server) == 0
    assert dispatch(server).state == SENT
    assert server.log("internal_error") == []


# Repeats.


def test_repeats_are_one_message_in_a_frame_over_frames_and_beside_calls(server: Server) -> None:
    one, other = request(), request()
    first = sent_through(server, [one, other, one, one])
    assert len({result.message.message_id for result in first}) == 2
    with Stream(server) as stream:
        stream.send([one])
        stream.send([other, one])
        again = sorted(stream.rest(), key=lambda result: result.sequence)
    assert [result.message for result in again] == [first[0].message, first[1].message, first[0].message]
    assert server.dispatch.Dispatch(one, timeout=TIMEOUT).message == first[0].message
    called = dispatch(server, request_id="called")
    (repeated,) = sent_through(server, [request(request_id="called")])
    assert repeated.message == called


def test_many_streams_that_race_on_the_same_ids_make_one_message_of_each(serve: Serve) -> None:
    server = serve(providers__sms_mms__latency="20ms")
    requests = [request() for _ in range(50)]
    streams = [Stream(server) for _ in range(6)]
    for number, stream in enumerate(streams):
        stream.send(requests if number % 2 else requests[::-1])
    found = [{one.message.request_id: one.message.message_id for one in stream.rest()} for stream in streams]
    assert found == [found[0]] * 6
    assert len(set(found[0].values())) == 50
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM messages") == server.rows("SELECT count(*) FROM attempts") == [(50,)]


# Limits.


def test_more_than_may_be_in_flight_waits_instead_of_being_refused(serve: Serve) -> None:
    server = serve(server__max_in_flight="10", providers__sms_mms__latency="10ms")
    results = sent_through(server, [request() for _ in range(200)])
    assert states(results) == [SENT] * 200


def test_an_outcome_that_takes_longer_than_the_longest_wait_is_answered_as_it_stands(serve: Serve) -> None:
    server = serve(server__max_wait="100ms", server__grace="0s", providers__sms_mms__latency="1h")
    results = sent_through(server, [request(), request(email()), request()])
    assert states(results) == [SENDING, SENT, SENDING]
    assert in_flight(server) == 2


def test_who_does_not_read_is_taken_no_more_from_and_gets_everything_once_it_reads(serve: Serve) -> None:
    server = serve(server__max_in_flight="100000")  # so that others get through as well
    frames = [pb.DispatchStreamRequest(requests=later(1_000)) for _ in range(9)]

    async def call() -> tuple[int, list[int]]:
        # Without the probes the transport takes 64 KiB ahead of its reader; with them it may come to be megabytes.
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0))
        async with grpc.aio.insecure_channel(server.address, options=options) as channel:
            stub = dispatch_service_pb2_grpc.DispatchServiceStub(channel)
            stream = stub.DispatchStream(timeout=3 * PATIENCE)

            async def write() -> None:
                for frame in frames:
                    await stream.write(frame)
                await stream.done_writing()

            async def others(count: int) -> None:
                for _ in range(count):
                    await stub.Dispatch(request(email(), wait_for=ACCEPTANCE), timeout=TIMEOUT)

            async def come_to_rest() -> int:
                """How many of its messages there are, once others get through and none of these does."""
                before = -1
                while (count := await asyncio.to_thread(stored, server, TAKEN)) != before or count < WINDOW:
                    before = count
                    await others(100)  # each is a commit in which more of the stream could be as well
                return count

            writing = asyncio.create_task(write())
            taken = await come_to_rest()
            found = [one.sequence async for response in stream for one in response.results]
            await writing
            return taken, found

    taken, found = asyncio.run(call())
    assert WINDOW <= taken <= 2 * WINDOW, "and a response or two that the transport holds"
    assert found == list(range(9_000))
    assert stored(server, TAKEN) == 9_000
