"""What a refusal is on the wire: the table of the contract, in one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from postwire.api.call import Context
from postwire.core.errors import Refusal, TryAgain
from postwire.v1 import dispatch_service_pb2, error_reason_pb2

DOMAIN: Final = "postwire"
DETAILS_KEY: Final = "grpc-status-details-bin"
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"

STATUS_OF: Final[Mapping[str, grpc.StatusCode]] = MappingProxyType(
    {
        "INVALID_MESSAGE": grpc.StatusCode.INVALID_ARGUMENT,
        "MESSAGE_TOO_LARGE": grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_ROUTING": grpc.StatusCode.INTERNAL,
        "INVALID_PROVIDER": grpc.StatusCode.INVALID_ARGUMENT,
        "REQUEST_ID_REUSED": grpc.StatusCode.ALREADY_EXISTS,
        "MESSAGE_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
        "PROVIDER_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
        "PROVIDER_NOT_MOCK": grpc.StatusCode.FAILED_PRECONDITION,
        "PROVIDER_DRAINED": grpc.StatusCode.FAILED_PRECONDITION,
        "MESSAGE_NOT_QUEUED": grpc.StatusCode.FAILED_PRECONDITION,
        "MESSAGE_NOT_UNCERTAIN": grpc.StatusCode.FAILED_PRECONDITION,
        "RESUME_TOKEN_EXPIRED": grpc.StatusCode.OUT_OF_RANGE,
        "OVERLOADED": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "STORE_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
        "INVALID_PAGE": grpc.StatusCode.INVALID_ARGUMENT,
        "SHUTTING_DOWN": grpc.StatusCode.UNAVAILABLE,
        "NO_CREDENTIALS": grpc.StatusCode.UNAUTHENTICATED,
        "INVALID_CREDENTIALS": grpc.StatusCode.UNAUTHENTICATED,
        "ROLE_REQUIRED": grpc.StatusCode.PERMISSION_DENIED,
        "QUOTA_EXCEEDED": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "TENANT_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
        "STORE_NOT_ENCRYPTED": grpc.StatusCode.FAILED_PRECONDITION,
        "INBOX_DISABLED": grpc.StatusCode.FAILED_PRECONDITION,
        "RECIPIENT_NOT_ALLOWED": grpc.StatusCode.FAILED_PRECONDITION,
    }
)
"""The status code of every reason."""

INTERNAL_TEXT: Final = "the server failed: repeat the call with the same request_id"
"""What a caller sees of a fault of ours. It carries no `ErrorInfo`: what was accepted is not known."""


async def abort(context: Context, refusal: Refusal) -> NoReturn:
    """End the call with the refusal's status, details and trailers."""
    status = status_of(refusal)
    trailers: list[tuple[str, str | bytes]] = [(DETAILS_KEY, status.SerializeToString())]
    if STATUS_OF[refusal.reason] is grpc.StatusCode.RESOURCE_EXHAUSTED and isinstance(refusal, TryAgain):
        trailers.append((PUSHBACK_KEY, str(_pushback_ms(refusal, context.time_remaining()))))
    await context.abort(STATUS_OF[refusal.reason], status.message, tuple(trailers))


def _pushback_ms(refusal: TryAgain, time_remaining: float | None) -> int:
    """For how long clients that repeat calls by themselves are to wait. Where the caller has no time for that, they are
    not to repeat it (gRFC A6: a negative number), or all that he hears is that his time is over.
    """
    if not refusal.repeats or (time_remaining is not None and refusal.retry_delay >= time_remaining):
        return -1
    return round(refusal.retry_delay * 1000)


def status_of(refusal: Refusal) -> status_pb2.Status:
    """The refusal as `google.rpc.Status`."""
    code: int = STATUS_OF[refusal.reason].value[0]
    status = status_pb2.Status(code=code, message=str(refusal))
    for detail in _details(refusal):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _details(refusal: Refusal) -> Iterator[Message]:
    yield error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN)
    if refusal.violations:
        yield error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field=one.field, description=one.description)
                for one in refusal.violations
            ]
        )
    if isinstance(refusal, TryAgain):
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(refusal.retry_delay * 1000))
        yield error_details_pb2.RetryInfo(retry_delay=delay)


def fill_rejection(rejection: dispatch_service_pb2.DispatchRejection, refusal: Refusal | None) -> None:
    """Say the same of one request of a stream. None: the fault is ours."""
    if refusal is None:
        rejection.code = grpc.StatusCode.INTERNAL.value[0]
        rejection.message = INTERNAL_TEXT
        return
    rejection.code = STATUS_OF[refusal.reason].value[0]
    rejection.reason = error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{refusal.reason}")
    rejection.message = str(refusal)
    for one in refusal.violations:
        rejection.field_violations.add(field=one.field, description=one.description)
    if isinstance(refusal, TryAgain):
        rejection.retry_delay.FromMilliseconds(round(refusal.retry_delay * 1000))
