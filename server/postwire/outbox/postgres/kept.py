"""What the store keeps beside messages: what operators have done, and what the service notes of itself. See
`outbox.base.AdminState` and `outbox.base.AuditLog`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from postwire.core import listing
from postwire.core.audit import AuditEvent, AuditFilter, AuditPage, AuditPosition
from postwire.core.message import MAX_TIME, Note
from postwire.outbox import texts
from postwire.outbox.base import ProviderState
from postwire.outbox.postgres import rows
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.locks import Lock, take_lock
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import QUERIES, Connection, Record

_EVENT_COLUMNS: Final = 7


async def note_events(connection: Connection, events: Sequence[AuditEvent]) -> None:
    """Keep events, in the transaction of what they are about."""
    if events:
        await connection.execute(QUERIES["insert_events"], *rows.columns([_row(one) for one in events], _EVENT_COLUMNS))


def provider_states_from(found: Sequence[Record]) -> dict[str, ProviderState]:
    """What operators have done to providers, of rows of `provider_states`."""
    return {
        one["provider_name"]: ProviderState(
            one["drained"], one["resets"], texts.note_from(one["note"]) if one["note"] else None
        )
        for one in found
    }


class Kept(Part):
    """See the module."""

    async def provider_states(self) -> Mapping[str, ProviderState]:
        """See `Outbox.provider_states`."""
        return provider_states_from(await self.database.fetch(Lane.READ, "provider_states"))

    async def set_drained(
        self, provider_name: str, drained: bool, note: Note | None = None, event: AuditEvent | None = None
    ) -> None:
        """See `Outbox.set_drained`."""
        await self._keep_state(provider_name, drained, 0, note, event)

    async def add_reset(self, provider_name: str, note: Note, event: AuditEvent | None = None) -> None:
        """See `Outbox.add_reset`."""
        await self._keep_state(provider_name, None, 1, note, event)

    async def _keep_state(
        self, provider_name: str, drained: bool | None, resets: int, note: Note | None, event: AuditEvent | None
    ) -> None:
        text = texts.note_text(note) if note else None

        async def keep(connection: Connection) -> None:
            await take_lock(connection, Lock.PROVIDERS)
            await connection.execute(QUERIES["keep_provider_state"], provider_name, drained, resets, text)
            await note_events(connection, [event] if event else [])

        await self.database.transact(Lane.CONTROL, keep)

    async def metadata(self, name: str) -> str | None:
        """See `Outbox.metadata`."""
        found = await self.database.fetch(Lane.READ, "fact", name)
        return found[0]["value"] if found else None

    async def keep_metadata(self, name: str, value: str) -> None:
        """See `Outbox.keep_metadata`."""
        await self.database.fetch(Lane.CONTROL, "keep_fact", name, value)

    async def add_event(self, event: AuditEvent) -> None:
        """See `Outbox.add_event`."""
        await self.database.fetch(Lane.CONTROL, "insert_events", *rows.columns([_row(event)], _EVENT_COLUMNS))

    async def events(self, chosen: AuditFilter, size: int, after: AuditPosition | None) -> AuditPage:
        """See `Outbox.events`."""
        oldest = 0 if chosen.time_from is None else chosen.time_from
        start = after or AuditPosition(MAX_TIME if chosen.time_to is None else chosen.time_to, 0)
        scan = oldest, start.time, start.number
        ends = await self.database.fetch(Lane.READ, "events_end", *scan, listing.SCAN_LIMIT)
        end = AuditPosition(ends[0]["time"], ends[0]["event"]) if ends else None
        found = await self.database.fetch(
            Lane.READ,
            "list_events",
            *scan,
            *(end or (oldest, 0)),
            chosen.tenant or None,
            chosen.method or None,
            size,
        )
        listed = tuple(AuditEvent(time, *words) for time, _, *words in found)
        if len(found) == size:
            end = AuditPosition(found[-1]["time"], found[-1]["event"])
        return AuditPage(listed, end)

    async def remove_events(self, before: int, limit: int) -> int:
        """See `Outbox.remove_events`."""
        return len(await self.database.fetch(Lane.CONTROL, "remove_events", before, limit))


def _row(one: AuditEvent) -> rows.Row:
    return one.time, one.tenant, one.principal, one.method, one.target, one.result, rows.plain(one.reason)
