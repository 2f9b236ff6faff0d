"""The ends of a `DispatchStream`: its caller closes its side, goes away, or the server shuts down."""

from __future__ import annotations

import os
import signal
import sys

import grpc
import pytest
from tests.e2e.calls import ACCEPTANCE, SENT, TIMEOUT, dispatch, in_flight, release, request
from tests.e2e.conftest import Serve
from tests.e2e.server import eventually
from tests.e2e.streams import Stream, later, rejected, sequences, states, stored

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import dispatch_service_pb2_grpc


def test_closing_ones_side_gets_the_rest(serve: Serve) -> None:
    server = serve(held=True, providers__sms_mms__latency="1h")
    with Stream(server) as stream:
        stream.send(request() for _ in range(20))
        stream.send(request(wait_for=ACCEPTANCE) for _ in range(20))
        stream.done_sending()
        accepted = stream.results(20)
        assert sequences(accepted) == list(range(20, 40)), "what only is accepted does not wait for the others"
        release(server)
        rest = stream.until_end()
    assert sorted(sequences(rest)) == list(range(20))
    assert states(rest) == [SENT] * 20


@pytest.mark.parametrize("way", ["cancel", "deadline", "disconnect"])
def test_a_caller_that_goes_away_loses_nothing_and_leaves_nothing(serve: Serve, way: str) -> None:
    server = serve(held=True, providers__sms_mms__latency="1h", server__grace="1h")
    requests = [request() for _ in range(30)]
    if way == "disconnect":
        channel = grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)])
        stub = dispatch_service_pb2_grpc.DispatchServiceStub(channel)
        call = stub.DispatchStream(iter([pb.DispatchStreamRequest(requests=requests)]))
        eventually(lambda: stored(server) == 30)
        channel.close()
        assert not call.is_active()
    else:
        with Stream(server, timeout=1.5 if way == "deadline" else TIMEOUT) as stream:
            stream.send(requests)
            if way == "deadline":  # by when a slow machine may not have come to all of them
                assert stream.end().code is grpc.StatusCode.DEADLINE_EXCEEDED
            else:
                eventually(lambda: stored(server) == 30)
    release(server)
    eventually(lambda: stored(server, "messages WHERE state = 'sent'") == stored(server))
    for one in requests:
        assert server.dispatch.Dispatch(one, timeout=TIMEOUT).message.state == SENT
    # Nothing is left of the call: it would hold up the end for an hour.
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    assert server.log("internal_error") == []
    assert server.rows("SELECT count(*) FROM attempts") == [(30,)]


def test_a_shutdown_answers_what_was_taken_and_then_ends_the_stream(serve: Serve) -> None:
    server = serve(held=True, providers__sms_mms__latency="1h", server__grace="1h")
    with Stream(server) as stream, Stream(server) as idle:
        stream.send([request(), *later(1), request()])
        assert sequences(stream.results(1)) == [1]
        eventually(lambda: in_flight(server) == 2)
        server.send_signal(signal.SIGTERM)
        server.wait_for_event("draining")
        release(server)
        results = stream.results(2)
        assert sorted(sequences(results)) == [0, 2]
        assert states(results) == [SENT] * 2
        for one in (stream, idle):
            end = one.end()
            assert (end.code, end.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
            assert end.retry_delay
    assert server.wait() == 0
    assert server.log("stopped")[0]["unfinished"] == 0
    assert server.log("internal_error") == []
    assert server.rows("SELECT state, count(*) FROM messages GROUP BY state") == [("queued", 1), ("sent", 2)]


def test_what_is_sent_while_it_shuts_down_is_not_taken(serve: Serve) -> None:
    server = serve(held=True, providers__sms_mms__latency="1h", server__grace="1h")
    with Stream(server) as stream:
        stream.send([request()])
        eventually(lambda: in_flight(server) == 1)
        server.send_signal(signal.SIGTERM)
        server.wait_for_event("draining")
        stream.send(later(5))
        release(server)
        results = stream.results(1)
        while results[-1].sequence > 0:  # taken just before, and refused one by one: which is as well
            assert rejected(results[-1]).reason == "SHUTTING_DOWN"
            results += stream.results(1)
        assert results[-1].message.state == SENT
    assert server.wait() == 0
    assert server.rows("SELECT count(*) FROM messages") == [(1,)]


@pytest.mark.skipif(sys.platform != "linux", reason="another process's files are told by Linux's /proc")
def test_streams_that_have_ended_hold_no_files(serve: Serve) -> None:
    server = serve()

    def files() -> int:
        return len(os.listdir(f"/proc/{server.pid}/fd"))  # noqa: PTH208  links, not paths

    dispatch(server)
    before = files()
    for _ in range(20):
        with Stream(server) as stream:
            stream.send(later(2))
            stream.results(1)
    eventually(lambda: files() <= before)
