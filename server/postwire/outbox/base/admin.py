"""What operators have done, and what the service notes of itself."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Protocol

from postwire.core.message import Note
from postwire.outbox.base.availability import Availability


class AdminState(Availability, Protocol):
    """Keeps what is there beside messages."""

    async def drained(self) -> frozenset[str]:
        """The names of the providers that are drained."""
        ...

    def set_drained(self, provider_name: str, drained: bool, note: Note | None = None) -> Awaitable[None]:
        """Keep whether a provider is drained; and with it a note, where there is one."""
        ...

    async def provider_notes(self) -> Mapping[str, Note]:
        """What was noted last of each provider."""
        ...

    def keep_provider_note(self, provider_name: str, note: Note) -> Awaitable[None]:
        """Keep a note of a provider."""
        ...

    async def metadata(self, name: str) -> str | None:
        """What is kept of the store as a whole under a name."""
        ...

    def keep_metadata(self, name: str, value: str) -> Awaitable[None]:
        """Keep it, in place of what was there."""
        ...
