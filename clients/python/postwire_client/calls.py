"""Every call that is one request and one answer: what to ask, and what to take from the answer; not how to call.

`Client` makes of each a method that blocks and returns what is taken, and `AsyncClient` one that is awaited for it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration

from postwire.v1.admin_service_pb2 import (
    GetCallerRequest,
    GetCallerResponse,
    GetRekeyRequest,
    ListAuditEventsRequest,
    ListAuditEventsResponse,
    ListNodesRequest,
    ListTenantsRequest,
    Node,
    Rekey,
    StartRekeyRequest,
    Tenant,
)
from postwire.v1.admin_service_pb2_grpc import AdminServiceStub
from postwire.v1.dispatch_service_pb2 import (
    CancelMessageRequest,
    DispatchRequest,
    EraseMessagesRequest,
    EraseMessagesResponse,
    ExplainRouteRequest,
    ExplainRouteResponse,
    GetMessageRequest,
    ListMessagesRequest,
    ListMessagesResponse,
    Resolution,
    ResolveMessageRequest,
)
from postwire.v1.dispatch_service_pb2_grpc import DispatchServiceStub
from postwire.v1.inbox_service_pb2 import (
    ClearInboxRequest,
    InboxMessage,
    ListInboxRequest,
    ListInboxResponse,
    WaitForMessageRequest,
)
from postwire.v1.inbox_service_pb2_grpc import InboxServiceStub
from postwire.v1.message_pb2 import DispatchOptions, Message, OutboundMessage
from postwire.v1.provider_service_pb2 import (
    DrainProviderRequest,
    GetProviderRequest,
    ListProvidersRequest,
    Provider,
    ResetBreakerRequest,
    ResumeProviderRequest,
    UpdateMockProviderRequest,
)
from postwire.v1.provider_service_pb2_grpc import ProviderServiceStub
from postwire.v1.suppression_service_pb2 import (
    AddSuppressionsRequest,
    CheckSuppressionsRequest,
    ListSuppressionsRequest,
    ListSuppressionsResponse,
    RemoveSuppressionsRequest,
    Suppression,
)
from postwire.v1.suppression_service_pb2_grpc import SuppressionServiceStub
from postwire_client.request_ids import new_request_id

_LONGEST_DURATION: Final = 315_576_000_000
"""Seconds, 10,000 years: what a `Duration` may hold."""

_ANSWERED_EARLY: Final = 0.5
"""Seconds before the end of a caller's time at which the server has answered him, and more."""
_ROUNDED_UP: Final = 0.02
"""By what part of itself the server may take that time for shorter, and more."""

R = TypeVar("R")
Method = TypeVar("Method", bound=Callable[..., Any])
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """A call to be made. `timeout` (s) is its own; None: the client's."""

    method: Callable[..., Any]
    request: object
    take: Callable[[Any], R]
    timeout: float | None


