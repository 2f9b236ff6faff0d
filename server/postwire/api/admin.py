"""`postwire.v1.AdminService`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Final

from postwire import __version__
from postwire.api import convert, listing
from postwire.api.access import Access
from postwire.api.call import CallContext
from postwire.api.tokens import Tokens
from postwire.core.audit import AuditEvent, audit_token
from postwire.core.message import MAX_TIME, Priority
from postwire.core.principal import ALL_ROLES, Role
from postwire.core.stats import Interval
from postwire.core.validation import Violations, check_reason
from postwire.delivery import AuditTrail, BacklogStatus, Stats, Tenants, TenantUsage
from postwire.maintenance.rekeying import Rekeying
from postwire.outbox.base import Member, Membership, Rekey
from postwire.v1 import admin_service_pb2 as pb
from postwire.v1 import message_pb2

_PRIORITIES: Final[Mapping[Priority, message_pb2.Priority.ValueType]] = {
    one: message_pb2.Priority.Value(f"PRIORITY_{one.name}") for one in Priority
}


class AdminServicer:
    """Converts and calls."""

    def __init__(
        self,
        audit: AuditTrail,
        rekeying: Rekeying,
        membership: Membership,
        tokens: Tokens,
        stats: Stats,
        tenants: Tenants,
        access: Access,
    ) -> None:
        self._audit = audit
        self._rekeying = rekeying
        self._membership = membership
        self._tokens = tokens
        self._stats = stats
        self._tenants = tenants
        self._access = access

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

    async def ListNodes(self, request: pb.ListNodesRequest, call: CallContext) -> pb.ListNodesResponse:
        """See the contract."""
        return pb.ListNodesResponse(nodes=map(_node_to, await self._membership.members()))

    async def WatchStats(
        self, request: pb.WatchStatsRequest, call: CallContext
    ) -> AsyncIterator[pb.WatchStatsResponse]:
        """See the contract."""
        async with aclosing(self._stats.watch()) as changes:
            async for change in changes:
                response = pb.WatchStatsResponse(intervals=map(_interval_to, change.intervals))
                if change.backlog:
                    response.backlog.CopyFrom(_backlog_to(change.backlog))
                convert.set_time(response.time, change.time)
                yield response

    async def ListTenants(self, request: pb.ListTenantsRequest, call: CallContext) -> pb.ListTenantsResponse:
        """See the contract."""
        return pb.ListTenantsResponse(tenants=map(_tenant_to, self._tenants.list()))

    async def GetCaller(self, request: pb.GetCallerRequest, call: CallContext) -> pb.GetCallerResponse:
        """See the contract."""
        principal = call.principal
        roles = ALL_ROLES if Role.ADMIN in principal.roles else principal.roles
        return pb.GetCallerResponse(
            principal=principal.name,
            tenant=principal.tenant,
            roles=sorted(role.value for role in roles),
            server_version=__version__,
            authenticated=self._access.authenticates(),
        )


def _interval_to(interval: Interval) -> pb.StatsInterval:
    wire = pb.StatsInterval(
        channels=[
            pb.ChannelStats(channel=convert.CHANNELS[channel], **counts._asdict())
            for channel, counts in interval.counts.items()
        ]
    )
    convert.set_time(wire.start_time, interval.start_time)
    return wire


def _backlog_to(backlog: BacklogStatus) -> pb.Backlog:
    wire = pb.Backlog(
        unsettled=backlog.unsettled,
        max_unsettled=backlog.max_unsettled,
        due=backlog.due,
        store_available=backlog.is_available,
        store_bytes=backlog.size,
    )
    if backlog.oldest_due_time is not None:
        convert.set_time(wire.oldest_due_time, backlog.oldest_due_time)
    return wire


def _tenant_to(usage: TenantUsage) -> pb.Tenant:
    quota = usage.quota
    return pb.Tenant(
        name=usage.name,
        unsettled=usage.unsettled,
        max_unsettled=quota.max_unsettled,
        rate=quota.rate,
        burst=quota.allowed_burst,
        in_flight=usage.in_flight,
        max_in_flight=quota.max_in_flight,
        weight=quota.weight,
        max_priority=_PRIORITIES[quota.max_priority],
    )


def _node_to(member: Member) -> pb.Node:
    wire = pb.Node(
        number=member.number,
        name=member.name,
        version=member.version,
        rank=member.rank,
        leader=member.is_leader,
        queue_keys=sorted(member.queue_keys),
        config_digest=member.config_digest,
        shares=[
            pb.NodeShare(provider_name=share.provider_name, max_concurrent=share.max_concurrent, rate=share.rate)
            for share in member.shares
        ],
    )
    convert.set_time(wire.start_time, member.start_time)
    if member.lease_until_time < MAX_TIME:
        convert.set_time(wire.lease_until_time, member.lease_until_time)
    wire.clock_offset.FromMicroseconds(member.clock_offset)
    return wire


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
