"""The Python client, against a gRPC server in this process that answers as it is told."""

from __future__ import annotations

import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from postwire.v1.dispatch_service_pb2 import (
    DispatchRequest,
    DispatchResponse,
    ExplainRouteRequest,
    GetMessageRequest,
    GetMessageResponse,
)
from postwire.v1.dispatch_service_pb2_grpc import add_DispatchServiceServicer_to_server
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
    WatchProvidersRequest,
    WatchProvidersResponse,
)
from postwire.v1.provider_service_pb2_grpc import add_ProviderServiceServicer_to_server
from postwire_client import (
    Attachment,
    Client,
    Conflict,
    DispatchOptions,
    Email,
    ExplainRouteResponse,
    FieldViolation,
    InvalidRequest,
    Message,
    MessageState,
    NotFound,
    OutboundMessage,
    PostwireError,
    RouteCandidate,
    Sms,
    TryAgain,
    WaitFor,
)

DETAILS = "grpc-status-details-bin"
HELLO = OutboundMessage(sms=Sms(to="+15005550006", body="Hello"))


class Refuse:
    """An answer that ends a call: a status, its details, and what else goes into the trailers."""

    def __init__(self, code: grpc.StatusCode, *details: Any, text: str = "no", **trailers: str) -> None:
        status = Status(code=code.value[0], message=text)
        for detail in details:
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
        self.code, self.text = code, text
        self.trailers: tuple[tuple[str, Any], ...] = tuple(
            (name.replace("_", "-"), value) for name, value in trailers.items()
        )
        if details:
            self.trailers += ((DETAILS, status.SerializeToString()),)

    def end(self, context: Any) -> None:
        context.set_trailing_metadata(self.trailers)
        context.abort(self.code, self.text)


