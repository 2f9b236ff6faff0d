"""`[providers.NAME.receipts]`: what its receipts are checked by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from postwire.config.bind import ConfigError, EnvTree, entries, from_check, keys, setting
from postwire.config.secret_files import SUFFIX
from postwire.config.types import KeyPath, dotted

TABLE: Final = "receipts"
"""Its name."""


@dataclass(frozen=True, slots=True)
class ProviderReceiptsConfig:
    """Which of these a provider takes, and needs, is its kind's affair: see `postwire.providers.receipts.base`."""

    secret: str | None = setting(None, help="What the vendor signs with.", secret=True)
    previous_secret: str | None = setting(None, help="What it signed with before, while both are in use.", secret=True)
    public_key: str | None = setting(None, help="The vendor's public key, as its console shows it.")
    username: str | None = setting(None, help="The user that the vendor is to log in as (basic auth).")
    password: str | None = setting(None, help="That user's password.", secret=True)
    topics: tuple[str, ...] = setting((), help="The topics that receipts come by, and no others.")


class ReceiptKeys(Protocol):
    """What the configuration asks of a kind's receipts: see `postwire.providers.receipts.base.ReceiptSupport`."""

    @property
    def keys(self) -> Collection[str]:
        """Those keys that it takes."""
        ...

    @property
    def make(self) -> Callable[[Any, ProviderReceiptsConfig], object]:
        """Given the kind's own settings and this table, raises ValueError where that is of no use."""
        ...

    @property
    def asked_by(self) -> Callable[[Any], str]:
        """Given the kind's own settings, which of their keys asks for receipts, if one does; else empty."""
        ...


def not_taken(
    kind_name: str, receipts: ReceiptKeys | None, path: KeyPath, seen: Collection[str]
) -> Iterator[ConfigError]:
    """What is wrong with the keys of this table that were given, where a provider is of this kind.

    `path` leads to the provider, and `seen` has the dotted keys that were given.
    """
    taken = receipts.keys if receipts else ()
    for key in keys(ProviderReceiptsConfig):
        here = dotted((*path, TABLE, key))
        # Of a secret in a file, both keys are seen.
        if here in seen and here + SUFFIX not in seen and key.removesuffix(SUFFIX) not in taken:
            which = f", which takes {', '.join(taken)}" if taken else ", which has none: take it out"
            yield ConfigError(here, f"is not for receipts of the kind {kind_name}{which}")


def sound(
    receipts: ReceiptKeys,
    options: object,
    table: ProviderReceiptsConfig,
    path: KeyPath,
    env: EnvTree,
    files: Container[str],
) -> None:
    """See that a kind can check receipts by this. `path` leads to the provider, and `env` is its part of the
    environment; `files` are those that secrets were read from, by the keys that name them.

    Raises:
        ConfigError: it cannot.
    """
    try:
        for key in keys(ProviderReceiptsConfig):
            if getattr(table, key, None) == "":
                raise ValueError(f"{key}: is empty")
        receipts.make(options, table)
    except ValueError as wrong:
        here, cls = (*path, TABLE), ProviderReceiptsConfig
        values = {entry.name: getattr(table, entry.name) for entry in entries(cls)}
        in_files = {
            entry.name: entry.file for entry in entries(cls) if entry.file and dotted((*here, entry.file.name)) in files
        }
        raise from_check(cls, str(wrong), values, in_files, here, env.at(TABLE)) from None
