"""What may be in flight is shared: a bulk load leaves room for those who come meanwhile."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.e2e.calls import ACCEPTANCE, SENT, TIMEOUT, email, in_flight, refusal_of, request, sms
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.e2e.streams import Stream

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import PRIORITY_HIGH, PRIORITY_LOW

FRAME = 500


def bulk(count: int) -> Iterator[list[pb.DispatchRequest]]:
    """Emails of low priority, in frames."""
    for start in range(0, count, FRAME):
        yield [request(email(), priority=PRIORITY_LOW) for _ in range(start, min(start + FRAME, count))]


def urgent(server: Server) -> float:
    """Have a text message of high priority sent; how long that took, in seconds."""
    started = time.monotonic()
    message = server.dispatch.Dispatch(request(sms(), priority=PRIORITY_HIGH), timeout=TIMEOUT).message
    assert message.state == SENT
    return time.monotonic() - started


def test_what_is_urgent_gets_through_while_streams_and_calls_hold_all_that_they_may(serve: Serve) -> None:
    server = serve(server__grace="0s", providers__email__latency="1m", providers__email__max_concurrent="10000")
    with Stream(server) as one, Stream(server) as two, Stream(server) as three:
        for frame in bulk(2 * FRAME):
            one.send(frame)
        eventually(lambda: in_flight(server) == 480)
        for stream in (two, three):
            for frame in bulk(2 * FRAME):
                stream.send(frame)
        calls = [
            server.dispatch.Dispatch.future(request(email(), wait_for=ACCEPTANCE), timeout=TIMEOUT) for _ in range(500)
        ]
        refused = [refusal_of(call.exception()) for call in calls if call.exception()]
        assert Counter(one.reason for one in refused) == {"OVERLOADED": 260}
        assert in_flight(server) == 720, "the queue has its share, whoever has filled it"
        for _ in range(60):
            urgent(server)
        assert in_flight(server) == 720
    server.kill()


@pytest.mark.parametrize("count", [1_000, pytest.param(20_000, marks=pytest.mark.long)])
def test_nothing_urgent_is_refused_beside_three_streams(serve: Serve, count: int) -> None:
    server = serve()

    def load(stream: Stream) -> int:
        return sum(one.message.state == SENT for one in stream.rest())

    with Stream(server, timeout=600) as one, Stream(server, timeout=600) as two, Stream(server, timeout=600) as three:
        streams = (one, two, three)
        with ThreadPoolExecutor(len(streams)) as pool:
            for stream in streams:
                for frame in bulk(count):
                    stream.send(frame)
            loads = [pool.submit(load, stream) for stream in streams]
            seconds = [urgent(server) for _ in range(60)]
            if count > 10_000:
                assert not any(load.done() for load in loads), "all of it beside them"
                assert max(seconds) < 2.0
            assert sum(load.result() for load in loads) == 3 * count
