"""`postwire.v1.SuppressionService`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from postwire.api import convert, listing
from postwire.api.call import CallContext
from postwire.api.tokens import Tokens, about
from postwire.core import validation
from postwire.core.suppression import (
    MAX_SOURCE,
    Suppression,
    SuppressionReason,
    parse_suppression_token,
    suppression_token,
)
from postwire.core.validation import Violations
from postwire.delivery import MOST_ADDRESSES, NewSuppression, Suppressions
from postwire.v1 import suppression_service_pb2 as pb

_REASONS: Final[Mapping[SuppressionReason, pb.SuppressionReason.ValueType]] = {
    one: pb.SuppressionReason.Value(f"SUPPRESSION_REASON_{one.name}") for one in SuppressionReason
}
_KNOWN: Final[Mapping[int, SuppressionReason]] = {
    pb.SUPPRESSION_REASON_UNSPECIFIED: SuppressionReason.MANUAL,
    **{number: one for one, number in _REASONS.items()},
}
_ASKED: Final = hashlib.sha256(b"suppressions").digest()


class SuppressionServicer:
    """Converts and calls."""

    def __init__(self, suppressions: Suppressions, tokens: Tokens) -> None:
        self._suppressions = suppressions
        self._tokens = tokens

    async def AddSuppressions(
        self, request: pb.AddSuppressionsRequest, call: CallContext
    ) -> pb.AddSuppressionsResponse:
        """See the contract."""
        found = Violations()
        _check_count("suppressions", len(request.suppressions), found)
        now = self._suppressions.now()
        new = [_new(f"suppressions[{index}]", one, now, found) for index, one in enumerate(request.suppressions)]
        found.raise_any()
        return pb.AddSuppressionsResponse(added=await self._suppressions.add(new, call.principal))

    async def RemoveSuppressions(
        self, request: pb.RemoveSuppressionsRequest, call: CallContext
    ) -> pb.RemoveSuppressionsResponse:
        """See the contract."""
        _check_addresses(request.addresses)
        removed = await self._suppressions.remove(request.addresses, call.principal)
        return pb.RemoveSuppressionsResponse(removed=removed)

    async def CheckSuppressions(
        self, request: pb.CheckSuppressionsRequest, call: CallContext
    ) -> pb.CheckSuppressionsResponse:
        """See the contract."""
        _check_addresses(request.addresses)
        response = pb.CheckSuppressionsResponse()
        for index, one in await self._suppressions.check(request.addresses, call.tenant):
            _fill(response.suppressions.add(address=request.addresses[index]), one)
        return response

    async def ListSuppressions(
        self, request: pb.ListSuppressionsRequest, call: CallContext
    ) -> pb.ListSuppressionsResponse:
        """See the contract."""
        bound_to = about("suppressions", call.tenant, _ASKED)
        size, after = listing.place_from(
            request, self._tokens, bound_to, lambda token: parse_suppression_token(token, _ASKED)
        )
        page = await self._suppressions.page(size, after, call.tenant)
        response = pb.ListSuppressionsResponse()
        for one in page.suppressions:
            _fill(response.suppressions.add(), one)
        if page.next_after:
            response.next_page_token = self._tokens.wrap(suppression_token(page.next_after, _ASKED), bound_to)
        return response


def _check_count(path: str, count: int, found: Violations) -> None:
    """Refuse lists of a wrong length before anything in them is looked at."""
    if not 1 <= count <= MOST_ADDRESSES:
        found.malformed(path, f"must have 1 to {MOST_ADDRESSES:,} entries")
    found.raise_any()


def _check_addresses(addresses: Sequence[str]) -> None:
    found = Violations()
    _check_count("addresses", len(addresses), found)
    for index, address in enumerate(addresses):
        validation.check_any_address(f"addresses[{index}]", address, found)
    found.raise_any()


def _new(path: str, wire: pb.Suppression, now: int, found: Violations) -> NewSuppression:
    """A suppression that is to be added. What is wrong with it is noted."""
    validation.check_any_address(f"{path}.address", wire.address, found)
    validation.check_name(f"{path}.source", wire.source, MAX_SOURCE, found)
    validation.check_any_sender(f"{path}.sender", wire.sender, found)
    if wire.reason not in _KNOWN:
        found.malformed(f"{path}.reason", convert.UNKNOWN_ENUM)
    expire_time = convert.time_from(wire, "expire_time", f"{path}.expire_time", found)
    if expire_time is not None and expire_time <= now:
        found.malformed(f"{path}.expire_time", "must be in the future, or left out")
    reason = _KNOWN.get(wire.reason, SuppressionReason.MANUAL)
    return NewSuppression(wire.address, reason, wire.source, expire_time, wire.sender)


def _fill(wire: pb.Suppression, one: Suppression) -> None:
    wire.reason = _REASONS[one.reason]
    wire.source = one.source
    wire.sender = one.sender
    convert.set_time(wire.create_time, one.create_time)
    if one.expire_time is not None:
        convert.set_time(wire.expire_time, one.expire_time)
