"""What operators have done, and what the service notes of itself."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Protocol

from postwire.core.audit import AuditEvent
from postwire.core.message import Note
from postwire.outbox.base.availability import Availability


@dataclass(frozen=True, slots=True)
class ProviderState:
    """What operators have done to a provider. `resets` counts how often its breaker was reset, and only rises: whoever
    shares the store learns by it that there was one since he last looked. `note` is what was noted last."""

    is_drained: bool = False
    resets: int = 0
    note: Note | None = None


class AdminState(Availability, Protocol):
    """Keeps what is there beside messages."""

    async def provider_states(self) -> Mapping[str, ProviderState]:
        """What operators have done to providers, by their names, as it was at one moment; to others they never have."""
        ...

    def set_drained(
        self, provider_name: str, drained: bool, note: Note | None = None, event: AuditEvent | None = None
    ) -> Awaitable[None]:
        """Keep whether a provider is drained; and with it a note and an event, where there is one, in one commit."""
        ...

    def add_reset(self, provider_name: str, note: Note, event: AuditEvent | None = None) -> Awaitable[None]:
        """Count one more reset of a provider's breaker, and keep a note and an event of it, in one commit."""
        ...

    async def metadata(self, name: str) -> str | None:
        """What is kept of the store as a whole under a name."""
        ...

    def keep_metadata(self, name: str, value: str) -> Awaitable[None]:
        """Keep it, in place of what was there: a text without NUL."""
        ...

    async def lookup_key(self) -> bytes:
        """32 random bytes that were made once for the store, which no other has but a copy of it, and never change.

        Whatever is found again by a hash, or is told apart from what others make, hangs on it: each purpose takes a key
        of its own that is derived from it.
        """
        ...