class Told:
    """Answers every method of every service: with what it was told to, or with what a function makes of the context;
    the last answer again and again."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[Any] = []
        self.time_left: list[float] = []

    def __getattr__(self, method: str) -> Callable[[Any, Any], Any]:
        if not method[0].isupper():
            raise AttributeError(method)
        return self._answer

    def _answer(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        self.time_left.append(context.time_remaining())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Refuse):
            answer.end(context)
        return answer(context) if callable(answer) else answer


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def target(told: Any) -> Iterator[str]:
    with ThreadPoolExecutor(max_workers=2) as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 36 << 20)])
        add_DispatchServiceServicer_to_server(told, server)
        add_ProviderServiceServicer_to_server(told, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


def closed_port() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def refusal_of(target: str, told: Told, answer: Refuse) -> PostwireError:
    """What the client raises for this answer."""
    told.answers = [answer]
    with Client(target, retry=False) as client, pytest.raises(PostwireError) as caught:
        client.dispatch(HELLO)
    return caught.value


def test_dispatch_sends_what_it_is_given_and_returns_the_record(target: str, told: Told) -> None:
    record = Message(message_id="m", state=MessageState.MESSAGE_STATE_SENT)
    told.answers = [DispatchResponse(message=record)]
    options = DispatchOptions(wait_for=WaitFor.WAIT_FOR_ACCEPTANCE)
    with Client(target) as client:
        assert client.dispatch(HELLO, request_id="order-1", options=options) == record
    assert told.asked == [DispatchRequest(message=HELLO, request_id="order-1", options=options)]


def test_a_request_id_is_made_where_none_is_given(target: str, told: Told) -> None:
    told.answers = [DispatchResponse()]
    with Client(target) as client:
        client.dispatch(HELLO)
        client.dispatch(HELLO)
    first, second = (request.request_id for request in told.asked)
    assert len(first) == len(second) == 36
    assert first != second


def test_the_timeout_reaches_the_server(target: str, told: Told) -> None:
    told.answers = [DispatchResponse()]
    with Client(target, timeout=7.0) as client:
        client.dispatch(HELLO)
    assert told.time_left[0] == pytest.approx(7.0, abs=2.0)


def test_reading(target: str, told: Told) -> None:
    email, both = Provider(name="email"), [Provider(name="sms-mms"), Provider(name="email")]
    with Client(target) as client:
        told.answers = [GetMessageResponse(message=Message(message_id="m"))]
        assert client.get_message("m").message_id == "m"
        told.answers = [GetProviderResponse(provider=email)]
        assert client.get_provider("email") == email
        told.answers = [ListProvidersResponse(providers=both)]
        assert client.list_providers() == both
    assert told.asked == [GetMessageRequest(message_id="m"), GetProviderRequest(name="email"), ListProvidersRequest()]


def test_explaining_a_route(target: str, told: Told) -> None:
    explained = ExplainRouteResponse(route_key="sms", candidates=[RouteCandidate(provider_name="sms-mms", tier=1)])
    options = DispatchOptions(provider_name="sms-mms")
    told.answers = [explained]
    with Client(target) as client:
        assert client.explain_route(HELLO, options) == explained
        assert client.explain_route(HELLO) == explained
    assert told.asked == [ExplainRouteRequest(message=HELLO, options=options), ExplainRouteRequest(message=HELLO)]


def test_steering_a_provider(target: str, told: Told) -> None:
    email = Provider(name="email")
    with Client(target) as client:
        told.answers = [DrainProviderResponse(provider=email)]
        assert client.drain_provider("email") == email
        told.answers = [ResumeProviderResponse(provider=email)]
        assert client.resume_provider("email") == email
        told.answers = [ResetBreakerResponse(provider=email)]
        assert client.reset_breaker("email") == email
    assert told.asked == [
        DrainProviderRequest(name="email"),
        ResumeProviderRequest(name="email"),
        ResetBreakerRequest(name="email"),
    ]


def test_changing_a_mock_sends_only_what_is_given(target: str, told: Told) -> None:
    told.answers = [UpdateMockProviderResponse(provider=Provider(name="email", seed=0, seeded=True))]
    with Client(target) as client:
        assert client.update_mock_provider("email", error_ratio=0.0, latency=0.02, seed=0).seeded
    (request,) = told.asked
    assert request == UpdateMockProviderRequest(
        name="email", error_ratio=0.0, latency=Duration(nanos=20_000_000), seed=0
    )
    assert not request.HasField("rejected_ratio")
    assert not request.HasField("retry_after")


def watch_of(*changes: list[Provider], over: threading.Event) -> Callable[[Any], Iterator[WatchProvidersResponse]]:
    """A watch that tells of these changes, and of no more until its caller ends it, which sets `over`."""

    def stream(context: Any) -> Iterator[WatchProvidersResponse]:
        context.add_callback(over.set)
        for changed in changes:
            yield WatchProvidersResponse(providers=changed)
        over.wait(30)

    return stream


def test_watching_gives_every_change_and_has_no_deadline(target: str, told: Told) -> None:
    every, later, over = [Provider(name="sms-mms"), Provider(name="email")], [Provider(name="email")], threading.Event()
    told.answers = [watch_of(every, later, over=over)]
    with Client(target, timeout=20.0) as client:
        watched = client.watch_providers()
        assert told.asked == [], "nothing before the first is wanted"
        assert [next(watched), next(watched)] == [every, later]
        assert told.asked == [WatchProvidersRequest()]
        assert told.time_left[0] > 1e9, "no deadline"
        watched.close()  # as the end of a loop over it does
        assert over.wait(20), "who breaks off ends the call"
        told.answers = [ListProvidersResponse()]
        assert client.list_providers() == [], "and the client goes on"


def test_a_watch_that_the_server_ends_is_over(target: str, told: Told) -> None:
    told.answers = [lambda context: iter([WatchProvidersResponse(providers=[Provider(name="email")])])]
    with Client(target) as client:
        assert list(client.watch_providers()) == [[Provider(name="email")]]


def test_a_watch_whose_first_answer_does_not_come_is_given_up(target: str, told: Told) -> None:
    over = threading.Event()
    told.answers = [watch_of(over=over)]
    with Client(target, timeout=0.05, retry=False) as client, pytest.raises(TryAgain) as caught:
        next(client.watch_providers())
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert over.wait(20)


def test_a_watch_that_breaks_off_raises_and_so_does_one_whose_client_is_closed(target: str, told: Told) -> None:
    def broken(context: Any) -> Iterator[WatchProvidersResponse]:
        yield WatchProvidersResponse()
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    told.answers = [broken]
    with Client(target, retry=False) as client:
        watched = client.watch_providers()
        assert next(watched) == []
        with pytest.raises(TryAgain, match="gone"):
            next(watched)
        told.answers = [watch_of([], over=threading.Event())]
        watched = client.watch_providers()
        next(watched)
        client.close()
        with pytest.raises(PostwireError, match="CANCELLED"):
            next(watched)


def test_messages_over_grpcs_own_limit_of_4_mib_pass(target: str, told: Told) -> None:
    told.answers = [DispatchResponse()]
    data = bytes(20 << 20)
    message = OutboundMessage(email=Email(to=["a@example.com"], attachments=[Attachment(file_name="a", data=data)]))
    with Client(target) as client:
        client.dispatch(message)
    assert told.asked[0].message.ByteSize() > 20 << 20


def test_a_refusal_carries_reason_and_violations(target: str, told: Told) -> None:
    error = refusal_of(
        target,
        told,
        Refuse(
            grpc.StatusCode.INVALID_ARGUMENT,
            ErrorInfo(reason="INVALID_MESSAGE", domain="postwire"),
            BadRequest(
                field_violations=[
                    BadRequest.FieldViolation(field="message.sms.to", description="must be a number"),
                    BadRequest.FieldViolation(field="message.sms.body", description="must not be empty"),
                ]
            ),
            text="message.sms.to: must be a number",
        ),
    )
    assert isinstance(error, InvalidRequest)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.reason == "INVALID_MESSAGE"
    assert error.violations == (
        FieldViolation("message.sms.to", "must be a number"),
        FieldViolation("message.sms.body", "must not be empty"),
    )
    assert error.retry_delay is None
    assert str(error) == "INVALID_MESSAGE: message.sms.to: must be a number"


def test_a_refusal_carries_the_delay(target: str, told: Told) -> None:
    error = refusal_of(
        target,
        told,
        Refuse(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)),
            ErrorInfo(reason="OVERLOADED", domain="postwire"),
        ),
    )
    assert isinstance(error, TryAgain)
    assert (error.reason, error.retry_delay) == ("OVERLOADED", 1.5)


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, Conflict),
        (grpc.StatusCode.FAILED_PRECONDITION, Conflict),
        (grpc.StatusCode.UNAVAILABLE, TryAgain),
        (grpc.StatusCode.DEADLINE_EXCEEDED, TryAgain),
        (grpc.StatusCode.INTERNAL, PostwireError),
        # Without a reason of ours it is the transport's word for "too large".
        (grpc.StatusCode.RESOURCE_EXHAUSTED, PostwireError),
    ],
)
def test_each_code_has_its_class(target: str, told: Told, code: grpc.StatusCode, cls: type[PostwireError]) -> None:
    error = refusal_of(target, told, Refuse(code, text="said"))
    assert type(error) is cls
    assert (error.code, error.message, error.reason, error.violations) == (code, "said", None, ())


def test_a_reason_of_another_domain_is_not_ours(target: str, told: Told) -> None:
    info = ErrorInfo(reason="RATE_LIMIT_EXCEEDED", domain="googleapis.com")
    assert refusal_of(target, told, Refuse(grpc.StatusCode.UNAVAILABLE, info)).reason is None


@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff\xff",  # no Status at all
        Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="another").SerializeToString(),
        Status(
            code=grpc.StatusCode.INVALID_ARGUMENT.value[0],
            message="no",
            details=[AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")],
        ).SerializeToString(),
    ],
)
def test_details_that_were_garbled_on_the_way_are_left_out(target: str, told: Told, details: bytes) -> None:
    answer = Refuse(grpc.StatusCode.INVALID_ARGUMENT)
    answer.trailers = ((DETAILS, details),)
    error = refusal_of(target, told, answer)
    assert isinstance(error, InvalidRequest)
    assert (error.message, error.reason) == ("no", None)


def test_an_overloaded_server_is_asked_again_with_the_same_request_id(target: str, told: Told) -> None:
    told.answers = [
        Refuse(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            ErrorInfo(reason="OVERLOADED", domain="postwire"),
            grpc_retry_pushback_ms="1",
        ),
        Refuse(grpc.StatusCode.UNAVAILABLE, grpc_retry_pushback_ms="1"),
        DispatchResponse(message=Message(message_id="m")),
    ]
    with Client(target) as client:
        assert client.dispatch(HELLO).message_id == "m"
    assert len(told.asked) == 3
    assert len({request.request_id for request in told.asked}) == 1


def test_without_retry_it_is_asked_once(target: str, told: Told) -> None:
    refusal_of(target, told, Refuse(grpc.StatusCode.UNAVAILABLE, grpc_retry_pushback_ms="1"))
    assert len(told.asked) == 1


def test_a_refusal_that_stays_is_not_repeated(target: str, told: Told) -> None:
    told.answers = [Refuse(grpc.StatusCode.INVALID_ARGUMENT)]
    with Client(target) as client, pytest.raises(InvalidRequest):
        client.dispatch(HELLO)
    assert len(told.asked) == 1


def test_a_server_that_is_not_there() -> None:
    with Client(closed_port(), retry=False) as client, pytest.raises(TryAgain) as caught:
        client.list_providers()
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert caught.value.reason is None


def test_a_server_on_this_machine_is_not_reached_through_a_proxy(
    target: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    told.answers = [ListProvidersResponse()]
    with Client(target, retry=False) as client:
        assert client.list_providers() == []


def test_errors_cross_process_boundaries() -> None:
    error = InvalidRequest(
        grpc.StatusCode.INVALID_ARGUMENT, "no", "INVALID_MESSAGE", (FieldViolation("message", "must be given"),), 1.0
    )
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is InvalidRequest
    assert vars(copied) == vars(error)


def test_use_after_close_says_so(target: str) -> None:
    client = Client(target)
    client.close()
    with pytest.raises(ValueError, match="closed"):
        client.list_providers()
