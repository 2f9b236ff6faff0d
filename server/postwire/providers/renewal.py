"""Providers that go on with other secrets: what a new configuration has for them, and asking their vendors at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from postwire.clock import Clock
from postwire.config.bind import ConfigError
from postwire.config.renewal import secret_keys, with_secrets_of
from postwire.config.schema import Config
from postwire.providers import capabilities
from postwire.providers.base import Provider, ProviderHealth
from postwire.providers.checks import ProviderChecks
from postwire.providers.registry import ProviderEntry, Registry
from postwire.reload import Prepared, Reloadable


def renewables(
    registry: Registry,
    config: Config,
    *,
    clock: Clock,
    checks: ProviderChecks,
    on_fault: Callable[[Exception], None],
) -> Iterator[Reloadable]:
    """Every provider whose secrets can change while the server runs, which has booted with `config`.

    One whose secrets have changed is checked, and if it has refused our account, a message that waits may try it at
    once. `on_fault` is called with what a provider's `renew` raises.
    """
    for entry in registry:
        options = config.providers[entry.provider.name].options
        renew = capabilities.renew_of(entry.provider)
        if renew and tuple(secret_keys(type(options), ())):
            yield _Renewal(entry, options, renew, clock, checks, on_fault).reloadable


class _Renewal:
    """One such provider. `options` are those that it runs with."""

    def __init__(
        self,
        entry: ProviderEntry,
        options: object,
        renew: Callable[[Any], None],
        clock: Clock,
        checks: ProviderChecks,
        on_fault: Callable[[Exception], None],
    ) -> None:
        self._entry = entry
        self._options = options
        self._renew = renew
        self._clock = clock
        self._checks = checks
        self._on_fault = on_fault
        self._path = "providers", entry.provider.name
        self.reloadable = Reloadable(tuple(secret_keys(type(options), self._path)), self._prepare)

    def _prepare(self, config: Config) -> Prepared:
        declared = config.providers.get(self._entry.provider.name)
        keep_all = Prepared(lambda: None, left=self.reloadable.keys)
        if declared is None or type(declared.options) is not type(self._options):
            return keep_all
        try:
            options = with_secrets_of(self._options, declared.options, self._path)
        except ConfigError:  # they go together with other keys that have changed, and only so
            return keep_all
        return Prepared(partial(self._apply, options) if options != self._options else lambda: None)

    def _apply(self, options: object) -> None:
        try:
            self._renew(options)
            self._options = options
        except Exception as error:  # the next reload tries it again
            self._on_fault(error)
        self._entry.gate.note_renewed(self._clock.monotonic())
        self._checks.check(self._entry.provider, self._checked)

    def _checked(self, _: Provider, health: ProviderHealth) -> None:
        if health.ok:
            self._entry.gate.note_configured()
