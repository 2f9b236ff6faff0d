"""What the parts of the outbox have in common."""

from __future__ import annotations

from collections.abc import Mapping, Set

from postwire.core.message import MessageRecord
from postwire.outbox.cipher import StoreCipher
from postwire.outbox.postgres.database import Database


class Part:
    """A part of `store.PostgresOutbox`, which has all of this."""

    database: Database
    number: int
    """That of this node."""
    cipher: StoreCipher
    """What encrypts contents now."""
    needed_keys: Mapping[str, bytes]
    """The proofs of the keys that the store may need, by their ids."""
    lookup_key_now: bytes
    keep_contents: bool
    keep_contents_of: Mapping[str, bool]

    @property
    def lacked_keys(self) -> Set[str]:
        """The ids of those of them that this node has not: another has made one the first while the lease of this one
        had lapsed."""
        return self.needed_keys.keys() - self.cipher.key_ids

    def erases(self, record: MessageRecord) -> bool:
        """Whether what a message says goes as it is settled."""
        return not self.keep_contents_of.get(record.tenant, self.keep_contents)
