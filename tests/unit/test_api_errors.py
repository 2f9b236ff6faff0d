"""What a refusal is on the wire, for each reason there is."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from tests.support.fields import MALFORMED, TOO_LARGE

from postwire.api import errors
from postwire.core.errors import (
    FieldViolation,
    GuardExceeded,
    InboxDisabled,
    InvalidCredentials,
    InvalidMessage,
    InvalidPage,
    InvalidProvider,
    InvalidRouting,
    MessageNotFound,
    MessageNotQueued,
    MessageNotUncertain,
    MessageTooLarge,
    NoCredentials,
    Overloaded,
    ProviderDrained,
    ProviderNotFound,
    ProviderNotMock,
    QuotaExceeded,
    RecipientNotAllowed,
    Refusal,
    RequestIdReused,
    ResumeTokenExpired,
    RoleRequired,
    ShuttingDown,
    StoreNotEncrypted,
    StoreUnavailable,
    TenantNotFound,
    TryAgain,
)
from postwire.core.message import Attachment, Channel, Email, MessageState
from postwire.core.principal import LOCAL, Role
from postwire.core.validation import Violations, check_content, check_labels, check_request_id
from postwire.v1 import error_reason_pb2
from postwire.v1.dispatch_service_pb2 import DispatchRejection

MAX_METADATA = 8 * 1024
"""What gRPC takes as metadata by default. More reaches the caller as RESOURCE_EXHAUSTED, and the error is lost."""

ONE = [FieldViolation("message.sms.to", "must be right")]
CODE = grpc.StatusCode

# Refusal, status, reason, whether it has a BadRequest, and the delay of its RetryInfo in ms.
TABLE: list[tuple[Refusal, grpc.StatusCode, str, bool, int | None]] = [
    (InvalidMessage("x", ONE), CODE.INVALID_ARGUMENT, "INVALID_MESSAGE", True, None),
    (InvalidPage("x", ONE), CODE.INVALID_ARGUMENT, "INVALID_PAGE", True, None),
    (MessageTooLarge("x", ONE), CODE.INVALID_ARGUMENT, "MESSAGE_TOO_LARGE", True, None),
    (InvalidRouting(Channel.SMS), CODE.INTERNAL, "INVALID_ROUTING", False, None),
    (InvalidProvider("must exist"), CODE.INVALID_ARGUMENT, "INVALID_PROVIDER", True, None),
    (RequestIdReused(), CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", False, None),
    (MessageNotFound(), CODE.NOT_FOUND, "MESSAGE_NOT_FOUND", False, None),
    (MessageNotQueued(MessageState.SENT), CODE.FAILED_PRECONDITION, "MESSAGE_NOT_QUEUED", False, None),
    (MessageNotUncertain(MessageState.SENT), CODE.FAILED_PRECONDITION, "MESSAGE_NOT_UNCERTAIN", False, None),
    (ResumeTokenExpired(), CODE.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED", False, None),
    (ProviderNotFound(), CODE.NOT_FOUND, "PROVIDER_NOT_FOUND", False, None),
    (ProviderNotMock("smtp"), CODE.FAILED_PRECONDITION, "PROVIDER_NOT_MOCK", False, None),
    (ProviderDrained(), CODE.FAILED_PRECONDITION, "PROVIDER_DRAINED", False, None),
    (NoCredentials(), CODE.UNAUTHENTICATED, "NO_CREDENTIALS", False, None),
    (InvalidCredentials(), CODE.UNAUTHENTICATED, "INVALID_CREDENTIALS", False, None),
    (RoleRequired([Role.SEND, Role.READ], LOCAL), CODE.PERMISSION_DENIED, "ROLE_REQUIRED", False, None),
    (TenantNotFound(LOCAL), CODE.NOT_FOUND, "TENANT_NOT_FOUND", False, None),
    (StoreNotEncrypted(), CODE.FAILED_PRECONDITION, "STORE_NOT_ENCRYPTED", False, None),
    (InboxDisabled(), CODE.FAILED_PRECONDITION, "INBOX_DISABLED", False, None),
    (QuotaExceeded("rate", 0.25), CODE.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", False, 250),
    (
        GuardExceeded("guards.max_per_prefix", "message.sms.to", 0.25),
        CODE.RESOURCE_EXHAUSTED,
        "QUOTA_EXCEEDED",
        True,
        250,
    ),
    (RecipientNotAllowed("message.sms.to"), CODE.FAILED_PRECONDITION, "RECIPIENT_NOT_ALLOWED", True, None),
    (Overloaded(0.25), CODE.RESOURCE_EXHAUSTED, "OVERLOADED", False, 250),
    (StoreUnavailable(), CODE.UNAVAILABLE, "STORE_UNAVAILABLE", False, 1000),
    (ShuttingDown(2.5), CODE.UNAVAILABLE, "SHUTTING_DOWN", False, 2500),
]
IDS = [f"{reason}-{type(refusal).__name__}" for refusal, _, reason, _, _ in TABLE]


def unpacked(detail: any_pb2.Any, kind: type[Any]) -> Any:
    message = kind()
    assert detail.Unpack(message)
    return message


class Aborted:
    """Stands where grpc's context does, and keeps what the call was ended with."""

    def __init__(self, time_left: float | None) -> None:
        self._time_left = time_left
        self.code: grpc.StatusCode | None = None
        self.text = ""
        self.trailers: dict[str, str | bytes] = {}

    def time_remaining(self) -> float | None:
        return self._time_left

    async def abort(self, code: grpc.StatusCode, text: str, trailers: tuple[tuple[str, str | bytes], ...]) -> None:
        self.code, self.text, self.trailers = code, text, dict(trailers)


