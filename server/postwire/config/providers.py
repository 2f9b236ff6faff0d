"""`[providers]`: who carries messages, and within which limits; read and checked once.

[providers.relay]
kind = "mock"                 # decides which keys there are beside those of `ProviderTable`
channels = ["sms", "mms"]
max_concurrent = 10
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Protocol

from postwire.config.bind import ConfigError, EnvTree, Mistakes, bind, keys, setting
from postwire.config.provider_receipts import TABLE, ProviderReceiptsConfig, ReceiptKeys, not_taken, sound
from postwire.config.secret_files import SUFFIX
from postwire.config.shown import KeyDescription, describe
from postwire.config.types import (
    Choice,
    Count,
    KeyPath,
    ListOf,
    Number,
    PositiveDuration,
    PositiveRatio,
    Unit,
    dotted,
    longer_than,
    toml_string,
    whole,
)
from postwire.core.message import Channel

CONNECT_TIMEOUT: Final = 3.0
"""Seconds, where neither the configuration nor the kind says otherwise."""

PRODUCTION: Final = "production"
"""The `server.environment` in which no kind is taken that is for tests only, and nothing is shown of what was sent."""

_PROVIDER_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


_KIND = 'a kind of provider such as "mock"'
_CHANNELS = 'a list of channels such as ["sms", "mms"]'
_CHANNEL = Choice("one of sms, mms, email", {channel.value: channel for channel in Channel})


class KindDeclaration(Protocol):
    """What the configuration asks of a kind of provider: see `postwire.providers.base.Kind`."""

    @property
    def settings(self) -> type[Any]:
        """The class of its own settings: see `postwire.config.bind`."""
        ...

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What it can carry."""
        ...

    @property
    def connect_timeout(self) -> float | None:
        """Its default in seconds; None for the common one. So with the two below."""
        ...

    @property
    def attempt_timeout(self) -> float | None:
        """Its default in seconds."""
        ...

    @property
    def max_concurrent(self) -> int | None:
        """Its default, in attempts."""
        ...

    @property
    def max_concurrent_of(self) -> Callable[[Any], int] | None:
        """What its default follows from, beside `max_concurrent`: the kind's own settings."""
        ...

    @property
    def for_tests_only(self) -> bool:
        """Whether it is refused in `PRODUCTION`."""
        ...

    @property
    def receipts(self) -> ReceiptKeys | None:
        """Which keys of `[providers.NAME.receipts]` it takes; None where it has no receipts."""
        ...


class UnusableKind(Exception):
    """Raised by a mapping of kinds for one that is there and cannot be used.

    The text follows the kind's name, and says what to install or to change: "is broken, mend it".
    """


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """`[providers.NAME.breaker]`: when the provider is left alone, and for how long."""

    # One is held in memory for each.
    window_calls: Annotated[int, whole(1, 100_000)] = setting(20, help="How many of the last calls it looks at.")
    window_time: PositiveDuration = setting(60.0, help="How old a call is at most that it looks at.")
    failure_ratio: PositiveRatio = setting(0.5, help="It opens once this ratio of them failed.")
    minimum_calls: Count = setting(10, help="How many there must be at least before it opens.")
    slow_call_ratio: PositiveRatio | None = setting(None, help="It opens once this ratio of them was slow as well.")
    slow_call_duration: PositiveDuration | None = setting(None, help="A call that took longer than this was slow.")
    open_for: PositiveDuration = setting(5.0, help="How long it stays open at first, doubled each time it re-opens.")
    open_for_max: PositiveDuration = setting(300.0, help="How long it stays open at most.")
    probe_calls: Count = setting(1, help="How many calls may probe the provider at once after that.")
    close_after: Count = setting(1, help="How many successes of those close it.")

    def check(self) -> None:
        if self.minimum_calls > self.window_calls:
            raise ValueError(
                f"minimum_calls: {self.minimum_calls} is more than window_calls ({self.window_calls}), "
                "must be at most that"
            )
        if self.open_for > self.open_for_max:
            raise longer_than("open_for", self.open_for, "open_for_max", self.open_for_max)
        if (self.slow_call_ratio is None) != (self.slow_call_duration is None):
            given, absent = "slow_call_ratio", "slow_call_duration"
            if self.slow_call_ratio is None:
                given, absent = absent, given
            raise ValueError(f"{given}: does nothing by itself, set {absent} too")


