"""Every way in which a call can fail.

The tree, with the status codes that each stands for:

    PostwireError            any
    ├── InvalidRequest       INVALID_ARGUMENT: see `violations`
    ├── NotAllowed           UNAUTHENTICATED, PERMISSION_DENIED
    ├── NotFound             NOT_FOUND
    ├── Conflict             ALREADY_EXISTS, FAILED_PRECONDITION
    ├── TryAgain             UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED where the server says so, and CANCELLED,
    │                        which is how a call ends that a server no longer begins because it stops
    └── ClientClosed         CANCELLED: by `close`, here

`reason` says which of the contract's reasons it is. A repeat with the same request id is safe after any of them. Where
a `TryAgain` has `violations`, there is no room for what these name, maybe for hours: see `retry_delay`. A task that is
cancelled sees `asyncio.CancelledError`, as ever, and none of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc.aio import AioRpcError
from grpc_status import rpc_status

DOMAIN: Final = "postwire"
"""The `domain` of the `ErrorInfo` that is ours."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One bad field: its path from the request down, such as `message.email.to[0]`, and what would be right."""

    field: str
    description: str


class PostwireError(Exception):
    """A call that failed.

    `reason` is the name of an `ErrorReason` without its prefix, such as `INVALID_MESSAGE`; None where the error comes
    from the transport or from a fault in the server. `retry_delay` is in seconds: how long to wait before a repeat.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str | None = None,
        violations: tuple[FieldViolation, ...] = (),
        retry_delay: float | None = None,
    ) -> None:
        super().__init__(code, message, reason, violations, retry_delay)  # all of it, so that it can be pickled
        self.code = code
        self.message = message
        self.reason = reason
        self.violations = violations
        self.retry_delay = retry_delay

    def __str__(self) -> str:
        return f"{self.reason or self.code.name}: {self.message}"


class InvalidRequest(PostwireError):
    """The call itself is wrong, and would be wrong again."""


class NotAllowed(PostwireError):
    """The server does not know who calls (UNAUTHENTICATED), or does, and he may not (PERMISSION_DENIED)."""


class NotFound(PostwireError):
    """There is no such message, or no such provider."""


class Conflict(PostwireError):
    """What is there already does not go together with the call."""


class TryAgain(PostwireError):
    """No answer, or not now. It may be that a message was accepted: repeat with the same request id."""


class ClientClosed(PostwireError):
    """The client was closed: before the call, or while it was under way. It may be that a message was accepted."""

    def __init__(
        self,
        code: grpc.StatusCode = grpc.StatusCode.CANCELLED,
        message: str = "the client is closed",
        reason: str | None = None,
        violations: tuple[FieldViolation, ...] = (),
        retry_delay: float | None = None,
    ) -> None:
        super().__init__(code, message, reason, violations, retry_delay)


_CLASS_OF: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowed,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: Conflict,
    grpc.StatusCode.UNAVAILABLE: TryAgain,
    grpc.StatusCode.DEADLINE_EXCEEDED: TryAgain,
    grpc.StatusCode.RESOURCE_EXHAUSTED: TryAgain,
    grpc.StatusCode.CANCELLED: TryAgain,
}


def from_rpc_error(error: grpc.RpcError) -> PostwireError:
    """What a failed call of gRPC says, of `grpc` or of `grpc.aio`, with the details that the contract promises."""
    if not isinstance(error, grpc.Call | AioRpcError):
        return PostwireError(grpc.StatusCode.UNKNOWN, str(error))
    code = error.code()
    info, bad_request, retry_info = ErrorInfo(), BadRequest(), RetryInfo()
    for detail in _details(error):
        for known in (info, bad_request, retry_info):
            if detail.Is(known.DESCRIPTOR):
                _unpack(detail, known)
    return error_of(
        code,
        error.details() or "",
        info.reason if info.domain == DOMAIN else None,
        tuple(FieldViolation(one.field, one.description) for one in bad_request.field_violations),
        retry_info.retry_delay.ToTimedelta().total_seconds() if retry_info.HasField("retry_delay") else None,
    )


def error_of(
    code: grpc.StatusCode,
    message: str,
    reason: str | None,
    violations: tuple[FieldViolation, ...],
    retry_delay: float | None,
) -> PostwireError:
    """The error of the class that stands for `code`."""
    cls = _CLASS_OF.get(code, PostwireError)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and reason is None:
        cls = PostwireError  # the transport's: a message over its limit, which a repeat does not make smaller
    return cls(code, message, reason, violations, retry_delay)


def _details(call: Any) -> list[Any]:
    try:
        status = rpc_status.from_call(call)  # which is typed for one of them only, and takes both
    except (ValueError, DecodeError):  # something between us and the server has rewritten the status
        return []
    return list(status.details) if status else []


def _unpack(detail: Any, into: Any) -> None:
    try:
        detail.Unpack(into)
    except DecodeError:
        into.Clear()
