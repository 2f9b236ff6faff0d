"""The configuration: TOML, then the environment, which wins; read and checked once, and frozen from then on.

Whatever is wrong is a `ConfigError` of one line that names the key, with all else that is wrong in it.
Times are float seconds, sizes are bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeVar

from postwire import config_routes
from postwire.config_file import read_file
from postwire.core.message import Channel
from postwire.core.routing import Route
from postwire.endpoints import ENDPOINT, LISTEN, LISTEN_OR_OFF
from postwire.settings import (
    ConfigError,
    EnvTree,
    Mistakes,
    StrayVariable,
    bind,
    keys,
    refuse_unknown,
    rows,
    stray_variables,
    values,
)
from postwire.units import (
    Choice,
    Count,
    CountOrNone,
    Duration,
    DurationUnit,
    ListOf,
    Number,
    PositiveDuration,
    PositiveRatio,
    Seed,
    SizeUnit,
    Unit,
    dotted,
    format_duration,
    toml_string,
    whole,
)

T = TypeVar("T")

SECTIONS: Final = ("server", "store", "delivery", "telemetry", "providers", "routes")

_PROVIDER_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


_KIND = 'a kind of provider such as "mock"'
_CHANNELS = 'a list of channels such as ["sms", "mms"]'
_CHANNEL = Choice("one of sms, mms, email", {channel.value: channel for channel in Channel})


def _order(low: str, value: float, high: str, limit: float) -> ValueError:
    longer = f"{low}: {format_duration(value)} is longer than {high} ({format_duration(limit)})"
    return ValueError(f"{longer}, must be at most that")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """`[server]`: the gRPC server and what it lets in."""

    listen: Annotated[str, LISTEN] = "127.0.0.1:50051"
    max_in_flight: Count = 1000  # messages
    max_message_bytes: Annotated[int, SizeUnit(most=2**31 - 1)] = 32 << 20  # gRPC counts them in 32 bits
    max_wait: PositiveDuration = 30.0
    grace: Duration = 10.0
    reflection: bool = True


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """`[store]`: the outbox's file, and how much it holds."""

    path: Path = Path("postwire.db")
    sync: Literal["full", "normal"] = "full"
    max_unsettled: Count = 1_000_000
    max_unsettled_per_queue: CountOrNone = 0  # four times what is left of max_unsettled
    max_scheduled: CountOrNone = 0  # half of max_unsettled
    retention: Annotated[float, DurationUnit(least=86400.0)] = 7 * 86400.0  # request ids are known for so long
    content_retention: Duration = 0.0

    def check(self) -> None:
        if self.content_retention > self.retention:
            raise _order("content_retention", self.content_retention, "retention", self.retention)
        if str(self.path) == ":memory:" or str(self.path).startswith("file:"):
            raise ValueError("path: is no place that outlives the process, write the path of a file")


