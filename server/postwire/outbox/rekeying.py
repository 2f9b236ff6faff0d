"""How far an encryption of a store anew has come, and which keys a store may need. For whatever store there is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, Self

from postwire.config.encryption_keys import EncryptionKey
from postwire.outbox.base import Rekey
from postwire.outbox.cipher import proof_of

LOOKUP_KEY_BYTES: Final = 32

LOOKED_AT: Final = 2_000
"""How many contents are looked at in one step of a rekey."""

REKEYED: Final = 200
"""How many of them are encrypted anew at the most, since others wait for that commit."""

REKEYED_BYTES: Final = 1024 * 1024
"""How many bytes, but for a single content that is larger."""

REKEY: Final = "rekey"
"""The metadata that says how far the last rekey has come."""

ENCRYPTED: Final = "encrypted"
"""The metadata that is there once everything was encrypted: from then on, nothing in clear is ours."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rekey has come: so many `looks` through the store are done, and the next one is behind the key `after`,
    with so many contents `found` that were to be encrypted anew.

    `mark` is the store's: what it held as that look began."""

    rekey: Rekey
    looks: int = 0
    after: int = 0
    found: int = 0
    mark: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """That of a text of `text`."""
        fields = json.loads(text)
        return cls(**fields | {"rekey": Rekey(**fields["rekey"])})

    @property
    def text(self) -> str:
        """As it is kept."""
        fields = asdict(self)
        del fields["rekey"]["waiting_for"]
        if not self.mark:
            del fields["mark"]
        return json.dumps(fields)

    def continued(self, key_id: str) -> Progress:
        """The one to go on with where contents are encrypted with this key now: at the beginning, if it is another."""
        return self if self.rekey.key_id == key_id else Progress(replace(self.rekey, key_id=key_id))

    def stepped(self, after: int, rekeyed: int, damaged: int, *, is_last: bool, now: int) -> Progress:
        """Once so many contents up to the key `after` were encrypted anew, and so many could not; `is_last`: nothing is
        behind them. Another look begins then, unless this was not the first, and has found nothing."""
        rekey = replace(self.rekey, rekeyed=self.rekey.rekeyed + rekeyed)
        if self.looks == 0:
            rekey = replace(rekey, damaged=rekey.damaged + damaged)
        if not is_last:
            return replace(self, rekey=rekey, after=after, found=self.found + rekeyed)
        if self.looks and not self.found + rekeyed:
            return Progress(replace(rekey, end_time=now), self.looks + 1, after)
        return Progress(rekey, self.looks + 1)


def why_insufficient(needed: Mapping[str, bytes], keys: Sequence[EncryptionKey]) -> str | None:
    """See `EncryptedStore.why_insufficient`. `needed` are the proofs of the keys that the store may need, by ids."""
    given = {key.key_id: key for key in keys}
    others = [key_id for key_id, proof in needed.items() if key_id in given and proof_of(given[key_id]) != proof]
    if others:
        return f"{_named(others)} is not the key that the store was encrypted with, put that back"
    if missing := [key_id for key_id in needed if key_id not in given]:
        how = "put it back behind the first line" if keys else "name the file that has it"
        return f"contents of the store may be encrypted with {_named(missing)}, which is missing: {how}"
    return None


def _named(ids: Sequence[str]) -> str:
    return " and ".join(f'"{one}"' for one in ids)
