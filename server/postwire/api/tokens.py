"""Tokens of pages and watches, as callers get them.

Where there are tenants, a token is of no use to anybody but the one that it was given to: see `sealed_tokens`. Without
any it is what the core makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


def about(kind: str, tenant: str, asked: bytes) -> bytes:
    """What a token is bound to: its kind (a word), a tenant, and a hash of what was asked for, of one length."""
    return b"\0".join((kind.encode(), tenant.encode(), asked))


class Tokens(Protocol):
    """Makes tokens for callers, and takes them back."""

    def wrap(self, token: str, bound_to: bytes) -> str:
        """The token as a caller gets it."""
        ...

    def unwrap(self, token: str, bound_to: bytes) -> str:
        """The token that `wrap` was given.

        Raises:
            ValueError: it is none of ours, or bound to something else. The text says what would be right.
        """
        ...


class PlainTokens:
    """Leaves tokens as they are."""

    def wrap(self, token: str, bound_to: bytes) -> str:
        """See `Tokens.wrap`."""
        return token

    def unwrap(self, token: str, bound_to: bytes) -> str:
        """See `Tokens.unwrap`."""
        return token


class TenantTokens:
    """Wraps tokens while there are tenants. What encrypts is not even imported before."""

    def __init__(self, lookup_key: bytes, has_tenants: Callable[[], bool]) -> None:
        """`lookup_key` is that of the store."""
        self._lookup_key = lookup_key
        self._has_tenants = has_tenants
        self._plain = PlainTokens()
        self._sealed: Tokens | None = None

    def wrap(self, token: str, bound_to: bytes) -> str:
        """See `Tokens.wrap`."""
        return self._tokens().wrap(token, bound_to)

    def unwrap(self, token: str, bound_to: bytes) -> str:
        """See `Tokens.unwrap`."""
        return self._tokens().unwrap(token, bound_to)

    def _tokens(self) -> Tokens:
        if not self._has_tenants():
            return self._plain
        if self._sealed is None:
            from postwire.api.sealed_tokens import SealedTokens

            self._sealed = SealedTokens(self._lookup_key)
        return self._sealed
