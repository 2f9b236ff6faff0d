"""Queues that share a provider: whose messages go first, by the order of the attempts."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from tests.e2e.calls import ACCEPTANCE, QUEUED, SENT, TIMEOUT, email, mms, request, sms
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.e2e.streams import sent_through, states, stored

from postwire.v1.message_pb2 import PRIORITY_HIGH, PRIORITY_LOW, OutboundMessage, Priority
from postwire.v1.provider_service_pb2 import DrainProviderRequest, ResumeProviderRequest

LATENCY = '[providers.one]\nkind = "mock"\nchannels = ["sms", "mms", "email"]\nmax_concurrent = 1\nlatency = "{}"\n'


def park(server: Server, messages: Iterable[OutboundMessage], priority: Priority.ValueType) -> None:
    """Have messages wait while the provider is drained."""
    server.providers.DrainProvider(DrainProviderRequest(name="one"), timeout=TIMEOUT)
    results = sent_through(server, [request(one, priority=priority, wait_for=ACCEPTANCE) for one in messages])
    assert set(states(results)) == {QUEUED}


def resume(server: Server) -> None:
    server.providers.ResumeProvider(ResumeProviderRequest(name="one"), timeout=TIMEOUT)


def started(server: Server) -> list[str]:
    """Channel and priority of the messages that were tried, in the order of their attempts."""
    rows = server.rows("SELECT channel, priority FROM attempts JOIN messages USING (message_id) ORDER BY start_time")
    return [f"{priority} {channel}" for channel, priority in rows]


@pytest.mark.parametrize("restarted", [False, True])
def test_after_a_drain_the_highest_priority_goes_first_and_queues_in_turn(serve: Serve, restarted: bool) -> None:
    server = serve(toml=LATENCY.format("2ms"))
    park(server, [sms()] * 40, PRIORITY_LOW)
    park(server, [email()] * 10, PRIORITY_LOW)
    park(server, [mms()] * 20, PRIORITY_HIGH)
    if restarted:
        server.kill()
        server.start()
    resume(server)
    eventually(lambda: stored(server, "messages WHERE state = 'sent'") == 70)
    assert server.terminate() == 0
    found = started(server)
    assert found[:16] == ["high mms"] * 16
    low = [one for one in found if one != "high mms"]
    assert found.index(low[0]) == 16, "the lowest is passed over for so long and no longer"
    assert low[:20] == [low[0], low[1]] * 10
    assert set(low[:2]) == {"low sms", "low email"}
    assert low[20:] == ["low sms"] * 30


def test_what_is_urgent_does_not_wait_for_a_backlog(serve: Serve) -> None:
    server = serve(toml=LATENCY.format("50ms"), server__grace="1s")
    park(server, [sms()] * 900, PRIORITY_LOW)
    resume(server)
    eventually(lambda: stored(server, "attempts") > 2)
    before = stored(server, "attempts")
    message = server.dispatch.Dispatch(request(mms(), priority=PRIORITY_HIGH), timeout=TIMEOUT).message
    assert message.state == SENT
    assert server.terminate() == 0
    found = started(server)
    # Three seconds' worth of the backlog at most, of which there are forty-five.
    assert found.index("high mms") < before + 60
    assert set(found) == {"low sms", "high mms"}
