"""The configuration: TOML, then the environment, which wins; read and checked once, and frozen from then on.

Whatever is wrong is a `ConfigError` of one line that names the key, with all else that is wrong in it.
Times are float seconds, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeVar

from postwire.config import access
from postwire.config import notify as config_notify
from postwire.config import providers as config_providers
from postwire.config import routes as config_routes
from postwire.config import tenants as config_tenants
from postwire.config.auth import JWKS_FILE, AuthConfig
from postwire.config.bind import ConfigError, EnvTree, Mistakes, bind, refuse_unknown, setting
from postwire.config.database_url import DATABASE_URL, read_url
from postwire.config.encryption_keys import KEY as ENCRYPTION_KEYS
from postwire.config.endpoints import ENDPOINT, LISTEN, LISTEN_OR_OFF
from postwire.config.file import read_file
from postwire.config.guards import GuardsConfig
from postwire.config.http import HTTP_TLS, ConsoleConfig, HttpConfig
from postwire.config.nodes import NodesConfig
from postwire.config.notify import NotifyConfig
from postwire.config.providers import KindDeclaration, ProviderConfig, ProviderTable
from postwire.config.receipts import RECEIPTS_TLS, ReceiptsConfig, idle
from postwire.config.shown import rows, values
from postwire.config.strays import StrayVariable, stray_variables
from postwire.config.suppression import InboundConfig, SuppressionConfig
from postwire.config.tenants import TenantConfig
from postwire.config.tls import SERVER, TELEMETRY, ServerTlsConfig, TlsConfig, clashes, tls_files, unprotected
from postwire.config.types import (
    Count,
    CountOrNone,
    Duration,
    DurationUnit,
    KeyPath,
    NameOrNone,
    PositiveDuration,
    Seed,
    SizeUnit,
    dotted,
    longer_than,
)
from postwire.core.message import Channel
from postwire.core.routing import Route

T = TypeVar("T")

SECTIONS: Final = (
    "server",
    "store",
    "nodes",
    "delivery",
    "telemetry",
    "audit",
    "http",
    "console",
    "receipts",
    "suppression",
    "inbound",
    "guards",
    "auth",
    "tenants",
    "providers",
    "routes",
    "notify",
)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """`[server]`: the gRPC server and what it lets in. `insecure`: no listener needs TLS, wherever it listens.

    `environment` is what the people who run it call the place; in `PRODUCTION` there is nothing that is for tests only.
    """

    listen: Annotated[str, LISTEN] = "127.0.0.1:50051"
    max_in_flight: Count = 1000  # messages
    max_connections: Count = 1000
    max_message_bytes: Annotated[int, SizeUnit(most=2**31 - 1)] = 32 << 20  # gRPC counts them in 32 bits
    max_wait: PositiveDuration = 30.0
    grace: Duration = 10.0
    reflection: bool = True
    insecure: bool = False
    environment: Annotated[str, NameOrNone()] = ""
    tls: ServerTlsConfig = field(default_factory=ServerTlsConfig)


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """`[store]`: where the outbox is, in a file at `path` or in the database at `url`, and how much it holds."""

    path: Path = Path("postwire.db")
    url: Annotated[str, DATABASE_URL] | None = None
    password: str | None = setting(None, secret=True)  # that of the database
    sync: Literal["full", "normal"] = "full"
    max_unsettled: Count = 1_000_000
    max_unsettled_per_queue: CountOrNone = 0  # four times what is left of max_unsettled
    max_scheduled: CountOrNone = 0  # half of max_unsettled
    retention: Annotated[float, DurationUnit(least=86400.0)] = 7 * 86400.0  # request ids are known for so long
    content_retention: Duration = 0.0
    encryption_keys_file: Path | None = None

    def check(self) -> None:
        if self.content_retention > self.retention:
            raise longer_than("content_retention", self.content_retention, "retention", self.retention)
        if str(self.path) == ":memory:" or str(self.path).startswith("file:"):
            raise ValueError("path: is no place that outlives the process, write the path of a file")
        if self.password is not None and self.url is None:
            raise ValueError("password: does nothing by itself, set url too")

    @property
    def key(self) -> str:
        """The key that says where the outbox is."""
        return "store.url" if self.url else "store.path"

    @property
    def place(self) -> str:
        """Where it is, as logs say it: the path of the file, or the hosts and the database."""
        return read_url(self.url).place if self.url else str(self.path)


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
            raise longer_than("backoff_base", self.backoff_base, "backoff_max", self.backoff_max)


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    """`[telemetry]`: metrics, traces and logs. `metrics_listen` may be "": neither metrics nor probes over HTTP."""

    metrics_listen: Annotated[str, LISTEN_OR_OFF] = "127.0.0.1:9464"
    otlp_endpoint: Annotated[str, ENDPOINT] | None = None
    log_format: Literal["auto", "json", "text"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    tenant_label: bool = False
    tls: TlsConfig = field(default_factory=TlsConfig)


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """`[audit]`: what is kept of who changed what."""

    retention: Annotated[float, DurationUnit(least=86400.0)] = 365 * 86400.0


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. `providers` is in order of declaration; `routes` has every channel, and no route means nobody.
    `tenants` and `notify` are by name, and empty where none is declared.

    `explicit` holds the dotted keys that the file or the environment set; `file` is the file that was read;
    `secret_files` are those that secrets, certificates and keys are read from, by the keys that name them
    (`providers.relay.password_file`, `server.tls.key_file`);
    `strays` are variables that look like ours and are none.
    """

    server: ServerConfig
    store: StoreConfig
    nodes: NodesConfig
    delivery: DeliveryConfig
    telemetry: TelemetryConfig
    audit: AuditConfig
    http: HttpConfig
    console: ConsoleConfig
    receipts: ReceiptsConfig
    suppression: SuppressionConfig
    inbound: InboundConfig
    guards: GuardsConfig
    auth: AuthConfig
    tenants: Mapping[str, TenantConfig]
    providers: Mapping[str, ProviderConfig]
    routes: Mapping[Channel, tuple[Route, ...]]
    explicit: frozenset[str]
    file: Path | None
    secret_files: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    notify: Mapping[str, NotifyConfig] = field(default_factory=lambda: MappingProxyType({}))
    strays: tuple[StrayVariable, ...] = field(default=(), compare=False)

    @property
    def authenticates(self) -> bool:
        """Whether there is any key, certificate or issuer of tokens; without, everybody may do everything."""
        return access.authenticates(self.auth, self.tenants)


