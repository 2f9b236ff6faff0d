"""Every way in which a call can be refused: one class a reason, known to callers by the reason's name.

The tree, with what each adds:

    Refusal                        reason
    ├── InvalidMessage             violations      a field is missing or malformed
    ├── MessageTooLarge            violations
    ├── InvalidPage                violations      of a list: its filter, size or token
    ├── InvalidProvider            violations      the pinned provider
    ├── InvalidRouting             channel         no provider carries it: our own fault
    ├── RequestIdReused
    ├── MessageNotFound
    ├── MessageNotQueued
    ├── MessageNotUncertain
    ├── ResumeTokenExpired
    ├── ProviderNotFound
    ├── ProviderNotMock
    ├── ProviderDrained
    ├── NoCredentials
    ├── InvalidCredentials
    ├── RefusedCaller              by
    │   ├── RoleRequired
    │   └── TenantNotFound
    ├── StoreNotEncrypted
    ├── InboxDisabled
    ├── RecipientNotAllowed        field           a number that nothing is sent to
    └── TryAgain                   retry_delay
        ├── Overloaded
        ├── QuotaExceeded          the tenant's own limits
        │   └── GuardExceeded      violations      a guard's: not to be repeated at once
        ├── StoreUnavailable       the one that may have accepted something
        └── ShuttingDown

What a refusal is on the wire (status code, details) is decided in one table, at the edge. Texts name fields, keys and
limits, never a caller's data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

from postwire.core.message import Channel, MessageState
from postwire.core.principal import Principal, Role


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One bad field: its path from the request down, such as `message.email.to[0]`, and what would be right."""

    field: str
    description: str


class Refusal(Exception):
    """A call that is refused. `str()` of it is the text for the caller."""

    reason: ClassVar[str]

    def __init__(self, text: str, violations: Iterable[FieldViolation] = ()) -> None:
        super().__init__(text)
        self.violations = tuple(violations)


class InvalidMessage(Refusal):
    """A field is missing, malformed, or has an unknown enum value."""

    reason = "INVALID_MESSAGE"


class MessageTooLarge(Refusal):
    """Well formed, but larger than allowed."""

    reason = "MESSAGE_TOO_LARGE"


class InvalidPage(Refusal):
    """A list was asked for with a bad filter, page size or page token."""

    reason = "INVALID_PAGE"


class InvalidProvider(Refusal):
    """The pinned provider does not exist or does not carry the channel."""

    reason = "INVALID_PROVIDER"

    def __init__(self, description: str) -> None:
        field = "options.provider_name"
        super().__init__(f"{field}: {description}", (FieldViolation(field, description),))


class InvalidRouting(Refusal):
    """No provider carries the channel: the server's configuration is at fault, not the call."""

    reason = "INVALID_ROUTING"

    def __init__(self, channel: Channel) -> None:
        super().__init__(f"no provider carries the channel {channel.value}: see routes.{channel.value} of the server")
        self.channel = channel


