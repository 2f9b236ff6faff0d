"""`postwire.v1.AdminService`."""

from __future__ import annotations

from postwire.api import convert, listing
from postwire.api.call import CallContext
from postwire.api.tokens import Tokens
from postwire.core.audit import AuditEvent, audit_token
from postwire.core.validation import Violations, check_reason
from postwire.delivery import AuditTrail
from postwire.maintenance.rekeying import Rekeying
from postwire.outbox.base import Rekey
from postwire.v1 import admin_service_pb2 as pb


class AdminServicer:
    """Converts and calls."""

    def __init__(self, audit: AuditTrail, rekeying: Rekeying, tokens: Tokens) -> None:
        self._audit = audit
        self._rekeying = rekeying
        self._tokens = tokens

    async def ListAuditEvents(
        self, request: pb.ListAuditEventsRequest, call: CallContext
    ) -> pb.ListAuditEventsResponse:
        """See the contract."""
        chosen, size, after = listing.events_from(request, self._tokens, call.tenant)
        page = await self._audit.events(chosen, size, after)
        response = pb.ListAuditEventsResponse(events=map(_event_to, page.events))
        if page.next_after:
            token, bound_to = audit_token(page.next_after, chosen), listing.events_bound_to(chosen, call.tenant)
            response.next_page_token = self._tokens.wrap(token, bound_to)
        return response

    async def StartRekey(self, request: pb.StartRekeyRequest, call: CallContext) -> pb.StartRekeyResponse:
        """See the contract."""
        found = Violations()
        check_reason(request.reason, found)
        found.raise_any()
        return pb.StartRekeyResponse(rekey=_rekey_to(await self._rekeying.begin(request.reason, call.principal)))

    async def GetRekey(self, request: pb.GetRekeyRequest, call: CallContext) -> pb.GetRekeyResponse:
        """See the contract."""
        return pb.GetRekeyResponse(rekey=_rekey_to(await self._rekeying.last()))


def _rekey_to(rekey: Rekey | None) -> pb.Rekey:
    if rekey is None:
        return pb.Rekey()
    state = pb.REKEY_STATE_RUNNING if rekey.end_time is None else pb.REKEY_STATE_DONE
    wire = pb.Rekey(state=state, key_id=rekey.key_id, rekeyed=rekey.rekeyed)
    convert.set_time(wire.start_time, rekey.start_time)
    if rekey.end_time is not None:
        convert.set_time(wire.end_time, rekey.end_time)
    return wire


def _event_to(event: AuditEvent) -> pb.AuditEvent:
    wire = pb.AuditEvent(
        tenant=event.tenant,
        principal=event.principal,
        method=event.method,
        target=event.target,
        result=event.result,
        reason=event.reason,
    )
    convert.set_time(wire.time, event.time)
    return wire