def load(
    *,
    path: Path | None,
    environ: Mapping[str, str],
    kinds: Mapping[str, KindDeclaration],
    cwd: Path | None = None,
    examine: Callable[[object], Iterable[ConfigError]] = lambda section: (),
) -> Config:
    """The configuration of a file (`path`, or postwire.toml in `cwd` if there is one) and of the environment.

    Of `kinds`, only those are looked up that are declared. `examine` is asked what else is wrong with a section, such
    as `ServerConfig`. Raises ConfigError, with all that is wrong in it.
    """
    file, table = read_file(path, cwd or Path())
    mistakes = Mistakes()
    env = EnvTree.read(environ, mistakes)
    with mistakes.caught():
        refuse_unknown(SECTIONS, table, (), env)
    seen: set[str] = set()
    files: dict[str, Path] = {}
    unread: set[str] = set()

    def section(cls: type[T], name: str) -> T:
        with mistakes.caught():
            made = bind(cls, table.get(name, {}), (name,), env.at(name), seen=seen, files=files)
            mistakes.extend(examine(made))
            return made
        unread.add(name)
        return cls()  # so that the rest can be read as well

    server = section(ServerConfig, "server")
    store = section(StoreConfig, "store")
    if {"store.path", "store.url"} <= seen:
        mistakes.add(ConfigError("store.path, store.url", "are both set, set only one of them"))
    nodes = section(NodesConfig, "nodes")
    delivery = section(DeliveryConfig, "delivery")
    telemetry = section(TelemetryConfig, "telemetry")
    audit = section(AuditConfig, "audit")
    http = section(HttpConfig, "http")
    console = section(ConsoleConfig, "console")
    receipts = section(ReceiptsConfig, "receipts")
    suppression = section(SuppressionConfig, "suppression")
    inbound = section(InboundConfig, "inbound")
    guards = section(GuardsConfig, "guards")
    auth = section(AuthConfig, "auth")
    listeners: dict[tuple[str, str], tuple[str, TlsConfig]] = {
        ("server", "listen"): (server.listen, server.tls),
        ("telemetry", "metrics_listen"): (telemetry.metrics_listen, telemetry.tls),
        ("http", "listen"): (http.listen, http.tls),
        ("receipts", "listen"): (receipts.listen, receipts.tls),
    }
    mistakes.extend(clashes({dotted(key): address for key, (address, _) in listeners.items()}))
    if not server.insecure and "server" not in unread:
        for key, (address, tls) in listeners.items():
            mistakes.extend(unprotected(address, tls, key, env))
    if store.encryption_keys_file:
        files[ENCRYPTION_KEYS] = store.encryption_keys_file
    files |= {
        **tls_files(server.tls, SERVER),
        **tls_files(telemetry.tls, TELEMETRY),
        **tls_files(http.tls, HTTP_TLS),
        **tls_files(receipts.tls, RECEIPTS_TLS),
    }
    if auth.jwt and auth.jwt.jwks_file:
        files[JWKS_FILE] = auth.jwt.jwks_file
    declared = table.get("tenants", {})
    tenants: Mapping[str, TenantConfig] = {}
    with mistakes.caught():
        tenants = config_tenants.read(declared, env.at("tenants"), seen=seen)
        if "auth" not in unread:  # else what is there for callers to show is not known
            shows_certificates = "server" in unread or server.tls.client_auth == "required"
            mistakes.extend(access.mistakes(auth, tenants, shows_certificates=shows_certificates))
    if "store" not in unread:
        mistakes.extend(config_tenants.kept_too_long(tenants, store.retention))
    # Rules are not wrong because something else of the tenants is.
    tenant_names: Collection[str] = tenants or (declared if isinstance(declared, dict) else ())
    carriers: dict[str, Collection[Channel]] = {}
    providers: Mapping[str, ProviderConfig] = {}
    routes: Mapping[Channel, tuple[Route, ...]] = {}
    with mistakes.caught():
        providers = config_providers.read(
            table.get("providers", {}),
            carriers,
            env.at("providers"),
            kinds=kinds,
            attempt_timeout=delivery.attempt_timeout,
            seen=seen,
            files=files,
        )
    mistakes.extend(config_providers.not_in_production(providers, kinds, server.environment))
    if "receipts" not in unread:
        asking = (
            f"providers.{name}.{one.receipts_asked_by}" for name, one in providers.items() if one.receipts_asked_by
        )
        mistakes.extend(idle(receipts, asking))
    if carriers:
        with mistakes.caught():
            routes = config_routes.read(
                table.get("routes", {}), carriers, env.at("routes"), tenants=tenant_names, seen=seen
            )
    notify: Mapping[str, NotifyConfig] = {}
    with mistakes.caught():
        notify = config_notify.read(
            table.get("notify", []), env.at("notify"), tenants=tenant_names, seen=seen, files=files
        )
    mistakes.raise_if_any()
    config = Config(
        server,
        store,
        nodes,
        delivery,
        telemetry,
        audit,
        http,
        console,
        receipts,
        suppression,
        inbound,
        guards,
        auth,
        tenants,
        providers,
        routes,
        frozenset(seen),
        file,
        MappingProxyType(files),
        notify,
    )
    strays = stray_variables(environ, lambda: map(_variable, dict(effective(config))))
    return replace(config, strays=strays) if strays else config