@dataclass(frozen=True, slots=True)
class ProviderTable:
    """What every `[providers.NAME]` may say; the kind's own keys stand beside these."""

    kind: Annotated[str, Unit(_KIND)] = setting(help="What it is.")
    channels: Annotated[tuple[Channel, ...], ListOf(_CHANNELS, _CHANNEL, least=1)] = setting(help="What it carries.")
    max_concurrent: Count = setting(64, help="How many attempts may be under way at once.")
    rate: Annotated[float, Number("a rate from 0.001 to 1000000 messages a second", 0.001, 1e6)] | None = setting(
        None, help="How many messages a second; without a limit by default."
    )
    burst: Count | None = setting(None, help="How many at once after a pause, where rate is set.")
    connect_timeout: PositiveDuration = setting(CONNECT_TIMEOUT, help="How long it may take to connect, TLS included.")
    attempt_timeout: PositiveDuration | None = setting(
        None, help="How long one attempt may take; by default, what [delivery] or its kind says."
    )
    breaker: BreakerConfig = field(default_factory=BreakerConfig)
    receipts: ProviderReceiptsConfig | None = None

    def check(self) -> None:
        if self.burst is not None and self.rate is None:
            raise ValueError("burst: does nothing by itself, set rate too")


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One provider. `rate` is in messages a second, times in seconds; `options` are of its kind's settings class."""

    name: str
    kind: str
    channels: tuple[Channel, ...]
    max_concurrent: int
    rate: float | None
    burst: int | None
    connect_timeout: float
    attempt_timeout: float
    breaker: BreakerConfig
    options: object
    receipts: ProviderReceiptsConfig | None = None
    receipts_asked_by: str = ""
    """Which key of it asks for receipts; empty where none does."""


_BUILT_IN: Final[Mapping[str, Any]] = {
    "sms-mms": {"kind": "mock", "channels": ["sms", "mms"]},
    "email": {"kind": "mock", "channels": ["email"]},
}


