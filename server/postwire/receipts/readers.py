"""The readers of receipts of this server's providers, which go on with other secrets while it serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from postwire.config.bind import ConfigError
from postwire.config.provider_receipts import TABLE, ProviderReceiptsConfig
from postwire.config.providers import ProviderConfig
from postwire.config.renewal import secret_keys, with_secrets_of
from postwire.config.schema import Config
from postwire.config.types import dotted
from postwire.providers.base import Kind
from postwire.providers.receipts.base import ReceiptReader, ReceiptSupport
from postwire.reload import Prepared, Reloadable

_NOTHING = ProviderReceiptsConfig()


class Readers:
    """The reader of each provider that receipts are taken of."""

    def __init__(self, config: Config, kinds: Mapping[str, Kind]) -> None:
        """Make them.

        Raises:
            ConfigError: what a provider's receipts are to be checked by is of no use.
        """
        self._by_name: dict[str, _Reader | None] = {}
        for name, declared in config.providers.items():
            support = kinds[declared.kind].receipts
            self._by_name[name] = _Reader(declared, support) if support else None

    def knows(self, provider_name: str) -> bool:
        """Whether there is a provider of that name."""
        return provider_name in self._by_name

    def of(self, provider_name: str) -> ReceiptReader | None:
        """The reader of a provider; None where no receipts of it are taken."""
        found = self._by_name.get(provider_name)
        return found.reader if found else None

    def warnings(self) -> Iterator[str]:
        """What to set for those providers whose receipts nothing is known to check by."""
        for name, one in self._by_name.items():
            if one and one.reader is None:
                keys = ", ".join(dotted(("providers", name, TABLE, key)) for key in one.support.keys)
                what = f"set {keys}" if keys else "see `postwire providers kinds`"
                yield f"providers.{name}: its receipts are not taken, for want of something to check them by: {what}"

    @property
    def reloadables(self) -> Iterator[Reloadable]:
        """What can change while the server serves."""
        return (one.reloadable for one in self._by_name.values() if one)


@dataclass(frozen=True, slots=True, repr=False)
class _Secrets:
    options: Any
    table: ProviderReceiptsConfig


class _Reader:
    """The reader of one provider, whose kind has receipts. A reader may look at the provider's own secrets as well."""

    def __init__(self, declared: ProviderConfig, support: ReceiptSupport) -> None:
        self.support = support
        self._path = "providers", declared.name
        self._secrets = _Secrets(declared.options, declared.receipts or _NOTHING)
        self.reader = self._make(self._secrets)
        keys = secret_keys(ProviderReceiptsConfig, (*self._path, TABLE))
        self.reloadable = Reloadable(tuple(keys), self._prepare)

    def _make(self, secrets: _Secrets) -> ReceiptReader | None:
        try:
            return self.support.make(secrets.options, secrets.table)
        except ValueError as wrong:
            key, colon, problem = str(wrong).partition(": ")
            here = (*self._path, TABLE, key) if colon else (*self._path, TABLE)
            raise ConfigError(dotted(here), problem if colon else str(wrong)) from None

    def _prepare(self, config: Config) -> Prepared:
        declared = config.providers.get(self._path[1])
        keep = Prepared(lambda: None, left=self.reloadable.keys)
        if declared is None or type(declared.options) is not type(self._secrets.options):
            return keep
        before = self._secrets
        try:
            secrets = _Secrets(
                with_secrets_of(before.options, declared.options, self._path),
                with_secrets_of(before.table, declared.receipts or _NOTHING, (*self._path, TABLE)),
            )
        except ConfigError:  # they go together with other keys that have changed, and only so
            return keep
        if (secrets.options, secrets.table) == (before.options, before.table):
            return Prepared(lambda: None)
        return Prepared(partial(self._apply, secrets, self._make(secrets)))

    def _apply(self, secrets: _Secrets, reader: ReceiptReader | None) -> None:
        self._secrets, self.reader = secrets, reader
