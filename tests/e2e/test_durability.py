"""Nothing accepted is lost: not by kill -9, and not by a disk that is full."""

from __future__ import annotations

import sys

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.e2e.calls import (
    ACCEPTANCE,
    AT_MOST_ONCE,
    NO_RETRY,
    OUTCOME,
    QUEUED,
    SENDING,
    SENT,
    SUCCESS,
    TIMEOUT,
    UNCERTAIN,
    dispatch_all,
    email,
    get,
    provider,
    refusal_of,
    refused,
    request,
    sms,
    tried,
    until,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import eventually

from postwire.v1 import message_pb2

MESSAGES = 30
SOON = {"delivery__backoff_base": "1ms", "delivery__backoff_max": "1ms"}
ORPHANED = ("sms-mms", "uncertain")


@pytest.mark.parametrize("wait_for", [ACCEPTANCE, OUTCOME], ids=["acceptance", "outcome"])
def test_what_was_answered_with_ok_survives_a_kill(serve: Serve, wait_for: message_pb2.WaitFor.ValueType) -> None:
    server = serve()
    requests = [request(wait_for=wait_for) for _ in range(MESSAGES)]
    calls = [server.dispatch.Dispatch.future(one, timeout=TIMEOUT) for one in requests]
    answers = [call.result().message for call in calls]
    server.kill()

    server.start(**SOON)
    for asked, answer in zip(requests, answers, strict=True):
        found = get(server, answer)
        if wait_for == OUTCOME:
            assert found == answer
            assert (found.state, found.outcome) == (SENT, SUCCESS)
        else:
            found = until(server, answer, SENT)
            assert found.create_time == answer.create_time
            assert tried(found) in ([("sms-mms", "success")], [ORPHANED, ("sms-mms", "success")])
        assert found.request_id == asked.request_id
        assert server.dispatch.Dispatch(asked, timeout=TIMEOUT).message.message_id == answer.message_id
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM messages JOIN contents USING (key)") == [(MESSAGES,)]


def test_what_a_kill_leaves_in_mid_send_goes_on_as_its_guarantee_says(serve: Serve) -> None:
    server = serve(providers__sms_mms__latency="1h")
    at_least = request(wait_for=ACCEPTANCE)
    at_most = request(wait_for=ACCEPTANCE, delivery_guarantee=AT_MOST_ONCE)
    only_once = request(wait_for=ACCEPTANCE, max_attempts=1)
    left = [server.dispatch.Dispatch(one, timeout=TIMEOUT).message for one in (at_least, at_most, only_once)]
    assert [(one.state, len(one.attempts)) for one in left] == [(SENDING, 1)] * 3
    server.kill()

    server.start(providers__sms_mms__latency="0s", **NO_RETRY)
    # Its end is unknown, and the record says so. That is no verdict on the provider.
    found = [get(server, one) for one in left]
    assert [one.state for one in found] == [QUEUED, UNCERTAIN, UNCERTAIN]
    for before, after in zip(left, found, strict=True):
        assert tried(after) == [ORPHANED]
        (attempt,) = after.attempts
        assert (attempt.error_code, attempt.start_time) == ("orphaned", before.attempts[0].start_time)
        assert attempt.detail
        assert (after.create_time, after.expire_time) == (before.create_time, before.expire_time)
        assert after.revision > before.revision
    breaker = provider(server, "sms-mms").breaker
    assert (breaker.calls, breaker.failures) == (0, 0)
    # Whoever repeats the call is told the same.
    for asked, one in zip((at_least, at_most, only_once), found, strict=True):
        assert server.dispatch.Dispatch(asked, timeout=TIMEOUT).message == one
    assert server.dispatch.Dispatch(request(), timeout=TIMEOUT).message.state == SENT

    # Killed again before the next attempt: nothing is forgotten, and nothing is counted twice.
    server.kill()
    server.start()
    assert [get(server, one) for one in left] == found
    assert server.log("attempt") == []
    assert server.terminate() == 0
    assert server.rows("SELECT count(*), count(outcome) FROM attempts") == [(4, 4)]


def test_what_a_kill_leaves_in_mid_send_is_sent_by_the_next_boot(serve: Serve) -> None:
    server = serve(providers__sms_mms__latency="1h")
    left = dispatch_all(server, [sms()] * MESSAGES, wait_for=ACCEPTANCE)
    assert {one.state for one in left} == {SENDING}
    for _ in range(2):
        server.kill()
        # It is killed in mid-send once more.
        server.start(**SOON)
        for one in left:
            until(server, one, SENDING)
    server.kill()
    server.start(providers__sms_mms__latency="0s")
    for one in left:
        assert tried(until(server, one, SENT)) == [ORPHANED] * 3 + [("sms-mms", "success")]
    assert sorted(line["message_id"] for line in server.log("attempt")) == sorted(one.message_id for one in left)


def test_killed_again_and_again_in_the_midst_of_a_stream_of_calls(serve: Serve) -> None:
    server = serve()
    owned: dict[str, str] = {}
    for _ in range(3):
        requests = {one.request_id: one for one in (request() for _ in range(MESSAGES * 2))}
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
    assert get(server, before) == before

    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (most, most))
    eventually(lambda: health() == health_pb2.HealthCheckResponse.SERVING)
    after = server.dispatch.Dispatch(asked, timeout=TIMEOUT).message
    assert after.state == SENT
    server.kill()
    server.start()
    assert [get(server, one) for one in (before, after)] == [before, after]
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM messages") == [(2,)]