def _variable(key: str) -> str:
    """The variable of the environment that sets a key."""
    return f"POSTWIRE_{key.replace('.', '__').replace('-', '_').upper()}"


def effective(config: Config) -> list[tuple[str, str]]:
    """Every key with its value as TOML writes it; "(none)" where there is no value, "(set)" for a secret."""
    found: list[tuple[str, str]] = []
    for settings, path, cls in _tables(config):
        found += rows(settings, path, cls, config.secret_files)
    return found + config_routes.rows(config.routes)


def differences(before: Config, after: Config, taken: Mapping[str, object] = MappingProxyType({})) -> dict[str, object]:
    """The keys whose values differ, and their values in `after`, which are not to be shown.

    Values in `taken` stand in place of those of `before`. Of a provider, a tenant or a hook that only one of them
    has, its table is among the keys as well: `providers.NAME`.
    """
    old, new = _all_values(before) | dict(taken), _all_values(after)
    return {key: new.get(key) for key in dict.fromkeys((*old, *new)) if old.get(key) != new.get(key)}


def without_details(keys: Iterable[str]) -> list[str]:
    """The same keys, without those that are in a table that is among them."""
    all_keys = list(keys)
    return [key for key in all_keys if not any(key.startswith(f"{table}.") for table in all_keys)]


def _all_values(config: Config) -> dict[str, object]:
    found: dict[str, object] = {}
    for settings, path, cls in _tables(config):
        found |= values(settings, path, cls, config.secret_files)
    found |= config_routes.rows(config.routes)
    named = {"providers": config.providers, "tenants": config.tenants, "notify": config.notify}
    tables = [(section, name) for section, tables in named.items() for name in tables]
    return found | {dotted(table): True for table in tables}


def _tables(config: Config) -> Iterator[tuple[object, KeyPath, type[object] | None]]:
    """The settings of every table but those of routes, where they stand, and the class that has their keys."""
    for name in (
        "server",
        "store",
        "nodes",
        "delivery",
        "telemetry",
        "audit",
        "http",
        "console",
        "receipts",
        "suppression",
        "inbound",
        "guards",
        "auth",
    ):
        yield getattr(config, name), (name,), None
    for name, tenant in config.tenants.items():
        yield tenant, ("tenants", name), None
    for provider in config.providers.values():
        path = "providers", provider.name
        yield provider, path, ProviderTable
        yield provider.options, path, None
    for name, hook in config.notify.items():
        yield hook, ("notify", name), None