class RequestIdReused(Refusal):
    """The request id belongs to a message with another payload."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self) -> None:
        super().__init__(
            "request_id: already used for a message with another payload; send the same payload or another id"
        )


class MessageNotFound(Refusal):
    """There is no message with this id, or with this request id: `field` says which."""

    reason = "MESSAGE_NOT_FOUND"

    def __init__(self, field: str = "message_id") -> None:
        super().__init__(f"{field}: there is no such message")


class MessageNotQueued(Refusal):
    """The message is not queued, so it cannot be taken back."""

    reason = "MESSAGE_NOT_QUEUED"

    def __init__(self, state: MessageState) -> None:
        super().__init__(f"message_id: this message is {state.value}, and only one that is queued can be cancelled")


class MessageNotUncertain(Refusal):
    """The message is not uncertain, so there is nothing to resolve."""

    reason = "MESSAGE_NOT_UNCERTAIN"

    def __init__(self, state: MessageState) -> None:
        super().__init__(f"message_id: this message is {state.value}, and only one that is uncertain can be resolved")


class ResumeTokenExpired(Refusal):
    """What has changed since the token was given is not known any more."""

    reason = "RESUME_TOKEN_EXPIRED"

    def __init__(self) -> None:
        super().__init__("resume_token: it is too old: watch without it, and list what has changed since")


class ProviderNotFound(Refusal):
    """There is no provider with this name."""

    reason = "PROVIDER_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("name: there is no such provider; ListProviders names them all")


class ProviderNotMock(Refusal):
    """The provider is of another kind than `mock`."""

    reason = "PROVIDER_NOT_MOCK"

    def __init__(self, kind: str) -> None:
        super().__init__(f"name: this provider is of kind {kind}, and only a mock can be changed")


class ProviderDrained(Refusal):
    """The provider is drained, so its breaker cannot be reset."""

    reason = "PROVIDER_DRAINED"

    def __init__(self) -> None:
        super().__init__("name: this provider is drained: resume it instead")


class NoCredentials(Refusal):
    """The server asks who calls, and the call does not say."""

    reason = "NO_CREDENTIALS"

    def __init__(self) -> None:
        super().__init__("who calls is not known: send authorization: Bearer with an API key or a token")


class InvalidCredentials(Refusal):
    """What the call says of who calls does not hold. What of it is wrong is not for the caller."""

    reason = "INVALID_CREDENTIALS"

    def __init__(self) -> None:
        super().__init__("these credentials are not valid, or not any more")


class RefusedCaller(Refusal):
    """Who calls is known, and that is where his call ends. `by` is who he is."""

    def __init__(self, text: str, by: Principal) -> None:
        super().__init__(text)
        self.by = by


class RoleRequired(RefusedCaller):
    """Who calls may not do this. `roles` are those of which one is needed."""

    reason = "ROLE_REQUIRED"

    def __init__(self, roles: Iterable[Role], by: Principal) -> None:
        super().__init__(f"this needs the role {' or '.join(role.value for role in roles)}", by)


class TenantNotFound(RefusedCaller):
    """There is no tenant of the name that an administrator gives."""

    reason = "TENANT_NOT_FOUND"

    def __init__(self, by: Principal) -> None:
        super().__init__("postwire-tenant: there is no such tenant in the server's configuration", by)


class StoreNotEncrypted(Refusal):
    """The contents in the store are not encrypted."""

    reason = "STORE_NOT_ENCRYPTED"

    def __init__(self) -> None:
        super().__init__("the store is not encrypted: set store.encryption_keys_file, and start the server again")


class InboxDisabled(Refusal):
    """Nothing is kept of what simulated providers "sent"."""

    reason = "INBOX_DISABLED"

    def __init__(self) -> None:
        super().__init__("there is no inbox where server.environment is production")


class RecipientNotAllowed(Refusal):
    """The recipient's number begins with none of the prefixes that are allowed; `field` has it."""

    reason = "RECIPIENT_NOT_ALLOWED"

    def __init__(self, field: str) -> None:
        violation = FieldViolation(field, "begins with none of the server's guards.allow_prefixes")
        super().__init__(f"{violation.field}: {violation.description}", [violation])


class TryAgain(Refusal):
    """Refused for now. `retry_delay` is in seconds. `repeats` says whether clients may try again by themselves."""

    repeats: ClassVar[bool] = True

    def __init__(self, text: str, retry_delay: float, violations: Iterable[FieldViolation] = ()) -> None:
        super().__init__(text, violations)
        self.retry_delay = retry_delay


class Overloaded(TryAgain):
    """Too much is in flight, or waits."""

    reason = "OVERLOADED"

    def __init__(
        self, retry_delay: float = 1.0, *, text: str = "too much is in flight: slow down and try again"
    ) -> None:
        super().__init__(text, retry_delay)


class QuotaExceeded(TryAgain):
    """The tenant has as much under way, or sends as fast, as it may; `key` is the limit's."""

    reason = "QUOTA_EXCEEDED"

    def __init__(
        self, key: str, retry_delay: float = 1.0, *, text: str = "", violations: Iterable[FieldViolation] = ()
    ) -> None:
        text = text or f"{key}: the tenant has as much as it may, slow down and try again"
        super().__init__(text, retry_delay, violations)


class GuardExceeded(QuotaExceeded):
    """As many messages as the guard `key` lets through have gone where `field` says, and there is room only later."""

    repeats = False

    def __init__(self, key: str, field: str, retry_delay: float) -> None:
        text = f"{key}: {field}: as many messages as may go there have been accepted, there is room again later"
        super().__init__(key, retry_delay, text=text, violations=[FieldViolation(field, f"is at the limit of {key}")])


class StoreUnavailable(TryAgain):
    """The store cannot commit: whether the message was accepted is unknown."""

    reason = "STORE_UNAVAILABLE"

    def __init__(
        self, text: str = "the store cannot commit: repeat the call with the same request_id", retry_delay: float = 1.0
    ) -> None:
        super().__init__(text, retry_delay)


class ShuttingDown(TryAgain):
    """The server takes nothing new."""

    reason = "SHUTTING_DOWN"

    def __init__(self, retry_delay: float = 1.0) -> None:
        super().__init__("the server is shutting down: try again, at another server if there is one", retry_delay)


def _reasons(of: type[Refusal]) -> Iterator[str]:
    for one in of.__subclasses__():
        if "reason" in vars(one):
            yield one.reason
        yield from _reasons(one)


REASONS: Final = tuple(_reasons(Refusal))
"""Every reason that there is."""
