"""One request id is one message: under races, retries and restarts."""

from __future__ import annotations

from tests.e2e.calls import ACCEPTANCE, SENT, TIMEOUT, email, mms, new_request_id, refusal_of, request, sms
from tests.e2e.conftest import Serve
from tests.e2e.server import Server

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import dispatch_service_pb2_grpc
from postwire.v1.message_pb2 import Message

CALLERS = 64


def race(server: Server, requests: list[pb.DispatchRequest]) -> tuple[list[Message], list[str | None]]:
    """Make all calls at once, over several connections; returns the messages, and the reasons of those refused."""
    stubs = [dispatch_service_pb2_grpc.DispatchServiceStub(server.channel()) for _ in range(8)]
    calls = [
        stubs[index % len(stubs)].Dispatch.future(one, timeout=TIMEOUT, wait_for_ready=True)
        for index, one in enumerate(requests)
    ]
    reasons = [refusal_of(call.exception()).reason for call in calls if call.exception()]
    return [call.result().message for call in calls if not call.exception()], reasons


def test_callers_that_race_on_one_request_id_get_one_message(serve: Serve) -> None:
    server = serve(providers__sms_mms__latency="50ms")
    asked = request()
    messages, refused = race(server, [asked] * CALLERS)
    assert refused == []
    assert len(messages) == CALLERS
    assert {(one.message_id, one.state, len(one.attempts)) for one in messages} == {(messages[0].message_id, SENT, 1)}

    # Half of them wait, half of them do not: that is no part of the payload.
    asked = request(email())
    hasty = pb.DispatchRequest()
    hasty.CopyFrom(asked)
    hasty.options.wait_for = ACCEPTANCE
    messages, refused = race(server, [asked, hasty] * (CALLERS // 2))
    assert refused == []
    assert len({one.message_id for one in messages}) == 1

    # Different payloads: one of them wins, and those of the others are refused.
    request_id = new_request_id()
    payloads = [sms(body="one"), sms(body="two"), mms(body="one"), email()]
    messages, refused = race(server, [request(one, request_id) for one in payloads] * (CALLERS // 4))
    assert len({one.message_id for one in messages}) == 1
    assert len(messages) == CALLERS // 4
    assert refused == ["REQUEST_ID_REUSED"] * (CALLERS - CALLERS // 4)

    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM messages") == [(3,)]
    assert server.rows("SELECT count(*) FROM contents") == [(3,)]
    assert server.rows("SELECT count(*), count(outcome) FROM attempts") == [(3, 3)]
    assert len(server.log("attempt")) == 3


def test_a_request_id_outlives_the_server(serve: Serve) -> None:
    server = serve()
    requests = [request(), request(mms()), request(email())]
    for one in requests:
        # What a map's order or the default spelled out would make of its bytes.
        one.message.labels.update({"b": "2", "a": "1"})
    before = [server.dispatch.Dispatch(one, timeout=TIMEOUT).message for one in requests]
    server.restart()
    for one in requests:
        one.options.wait_for = ACCEPTANCE
        labels = dict(one.message.labels)
        one.message.labels.clear()
        one.message.labels.update(reversed(labels.items()))
    assert [server.dispatch.Dispatch(one, timeout=TIMEOUT).message for one in requests] == before

    # A repeat of what is owned is OK though its channel has no route any more.
    server.restart(routes__email="")
    assert server.dispatch.Dispatch(requests[2], timeout=TIMEOUT).message == before[2]

    server.kill()
    server.start()
    messages, refused = race(server, requests * 10)
    assert refused == []
    assert {one.message_id for one in messages} == {one.message_id for one in before}
    for one in requests:
        one.message.labels["a"] = "3"
    _, refused = race(server, requests)
    assert refused == ["REQUEST_ID_REUSED"] * 3
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM messages") == [(3,)]
