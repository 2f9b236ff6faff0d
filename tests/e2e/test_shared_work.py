"""Servers that share a database share the work: limits, what operators do to providers, and messages of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest
from tests.e2e.calls import ACCEPTANCE, SENT, TIMEOUT, dispatch, email, mms, provider, request, update
from tests.e2e.server import Server, eventually
from tests.e2e.streams import in_time
from tests.e2e.test_stats import Watch
from tests.support.postgres import new_database

from postwire.v1 import provider_service_pb2 as pb
from postwire.v1.admin_service_pb2 import ListNodesRequest
from postwire.v1.message_pb2 import CHANNEL_MMS

TERMS = {"nodes__lease": "6s", "nodes__beat": "250ms", "providers__email__max_concurrent": "1"}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two servers on one database, whose configurations differ in one section."""
    url = asyncio.run(new_database())
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(
                Server(
                    tmp_path_factory.mktemp(name),
                    store__url=url,
                    nodes__name=name,
                    delivery__max_attempts=attempts,
                    **TERMS,
                )
            )
            for name, attempts in (("one", "4"), ("other", "5"))
        )
        eventually(lambda: shares(one, "sms-mms") == shares(other, "sms-mms") == [32, 32])
        yield one, other


def shares(server: Server, provider_name: str) -> list[int]:
    """How many attempts at a provider each node may have under way, as they have said."""
    listed = server.admin.ListNodes(ListNodesRequest(), timeout=TIMEOUT).nodes
    return [share.max_concurrent for node in listed for share in node.shares if share.provider_name == provider_name]


def is_closed(server: Server) -> bool:
    return provider(server, "sms-mms").breaker.state == pb.BREAKER_STATE_CLOSED


def test_they_share_the_limits_of_each_provider(nodes: tuple[Server, Server]) -> None:
    assert [shares(node, "email") for node in nodes] == [[1, 0], [1, 0]]


def test_what_one_of_them_may_not_send_is_sent_by_the_other_and_its_caller_hears_of_it(
    nodes: tuple[Server, Server],
) -> None:
    without_a_share = nodes[1]
    assert dispatch(without_a_share, email("a@example.com")).state == SENT
    assert provider(without_a_share, "email").breaker.calls == 0
    assert provider(nodes[0], "email").breaker.calls == 1


def test_a_repeat_at_the_other_waits_for_the_one_that_sends(nodes: tuple[Server, Server]) -> None:
    one, other = nodes
    update(one, "sms-mms", latency=1)
    asked = request(request_id="repeated")
    call = one.dispatch.Dispatch.future(asked, timeout=TIMEOUT)
    eventually(lambda: provider(one, "sms-mms").in_flight)
    repeat = other.dispatch.Dispatch(asked, timeout=TIMEOUT).message
    assert repeat.state == SENT
    assert repeat.message_id == call.result().message.message_id
    update(one, "sms-mms", latency=0)


def test_a_drain_holds_at_both_once_it_is_answered_and_a_resume_soon(nodes: tuple[Server, Server]) -> None:
    one, other = nodes
    for here, there in ((one, other), (other, one)):
        here.providers.DrainProvider(pb.DrainProviderRequest(name="sms-mms", reason="noted"), timeout=TIMEOUT)
        assert provider(there, "sms-mms").breaker.state == pb.BREAKER_STATE_FORCED_OPEN
        assert provider(there, "sms-mms").note.reason == "noted"
        there.providers.ResumeProvider(pb.ResumeProviderRequest(name="sms-mms"), timeout=TIMEOUT)
        eventually(partial(is_closed, here))
    assert dispatch(one, wait_for=ACCEPTANCE).message_id


def test_figures_are_of_a_node_and_what_waits_is_of_all(nodes: tuple[Server, Server]) -> None:
    one, other = nodes
    at_one, at_other = Watch(one), Watch(other)
    for watch in (at_one, at_other):  # what the test before has sent may not have settled
        watch.until(lambda watch=watch: not watch.backlog.unsettled)  # type: ignore[misc]  # it is no argument
    before = at_other.counts()
    accepted = at_one.counts()[CHANNEL_MMS, "accepted"]
    dispatch(one, mms(), send_time=in_time(hours=1), wait_for=ACCEPTANCE)
    at_one.until(lambda: at_one.counts()[CHANNEL_MMS, "accepted"] == accepted + 1)
    for watch in (at_one, at_other):
        watch.until(lambda watch=watch: watch.backlog.unsettled == 1)  # type: ignore[misc]  # it is no argument
        watch.call.cancel()
    assert at_other.counts() == before


def test_a_difference_between_their_configurations_is_named(nodes: tuple[Server, Server]) -> None:
    for node in nodes:
        assert any("delivery differs" in str(one["detail"]) for one in node.log("warning"))
