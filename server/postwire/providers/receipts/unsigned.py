"""How vendors are believed that sign nothing: by basic auth, where a user is configured for it, and otherwise by
references of ours, which nobody else can make."""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core import reference as references
from postwire.providers.receipts.base import Forged, ReceiptCall
from postwire.providers.receipts.basic_auth import BasicAuth

_MAX_TRIED: Final = 1_000
"""References of a call that are looked at before it is known whose it is: each takes a hash. Vendors report of fewer
emails at a time."""


class UserOrReference:
    """Says which calls of a vendor are believed, and of which attempt.

    `field` is the name by which the vendor's JSON quotes a reference, at whatever depth.
    """

    def __init__(self, user: BasicAuth | None, field: str) -> None:
        self._user = user
        # Searched for, since reading all of a large body may take a third of a second, which nobody is owed yet.
        self._quoted = re.compile(
            rb'"%s"\s{0,8}:\s{0,8}"([A-Za-z0-9_-]{%d})"' % (re.escape(field).encode(), references.LENGTH)
        )

    @classmethod
    def of(cls, config: ProviderReceiptsConfig, field: str) -> UserOrReference:
        """One for what a provider has configured. Raises ValueError, led by a key."""
        return cls(BasicAuth.of(config), field)

    @property
    def has_user(self) -> bool:
        """Whether calls are believed by basic auth, whatever they report."""
        return self._user is not None

    def verify(self, call: ReceiptCall) -> None:
        """Return if a call is the vendor's, or has a reference of ours.

        Raises:
            Forged: neither.
        """
        if self._user:
            self._user.verify(call)
        elif not call.reference and not any(map(call.is_reference, self._all_quoted(call.body))):
            raise Forged("reference")

    def attempt(self, call: ReceiptCall, quoted: str, message_id: str) -> tuple[str, str] | None:
        """The reference and the vendor's id of what an event of a verified call is about, either of which may be empty.

        None where nobody vouches for the event: without a user, that is one that quotes no reference of ours. Its id is
        worth nothing then, since who has one reference may not report of other attempts.
        """
        if self._user:
            return quoted or call.reference, message_id
        reference = call.reference or (quoted if call.is_reference(quoted) else "")
        return (reference, "") if reference else None

    def _all_quoted(self, body: bytes) -> list[str]:
        return [found[1].decode() for found in islice(self._quoted.finditer(body), _MAX_TRIED)]
