"""Contents at rest: which keys encrypt them, and encrypting all of them anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from postwire.config.encryption_keys import EncryptionKey
from postwire.core.audit import AuditEvent
from postwire.outbox.base.availability import Availability


@dataclass(frozen=True, slots=True)
class Rekey:
    """How far an encryption anew with the key `key_id` has come: how many contents were `rekeyed`. Times are in µs.

    It is done where it has an `end_time`. Contents that are `damaged` were left as they are: no key opens them. It is
    not done as long as nodes encrypt with another key, by whose names it says whom it is `waiting_for`.
    """

    key_id: str
    start_time: int
    rekeyed: int = 0
    damaged: int = 0
    end_time: int | None = None
    waiting_for: tuple[str, ...] = ()


class EncryptedStore(Availability, Protocol):
    """Keeps contents encrypted where there are keys, and in clear where there are none.

    Whoever gives contents and takes them sees none of it, but for a content that is damaged.
    """

    def why_insufficient(self, keys: Sequence[EncryptionKey]) -> str | None:
        """Which keys the store may need that are not among these, as a line for the operator; None: no others."""
        ...

    async def use_keys(self, keys: Sequence[EncryptionKey]) -> None:
        """Encrypt with the first of these keys from now on, and decrypt with all of them. So is the lookup key.

        Raises:
            OutboxError: one is missing that the store may need.
        """
        ...

    async def rekey(self) -> Rekey | None:
        """How far the last encryption anew has come, if there was any."""
        ...

    async def start_rekey(self, now: int, event: AuditEvent | None = None) -> Rekey:
        """Begin to encrypt anew whatever is not encrypted with the first key; where that is under way, it goes on as it
        is. `now` is in µs. `event` is kept in the same commit.

        Raises:
            StoreNotEncrypted: there is no key.
        """
        ...

    async def rekey_step(self, now: int) -> Rekey | None:
        """Encrypt a few contents anew, and keep how far that has come in the same commit; None where none is under way.

        It is done once a whole look through the store has found nothing more. From then on the store needs no other
        key, and takes nothing for a content that is not encrypted.
        """
        ...
