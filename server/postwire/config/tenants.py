"""`[tenants.NAME]`: for whom messages are sent, and how much of the server each may have.

Without any, everything belongs to the tenant `default`, and so does what was there before the first was declared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Final

from postwire.config.auth import CertificateConfig, TenantKeyConfig
from postwire.config.bind import ConfigError, EnvTree, Mistakes, bind, setting
from postwire.config.types import Count, Duration, Number, dotted, format_duration, whole
from postwire.core.message import DEFAULT_TENANT, Priority

TENANT_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""As the names of providers."""


@dataclass(frozen=True, slots=True)
class TenantConfig:
    """One tenant. `rate` is in messages a second, times in seconds; None is no limit of its own."""

    rate: Annotated[float, Number("a rate from 0.001 to 1000000 messages a second", 0.001, 1e6)] | None = setting(
        None, help="How many messages a second it may dispatch; without a limit by default."
    )
    burst: Count | None = setting(None, help="How many at once after a pause, where rate is set.")
    max_unsettled: Count | None = setting(None, help="How many of its messages may wait to be sent.")
    max_in_flight: Count | None = setting(None, help="How many of its messages may be on their way at once.")
    weight: Annotated[int, whole(1, 1000)] = setting(1, help="Its share of a provider, beside others that wait for it.")
    max_priority: Priority = setting(Priority.HIGH, help="What a higher priority counts as.")
    content_retention: Duration | None = setting(
        None, help="How long what a message says is kept once it is settled; by default, what [store] says."
    )

    keys: tuple[TenantKeyConfig, ...] = ()
    certificates: tuple[CertificateConfig, ...] = ()

    def check(self) -> None:
        if self.burst is not None and self.rate is None:
            raise ValueError("burst: does nothing by itself, set rate too")


def read(table: object, env: EnvTree, *, seen: set[str]) -> Mapping[str, TenantConfig]:
    """Return the tenants by name, in the order of declaration; none where none is declared.

    Where there are any, `default` is one of them. The dotted keys that were given are added to `seen`. Raises
    ConfigError for all that is wrong.
    """
    if not isinstance(table, Mapping):
        raise ConfigError("tenants", "is not a table, declare a tenant as [tenants.NAME]")
    mistakes = Mistakes()
    spelled = [name.replace("-", "_") for name in table]
    for part, node in env.below.items():
        if part not in spelled:
            known = ", ".join(table) or "none"
            problem = f"there is no such tenant, the environment can only set keys of those declared: {known}"
            mistakes.add(ConfigError(next(node.set_variables()), problem))
    found: dict[str, TenantConfig] = {}
    for name, declaration in table.items():
        if not TENANT_NAME.fullmatch(name):
            good = "must be lower-case letters and digits with single dashes between, such as acme-eu"
            mistakes.add(ConfigError(dotted(("tenants", name)), f"is not a tenant's name, {good}"))
            continue
        with mistakes.caught():
            found[name] = bind(TenantConfig, declaration, ("tenants", name), env.at(name), seen=seen)
    mistakes.raise_if_any()
    if found:
        found.setdefault(DEFAULT_TENANT, TenantConfig())
    return MappingProxyType(found)


def kept_too_long(tenants: Mapping[str, TenantConfig], retention: float) -> Iterator[ConfigError]:
    """What is wrong with how long tenants keep what their messages say, where records are kept for `retention` (s)."""
    for name, one in tenants.items():
        if one.content_retention is not None and one.content_retention > retention:
            longest = f"store.retention ({format_duration(retention)})"
            problem = f"{format_duration(one.content_retention)} is longer than {longest}, must be at most that"
            yield ConfigError(dotted(("tenants", name, "content_retention")), problem)