class Calls:
    """The calls over one channel, and the stubs for the others, which are streams."""

    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None:
        plain: Any = channel  # the stubs are typed for the one, and work for either
        self.messages = DispatchServiceStub(plain)
        self.providers = ProviderServiceStub(plain)
        self.admin = AdminServiceStub(plain)
        self.suppressions = SuppressionServiceStub(plain)
        self.inbox = InboxServiceStub(plain)

    # Messages.

    def dispatch(
        self,
        message: OutboundMessage,
        *,
        request_id: str = "",
        options: DispatchOptions | None = None,
        timeout: float | None = None,
    ) -> Call[Message]:
        """Send a message, and return its record. A provider that failed is no error: see `state` and `outcome`.

        Without a `request_id` a new one is made, so that retries send nothing twice. Give one of your own if you may
        have to repeat this call: after a crash, say.

        Raises InvalidRequest where the message is not as it should be, Conflict where the request id belongs to another
        one, and TryAgain where nobody knows whether it was accepted: repeat it then with the same request id.
        """
        request = DispatchRequest(message=message, request_id=request_id or new_request_id(), options=options)
        return _call(self.messages.Dispatch, request, lambda answer: answer.message, timeout)

    def get_message(self, message_id: str = "", *, request_id: str = "", timeout: float | None = None) -> Call[Message]:
        """The record of the message with this id, or with this request id: give one of them. Raises NotFound."""
        request = GetMessageRequest(message_id=message_id, request_id=request_id)
        return _call(self.messages.GetMessage, request, lambda answer: answer.message, timeout)

    def cancel_message(self, message_id: str, *, reason: str = "", timeout: float | None = None) -> Call[Message]:
        """Take a message back that is queued; again is fine. `reason` is kept as its note.

        Raises NotFound, and Conflict once sending has begun.
        """
        request = CancelMessageRequest(message_id=message_id, reason=reason)
        return _call(self.messages.CancelMessage, request, lambda answer: answer.message, timeout)

    def resolve_message(
        self, message_id: str, *, sent: bool, reason: str = "", timeout: float | None = None
    ) -> Call[Message]:
        """Settle a message that is uncertain, once you have found out whether it was sent.

        `reason` is kept as its note. Raises NotFound, and Conflict where the message is not uncertain.
        """
        resolution = Resolution.RESOLUTION_SENT if sent else Resolution.RESOLUTION_FAILED
        request = ResolveMessageRequest(message_id=message_id, resolution=resolution, reason=reason)
        return _call(self.messages.ResolveMessage, request, lambda answer: answer.message, timeout)

    def explain_route(
        self, message: OutboundMessage, options: DispatchOptions | None = None, *, timeout: float | None = None
    ) -> Call[ExplainRouteResponse]:
        """Which providers the message would be offered to, in which order, and who could take it now. Sends nothing.

        Raises InvalidRequest.
        """
        request = ExplainRouteRequest(message=message, options=options)
        return _call(self.messages.ExplainRoute, request, lambda answer: answer, timeout)

    def list_page(self, request: ListMessagesRequest, timeout: float | None) -> Call[ListMessagesResponse]:
        """One page of messages."""
        return _call(self.messages.ListMessages, request, lambda answer: answer, timeout)

    def erase_messages(
        self,
        message_ids: Iterable[str] = (),
        *,
        labels: Mapping[str, str] | None = None,
        dry_run: bool = False,
        page_token: str = "",
        reason: str = "",
        timeout: float | None = None,
    ) -> Call[EraseMessagesResponse]:
        """Erase what settled messages say, and their labels: of these, at most 1,000, or of all with all of `labels`.

        Their records stay. Again is fine. With labels, at most 1,000 are erased: as long as the answer has a
        `next_page_token`, ask again with it. With `dry_run` they are only counted. `reason` is for the record of what
        was done. Raises InvalidRequest.
        """
        request = EraseMessagesRequest(
            message_ids=message_ids, labels=labels, dry_run=dry_run, page_token=page_token, reason=reason
        )
        return _call(self.messages.EraseMessages, request, lambda answer: answer, timeout)

    # Providers.

    def list_providers(self, *, timeout: float | None = None) -> Call[list[Provider]]:
        """Every provider, in the order of declaration."""
        return _call(
            self.providers.ListProviders, ListProvidersRequest(), lambda answer: list(answer.providers), timeout
        )

    def get_provider(self, name: str, *, timeout: float | None = None) -> Call[Provider]:
        """One provider. Raises NotFound."""
        request = GetProviderRequest(name=name)
        return _call(self.providers.GetProvider, request, lambda answer: answer.provider, timeout)

    def drain_provider(self, name: str, *, reason: str = "", timeout: float | None = None) -> Call[Provider]:
        """Take a provider out of service, until `resume_provider`. Attempts that are under way are left to end.

        `reason` is kept as its note, here and below. Raises NotFound.
        """
        request = DrainProviderRequest(name=name, reason=reason)
        return _call(self.providers.DrainProvider, request, lambda answer: answer.provider, timeout)

    def resume_provider(self, name: str, *, reason: str = "", timeout: float | None = None) -> Call[Provider]:
        """Put a drained provider into service again. Raises NotFound."""
        request = ResumeProviderRequest(name=name, reason=reason)
        return _call(self.providers.ResumeProvider, request, lambda answer: answer.provider, timeout)

    def reset_breaker(self, name: str, *, reason: str = "", timeout: float | None = None) -> Call[Provider]:
        """Close a provider's breaker, whatever it has seen. Raises NotFound, and Conflict for one that is drained."""
        request = ResetBreakerRequest(name=name, reason=reason)
        return _call(self.providers.ResetBreaker, request, lambda answer: answer.provider, timeout)

    def update_mock_provider(
        self,
        name: str,
        *,
        error_ratio: float | None = None,
        rate_limited_ratio: float | None = None,
        uncertain_ratio: float | None = None,
        rejected_ratio: float | None = None,
        connect_error_ratio: float | None = None,
        deferred_ratio: float | None = None,
        misconfigured: bool | None = None,
        latency: float | None = None,
        retry_after: float | None = None,
        seed: int | None = None,
        delivered_ratio: float | None = None,
        undelivered_ratio: float | None = None,
        receipt_delay: float | None = None,
        doubled_receipt_ratio: float | None = None,
        timeout: float | None = None,
    ) -> Call[Provider]:
        """Change how a mock behaves, until the server stops; what is None stays. Times are in seconds.

        Raises NotFound, InvalidRequest, and Conflict where the provider is no mock.
        """
        request = UpdateMockProviderRequest(
            name=name,
            error_ratio=error_ratio,
            rate_limited_ratio=rate_limited_ratio,
            uncertain_ratio=uncertain_ratio,
            rejected_ratio=rejected_ratio,
            connect_error_ratio=connect_error_ratio,
            deferred_ratio=deferred_ratio,
            misconfigured=misconfigured,
            latency=_duration("latency", latency),
            retry_after=_duration("retry_after", retry_after),
            seed=seed,
            delivered_ratio=delivered_ratio,
            undelivered_ratio=undelivered_ratio,
            receipt_delay=_duration("receipt_delay", receipt_delay),
            doubled_receipt_ratio=doubled_receipt_ratio,
        )
        return _call(self.providers.UpdateMockProvider, request, lambda answer: answer.provider, timeout)

    # Who must not be written to.

    def add_suppressions(self, suppressions: Iterable[Suppression], *, timeout: float | None = None) -> Call[int]:
        """Suppress addresses, at most 1,000: nothing is sent to them any more. Again is fine. Returns how many of them
        were not suppressed before. Raises InvalidRequest, and then none is.
        """
        request = AddSuppressionsRequest(suppressions=suppressions)
        return _call(self.suppressions.AddSuppressions, request, lambda answer: answer.added, timeout)

    def remove_suppressions(self, addresses: Iterable[str], *, timeout: float | None = None) -> Call[int]:
        """Have addresses suppressed no longer, at most 1,000. Again is fine. Returns how many of them were.

        Raises InvalidRequest.
        """
        request = RemoveSuppressionsRequest(addresses=addresses)
        return _call(self.suppressions.RemoveSuppressions, request, lambda answer: answer.removed, timeout)

    def check_suppressions(self, addresses: Iterable[str], *, timeout: float | None = None) -> Call[list[Suppression]]:
        """What is suppressed of addresses, at most 1,000, in their order. Raises InvalidRequest."""
        request = CheckSuppressionsRequest(addresses=addresses)
        return _call(self.suppressions.CheckSuppressions, request, lambda answer: list(answer.suppressions), timeout)

    def suppression_page(
        self, request: ListSuppressionsRequest, timeout: float | None
    ) -> Call[ListSuppressionsResponse]:
        """One page of suppressions."""
        return _call(self.suppressions.ListSuppressions, request, lambda answer: answer, timeout)

    # What simulated providers took.

    def clear_inbox(self, *, timeout: float | None = None) -> Call[int]:
        """Remove what simulated providers took. Returns how many messages there were.

        Raises Conflict where there is no inbox: on a server in production. So does everything about it.
        """
        return _call(self.inbox.ClearInbox, ClearInboxRequest(), lambda answer: answer.removed, timeout)

    def inbox_page(self, request: ListInboxRequest, timeout: float | None) -> Call[ListInboxResponse]:
        """One page of the inbox."""
        return _call(self.inbox.ListInbox, request, lambda answer: answer, timeout)

    def wait_once(self, request: WaitForMessageRequest, timeout: float) -> Call[InboxMessage | None]:
        """Wait for a message for as long as the server lets one wait."""
        return _call(
            self.inbox.WaitForMessage,
            request,
            lambda answer: answer.message if answer.HasField("message") else None,
            timeout,
        )

    # The service as a whole.

    def start_rekey(self, *, reason: str = "", timeout: float | None = None) -> Call[Rekey]:
        """Have all that is encrypted in the store encrypted anew with the first of its keys; where that is under way,
        how far it has come. `reason` is for the record of what was done. Raises Conflict where nothing is encrypted.
        """
        request = StartRekeyRequest(reason=reason)
        return _call(self.admin.StartRekey, request, lambda answer: answer.rekey, timeout)

    def get_rekey(self, *, timeout: float | None = None) -> Call[Rekey]:
        """How far the last encryption anew has come; its `state` is unspecified where there was none."""
        return _call(self.admin.GetRekey, GetRekeyRequest(), lambda answer: answer.rekey, timeout)

    def list_nodes(self, *, timeout: float | None = None) -> Call[list[Node]]:
        """The servers that share the store and live, by their numbers; the one that is called where it has a file."""
        return _call(self.admin.ListNodes, ListNodesRequest(), lambda answer: list(answer.nodes), timeout)

    def list_tenants(self, *, timeout: float | None = None) -> Call[list[Tenant]]:
        """The tenants that the server knows, by their names, with what they may have; none where callers are not told
        apart. Raises a PostwireError with the reason ROLE_REQUIRED.
        """
        return _call(self.admin.ListTenants, ListTenantsRequest(), lambda answer: list(answer.tenants), timeout)

    def get_caller(self, *, timeout: float | None = None) -> Call[GetCallerResponse]:
        """Who the server takes this client to be, and what that may do."""
        return _call(self.admin.GetCaller, GetCallerRequest(), lambda answer: answer, timeout)

    def audit_page(self, request: ListAuditEventsRequest, timeout: float | None) -> Call[ListAuditEventsResponse]:
        """One page of events."""
        return _call(self.admin.ListAuditEvents, request, lambda answer: answer, timeout)