async def aborted(refusal: Refusal, time_left: float | None = None) -> Aborted:
    context = Aborted(time_left)
    await errors.abort(context, refusal)  # type: ignore[arg-type]  # a double of the two methods that are used
    return context


def test_every_reason_is_tried_here() -> None:
    assert {reason for _, _, reason, _, _ in TABLE} == set(errors.STATUS_OF)


@pytest.mark.parametrize(("refusal", "code", "reason", "bad_request", "delay"), TABLE, ids=IDS)
def test_each_refusal_has_its_status_and_details(
    refusal: Refusal, code: grpc.StatusCode, reason: str, bad_request: bool, delay: int | None
) -> None:
    status = errors.status_of(refusal)
    assert (status.code, status.message) == (code.value[0], str(refusal))
    info, *rest = status.details
    assert unpacked(info, error_details_pb2.ErrorInfo) == error_details_pb2.ErrorInfo(reason=reason, domain="postwire")
    kinds = [error_details_pb2.BadRequest] * bad_request + [error_details_pb2.RetryInfo] * (delay is not None)
    assert len(rest) == len(kinds)
    for detail, kind in zip(rest, kinds, strict=True):
        found = unpacked(detail, kind)
        if isinstance(found, error_details_pb2.RetryInfo):
            assert found.retry_delay.ToMilliseconds() == delay
        else:
            assert [(one.field, one.description) for one in found.field_violations] == [
                (one.field, one.description) for one in refusal.violations
            ]


@pytest.mark.parametrize("refusal", [row[0] for row in TABLE], ids=IDS)
async def test_the_call_ends_with_the_status_in_its_trailers(refusal: Refusal) -> None:
    context = await aborted(refusal)
    assert context.code is errors.STATUS_OF[refusal.reason]
    packed = context.trailers["grpc-status-details-bin"]
    assert isinstance(packed, bytes)
    status = status_pb2.Status.FromString(packed)
    assert status == errors.status_of(refusal)
    assert context.code is not None
    assert (status.code, status.message) == (context.code.value[0], context.text), "or clients drop the details"


@pytest.mark.parametrize("refusal", [row[0] for row in TABLE], ids=IDS)
async def test_only_who_is_over_a_limit_is_pushed_back(refusal: Refusal) -> None:
    pushback = (await aborted(refusal)).trailers.get("grpc-retry-pushback-ms")
    if isinstance(refusal, GuardExceeded):
        assert pushback == "-1"  # and not to come back by itself at all
    else:
        assert pushback == ("250" if isinstance(refusal, Overloaded | QuotaExceeded) else None)


