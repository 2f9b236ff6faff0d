"""The readers of receipts of this server's providers, which may go by something else while it serves."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from postwire.config.bind import ConfigError, keys
from postwire.config.provider_receipts import TABLE, ProviderReceiptsConfig
from postwire.config.providers import ProviderConfig
from postwire.config.renewal import with_secrets_of
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

    @property
    def names(self) -> Collection[str]:
        """Those of the providers that have one."""
        return [name for name, one in self._by_name.items() if one and one.reader]

    def of(self, provider_name: str) -> ReceiptReader | None:
        """The reader of a provider; None where no receipts of it are taken."""
        found = self._by_name.get(provider_name)
        return found.reader if found else None

    def warnings(self) -> Iterator[str]:
        """What to set for those providers whose receipts nothing is known to check by."""
        for name, one in self._by_name.items():
            if one and one.reader is None:
                missing = ", ".join(dotted(("providers", name, TABLE, key)) for key in one.support.keys)
                what = f"set {missing}" if missing else "see `postwire providers kinds`"
                yield f"providers.{name}: its receipts are not taken, for want of something to check them by: {what}"

    @property
    def reloadables(self) -> Iterator[Reloadable]:
        """What can change while the server serves."""
        return (one.reloadable for one in self._by_name.values() if one)


@dataclass(frozen=True, slots=True, repr=False)
class _Basis:
    options: Any
    table: ProviderReceiptsConfig


class _Reader:
    """The reader of one provider, whose kind has receipts. A reader may look at the provider's own secrets as well."""

    def __init__(self, declared: ProviderConfig, support: ReceiptSupport) -> None:
        self.support = support
        self._path = "providers", declared.name
        self._basis = _Basis(declared.options, declared.receipts or _NOTHING)
        self.reader = self._make(self._basis)
        table = tuple(dotted((*self._path, TABLE, key)) for key in keys(ProviderReceiptsConfig))
        self.reloadable = Reloadable(table, self._prepare)

    def _make(self, basis: _Basis) -> ReceiptReader | None:
        try:
            return self.support.make(basis.options, basis.table)
        except ValueError as wrong:
            key, colon, problem = str(wrong).partition(": ")
            here = (*self._path, TABLE, key) if colon else (*self._path, TABLE)
            raise ConfigError(dotted(here), problem if colon else str(wrong)) from None

    def _prepare(self, config: Config) -> Prepared:
        declared = config.providers.get(self._path[1])
        keep = Prepared(lambda: None, left=self.reloadable.keys)
        if declared is None or type(declared.options) is not type(self._basis.options):
            return keep
        before = self._basis
        try:
            basis = _Basis(
                with_secrets_of(before.options, declared.options, self._path),
                declared.receipts or _NOTHING,
            )
        except ConfigError:  # they go together with other keys that have changed, and only so
            return keep
        if (basis.options, basis.table) == (before.options, before.table):
            return Prepared(lambda: None)
        if self.reader is None:  # its attempts were given nothing that receipts could quote, which the next start does
            return keep
        return Prepared(partial(self._apply, basis, self._make(basis)))

    def _apply(self, basis: _Basis, reader: ReceiptReader | None) -> None:
        self._basis, self.reader = basis, reader