def audit_request(
    tenant: str, method: str, time_from: datetime | None, time_to: datetime | None, page_size: int
) -> ListAuditEventsRequest:
    """What the first page of events is asked for with."""
    request = ListAuditEventsRequest(tenant=tenant, method=method, page_size=page_size)
    for field, moment in ((request.time_from, time_from), (request.time_to, time_to)):
        if moment is not None:
            field.FromDatetime(moment)
    return request


def wait_request(to: str, match: str, since: datetime | None) -> WaitForMessageRequest:
    """What a message is waited for with."""
    request = WaitForMessageRequest(to=to, match=match)
    if since is not None:
        request.receive_time_from.FromDatetime(since)
    return request


def is_worth_waiting(left: float, asked: float) -> bool:
    """Whether a server that gave no message still is to be asked again, with so many seconds left of those `asked` for.

    It answers early, so that its answer can arrive: there is something left of the time in any case.
    """
    return left > _ANSWERED_EARLY + asked * _ROUNDED_UP


def as_method(make: Callable[..., Call[Any]], method: Method, owner: str) -> Method:
    """`method` with the name, the documentation and the signature of what makes its call."""
    described: Any = method
    functools.update_wrapper(described, make)
    signature = inspect.signature(make)
    returned = str(signature.return_annotation).removeprefix("Call[").removesuffix("]")
    described.__signature__ = signature.replace(return_annotation=returned)
    described.__qualname__ = f"{owner}.{make.__name__}"
    return method


def _call(
    method: grpc.UnaryUnaryMultiCallable[Asked, Answer],
    request: Asked,
    take: Callable[[Answer], R],
    timeout: float | None,
) -> Call[R]:
    """A `Call` whose parts go together."""
    return Call(method, request, take, timeout)


def _duration(name: str, seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    if not abs(seconds) <= _LONGEST_DURATION:  # and so for NaN
        raise ValueError(f"{name} must be a number of seconds up to {_LONGEST_DURATION:,}")
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration
