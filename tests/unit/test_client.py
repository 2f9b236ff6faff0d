"""Both Python clients, call by call, against a gRPC server in this process that answers as it is told."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.support.client_adapters import CLIENT_ADAPTERS, connect
from tests.support.scripted import Refuse, ScriptedServer, closed_port, overloaded, serving
from tests.support.waiting import PATIENCE

from postwire.v1.admin_service_pb2 import (
    AuditEvent,
    GetRekeyRequest,
    GetRekeyResponse,
    ListAuditEventsResponse,
    Rekey,
    RekeyState,
    StartRekeyRequest,
    StartRekeyResponse,
)
from postwire.v1.dispatch_service_pb2 import (
    CancelMessageRequest,
    CancelMessageResponse,
    DispatchRequest,
    DispatchResponse,
    EraseMessagesRequest,
    EraseMessagesResponse,
    ExplainRouteRequest,
    GetMessageRequest,
    GetMessageResponse,
    ListMessagesRequest,
    ListMessagesResponse,
    Resolution,
    ResolveMessageRequest,
    ResolveMessageResponse,
)
from postwire.v1.provider_service_pb2 import (
    DrainProviderRequest,
    DrainProviderResponse,
    GetProviderRequest,
    GetProviderResponse,
    ListProvidersRequest,
    ListProvidersResponse,
    Provider,
    ResetBreakerRequest,
    ResetBreakerResponse,
    ResumeProviderRequest,
    ResumeProviderResponse,
    UpdateMockProviderRequest,
    UpdateMockProviderResponse,
)
from postwire.v1.suppression_service_pb2 import (
    AddSuppressionsRequest,
    AddSuppressionsResponse,
    CheckSuppressionsRequest,
    CheckSuppressionsResponse,
    ListSuppressionsResponse,
    RemoveSuppressionsRequest,
    RemoveSuppressionsResponse,
    Suppression,
    SuppressionReason,
)
from postwire_client import (
    Attachment,
    Client,
    ClientClosed,
    DispatchOptions,
    Email,
    ExplainRouteResponse,
    InvalidRequest,
    Message,
    MessageFilter,
    MessageState,
    OutboundMessage,
    RouteCandidate,
    Sms,
    TryAgain,
    WaitFor,
)

HELLO = OutboundMessage(sms=Sms(to="+15005550006", body="Hello"))

Connect = Callable[..., Client]


@pytest.fixture(params=CLIENT_ADAPTERS)
def client_of(request: pytest.FixtureRequest) -> Connect:
    return lambda *args, **settings: connect(request.param, *args, **settings)


@pytest.fixture
def scripted() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def target(scripted: ScriptedServer) -> Iterator[str]:
    with serving(scripted) as address:
        yield address


def test_dispatch_sends_what_it_is_given_and_returns_the_record(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    record = Message(message_id="m", state=MessageState.MESSAGE_STATE_SENT)
    scripted.answers = [DispatchResponse(message=record)]
    options = DispatchOptions(wait_for=WaitFor.WAIT_FOR_ACCEPTANCE)
    with client_of(target) as client:
        assert client.dispatch(HELLO, request_id="order-1", options=options) == record
    assert scripted.asked == [DispatchRequest(message=HELLO, request_id="order-1", options=options)]


def test_a_request_id_is_made_where_none_is_given(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.answers = [DispatchResponse()]
    with client_of(target) as client:
        client.dispatch(HELLO)
        client.dispatch(HELLO)
    first, second = (request.request_id for request in scripted.asked)
    assert len(first) == len(second) == 36
    assert first != second


def test_the_timeout_reaches_the_server_and_a_calls_own_comes_first(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    scripted.answers = [DispatchResponse()]
    with client_of(target, timeout=7.0) as client:
        client.dispatch(HELLO)
        client.dispatch(HELLO, timeout=60.0)
    assert scripted.time_left == [pytest.approx(7.0, abs=2.0), pytest.approx(60.0, abs=2.0)]


@pytest.mark.parametrize("timeout", [math.inf, 1e300, 1e10])
def test_a_timeout_beyond_what_grpc_can_count_is_a_long_one(
    client_of: Connect, target: str, scripted: ScriptedServer, timeout: float
) -> None:
    """gRPC takes it for one that has passed, and the call ends before it begins."""
    scripted.answers = [DispatchResponse()]
    with client_of(target, timeout=timeout) as client:
        client.dispatch(HELLO)
        client.dispatch(HELLO, timeout=timeout)
    assert len(scripted.time_left) == 2
    assert all(left > 365 * 86_400 for left in scripted.time_left)  # three years, as gRPC tells the server


def test_a_time_that_is_no_number_is_refused_by_its_name(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    with client_of(target) as client:
        with pytest.raises(ValueError, match=r"^timeout must be a number of seconds$"):
            client.dispatch(HELLO, timeout=math.nan)
        for seconds in (math.nan, math.inf, -math.inf, 1e300):
            for name in ("latency", "retry_after"):
                times: dict[str, Any] = {name: seconds}
                with pytest.raises(ValueError, match=f"^{name} must be a number of seconds up to 315,576,000,000$"):
                    client.update_mock_provider("email", **times)
    assert scripted.asked == []


def test_reading(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    email, both = Provider(name="email"), [Provider(name="sms-mms"), Provider(name="email")]
    with client_of(target) as client:
        scripted.answers = [GetMessageResponse(message=Message(message_id="m"))]
        assert client.get_message("m").message_id == client.get_message(request_id="r").message_id == "m"
        scripted.answers = [GetProviderResponse(provider=email)]
        assert client.get_provider("email") == email
        scripted.answers = [ListProvidersResponse(providers=both)]
        assert client.list_providers() == both
    assert scripted.asked == [
        GetMessageRequest(message_id="m"),
        GetMessageRequest(request_id="r"),
        GetProviderRequest(name="email"),
        ListProvidersRequest(),
    ]


def test_cancelling_and_resolving(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    message = Message(message_id="m", state=MessageState.MESSAGE_STATE_CANCELLED)
    with client_of(target) as client:
        scripted.answers = [CancelMessageResponse(message=message)]
        assert client.cancel_message("m") == client.cancel_message("m", reason="a typo") == message
        scripted.answers = [ResolveMessageResponse(message=message)]
        assert client.resolve_message("m", sent=True) == message
        assert client.resolve_message("m", sent=False, reason="not in their log") == message
    assert scripted.asked == [
        CancelMessageRequest(message_id="m"),
        CancelMessageRequest(message_id="m", reason="a typo"),
        ResolveMessageRequest(message_id="m", resolution=Resolution.RESOLUTION_SENT),
        ResolveMessageRequest(message_id="m", resolution=Resolution.RESOLUTION_FAILED, reason="not in their log"),
    ]


def test_listing_follows_the_pages_and_asks_for_none_that_nobody_wants(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    pages = [
        ListMessagesResponse(messages=[Message(message_id="1"), Message(message_id="2")], next_page_token="b"),
        ListMessagesResponse(next_page_token="c"),
        ListMessagesResponse(messages=[Message(message_id="3")]),
    ]
    chosen = MessageFilter(labels={"team": "auth"})
    with client_of(target, timeout=20.0) as client:
        scripted.answers = list(pages)
        listed = client.list_messages(chosen, page_size=2, timeout=7.0)
        assert scripted.asked == []
        assert [next(listed).message_id for _ in range(2)] == ["1", "2"]
        assert len(scripted.asked) == 1
        assert [one.message_id for one in listed] == ["3"]
    asked = [ListMessagesRequest(filter=chosen, page_size=2, page_token=token) for token in ("", "b", "c")]
    assert scripted.asked == asked
    assert all(left < 8.0 for left in scripted.time_left)


def test_events_are_fetched_page_by_page(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.answers = [
        ListAuditEventsResponse(events=[AuditEvent(target="1"), AuditEvent(target="2")], next_page_token="b"),
        ListAuditEventsResponse(events=[AuditEvent(target="3")]),
    ]
    method = "postwire.v1.ProviderService/DrainProvider"
    with client_of(target) as client:
        listed = client.list_audit_events(
            tenant="acme", method=method, time_from=datetime(2030, 1, 31, 12, tzinfo=UTC), page_size=2
        )
        assert [one.target for one in listed] == ["1", "2", "3"]
    first, second = scripted.asked
    assert (first.tenant, first.method, first.page_size, first.page_token) == ("acme", method, 2, "")
    assert (first.time_from.ToDatetime(UTC), first.HasField("time_to")) == (
        datetime(2030, 1, 31, 12, tzinfo=UTC),
        False,
    )
    first.page_token = "b"
    assert second == first


def test_erasing(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.answers = [EraseMessagesResponse(erased=2, skipped_unsettled=1)]
    with client_of(target) as client:
        assert client.erase_messages(["a", "b"], reason="asked for").erased == 2
        client.erase_messages(labels={"customer": "7"}, dry_run=True, page_token="t")
    assert scripted.asked == [
        EraseMessagesRequest(message_ids=["a", "b"], reason="asked for"),
        EraseMessagesRequest(labels={"customer": "7"}, dry_run=True, page_token="t"),
    ]


def test_suppressing(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    one = Suppression(address="a@example.com", reason=SuppressionReason.SUPPRESSION_REASON_OPT_OUT)
    with client_of(target) as client:
        scripted.answers = [AddSuppressionsResponse(added=1)]
        assert client.add_suppressions([one]) == 1
        scripted.answers = [CheckSuppressionsResponse(suppressions=[one])]
        assert client.check_suppressions(["a@example.com"]) == [one]
        scripted.answers = [RemoveSuppressionsResponse(removed=1)]
        assert client.remove_suppressions(["a@example.com"]) == 1
        scripted.answers = [
            ListSuppressionsResponse(suppressions=[Suppression(source="1")], next_page_token="b"),
            ListSuppressionsResponse(suppressions=[Suppression(source="2")]),
        ]
        assert [found.source for found in client.list_suppressions(page_size=1)] == ["1", "2"]
    assert scripted.asked[:3] == [
        AddSuppressionsRequest(suppressions=[one]),
        CheckSuppressionsRequest(addresses=["a@example.com"]),
        RemoveSuppressionsRequest(addresses=["a@example.com"]),
    ]
    assert [asked.page_token for asked in scripted.asked[3:]] == ["", "b"]


def test_rekeying(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    running = Rekey(state=RekeyState.REKEY_STATE_RUNNING, key_id="b")
    with client_of(target) as client:
        scripted.answers = [StartRekeyResponse(rekey=running)]
        assert client.start_rekey(reason="rotation") == running
        scripted.answers = [GetRekeyResponse(rekey=running)]
        assert client.get_rekey() == running
    assert scripted.asked == [StartRekeyRequest(reason="rotation"), GetRekeyRequest()]


def test_explaining_a_route(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    explained = ExplainRouteResponse(route_key="sms", candidates=[RouteCandidate(provider_name="sms-mms", tier=1)])
    options = DispatchOptions(provider_name="sms-mms")
    scripted.answers = [explained]
    with client_of(target) as client:
        assert client.explain_route(HELLO, options) == explained
        assert client.explain_route(HELLO) == explained
    assert scripted.asked == [ExplainRouteRequest(message=HELLO, options=options), ExplainRouteRequest(message=HELLO)]


def test_steering_a_provider(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    email = Provider(name="email")
    with client_of(target) as client:
        scripted.answers = [DrainProviderResponse(provider=email)]
        assert client.drain_provider("email") == client.drain_provider("email", reason="why") == email
        scripted.answers = [ResumeProviderResponse(provider=email)]
        assert client.resume_provider("email", reason="why") == email
        scripted.answers = [ResetBreakerResponse(provider=email)]
        assert client.reset_breaker("email", reason="why") == email
    assert scripted.asked == [
        DrainProviderRequest(name="email"),
        DrainProviderRequest(name="email", reason="why"),
        ResumeProviderRequest(name="email", reason="why"),
        ResetBreakerRequest(name="email", reason="why"),
    ]


def test_changing_a_mock_sends_only_what_is_given(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.answers = [UpdateMockProviderResponse(provider=Provider(name="email", seed=0, seeded=True))]
    with client_of(target) as client:
        assert client.update_mock_provider("email", error_ratio=0.0, latency=0.02, seed=0).seeded
    (request,) = scripted.asked
    assert request == UpdateMockProviderRequest(
        name="email", error_ratio=0.0, latency=Duration(nanos=20_000_000), seed=0
    )
    assert not request.HasField("rejected_ratio")
    assert not request.HasField("retry_after")


def test_messages_over_grpcs_own_limit_of_4_mib_pass(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.answers = [DispatchResponse()]
    data = bytes(20 << 20)
    message = OutboundMessage(email=Email(to=["a@example.com"], attachments=[Attachment(file_name="a", data=data)]))
    with client_of(target) as client:
        client.dispatch(message)
    assert scripted.asked[0].message.ByteSize() > 20 << 20


def test_a_server_that_cannot_take_it_now_is_asked_again_with_the_same_request_id(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    scripted.answers = [
        overloaded(),
        Refuse(grpc.StatusCode.UNAVAILABLE, grpc_retry_pushback_ms="1"),
        Refuse(grpc.StatusCode.CANCELLED, grpc_retry_pushback_ms="1"),
        DispatchResponse(message=Message(message_id="m")),
    ]
    with client_of(target) as client:
        assert client.dispatch(HELLO).message_id == "m"
    assert len(scripted.asked) == 4
    assert len({request.request_id for request in scripted.asked}) == 1


def test_without_retry_it_is_asked_once(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.answers = [Refuse(grpc.StatusCode.UNAVAILABLE, grpc_retry_pushback_ms="1")]
    with client_of(target, retry=False) as client, pytest.raises(TryAgain):
        client.dispatch(HELLO)
    assert len(scripted.asked) == 1


def test_a_refusal_that_stays_is_not_repeated(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.answers = [Refuse(grpc.StatusCode.INVALID_ARGUMENT)]
    with client_of(target) as client, pytest.raises(InvalidRequest):
        client.dispatch(HELLO)
    assert len(scripted.asked) == 1


def test_what_the_server_says_of_repeats_is_done(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.answers = [Refuse(grpc.StatusCode.UNAVAILABLE, grpc_retry_pushback_ms="-1")]
    with client_of(target) as client, pytest.raises(TryAgain):
        client.dispatch(HELLO)
    assert len(scripted.asked) == 1, "not at all"


@pytest.mark.parametrize(
    "nowhere", [closed_port(), "unix:/there/is/none", "127.0.0.1:1"], ids=["a port", "a path", "port 1"]
)
def test_a_server_that_is_not_there(client_of: Connect, nowhere: str) -> None:
    with client_of(nowhere, retry=False) as client, pytest.raises(TryAgain) as caught:
        client.list_providers()
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert caught.value.reason is None


def test_a_server_that_does_not_answer_in_time(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    over = threading.Event()

    def hang(context: Any) -> DispatchResponse:
        context.add_callback(over.set)
        over.wait(PATIENCE)
        return DispatchResponse()

    scripted.answers = [hang]
    with client_of(target) as client, pytest.raises(TryAgain) as caught:
        client.dispatch(HELLO, timeout=0.05)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(scripted.asked) <= 1, "it may not have come so far; it is not tried again"


def test_a_server_on_this_machine_is_not_reached_through_a_proxy(
    client_of: Connect, target: str, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    scripted.answers = [ListProvidersResponse()]
    with client_of(target, retry=False) as client:
        assert client.list_providers() == []


CALLS: dict[str, Callable[[Client], object]] = {
    "a call": lambda client: client.list_providers(),
    "a list": lambda client: next(client.list_messages()),
    "a stream": lambda client: next(client.dispatch_many([DispatchRequest(message=HELLO)])),
    "a watch": lambda client: next(client.watch_messages()),
    "another watch": lambda client: next(client.watch_providers()),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("was_used", [True, False])
def test_use_after_close_says_so(
    client_of: Connect, target: str, scripted: ScriptedServer, call: str, was_used: bool
) -> None:
    scripted.answers = [ListProvidersResponse()]
    with client_of(target) as client:
        if was_used:
            client.list_providers()
        client.close()
        client.close()  # again is fine
        with pytest.raises(ClientClosed, match="closed"):
            CALLS[call](client)


def test_a_call_that_is_under_way_when_the_client_is_closed_says_so(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    over = threading.Event()

    def hang(context: Any) -> DispatchResponse:
        context.add_callback(over.set)
        over.wait(PATIENCE)
        return DispatchResponse()

    scripted.answers = [hang]
    with ThreadPoolExecutor(1) as pool, client_of(target) as client:
        calling = pool.submit(client.dispatch, HELLO)
        scripted.until(lambda: scripted.asked)
        client.close()
        assert over.wait(PATIENCE), "the server hears of it"
        with pytest.raises(ClientClosed) as caught:
            calling.result(PATIENCE)
    assert caught.value.code is grpc.StatusCode.CANCELLED
