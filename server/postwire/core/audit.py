"""What is kept of who changed what, besides by dispatching.

An event is kept in the commit of the change that it is about, or before a change that is in memory only, so that there
is none without it. Calls that were refused are kept as well, but not all of those that somebody makes again and again.

Nothing here is an address: what was changed is called by an id or a name of ours, and from the reason, which somebody
has written, what looks like an address is struck out.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from postwire.core.ids import is_message_id
from postwire.core.listing import place_in, token_of
from postwire.core.principal import LOCAL, Principal, Role
from postwire.core.throttle import Throttle
from postwire.core.values import Word

OK: Final = "OK"
"""The result of a call that was not refused."""

_NO_TENANT: Final = ""
_STRUCK_OUT: Final = "(address)"
_ADDRESS: Final = re.compile(r"[^\s@<>,;:\"'()]+@[^\s@<>,;:\"'()]+|\+[1-9](?:[ ().-]{0,2}[0-9]){6,14}")
"""What looks like an email address, or like a phone number in E.164 form, however it is spaced."""
_PROVIDER_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_NAME: Final = 64
_POSITION: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})")


class AuditedMethod(Word):
    """The methods that change something besides by dispatching, by their full names.

    `ClearInbox` is not among them: nothing that anybody was sent changes by it, and tests call it all the time.
    """

    CANCEL_MESSAGE = "postwire.v1.DispatchService/CancelMessage"
    RESOLVE_MESSAGE = "postwire.v1.DispatchService/ResolveMessage"
    ERASE_MESSAGES = "postwire.v1.DispatchService/EraseMessages"
    DRAIN_PROVIDER = "postwire.v1.ProviderService/DrainProvider"
    RESUME_PROVIDER = "postwire.v1.ProviderService/ResumeProvider"
    RESET_BREAKER = "postwire.v1.ProviderService/ResetBreaker"
    UPDATE_MOCK_PROVIDER = "postwire.v1.ProviderService/UpdateMockProvider"
    START_REKEY = "postwire.v1.AdminService/StartRekey"
    ADD_SUPPRESSIONS = "postwire.v1.SuppressionService/AddSuppressions"
    REMOVE_SUPPRESSIONS = "postwire.v1.SuppressionService/RemoveSuppressions"

    @property
    def is_of_tenant(self) -> bool:
        """Whether what it changes belongs to the tenant that it is called for."""
        return self in _OF_TENANTS


_OF_TENANTS: Final = frozenset(
    {
        AuditedMethod.CANCEL_MESSAGE,
        AuditedMethod.RESOLVE_MESSAGE,
        AuditedMethod.ERASE_MESSAGES,
        AuditedMethod.ADD_SUPPRESSIONS,
        AuditedMethod.REMOVE_SUPPRESSIONS,
    }
)


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Somebody has changed something, or has tried. `time` is in µs since the epoch.

    `tenant` is whose things it was about, and empty for what belongs to none. `target` is the id of a message, the
    name of a provider or a number of addresses, and `result` is `OK` or the reason of a refusal. `reason` is what the
    caller gave.
    """

    time: int
    tenant: str
    principal: str
    method: str
    target: str = ""
    result: str = OK
    reason: str = field(default="", repr=False)


def event(
    method: AuditedMethod, by: Principal, target: str = "", reason: str = "", *, now: int, result: str = OK
) -> AuditEvent:
    """What is kept of a call."""
    return AuditEvent(
        time=now,
        tenant=by.tenant if method.is_of_tenant else _NO_TENANT,
        principal=_called(by, method),
        method=method.value,
        target=target,
        result=result,
        reason=without_addresses(reason),
    )


def _called(by: Principal, method: AuditedMethod) -> str:
    """Who calls. Names are given by each tenant, so for what belongs to none it is said whose the name is."""
    if method.is_of_tenant or by == LOCAL or Role.ADMIN in by.roles:
        return by.name
    return f"{by.tenant}/{by.name}"


def target_of(named: str) -> str:
    """What a refused call was about, if that is an id or a name as we give them; else it may be anything."""
    is_ours = is_message_id(named) or (len(named) <= _LONGEST_NAME and _PROVIDER_NAME.fullmatch(named))
    return named if is_ours else ""


def addresses(count: int) -> str:
    """What stands for so many addresses as the target of a call."""
    return f"{count} address{'' if count == 1 else 'es'}"


def without_addresses(text: str) -> str:
    """A text with what looks like an address struck out."""
    return _ADDRESS.sub(_STRUCK_OUT, text)


class RefusedCalls:
    """Says which refused calls are kept, so that nobody fills the disk by being refused.

    Of each principal `BURST` at once and one every `INTERVAL` seconds, and `TENANT_FACTOR` times as much of a tenant
    altogether.
    """

    BURST: Final = 20
    INTERVAL: Final = 300.0
    TENANT_FACTOR: Final = 10
    MOST_PRINCIPALS: Final = 10_000
    """How many are told apart; those who come after them count as one of their tenant."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()
        self._principals: Throttle[tuple[str, str]] = Throttle(burst=self.BURST, interval=self.INTERVAL)
        self._tenants: Throttle[str] = Throttle(
            burst=self.BURST * self.TENANT_FACTOR, interval=self.INTERVAL / self.TENANT_FACTOR
        )

    def admit(self, by: Principal, now: float) -> bool:
        """Whether one more is kept. `now` is in seconds, on a clock that does not step back."""
        who = by.tenant, by.name
        if who not in self._known:
            if len(self._known) >= self.MOST_PRINCIPALS:
                who = by.tenant, ""
            self._known.add(who)
        return self._principals.admit(who, now) is not None and self._tenants.admit(by.tenant, now) is not None


class AuditPosition(NamedTuple):
    """A place in the order of events: by time (µs), and by `number` among those of one time."""

    time: int
    number: int


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which events are meant. What is empty, or None, does not narrow the choice.

    `time_from` and `time_to` are in µs since the epoch: the first included, the second not.
    """

    tenant: str = ""
    method: str = ""
    time_from: int | None = None
    time_to: int | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some events, newest first, and where the next page goes on; None where this is the last."""

    events: tuple[AuditEvent, ...]
    next_after: AuditPosition | None


def events_asked_for(chosen: AuditFilter) -> bytes:
    """32 bytes that tell what was asked for from everything else."""
    parts = "audit", chosen.tenant, chosen.method, chosen.time_from, chosen.time_to
    return hashlib.sha256(repr(parts).encode()).digest()


def audit_token(after: AuditPosition, chosen: AuditFilter) -> str:
    """The token of the page that goes on behind `after`, as those of `core.listing`."""
    return token_of(f"{after.time}.{after.number}", events_asked_for(chosen))


def parse_audit_token(token: str, chosen: AuditFilter) -> AuditPosition:
    """Where a page goes on.

    Raises:
        ValueError: the token is not one of ours, or belongs to another filter.
    """
    return AuditPosition(*map(int, place_in(token, events_asked_for(chosen), _POSITION.fullmatch).split(".")))
