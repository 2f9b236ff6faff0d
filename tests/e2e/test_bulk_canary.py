"""Nobody's data where many messages pass: marked data goes through streams, watches, and all that settles messages, and
is looked for in rejections, in what is shown, and in the log.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from tests.e2e.calls import ACCEPTANCE, AT_MOST_ONCE, QUEUED, SENT, UNCERTAIN, new_request_id
from tests.e2e.conftest import Serve
from tests.e2e.streams import Stream, Watch, in_time
from tests.e2e.test_canary import BAD, GOOD, Caller, email, found_in, mark, mms, phone, sms
from tests.support.otlp import Collector

from postwire.outbox.sqlite.maintenance import backup, check
from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import DispatchOptions, Message, OutboundMessage


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def request(message: OutboundMessage, **options: Any) -> pb.DispatchRequest:
    return pb.DispatchRequest(
        message=message, request_id=new_request_id(), options=DispatchOptions(**{"max_attempts": 1, **options})
    )


def frames() -> Iterator[list[pb.DispatchRequest]]:
    """Good and bad requests by turns, in frames of ten."""
    makers = [one for pair in zip(itertools.cycle(GOOD), BAD, strict=False) for one in pair]
    requests = [request(make()) for make in makers]
    requests += [request(mms()), request(sms(), provider_name=mark()), pb.DispatchRequest(message=email())]
    requests += [request(sms(), expire_time=in_time(hours=-1)), pb.DispatchRequest(request_id=mark() + "\n")]
    for body in (mark(), mark()):
        requests.append(request(sms(body=body)))
        requests[-1].request_id = "canary-reused"
    for start in range(0, len(requests), 10):
        yield requests[start : start + 10]
    yield [request(sms()) for _ in range(1_001)]


def test_no_marked_data_comes_out_of_streams_and_watches(serve: Serve, collector: Collector) -> None:
    server = serve(
        telemetry__log_level="debug",
        telemetry__log_format="json",
        telemetry__otlp_endpoint=collector.endpoint,
        routes__mms="",
        store__max_unsettled="100",
        store__content_retention="1h",  # what was there to be found is looked for afterwards
        server__max_wait="5s",
    )
    caller, call = Caller(), server.dispatch
    uncertain = caller.call(call.Dispatch, request(sms(to="+15005550004"), delivery_guarantee=AT_MOST_ONCE)).message
    assert uncertain.state == UNCERTAIN
    with Watch(server).begin() as every, Stream(server) as stream:
        asked = list(frames())
        for frame in asked:
            stream.send(frame)
        results = stream.rest()
        assert len(results) == sum(map(len, asked))
        messages = [one.message for one in results if one.HasField("message")]
        rejections = [one.rejection for one in results if one.HasField("rejection")]
        assert {grpc.StatusCode.INVALID_ARGUMENT.value[0], grpc.StatusCode.INTERNAL.value[0]} <= {
            one.code for one in rejections
        }
        assert sum(one.state == SENT for one in messages) > 10
        shown = [every.next() for _ in range(len({one.message_id for one in messages}))]

    # A backlog that is over the cap, and what is done with it.
    parked: list[Message] = []
    with Stream(server) as stream:
        send_time = in_time(hours=1)
        stream.send(request(sms(), wait_for=ACCEPTANCE, send_time=send_time) for _ in range(120))
        for one in stream.rest():
            if one.HasField("message"):
                parked.append(one.message)
            else:
                rejections.append(one.rejection)
    assert 0 < len(parked) <= 100
    caller.call(call.CancelMessage, pb.CancelMessageRequest(message_id=parked[0].message_id))
    ids = [uncertain.message_id, parked[1].message_id]
    with Watch(server, *ids) as watch:
        shown += [watch.next(), watch.next()]
        for resolution in (pb.RESOLUTION_UNSPECIFIED, pb.RESOLUTION_SENT, pb.RESOLUTION_FAILED):
            asked_for = pb.ResolveMessageRequest(message_id=ids[0], resolution=resolution)
            caller.call(call.ResolveMessage, asked_for)
        shown.append(watch.next())
    for message_id in (mark(), phone(), ids[0]):
        caller.call(call.CancelMessage, pb.CancelMessageRequest(message_id=message_id))
    caller.call(call.ResolveMessage, pb.ResolveMessageRequest(message_id=mark(), resolution=pb.RESOLUTION_SENT))
    for asked_to_watch in (
        pb.WatchMessagesRequest(message_ids=[mark(), phone()]),
        pb.WatchMessagesRequest(resume_token=mark()),
        pb.WatchMessagesRequest(filter=pb.MessageFilter(labels={mark(): mark()}), message_ids=[mark()]),
        pb.WatchMessagesRequest(filter=pb.MessageFilter(provider_names=[mark()] * 101)),
    ):
        caller.call(_first_of(server), asked_to_watch)
    assert {None, "INVALID_MESSAGE", "INVALID_PAGE", "MESSAGE_NOT_QUEUED", "MESSAGE_NOT_UNCERTAIN"} >= set(
        caller.reasons
    )
    assert {"INVALID_MESSAGE", "INVALID_PAGE", "MESSAGE_NOT_QUEUED", "MESSAGE_NOT_UNCERTAIN"} <= set(caller.reasons)

    report = check(server.store)
    backup(server.store, server.folder / "copy.db")
    assert server.terminate() == 0
    assert found_in("\n".join(map(str, rejections))) == []
    assert found_in("\n".join(map(str, shown))) == []
    assert found_in("\n".join(map(str, [*messages, *parked]))) == []
    assert found_in("\n".join(map(str, caller.answers))) == []
    assert found_in("\n".join(caller.errors)) == []
    assert found_in(server.log_text()) == []
    assert found_in(collector.everything()) == []
    assert found_in(repr(report)) == []

    # And all of it was there to be found.
    assert server.log("internal_error") == []
    assert {one.message_id for one in shown} > {uncertain.message_id}
    assert any(one.state == QUEUED for one in shown)
    assert len({one.reason for one in rejections}) >= 6
    contents = server.rows("SELECT content FROM contents")
    assert len(contents) > 50
    assert all(found_in(content.decode("utf-8", "replace")) for (content,) in contents)


def _first_of(server: Any) -> Callable[..., Any]:
    """A call of `WatchMessages` that is over with its first response."""

    def watch(asked: pb.WatchMessagesRequest, **fields: Any) -> Any:
        call = server.dispatch.WatchMessages(asked, **fields)
        try:
            return next(call)
        finally:
            call.cancel()

    return watch
