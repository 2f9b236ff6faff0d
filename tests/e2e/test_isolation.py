"""A provider that hangs keeps its own messages waiting, and nobody else's."""

from __future__ import annotations

from collections import Counter

from tests.e2e.calls import (
    ACCEPTANCE,
    QUEUED,
    SENDING,
    SENT,
    TIMEOUT,
    dispatch,
    dispatch_all,
    email,
    get,
    mms,
    providers,
    request,
    sms,
    tried,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import eventually

SLOTS = 8


def test_a_provider_that_hangs_holds_up_nobody_elses_messages(serve: Serve) -> None:
    server = serve(
        # Fewer than what will wait for it: what waits is not carried.
        server__max_in_flight=str(5 * SLOTS),
        server__grace="0s",
        providers__sms_mms__max_concurrent=str(SLOTS),
        providers__sms_mms__latency="1h",
        providers__sms_mms__attempt_timeout="1h",
    )
    hanging = [dispatch(server, (sms(), mms())[number % 2], wait_for=ACCEPTANCE) for number in range(8 * SLOTS)]
    assert [one.state for one in hanging] == [SENDING] * SLOTS + [QUEUED] * (7 * SLOTS)
    # Some callers wait for theirs, too.
    waiting = [server.dispatch.Dispatch.future(request(), timeout=TIMEOUT) for _ in range(SLOTS)]

    for _ in range(10):
        assert providers(server)["sms-mms"].in_flight == SLOTS, "every slot is taken"
        healthy = dispatch_all(server, [email()] * SLOTS)
        assert {(one.state, *tried(one)) for one in healthy} == {(SENT, ("email", "success"))}
        assert providers(server)["sms-mms"].in_flight == SLOTS
    # And all of it while none of the others has moved.
    assert [get(server, one) for one in hanging] == hanging
    assert not any(call.done() for call in waiting)
    seen = providers(server)
    assert seen["sms-mms"].breaker.calls == 0
    assert (seen["email"].breaker.calls, seen["email"].breaker.failures) == (20, 0)
    assert seen["email"].in_flight == 0
    assert Counter(line["provider_name"] for line in server.log("attempt")) <= Counter({"email": 10 * SLOTS})


def test_a_provider_that_hangs_is_left_alone_and_its_slots_come_back(serve: Serve) -> None:
    server = serve(
        providers__sms_mms__max_concurrent=str(SLOTS),
        providers__sms_mms__latency="1h",
        providers__sms_mms__attempt_timeout="100ms",
        providers__sms_mms__breaker__minimum_calls=str(SLOTS),
        providers__sms_mms__breaker__open_for="1h",
        providers__sms_mms__breaker__open_for_max="1h",
        delivery__backoff_base="1h",
        delivery__backoff_max="1h",
        delivery__seed="1",
    )
    hanging = dispatch_all(server, [sms()] * 3 * SLOTS)
    # The first of them have opened the breaker. What has slipped in beside them before that ends likewise.
    assert {one.state for one in hanging} == {QUEUED}
    eventually(lambda: providers(server)["sms-mms"].in_flight == 0)
    eventually(lambda: all(get(server, one).state == QUEUED for one in hanging))  # their ends are on record
    fared = Counter(tuple(tried(get(server, one))) for one in hanging)
    assert set(fared) == {(("sms-mms", "uncertain"),), ()}
    assert SLOTS <= fared[(("sms-mms", "uncertain"),)] < 2 * SLOTS
    assert dispatch(server, email()).state == SENT
