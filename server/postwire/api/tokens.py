"""Tokens of pages and watches, as callers get them.

Where there are tenants, a token is of no use to anybody but the one that it was given to: see `sealed_tokens`. Without
any it is what the core makes.
"""

from __future__ import annotations

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
