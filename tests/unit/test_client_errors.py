"""What both Python clients raise, and what it says."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from tests.support.client_adapters import CLIENT_ADAPTERS, connect
from tests.support.scripted import DETAILS, Refuse, ScriptedServer, overloaded, serving

from postwire_client import (
    Client,
    ClientClosed,
    Conflict,
    FieldViolation,
    InvalidRequest,
    NotFound,
    OutboundMessage,
    PostwireError,
    Sms,
    TryAgain,
)
from postwire_client.errors import from_rpc_error

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


def refusal_of(client_of: Connect, target: str, scripted: ScriptedServer, answer: Refuse) -> PostwireError:
    """What the client raises for this answer."""
    scripted.answers = [answer]
    with client_of(target, retry=False) as client, pytest.raises(PostwireError) as caught:
        client.dispatch(HELLO)
    return caught.value


def test_a_refusal_carries_reason_and_violations(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    error = refusal_of(
        client_of,
        target,
        scripted,
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


def test_a_refusal_carries_the_delay(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    error = refusal_of(client_of, target, scripted, overloaded(1500))
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
        # By the server, which stops: nobody here has cancelled anything.
        (grpc.StatusCode.CANCELLED, TryAgain),
        (grpc.StatusCode.INTERNAL, PostwireError),
        (grpc.StatusCode.OUT_OF_RANGE, PostwireError),
        # Without a reason of ours it is the transport's word for "too large".
        (grpc.StatusCode.RESOURCE_EXHAUSTED, PostwireError),
    ],
)
def test_each_code_has_its_class(
    client_of: Connect, target: str, scripted: ScriptedServer, code: grpc.StatusCode, cls: type[PostwireError]
) -> None:
    error = refusal_of(client_of, target, scripted, Refuse(code, text="said"))
    assert type(error) is cls
    assert (error.code, error.message, error.reason, error.violations) == (code, "said", None, ())


def test_a_reason_of_another_domain_is_not_ours(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    info = ErrorInfo(reason="RATE_LIMIT_EXCEEDED", domain="googleapis.com")
    assert refusal_of(client_of, target, scripted, Refuse(grpc.StatusCode.UNAVAILABLE, info)).reason is None


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
def test_details_that_were_garbled_on_the_way_are_left_out(
    client_of: Connect, target: str, scripted: ScriptedServer, details: bytes
) -> None:
    answer = Refuse(grpc.StatusCode.INVALID_ARGUMENT)
    answer.trailers = ((DETAILS, details),)
    error = refusal_of(client_of, target, scripted, answer)
    assert isinstance(error, InvalidRequest)
    assert (error.message, error.reason) == ("no", None)


def test_what_is_no_call_is_an_error_all_the_same() -> None:
    error = from_rpc_error(grpc.RpcError("lost"))
    assert (type(error), error.code, error.message) == (PostwireError, grpc.StatusCode.UNKNOWN, "lost")


@pytest.mark.parametrize("error", [ClientClosed(), TryAgain(grpc.StatusCode.UNAVAILABLE, "no", "OVERLOADED", (), 1.0)])
def test_errors_say_what_they_are_and_can_be_copied(error: PostwireError) -> None:
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)
    assert (error.reason or error.code.name) in str(error)
