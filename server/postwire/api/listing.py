"""From the contract's filters and pages to the core's."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from postwire.api import convert
from postwire.api.tokens import Tokens, about
from postwire.core.audit import AuditedMethod, AuditFilter, AuditPosition, events_asked_for, parse_audit_token
from postwire.core.ids import is_message_id
from postwire.core.inbox import InboxFilter, inbox_asked_for, parse_inbox_token
from postwire.core.listing import (
    DEFAULT_PAGE_SIZE,
    MAX_PAGE_SIZE,
    MessageFilter,
    ResumePoint,
    asked_for,
    parse_page_token,
    parse_resume_token,
)
from postwire.core.message import Channel, MessageState
from postwire.core.validation import (
    BAD_REQUEST_ID,
    MAX_LABELS,
    Violations,
    check_any_address,
    check_reason,
    is_request_id,
)
from postwire.delivery import MOST_ERASED
from postwire.v1 import admin_service_pb2, inbox_service_pb2
from postwire.v1 import dispatch_service_pb2 as pb

E = TypeVar("E", bound=enum.Enum)
T = TypeVar("T")

MAX_WATCHED: Final = 1_000
"""How many messages may be watched by their ids."""

MAX_CHOICES: Final = 100
"""How many channels, states, provider names or labels a filter may name."""

MAX_REQUEST_IDS: Final = 1_000
"""How many request ids a filter may name."""

MAX_INBOX_PAGE: Final = 100
"""How many messages a page of the inbox has at the most."""

MAX_SEARCHED: Final = 1_000
"""How many characters a text may have that is searched for."""

_AUDITED: Final = frozenset(method.value for method in AuditedMethod)
_AUDITED_EXAMPLE: Final = AuditedMethod.DRAIN_PROVIDER.value
_CHANNELS: Final[Mapping[int, Channel]] = {number: channel for channel, number in convert.CHANNELS.items()}
_STATES: Final[Mapping[int, MessageState]] = {number: state for state, number in convert.STATES.items()}


def page_from(request: pb.ListMessagesRequest, tokens: Tokens, tenant: str) -> tuple[MessageFilter, int, str | None]:
    """The filter, the size of the page, and the message id that it goes on after.

    Raises:
        InvalidPage: naming every bad field.
    """
    found = Violations()
    chosen = _filter_from(request.filter, found)
    size = _size_from(request, found)
    after = _place(request, tokens, page_bound_to(chosen, tenant), lambda token: parse_page_token(token, chosen), found)
    found.raise_page()
    return chosen, size, after


class _Continued(Protocol):
    page_token: str


class _Page(_Continued, Protocol):
    page_size: int


def place_from(request: _Page, tokens: Tokens, bound_to: bytes, parse: Callable[[str], T]) -> tuple[int, T | None]:
    """The size of a page of what needs no filter, and where it goes on.

    Raises:
        InvalidPage: naming every bad field.
    """
    found = Violations()
    after = _place(request, tokens, bound_to, parse, found)
    return _size_from(request, found), after


def _place(
    request: _Continued, tokens: Tokens, bound_to: bytes, parse: Callable[[str], T], found: Violations
) -> T | None:
    """Where a page goes on, by its token; None on the first. A token that is none of ours is noted."""
    if not request.page_token:
        return None
    try:
        return parse(tokens.unwrap(request.page_token, bound_to))
    except ValueError as error:
        found.malformed("page_token", str(error))
        return None


class _Paged(Protocol):
    page_size: int


def _size_from(request: _Paged, found: Violations, most: int = MAX_PAGE_SIZE) -> int:
    """How many a page is to have. Refuses whatever is wrong with the request."""
    if request.page_size < 0:
        found.malformed("page_size", f"must be from 1 to {most:,}, or left out")
    found.raise_page()
    return min(request.page_size or DEFAULT_PAGE_SIZE, most)


def events_from(
    request: admin_service_pb2.ListAuditEventsRequest, tokens: Tokens, tenant: str
) -> tuple[AuditFilter, int, AuditPosition | None]:
    """Which events are meant, the size of the page, and where it goes on.

    Raises:
        InvalidPage: naming every bad field.
    """
    found = Violations()
    if request.method and request.method not in _AUDITED:
        found.malformed("method", f"must be a method that changes something, such as {_AUDITED_EXAMPLE}, or left out")
    chosen = AuditFilter(
        tenant=request.tenant,
        method=request.method,
        time_from=convert.time_from(request, "time_from", "time_from", found),
        time_to=convert.time_from(request, "time_to", "time_to", found),
    )
    bound_to = events_bound_to(chosen, tenant)
    after = _place(request, tokens, bound_to, lambda token: parse_audit_token(token, chosen), found)
    return chosen, _size_from(request, found), after


def watch_from(
    request: pb.WatchMessagesRequest, tokens: Tokens, tenant: str
) -> tuple[list[str], MessageFilter, ResumePoint | None]:
    """The ids to watch, the filter, and where to go on.

    Raises:
        InvalidPage: naming every bad field.
    """
    found = Violations()
    if len(request.message_ids) > MAX_WATCHED:
        found.malformed("message_ids", f"must have at most {MAX_WATCHED:,} entries")
        found.raise_page()
    for index, message_id in enumerate(request.message_ids):
        if not is_message_id(message_id):
            found.malformed(f"message_ids[{index}]", "must be the id of a message, as Dispatch gave it")
    if request.message_ids and request.HasField("filter"):
        found.malformed("filter", "must be left out where there are message_ids")
    chosen = _filter_from(request.filter, found)
    after = None
    if request.resume_token:
        try:
            bound_to = watch_bound_to(request.message_ids, chosen, tenant)
            after = parse_resume_token(tokens.unwrap(request.resume_token, bound_to))
        except ValueError as error:
            found.malformed("resume_token", str(error))
    found.raise_page()
    return list(request.message_ids), chosen, after


def erasure_from(
    request: pb.EraseMessagesRequest, tokens: Tokens, tenant: str
) -> tuple[list[str], MessageFilter, str | None]:
    """The ids to erase, or those that have the labels of the filter, behind a message id.

    Raises:
        InvalidMessage: naming every bad field.
        InvalidPage: the token is bad.
    """
    found = Violations()
    if bool(request.message_ids) == bool(request.labels):
        for field in ("message_ids", "labels"):
            found.malformed(field, "must be given where the other is not: exactly one of message_ids and labels")
    if len(request.message_ids) > MOST_ERASED:
        found.malformed("message_ids", f"must have at most {MOST_ERASED:,} entries")
        found.raise_any()
    for index, message_id in enumerate(request.message_ids):
        if not is_message_id(message_id):
            found.malformed(f"message_ids[{index}]", "must be the id of a message, as Dispatch gave it")
    if len(request.labels) > MAX_LABELS:
        found.malformed("labels", f"must have at most {MAX_LABELS:,} entries")
    if request.page_token and request.message_ids:
        found.malformed("page_token", "must be left out where there are message_ids")
    check_reason(request.reason, found)
    found.raise_any()
    chosen = MessageFilter(labels=convert.mapping(request.labels))
    bound_to = erasure_bound_to(chosen, tenant)
    after = _place(request, tokens, bound_to, lambda token: parse_page_token(token, chosen), found)
    found.raise_page()
    return list(request.message_ids), chosen, after


def inbox_page_from(
    request: inbox_service_pb2.ListInboxRequest, tokens: Tokens, tenant: str, number_of: Callable[[str], int | None]
) -> tuple[InboxFilter, int, int | None]:
    """Which messages of the inbox are meant, the size of the page, and below which number it goes on.

    `number_of` finds the number of a message by its name.

    Raises:
        InvalidPage: naming every bad field.
    """
    found = Violations()
    chosen = _inbox_filter_from(request.filter, found)
    bound_to = inbox_bound_to(chosen, tenant)
    before = _place(request, tokens, bound_to, lambda token: parse_inbox_token(token, chosen, number_of), found)
    return chosen, _size_from(request, found, MAX_INBOX_PAGE), before


def watched_inbox_from(request: inbox_service_pb2.WatchInboxRequest) -> InboxFilter:
    """Which messages of the inbox are to be shown.

    Raises:
        InvalidPage: naming every bad field.
    """
    found = Violations()
    chosen = _inbox_filter_from(request.filter, found)
    found.raise_page()
    return chosen


def awaited_from(request: inbox_service_pb2.WaitForMessageRequest) -> InboxFilter:
    """Which message is waited for.

    Raises:
        InvalidMessage: naming every bad field.
    """
    found = Violations()
    check_any_address("to", request.to, found)
    chosen = _inbox_choice(request, "", found)
    found.raise_any()
    return chosen


def page_bound_to(chosen: MessageFilter, tenant: str) -> bytes:
    """What the token of a page of messages is bound to: see `Tokens`."""
    return about("page", tenant, asked_for(chosen))


def watch_bound_to(message_ids: Sequence[str], chosen: MessageFilter, tenant: str) -> bytes:
    """What the tokens of a watch are bound to."""
    return about("watch", tenant, asked_for(chosen, message_ids))


def erasure_bound_to(chosen: MessageFilter, tenant: str) -> bytes:
    """What the token of an erasure is bound to."""
    return about("erasure", tenant, asked_for(chosen))


def inbox_bound_to(chosen: InboxFilter, tenant: str) -> bytes:
    """What the token of a page of the inbox is bound to."""
    return about("inbox", tenant, inbox_asked_for(chosen))


def events_bound_to(chosen: AuditFilter, tenant: str) -> bytes:
    """What the token of a page of events is bound to."""
    return about("events", tenant, events_asked_for(chosen))


def _filter_from(wire: pb.MessageFilter, found: Violations) -> MessageFilter:
    """The filter, as far as it is well formed; what is not is noted.

    Raises:
        InvalidPage: it is too long to be looked at.
    """
    # Before each of them is looked at, here and at every message.
    limits = dict.fromkeys(("channels", "states", "provider_names", "labels"), MAX_CHOICES)
    limits["request_ids"] = MAX_REQUEST_IDS
    if too_long := [name for name, most in limits.items() if len(getattr(wire, name)) > most]:
        for name in too_long:
            found.malformed(f"filter.{name}", f"must have at most {limits[name]:,} entries")
        found.raise_page()
    for index, request_id in enumerate(wire.request_ids):
        if not is_request_id(request_id):
            found.malformed(f"filter.request_ids[{index}]", BAD_REQUEST_ID)
    return MessageFilter(
        channels=_known(wire.channels, _CHANNELS, "filter.channels", found),
        states=_known(wire.states, _STATES, "filter.states", found),
        provider_names=frozenset(wire.provider_names),
        labels=convert.mapping(wire.labels),
        create_time_from=convert.time_from(wire, "create_time_from", "filter.create_time_from", found),
        create_time_to=convert.time_from(wire, "create_time_to", "filter.create_time_to", found),
        request_ids=frozenset(wire.request_ids),
    )


def _inbox_filter_from(wire: inbox_service_pb2.InboxFilter, found: Violations) -> InboxFilter:
    if len(wire.channels) > MAX_CHOICES:
        found.malformed("filter.channels", f"must have at most {MAX_CHOICES:,} entries")
        found.raise_page()
    if wire.to:
        check_any_address("filter.to", wire.to, found)
    return _inbox_choice(wire, "filter.", found, _known(wire.channels, _CHANNELS, "filter.channels", found))


def _inbox_choice(
    wire: inbox_service_pb2.InboxFilter | inbox_service_pb2.WaitForMessageRequest,
    path: str,
    found: Violations,
    channels: frozenset[Channel] = frozenset(),
) -> InboxFilter:
    if len(wire.match) > MAX_SEARCHED:
        found.malformed(f"{path}match", f"must have at most {MAX_SEARCHED:,} characters")
    time_from = convert.time_from(wire, "receive_time_from", f"{path}receive_time_from", found)
    return InboxFilter(channels, wire.to, wire.match, time_from)


def _known(values: Iterable[int], known: Mapping[int, E], path: str, found: Violations) -> frozenset[E]:
    values = list(values)
    for index, value in enumerate(values):
        if value not in known:
            found.malformed(f"{path}[{index}]", convert.UNKNOWN_ENUM)
    return frozenset(known[value] for value in values if value in known)