def declared_names(table: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names of the providers that `[providers]` declares, or of the two mocks, without a check of either."""
    return tuple(table or _BUILT_IN)


def read(
    table: object,
    carriers: dict[str, Collection[Channel]],
    env: EnvTree,
    *,
    kinds: Mapping[str, KindDeclaration],
    attempt_timeout: float,
    seen: set[str],
    files: dict[str, Path],
) -> Mapping[str, ProviderConfig]:
    """Return the providers of `[providers]`, in the order of declaration; the two mocks where it declares none.

    `carriers` is filled with the channels of each; one that cannot be read may carry any. `attempt_timeout` is that of
    `[delivery]`, in seconds. The dotted keys that were given are added to `seen`, and the files of secrets, by the keys
    that name them, to `files`. Raises ConfigError for all that is wrong.
    """
    if not isinstance(table, Mapping):
        raise ConfigError("providers", "is not a table, declare a provider as [providers.NAME]")
    mistakes = Mistakes()
    for name, declaration in table.items():
        if not isinstance(declaration, Mapping):
            problem = "is not a table, declare a provider as [providers.NAME]"
            mistakes.add(ConfigError(dotted(("providers", name)), problem))
        elif not _PROVIDER_NAME.fullmatch(name):
            good = "must be lower-case letters and digits with single dashes between, such as sms-eu"
            mistakes.add(ConfigError(dotted(("providers", name)), f"is not a provider's name, {good}"))
    declared = table or _BUILT_IN
    # A name has no `_` and no two dashes in a row: no two names share a variable, and none holds the `__`.
    spelled = [name.replace("-", "_") for name in declared]
    for part, node in env.below.items():
        if part not in spelled:
            problem = f"there is no such provider, the environment can only set keys of {', '.join(declared)}"
            mistakes.add(ConfigError(next(node.set_variables()), problem))
    found: dict[str, ProviderConfig] = {}
    for name in declared:
        carriers[name] = tuple(Channel)
        if isinstance(declared[name], Mapping):
            with mistakes.caught():
                found[name] = _provider(name, declared[name], env.at(name), kinds, attempt_timeout, seen, files)
                carriers[name] = found[name].channels
    mistakes.raise_if_any()
    if not table:
        ours = ((name, key) for name in declared for key in ("kind", "channels"))
        seen -= {f"providers.{name}.{key}" for name, key in ours if env.at(name).at(key).text is None}
    return MappingProxyType(found)


def not_in_production(
    providers: Mapping[str, ProviderConfig], kinds: Mapping[str, KindDeclaration], environment: str
) -> Iterator[ConfigError]:
    """Which providers must not be there, in this `server.environment`."""
    for name, one in providers.items():
        if environment == PRODUCTION and kinds[one.kind].for_tests_only:
            problem = f'{toml_string(one.kind)} is for tests, and server.environment is "{PRODUCTION}"'
            yield ConfigError(dotted(("providers", name, "kind")), f"{problem}: take the provider out")


@dataclass(frozen=True, slots=True)
class _Kind:
    kind: Annotated[str, Unit(_KIND)]


def _provider(
    name: str,
    table: object,
    env: EnvTree,
    kinds: Mapping[str, KindDeclaration],
    attempt_timeout: float,
    seen: set[str],
    files: dict[str, Path],
) -> ProviderConfig:
    path = ("providers", name)
    kind_name = bind(_Kind, table, path, env, beside=None).kind  # it decides which other keys there are
    kind = _kind(kind_name, path, env, kinds)
    mistakes = Mistakes()
    with mistakes.caught():
        common = bind(
            ProviderTable,
            table,
            path,
            env,
            beside=own_keys(kind.settings),
            defaults=_defaults(kind),
            seen=seen,
            files=files,
        )
        mistakes.extend(not_taken(kind_name, kind.receipts, path, seen))
        mistakes.extend(_not_carried(common.channels, kind_name, kind, path, env))
    with mistakes.caught():
        options = bind(kind.settings, table, path, env, beside=None, seen=seen, files=files)
    mistakes.raise_if_any()
    asked_by = ""
    if kind.receipts:
        asked_by = TABLE if common.receipts else kind.receipts.asked_by(options)
    if kind.receipts and asked_by:
        sound(kind.receipts, options, common.receipts or ProviderReceiptsConfig(), path, env, files)
    max_concurrent = common.max_concurrent
    if kind.max_concurrent_of and dotted((*path, "max_concurrent")) not in seen:
        max_concurrent = kind.max_concurrent_of(options)
    return ProviderConfig(
        name=name,
        kind=kind_name,
        channels=common.channels,
        max_concurrent=max_concurrent,
        rate=common.rate,
        burst=common.burst,
        connect_timeout=common.connect_timeout,
        attempt_timeout=common.attempt_timeout or attempt_timeout,
        breaker=common.breaker,
        options=options,
        receipts=common.receipts,
        receipts_asked_by=asked_by,
    )


def own_keys(settings: type[Any]) -> tuple[str, ...]:
    """Return the keys of a kind's settings class.

    Raises:
        TypeError: it has a key that every provider has, or one of a type that no value can be read for.
    """
    own = keys(settings)
    if shared := set(own) & set(keys(ProviderTable)):
        raise TypeError(f"its settings have keys that every provider has: {sorted(shared)}")
    return own


def describe_kind(kind: KindDeclaration, *, attempt_timeout: float | None) -> tuple[KeyDescription, ...]:
    """Describe every key that a provider of this kind has: the kind's own, then those that all have.

    `attempt_timeout` is that of `[delivery]`, in seconds, where it is known.
    """
    common = describe(ProviderTable, {"attempt_timeout": attempt_timeout} | _defaults(kind))
    taken = [
        f"receipts.{key}{ending}" for key in (kind.receipts.keys if kind.receipts else ()) for ending in ("", SUFFIX)
    ]
    return (
        *describe(kind.settings),
        *(one for one in common if not one.key.startswith("receipts.") or one.key in taken),
    )


def _kind(name: str, path: KeyPath, env: EnvTree, kinds: Mapping[str, KindDeclaration]) -> KindDeclaration:
    try:
        return kinds[name]
    except KeyError:
        problem = f"{toml_string(name)} is not a kind of provider, must be one of {', '.join(kinds)}"
    except UnusableKind as wrong:
        problem = f"{toml_string(name)} {wrong}"
    raise ConfigError(dotted((*path, "kind")), problem, variable=_variable(env, "kind"))


def _defaults(kind: KindDeclaration) -> dict[str, float]:
    declared = {
        "connect_timeout": kind.connect_timeout,
        "attempt_timeout": kind.attempt_timeout,
        "max_concurrent": kind.max_concurrent,
    }
    return {key: value for key, value in declared.items() if value is not None}


def _not_carried(
    channels: Iterable[Channel], name: str, kind: KindDeclaration, path: KeyPath, env: EnvTree
) -> Iterator[ConfigError]:
    """What is wrong with the channels of a provider of this kind."""
    carried = ", ".join(channel.value for channel in kind.channels)
    for channel in channels:
        if channel not in kind.channels:
            problem = f"{toml_string(channel.value)} cannot be carried by the kind {name}, which carries {carried}"
            yield ConfigError(dotted((*path, "channels")), problem, variable=_variable(env, "channels"))


def _variable(env: EnvTree, key: str) -> str | None:
    """The environment variable that a key comes from, if it does."""
    node = env.at(key)
    return node.variable if node.text is not None else None
