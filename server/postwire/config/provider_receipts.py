"""`[providers.NAME.receipts]`: what its receipts are checked by."""

from __future__ import annotations

from dataclasses import dataclass

from postwire.config.bind import setting


@dataclass(frozen=True, slots=True)
class ProviderReceiptsConfig:
    """Which of these a provider takes, and needs, is its kind's affair: see `postwire.providers.receipts.base`."""

    secret: str | None = setting(None, help="What the vendor signs with.", secret=True)
    previous_secret: str | None = setting(None, help="What it signed with before, while both are in use.", secret=True)
    public_key: str | None = setting(None, help="The vendor's public key, as its console shows it.")
    username: str | None = setting(None, help="The user that the vendor is to log in as (basic auth).")
    password: str | None = setting(None, help="That user's password.", secret=True)
    topics: tuple[str, ...] = setting((), help="The topics that receipts come by, and no others.")