@dataclass(frozen=True, slots=True)
class ExpireAfter:
    """`[delivery.expire_after]`: how long a message is tried when its caller does not say."""

    sms: PositiveDuration = 4 * 3600.0
    mms: PositiveDuration = 4 * 3600.0
    email: PositiveDuration = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class DeliveryConfig:
    """`[delivery]`: attempts and the time between them. `seed` is for backoff, weights and jitter."""

    max_attempts: Count = 5
    attempt_timeout: PositiveDuration = 10.0
    backoff_base: PositiveDuration = 1.0
    backoff_max: PositiveDuration = 300.0
    expire_after: ExpireAfter = field(default_factory=ExpireAfter)
    seed: Seed | None = None

    def check(self) -> None:
        if self.backoff_base > self.backoff_max:
            raise _order("backoff_base", self.backoff_base, "backoff_max", self.backoff_max)


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    """`[telemetry]`: metrics, traces and logs. `metrics_listen` may be "": neither metrics nor probes over HTTP."""

    metrics_listen: Annotated[str, LISTEN_OR_OFF] = "127.0.0.1:9464"
    otlp_endpoint: Annotated[str, ENDPOINT] | None = None
    log_format: Literal["auto", "json", "text"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """`[providers.NAME.breaker]`: when the provider is left alone, and for how long."""

    window_calls: Annotated[int, whole(1, 100_000)] = 20  # one is held in memory for each
    window_time: PositiveDuration = 60.0
    failure_ratio: PositiveRatio = 0.5
    minimum_calls: Count = 10
    slow_call_ratio: PositiveRatio | None = None
    slow_call_duration: PositiveDuration | None = None
    open_for: PositiveDuration = 5.0
    open_for_max: PositiveDuration = 300.0
    probe_calls: Count = 1
    close_after: Count = 1

    def check(self) -> None:
        if self.minimum_calls > self.window_calls:
            raise ValueError(
                f"minimum_calls: {self.minimum_calls} is more than window_calls ({self.window_calls}), "
                "must be at most that"
            )
        if self.open_for > self.open_for_max:
            raise _order("open_for", self.open_for, "open_for_max", self.open_for_max)
        if (self.slow_call_ratio is None) != (self.slow_call_duration is None):
            given, absent = "slow_call_ratio", "slow_call_duration"
            if self.slow_call_ratio is None:
                given, absent = absent, given
            raise ValueError(f"{given}: does nothing by itself, set {absent} too")


@dataclass(frozen=True, slots=True)
class _ProviderTable:
    """What every `[providers.NAME]` may say; the kind's own keys stand beside these."""

    kind: Annotated[str, Unit(_KIND)]
    channels: Annotated[tuple[Channel, ...], ListOf(_CHANNELS, _CHANNEL, least=1)]
    max_concurrent: Count = 64
    rate: Annotated[float, Number("a rate from 0.001 to 1000000 messages a second", 0.001, 1e6)] | None = None
    burst: Count | None = None
    attempt_timeout: PositiveDuration | None = None
    breaker: BreakerConfig = field(default_factory=BreakerConfig)

    def check(self) -> None:
        if self.burst is not None and self.rate is None:
            raise ValueError("burst: does nothing by itself, set rate too")


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One provider. `rate` is in messages a second; `options` are its kind's own, of the class in `kinds`."""

    name: str
    kind: str
    channels: tuple[Channel, ...]
    max_concurrent: int
    rate: float | None
    burst: int | None
    attempt_timeout: float
    breaker: BreakerConfig
    options: object


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. `providers` is in order of declaration; `routes` has every channel, and no route means nobody.

    `explicit` holds the dotted keys that the file or the environment set; `file` is the file that was read; `strays`
    are variables that look like ours and are none.
    """

    server: ServerConfig
    store: StoreConfig
    delivery: DeliveryConfig
    telemetry: TelemetryConfig
    providers: Mapping[str, ProviderConfig]
    routes: Mapping[Channel, tuple[Route, ...]]
    explicit: frozenset[str]
    file: Path | None
    strays: tuple[StrayVariable, ...] = field(default=(), compare=False)


def load(
    *,
    path: Path | None,
    environ: Mapping[str, str],
    kinds: Mapping[str, type[Any]],
    cwd: Path | None = None,
    examine: Callable[[object], Iterable[ConfigError]] = lambda section: (),
) -> Config:
    """The configuration of a file (`path`, or postwire.toml in `cwd` if there is one) and of the environment.

    `kinds` has the settings class of each kind of provider. `examine` is asked what else is wrong with a section, such
    as `ServerConfig`. Raises ConfigError, with all that is wrong in it.
    """
    file, table = read_file(path, cwd or Path())
    mistakes = Mistakes()
    env = EnvTree.read(environ, mistakes)
    with mistakes.caught():
        refuse_unknown(SECTIONS, table, (), env)
    seen: set[str] = set()

    def section(cls: type[T], name: str) -> T:
        with mistakes.caught():
            made = bind(cls, table.get(name, {}), (name,), env.at(name), seen=seen)
            for mistake in examine(made):
                mistakes.add(mistake)
            return made
        return cls()  # so that the rest can be read as well

    server = section(ServerConfig, "server")
    store = section(StoreConfig, "store")
    delivery = section(DeliveryConfig, "delivery")
    telemetry = section(TelemetryConfig, "telemetry")
    if telemetry.metrics_listen == server.listen and not server.listen.endswith(":0"):
        problem = f"{server.listen} is server.listen as well, choose another port"
        mistakes.add(ConfigError("telemetry.metrics_listen", problem))
    carriers: dict[str, Collection[Channel]] = {}
    providers: Mapping[str, ProviderConfig] = {}
    routes: Mapping[Channel, tuple[Route, ...]] = {}
    with mistakes.caught():
        providers = _providers(table.get("providers", {}), env.at("providers"), kinds, delivery, seen, carriers)
    if carriers:
        with mistakes.caught():
            routes = config_routes.read(table.get("routes", {}), carriers, env.at("routes"), seen=seen)
    mistakes.raise_if_any()
    config = Config(server, store, delivery, telemetry, providers, routes, frozenset(seen), file)
    known = [f"POSTWIRE_{key.replace('.', '__').replace('-', '_').upper()}" for key, _ in effective(config)]
    return replace(config, strays=stray_variables(environ, known))


def effective(config: Config) -> list[tuple[str, str]]:
    """Every key with its value as TOML writes it; "(none)" where there is no value, "(set)" for a secret."""
    found: list[tuple[str, str]] = []
    for name in ("server", "store", "delivery", "telemetry"):
        found += rows(getattr(config, name), (name,))
    for provider in config.providers.values():
        found += rows(provider, ("providers", provider.name), _ProviderTable)
        found += rows(provider.options, ("providers", provider.name))
    return found + config_routes.rows(config.routes)


def differences(before: Config, after: Config) -> list[str]:
    """The keys whose values differ; a provider that only one of them has is its table, `providers.NAME`."""
    old, new = _all_values(before), _all_values(after)
    lonely = [
        dotted(("providers", name))
        for name in (*before.providers, *after.providers)
        if (name in before.providers) != (name in after.providers)
    ]
    differing = [key for key in dict.fromkeys((*old, *new)) if old.get(key, ...) != new.get(key, ...)]
    return [key for key in differing if not any(key.startswith(f"{table}.") for table in lonely)] + lonely


def _all_values(config: Config) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in ("server", "store", "delivery", "telemetry"):
        found |= values(getattr(config, name), (name,))
    for provider in config.providers.values():
        found |= values(provider, ("providers", provider.name), _ProviderTable)
        found |= values(provider.options, ("providers", provider.name))
    return found | dict(config_routes.rows(config.routes))


_BUILT_IN: Final[Mapping[str, Any]] = {
    "sms-mms": {"kind": "mock", "channels": ["sms", "mms"]},
    "email": {"kind": "mock", "channels": ["email"]},
}


def _providers(
    table: object,
    env: EnvTree,
    kinds: Mapping[str, type[Any]],
    delivery: DeliveryConfig,
    seen: set[str],
    carriers: dict[str, Collection[Channel]],
) -> Mapping[str, ProviderConfig]:
    """The providers. `carriers` is filled with the channels of each; one that cannot be read may carry any."""
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
                found[name] = _provider(name, declared[name], env.at(name), kinds, delivery, seen)
                carriers[name] = found[name].channels
    mistakes.raise_if_any()
    if not table:
        ours = ((name, key) for name in declared for key in ("kind", "channels"))
        seen -= {f"providers.{name}.{key}" for name, key in ours if env.at(name).at(key).text is None}
    return MappingProxyType(found)


@dataclass(frozen=True, slots=True)
class _Kind:
    kind: Annotated[str, Unit(_KIND)]


def _provider(
    name: str,
    table: object,
    env: EnvTree,
    kinds: Mapping[str, type[Any]],
    delivery: DeliveryConfig,
    seen: set[str],
) -> ProviderConfig:
    path = ("providers", name)
    kind = bind(_Kind, table, path, env, beside=None).kind  # it decides which other keys there are
    if kind not in kinds:
        variable = env.at("kind").variable if env.at("kind").text is not None else None
        problem = f"{toml_string(kind)} is not a kind of provider, must be one of {', '.join(kinds)}"
        raise ConfigError(dotted((*path, "kind")), problem, variable=variable)
    cls = kinds[kind]
    if shared := set(keys(cls)) & set(keys(_ProviderTable)):
        raise TypeError(f"the kind {kind} has keys that every provider has: {sorted(shared)}")
    mistakes = Mistakes()
    with mistakes.caught():
        common = bind(_ProviderTable, table, path, env, beside=keys(cls), seen=seen)
    with mistakes.caught():
        options = bind(cls, table, path, env, beside=None, seen=seen)
    mistakes.raise_if_any()
    return ProviderConfig(
        name=name,
        kind=kind,
        channels=common.channels,
        max_concurrent=common.max_concurrent,
        rate=common.rate,
        burst=common.burst,
        attempt_timeout=common.attempt_timeout or delivery.attempt_timeout,
        breaker=common.breaker,
        options=options,
    )
