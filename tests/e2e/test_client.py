"""Both Python clients against a real server: everything that the contract offers, as users call it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest
from tests.e2e.calls import dispatch_ahead, in_flight, new_request_id
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.e2e.streams import in_time
from tests.support.client_adapters import CLIENT_ADAPTERS, connect

from postwire_client import (
    Breaker,
    BreakerState,
    Channel,
    Client,
    Conflict,
    DeliveryGuarantee,
    DispatchOptions,
    DispatchRequest,
    Email,
    InvalidRequest,
    Media,
    MessageFilter,
    MessageState,
    Mms,
    NotFound,
    OutboundMessage,
    Outcome,
    PostwireError,
    RouteObstacle,
    Sms,
    TryAgain,
    WaitFor,
)

NOBODY = "00000000-0000-7000-8000-000000000000"
SENT, QUEUED = MessageState.MESSAGE_STATE_SENT, MessageState.MESSAGE_STATE_QUEUED

Connect = Callable[..., Client]


@pytest.fixture(params=CLIENT_ADAPTERS)
def client_of(request: pytest.FixtureRequest) -> Connect:
    return lambda *args, **settings: connect(request.param, *args, **settings)


def sms(body: str = "Hello", to: str = "+15005550006") -> OutboundMessage:
    return OutboundMessage(sms=Sms(to=to, body=body))


def later() -> DispatchOptions:
    """Not now, and not while a test runs."""
    return DispatchOptions(send_time=in_time(hours=1), wait_for=WaitFor.WAIT_FOR_ACCEPTANCE)


@pytest.mark.parametrize(
    ("message", "channel", "provider_name"),
    [
        (sms(), Channel.CHANNEL_SMS, "sms-mms"),
        (
            OutboundMessage(mms=Mms(to="+15005550006", media=[Media(url="https://example.com/a.jpg")])),
            Channel.CHANNEL_MMS,
            "sms-mms",
        ),
        (
            OutboundMessage(email=Email(to=["success@simulator.postwire.test"], subject="Hi", text="Hello")),
            Channel.CHANNEL_EMAIL,
            "email",
        ),
    ],
    ids=["sms", "mms", "email"],
)
def test_every_channel_is_sent_read_and_sent_once(
    client_of: Connect, server: Server, message: OutboundMessage, channel: Channel.ValueType, provider_name: str
) -> None:
    request_id = new_request_id()
    with client_of(server.address) as client:
        sent = client.dispatch(message, request_id=request_id)
        assert (sent.channel, sent.state, sent.provider_name) == (channel, SENT, provider_name)
        assert sent.request_id == request_id
        assert client.dispatch(message, request_id=request_id) == sent
        assert client.get_message(sent.message_id) == sent
        assert next(client.list_messages(MessageFilter(channels=[channel]))) == sent


def test_a_provider_that_refuses_is_no_error(client_of: Connect, server: Server) -> None:
    with client_of(server.address) as client:
        failed = client.dispatch(sms(to="+15005550001"))
    assert (failed.state, failed.outcome) == (MessageState.MESSAGE_STATE_FAILED, Outcome.OUTCOME_REJECTED)


def test_refusals_are_typed_and_say_why(client_of: Connect, server: Server) -> None:
    request_id = new_request_id()
    with client_of(server.address) as client:
        with pytest.raises(InvalidRequest) as invalid:
            client.dispatch(sms("", to="12"))
        sent = client.dispatch(sms(), request_id=request_id)
        with pytest.raises(Conflict) as reused:
            client.dispatch(sms("another"), request_id=request_id)
        with pytest.raises(NotFound) as unknown:
            client.get_message(NOBODY)
        with pytest.raises(Conflict) as late:
            client.cancel_message(sent.message_id)
        with pytest.raises(NotFound) as nobody:
            client.get_provider("nobody")
        with pytest.raises(InvalidRequest) as page:
            next(client.list_messages(page_size=-1))
        with pytest.raises(NotFound) as unwatched:
            next(client.watch_messages([NOBODY]))
    assert invalid.value.reason == "INVALID_MESSAGE"
    assert [one.field for one in invalid.value.violations] == ["message.sms.to", "message.sms.body"]
    reasons = [one.value.reason for one in (reused, unknown, late, nobody, page, unwatched)]
    assert reasons == [
        "REQUEST_ID_REUSED",
        "MESSAGE_NOT_FOUND",
        "MESSAGE_NOT_QUEUED",
        "PROVIDER_NOT_FOUND",
        "INVALID_PAGE",
        "MESSAGE_NOT_FOUND",
    ]


def test_a_message_is_cancelled_and_one_is_resolved(client_of: Connect, server: Server) -> None:
    at_most_once = DispatchOptions(delivery_guarantee=DeliveryGuarantee.DELIVERY_GUARANTEE_AT_MOST_ONCE)
    with client_of(server.address) as client:
        waiting = client.dispatch(sms(), options=later())
        assert waiting.state == QUEUED
        assert client.cancel_message(waiting.message_id).state == MessageState.MESSAGE_STATE_CANCELLED
        unknown = client.dispatch(sms(to="+15005550004"), options=at_most_once)
        assert unknown.state == MessageState.MESSAGE_STATE_UNCERTAIN
        assert client.resolve_message(unknown.message_id, sent=True).state == SENT


def test_providers_are_steered(client_of: Connect, serve: Serve) -> None:
    server = serve()
    with client_of(server.address) as client:
        assert [one.name for one in client.list_providers()] == ["sms-mms", "email"]
        watched = client.watch_providers()
        assert [one.name for one in next(watched)] == ["sms-mms", "email"]
        drained = client.drain_provider("sms-mms").breaker
        assert drained == Breaker(state=BreakerState.BREAKER_STATE_FORCED_OPEN)
        assert [one.breaker for one in next(watched)] == [drained]
        (candidate,) = client.explain_route(sms()).candidates
        assert (candidate.eligible, candidate.obstacle) == (False, RouteObstacle.ROUTE_OBSTACLE_DRAINED)
        with pytest.raises(Conflict) as caught:
            client.reset_breaker("sms-mms")
        assert caught.value.reason == "PROVIDER_DRAINED"
        assert client.resume_provider("sms-mms").breaker.state == BreakerState.BREAKER_STATE_CLOSED
        assert client.reset_breaker("sms-mms").breaker.state == BreakerState.BREAKER_STATE_CLOSED
        assert client.update_mock_provider("sms-mms", rejected_ratio=1.0, seed=7).seed == 7
        assert client.dispatch(sms(to="+15005550100")).outcome == Outcome.OUTCOME_REJECTED
        assert client.get_provider("sms-mms").seeded
        watched.close()


def test_many_go_over_one_stream_and_one_bad_request_ends_nothing(client_of: Connect, server: Server) -> None:
    asked = [
        DispatchRequest(message=sms(str(n), to="12" if n == 500 else "+15005550006"), request_id=new_request_id())
        for n in range(1_000)
    ]
    with client_of(server.address) as client:
        results = list(client.dispatch_many(asked, frame_size=100))
        listed = {one.request_id: one for one in islice(client.list_messages(page_size=1_000), 999)}
    assert sorted(one.index for one in results) == list(range(1_000))
    assert all(one.request is asked[one.index] for one in results)
    (refused,) = [one for one in results if one.error]
    assert (refused.index, type(refused.error)) == (500, InvalidRequest)
    assert refused.error
    assert [one.field for one in refused.error.violations] == ["message.sms.to"]
    taken = {one.message.request_id: one.message for one in results if one.message}
    assert len(taken) == 999
    assert {one.state for one in taken.values()} == {SENT}
    assert listed == taken


def test_a_message_is_watched_until_it_is_sent(client_of: Connect, server: Server) -> None:
    with client_of(server.address) as client:
        queued = dispatch_ahead(server, send_after=2, is_early=lambda one: one.state == QUEUED)
        shown = []
        for message, token in (watched := client.watch_messages([queued.message_id])):
            assert token
            shown.append(message)
            if message.state == SENT:
                break
        watched.close()
    assert shown[0].revision >= queued.revision
    revisions = [one.revision for one in shown]
    assert revisions == sorted(set(revisions))


def test_a_watch_is_taken_up_again_with_its_token(client_of: Connect, server: Server) -> None:
    with client_of(server.address) as client:
        first = client.dispatch(sms(), options=later())
        (watched := client.watch_messages([first.message_id]))
        _, token = next(watched)
        watched.close()
        missed = client.cancel_message(first.message_id)
        again = client.watch_messages([first.message_id], resume_token=token)
        assert next(again).message == missed
        again.close()


def test_the_deadline_of_a_repeat_does_not_change_what_happened(client_of: Connect, serve: Serve) -> None:
    server = serve()
    request_id = new_request_id()
    with client_of(server.address, retry=False) as client:
        client.get_provider("email")  # connected
        with server.paused(), pytest.raises(TryAgain):
            client.dispatch(sms(), request_id=request_id, timeout=0.1)
        first = client.dispatch(sms(), request_id=request_id)
        assert client.dispatch(sms(), request_id=request_id).message_id == first.message_id
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM messages") == [(1,)]


def test_a_server_without_room_says_so_and_what_is_tried_again_goes_through(client_of: Connect, serve: Serve) -> None:
    server = serve(server__max_in_flight="1", providers__sms_mms__latency="500ms")
    with (
        client_of(server.address) as client,
        client_of(server.address, retry=False) as impatient,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(client.dispatch, sms())
        eventually(lambda: in_flight(server) == 1)
        with pytest.raises(TryAgain) as caught:
            impatient.dispatch(sms())
        assert caught.value.reason == "OVERLOADED"
        assert caught.value.retry_delay
        assert not first.done()
        assert client.dispatch(sms()).state == SENT
        assert first.result().state == SENT


def test_a_resume_token_of_another_store_is_an_error_that_says_so(
    client_of: Connect, server: Server, serve: Serve
) -> None:
    other = serve()
    with client_of(server.address) as client:
        message = client.dispatch(sms(), options=later())
        watched = client.watch_messages([message.message_id])
        _, token = next(watched)
        watched.close()
    with client_of(other.address) as client, pytest.raises(PostwireError) as caught:
        next(client.watch_messages(resume_token=token))
    assert caught.value.reason == "RESUME_TOKEN_EXPIRED"
