"""Nothing accepted is lost: not by kill -9, and not by a disk that is full."""

from __future__ import annotations

import sys

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.e2e.calls import ACCEPTANCE, OUTCOME, SENDING, SENT, SUCCESS, TIMEOUT, email, refusal_of, refused, request
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2
from postwire.v1.message_pb2 import Message

MESSAGES = 30


def get(server: Server, message_id: str) -> Message:
    return server.dispatch.GetMessage(pb.GetMessageRequest(message_id=message_id), timeout=TIMEOUT).message


@pytest.mark.parametrize("wait_for", [ACCEPTANCE, OUTCOME], ids=["acceptance", "outcome"])
def test_what_was_answered_with_ok_survives_a_kill(serve: Serve, wait_for: message_pb2.WaitFor.ValueType) -> None:
    server = serve()
    requests = [request(wait_for=wait_for) for _ in range(MESSAGES)]
    calls = [server.dispatch.Dispatch.future(one, timeout=TIMEOUT) for one in requests]
    answers = [call.result().message for call in calls]
    server.kill()

    server.start()
    for asked, answer in zip(requests, answers, strict=True):
        found = get(server, answer.message_id)
        if wait_for == OUTCOME:
            assert found == answer
            assert (found.state, found.outcome) == (SENT, SUCCESS)
        else:
            assert found.state in (SENDING, SENT)
            assert found.create_time == answer.create_time
        assert found.request_id == asked.request_id
        assert server.dispatch.Dispatch(asked, timeout=TIMEOUT).message.message_id == answer.message_id
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM messages JOIN contents USING (key)") == [(MESSAGES,)]


def test_what_a_kill_leaves_in_mid_send_is_not_sent_again(serve: Serve) -> None:
    server = serve(providers__sms_mms__latency="1m")
    asked = request(wait_for=ACCEPTANCE)
    left = server.dispatch.Dispatch(asked, timeout=TIMEOUT).message
    server.kill()

    server.start(providers__sms_mms__latency="0s")
    assert get(server, left.message_id) == left
    assert (left.state, len(left.attempts)) == (SENDING, 1)
    asked.options.wait_for = OUTCOME
    assert server.dispatch.Dispatch(asked, timeout=TIMEOUT).message == left
    assert server.dispatch.Dispatch(request(), timeout=TIMEOUT).message.state == SENT
    server.restart()
    assert get(server, left.message_id) == left
    assert [line["message_id"] for line in server.log("attempt")] == []


def test_killed_again_and_again_in_the_midst_of_a_stream_of_calls(serve: Serve) -> None:
    server = serve()
    owned: dict[str, str] = {}
    for _ in range(3):
        requests = {one.request_id: one for one in (request() for _ in range(MESSAGES * 4))}
        calls = {key: server.dispatch.Dispatch.future(one, timeout=TIMEOUT) for key, one in requests.items()}
        next(iter(calls.values())).result()
        server.kill()  # some are answered, some are under way, some have not arrived
        for key, call in calls.items():
            if error := call.exception():
                assert refusal_of(error).code is grpc.StatusCode.UNAVAILABLE
            else:
                owned[key] = call.result().message.message_id
        server.start()
        # As clients do: repeat everything.
        for key, one in requests.items():
            message = server.dispatch.Dispatch(one, timeout=TIMEOUT).message
            assert owned.setdefault(key, message.message_id) == message.message_id
    assert server.terminate() == 0
    assert server.rows("SELECT count(*), count(DISTINCT request_id) FROM messages") == [(len(owned), len(owned))]
    assert server.rows("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.skipif(sys.platform != "linux", reason="another process's limits are Linux's")
def test_a_full_disk_is_told_and_nothing_is_lost_by_it(serve: Serve) -> None:
    import resource

    server = serve()
    before = server.dispatch.Dispatch(request(), timeout=TIMEOUT).message
    _, most = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, most))
    asked = request(email(text="x" * 100_000))
    error = refused(lambda: server.dispatch.Dispatch(asked, timeout=TIMEOUT))
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert error.retry_delay

    def health() -> object:
        return server.health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT).status

    eventually(lambda: health() == health_pb2.HealthCheckResponse.NOT_SERVING)
    assert refused(lambda: server.dispatch.Dispatch(request(), timeout=TIMEOUT)).reason == "STORE_UNAVAILABLE"
    assert get(server, before.message_id) == before

    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (most, most))
    eventually(lambda: health() == health_pb2.HealthCheckResponse.SERVING)
    after = server.dispatch.Dispatch(asked, timeout=TIMEOUT).message
    assert after.state == SENT
    server.kill()
    server.start()
    assert [get(server, one.message_id) for one in (before, after)] == [before, after]
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM messages") == [(2,)]
