"""Who calls, for whom, and what he may do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from postwire.core.message import DEFAULT_TENANT
from postwire.core.values import Word, frozen


class Role(Word):
    """What a caller may do. The contract says of each method which role it takes."""

    SEND = "send"
    """Send, and read and cancel what his tenant sent, by its id."""
    READ = "read"
    """Read, list and watch his tenant's messages."""
    OPERATE = "operate"
    """Look at providers and steer them, and settle and erase his tenant's messages."""
    ADMIN = "admin"
    """Everything, for every tenant."""


ALL_ROLES: Final = frozenset(Role)


@frozen
class Principal:
    """Somebody who calls, acting for one tenant.

    `name` is what he is called in the record of what was done: that of a key, a certificate's identity, a token's
    subject. It is no secret.
    """

    tenant: str
    name: str
    roles: frozenset[Role]

    def may(self, needed: Iterable[Role]) -> bool:
        """Whether he has one of these roles."""
        return Role.ADMIN in self.roles or not self.roles.isdisjoint(needed)


LOCAL: Final = Principal(DEFAULT_TENANT, "local", ALL_ROLES)
"""Whoever calls a server that does not ask who does."""
