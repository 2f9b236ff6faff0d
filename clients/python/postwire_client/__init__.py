"""The Python client of Postwire.

    from postwire_client import Client, OutboundMessage, Sms

    with Client("127.0.0.1:50051") as client:
        message = client.dispatch(OutboundMessage(sms=Sms(to="+15005550006", body="Hello")))

`AsyncClient` has the same methods, to be awaited. What is sent and what comes back are the messages of the contract,
`postwire.v1`; those that callers need are here too.
"""

from postwire.v1.admin_service_pb2 import (
    AuditEvent,
    Backlog,
    ChannelStats,
    GetCallerResponse,
    Node,
    NodeShare,
    Rekey,
    RekeyState,
    StatsInterval,
    Tenant,
    WatchStatsResponse,
)
from postwire.v1.dispatch_service_pb2 import (
    DispatchRequest,
    EraseMessagesResponse,
    ExplainRouteResponse,
    MessageFilter,
    RouteCandidate,
    RouteObstacle,
)
from postwire.v1.inbox_service_pb2 import InboxFile, InboxFilter, InboxMessage
from postwire.v1.message_pb2 import (
    Attachment,
    Attempt,
    Channel,
    DeliveryGuarantee,
    DispatchOptions,
    Email,
    Media,
    Message,
    MessageState,
    Mms,
    OutboundMessage,
    Outcome,
    Priority,
    Receipt,
    ReceiptState,
    RecipientStatus,
    Sms,
    WaitFor,
)
from postwire.v1.provider_service_pb2 import Breaker, BreakerState, Provider
from postwire.v1.suppression_service_pb2 import Suppression, SuppressionReason
from postwire_client.async_client import AsyncClient
from postwire_client.bulk import DispatchResult
from postwire_client.client import Client
from postwire_client.credentials import Credentials
from postwire_client.errors import (
    ClientClosed,
    Conflict,
    FieldViolation,
    InvalidRequest,
    NotAllowed,
    NotFound,
    PostwireError,
    TryAgain,
)
from postwire_client.watching import MessageChange

__all__ = [
    "AsyncClient",
    "Attachment",
    "Attempt",
    "AuditEvent",
    "Backlog",
    "Breaker",
    "BreakerState",
    "Channel",
    "ChannelStats",
    "Client",
    "ClientClosed",
    "Conflict",
    "Credentials",
    "DeliveryGuarantee",
    "DispatchOptions",
    "DispatchRequest",
    "DispatchResult",
    "Email",
    "EraseMessagesResponse",
    "ExplainRouteResponse",
    "FieldViolation",
    "GetCallerResponse",
    "InboxFile",
    "InboxFilter",
    "InboxMessage",
    "InvalidRequest",
    "Media",
    "Message",
    "MessageChange",
    "MessageFilter",
    "MessageState",
    "Mms",
    "Node",
    "NodeShare",
    "NotAllowed",
    "NotFound",
    "OutboundMessage",
    "Outcome",
    "PostwireError",
    "Priority",
    "Provider",
    "Receipt",
    "ReceiptState",
    "RecipientStatus",
    "Rekey",
    "RekeyState",
    "RouteCandidate",
    "RouteObstacle",
    "Sms",
    "StatsInterval",
    "Suppression",
    "SuppressionReason",
    "Tenant",
    "TryAgain",
    "WaitFor",
    "WatchStatsResponse",
]