@pytest.mark.parametrize(("time_left", "pushback"), [(None, "250"), (0.251, "250"), (0.25, "-1"), (0.0, "-1")])
async def test_who_has_no_time_to_wait_is_not_to_repeat_the_call(time_left: float | None, pushback: str) -> None:
    found = await aborted(Overloaded(0.25), time_left)
    assert found.trailers["grpc-retry-pushback-ms"] == pushback


def test_every_text_is_one_printable_line() -> None:
    assert all(str(refusal).isascii() and str(refusal).isprintable() for refusal, *_ in TABLE)


def test_the_channel_without_a_route_is_named() -> None:
    assert "routes.email" in str(InvalidRouting(Channel.EMAIL))


def worst_email() -> Email:
    """An email in which all that can be wrong is, at the longest paths there are."""
    return Email(
        to=("",) * 1001,
        subject="\n" * 999,
        sender="x",
        reply_to="x",
        headers={**{f"From{i} \n": "\n" * 999 for i in range(51)}, "From": ""},
        attachments=(Attachment("\n" * 300, "x", b""),) * 101,
    )


def only_attachments() -> Email:
    return Email(to=("ada@example.com",), attachments=(Attachment("\n" * 300, "x", b""),) * 101)


@pytest.mark.parametrize("content", [worst_email(), only_attachments()], ids=["everything", "attachments"])
async def test_the_worst_refusal_fits_into_the_metadata_of_a_call(content: Email) -> None:
    found = Violations()
    check_request_id("\n", found)
    check_labels({f"\n{i}": "\n" * 300 for i in range(17)}, found)
    check_content(content, found)
    with pytest.raises(InvalidMessage) as caught:
        found.raise_any()
    context = await aborted(caught.value)
    assert len(caught.value.violations) == 26
    packed = context.trailers["grpc-status-details-bin"]
    # Base64, which is how a peer that does not know HTTP/2 binary headers gets it, and the text beside it.
    assert len(packed) * 4 / 3 + len(context.text) + 500 < MAX_METADATA


async def test_twenty_five_of_the_longest_violations_fit_as_well() -> None:
    path, description = "message.email.attachments[99].content_type", "x" * 110
    assert all(len(field) <= len(path) and len(text) <= 110 for _, field, text in MALFORMED + TOO_LARGE)
    refusal = InvalidMessage(f"{path}: {description}", [FieldViolation(path, description)] * 26)
    packed = (await aborted(refusal)).trailers["grpc-status-details-bin"]
    assert len(packed) * 4 / 3 + 700 < MAX_METADATA


@pytest.mark.parametrize("refusal", [one for one, *_ in TABLE], ids=IDS)
def test_a_rejection_in_a_stream_says_what_the_error_of_a_call_says(refusal: Refusal) -> None:
    status, rejection = errors.status_of(refusal), DispatchRejection()
    errors.fill_rejection(rejection, refusal)
    assert (rejection.code, rejection.message) == (status.code, status.message)
    assert error_reason_pb2.ErrorReason.Name(rejection.reason) == f"ERROR_REASON_{refusal.reason}"
    assert [(one.field, one.description) for one in rejection.field_violations] == [
        (one.field, one.description) for one in refusal.violations
    ]
    delay = refusal.retry_delay if isinstance(refusal, TryAgain) else None
    assert rejection.HasField("retry_delay") == (delay is not None)
    assert rejection.retry_delay.ToMilliseconds() == round((delay or 0) * 1000)


def test_a_fault_of_ours_in_a_stream_says_no_more_than_in_a_call() -> None:
    rejection = DispatchRejection()
    errors.fill_rejection(rejection, None)
    assert (rejection.code, rejection.message) == (grpc.StatusCode.INTERNAL.value[0], errors.INTERNAL_TEXT)
    assert rejection.reason == error_reason_pb2.ERROR_REASON_UNSPECIFIED
