"""The configuration: its defaults to the letter, and what wins over what."""

# the errors' lines stand here whole, as people see them

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.configs import KINDS, ONE, TWO, MockSettings, RelaySettings

from postwire.config.schema import Config, effective, load
from postwire.config.shown import rows
from postwire.core.message import Channel
from postwire.core.routing import Route, Tier
from postwire.providers import mock

SAMPLE = Path(__file__).parents[2] / "postwire.toml"

# Section 9's table and section 7's breaker. Spelled out here on purpose: these figures are promised.
DEFAULTS = """
server.listen = "127.0.0.1:50051"
server.max_in_flight = 1000
server.max_connections = 1000
server.max_message_bytes = "32MiB"
server.max_wait = "30s"
server.grace = "10s"
server.reflection = true
server.insecure = false
server.environment = ""
server.tls.cert_file = (none)
server.tls.key_file = (none)
server.tls.client_ca_file = (none)
server.tls.client_auth = "none"
store.path = "postwire.db"
store.url = (none)
store.password = (none)
store.password_file = (none)
store.sync = "full"
store.max_unsettled = 1000000
store.max_unsettled_per_queue = 0
store.max_scheduled = 0
store.retention = "7d"
store.content_retention = "0s"
store.encryption_keys_file = (none)
nodes.lease = "15s"
nodes.beat = "3s"
nodes.name = (none)
delivery.max_attempts = 5
delivery.attempt_timeout = "10s"
delivery.backoff_base = "1s"
delivery.backoff_max = "5m"
delivery.expire_after.sms = "4h"
delivery.expire_after.mms = "4h"
delivery.expire_after.email = "24h"
delivery.seed = (none)
telemetry.metrics_listen = "127.0.0.1:9464"
telemetry.otlp_endpoint = (none)
telemetry.log_format = "auto"
telemetry.log_level = "info"
telemetry.tenant_label = false
telemetry.tls.cert_file = (none)
telemetry.tls.key_file = (none)
audit.retention = "365d"
http.listen = ""
http.cors_origins = []
http.hosts = []
http.tls.cert_file = (none)
http.tls.key_file = (none)
console.enabled = true
console.compose = false
console.trace_url = ""
receipts.listen = ""
receipts.public_url = (none)
receipts.key = (none)
receipts.key_file = (none)
receipts.hold_unknown = "10m"
receipts.wait = "3d"
receipts.tls.cert_file = (none)
receipts.tls.key_file = (none)
suppression.key = (none)
suppression.key_file = (none)
suppression.auto = true
suppression.allow_ignore = false
inbound.stop = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"]
inbound.start = ["START", "YES", "UNSTOP"]
guards.allow_prefixes = (none)
guards.max_per_prefix = {}
guards.max_per_recipient = (none)
providers.sms-mms.kind = "mock"
providers.sms-mms.channels = ["sms", "mms"]
providers.sms-mms.max_concurrent = 64
providers.sms-mms.rate = (none)
providers.sms-mms.burst = (none)
providers.sms-mms.connect_timeout = "3s"
providers.sms-mms.attempt_timeout = "10s"
providers.sms-mms.breaker.window_calls = 20
providers.sms-mms.breaker.window_time = "60s"
providers.sms-mms.breaker.failure_ratio = 0.5
providers.sms-mms.breaker.minimum_calls = 10
providers.sms-mms.breaker.slow_call_ratio = (none)
providers.sms-mms.breaker.slow_call_duration = (none)
providers.sms-mms.breaker.open_for = "5s"
providers.sms-mms.breaker.open_for_max = "5m"
providers.sms-mms.breaker.probe_calls = 1
providers.sms-mms.breaker.close_after = 1
providers.sms-mms.seed = (none)
providers.sms-mms.error_ratio = 0.0
providers.sms-mms.rate_limited_ratio = 0.0
providers.sms-mms.uncertain_ratio = 0.0
providers.sms-mms.rejected_ratio = 0.0
providers.sms-mms.latency = "0s"
providers.sms-mms.retry_after = "0s"
providers.sms-mms.connect_error_ratio = 0.0
providers.sms-mms.deferred_ratio = 0.0
providers.sms-mms.misconfigured = false
providers.sms-mms.dedup_window = "0s"
providers.sms-mms.open_delay = "0s"
providers.sms-mms.max_recipients = 0
providers.sms-mms.delivered_ratio = 0.0
providers.sms-mms.undelivered_ratio = 0.0
providers.sms-mms.receipt_delay = "0s"
providers.sms-mms.doubled_receipt_ratio = 0.0
providers.email.kind = "mock"
providers.email.channels = ["email"]
providers.email.max_concurrent = 64
providers.email.rate = (none)
providers.email.burst = (none)
providers.email.connect_timeout = "3s"
providers.email.attempt_timeout = "10s"
providers.email.breaker.window_calls = 20
providers.email.breaker.window_time = "60s"
providers.email.breaker.failure_ratio = 0.5
providers.email.breaker.minimum_calls = 10
providers.email.breaker.slow_call_ratio = (none)
providers.email.breaker.slow_call_duration = (none)
providers.email.breaker.open_for = "5s"
providers.email.breaker.open_for_max = "5m"
providers.email.breaker.probe_calls = 1
providers.email.breaker.close_after = 1
providers.email.seed = (none)
providers.email.error_ratio = 0.0
providers.email.rate_limited_ratio = 0.0
providers.email.uncertain_ratio = 0.0
providers.email.rejected_ratio = 0.0
providers.email.latency = "0s"
providers.email.retry_after = "0s"
providers.email.connect_error_ratio = 0.0
providers.email.deferred_ratio = 0.0
providers.email.misconfigured = false
providers.email.dedup_window = "0s"
providers.email.open_delay = "0s"
providers.email.max_recipients = 0
providers.email.delivered_ratio = 0.0
providers.email.undelivered_ratio = 0.0
providers.email.receipt_delay = "0s"
providers.email.doubled_receipt_ratio = 0.0
routes.sms = ["sms-mms"]
routes.mms = ["sms-mms"]
routes.email = ["email"]
""".strip()


def nothing(tmp_path: Path) -> Config:
    return load(path=None, environ={}, kinds=KINDS, cwd=tmp_path)


def chain(channel: Channel, *names: str) -> tuple[Route, ...]:
    """The routes of a channel that has a plain list of providers."""
    return (Route(channel.value, tuple(Tier(((name, 1),)) for name in names)),) if names else ()


def same(one: Config, other: Config) -> bool:
    return dataclasses.replace(one, file=None, explicit=frozenset()) == dataclasses.replace(
        other, file=None, explicit=frozenset()
    )


# Defaults, and the sample that spells them.


def test_every_default_is_as_promised(tmp_path: Path) -> None:
    assert "\n".join(f"{key} = {value}" for key, value in effective(nothing(tmp_path))) == DEFAULTS


def test_defaults_are_in_seconds_and_bytes(tmp_path: Path) -> None:
    config = nothing(tmp_path)
    assert config.server.max_message_bytes == 33_554_432
    assert config.server.max_wait == 30.0
    assert config.server.grace == 10.0
    assert config.store.path == Path("postwire.db")
    assert config.store.retention == 604_800.0
    assert config.delivery.attempt_timeout == 10.0
    assert (config.delivery.backoff_base, config.delivery.backoff_max) == (1.0, 300.0)
    assert dataclasses.astuple(config.delivery.expire_after) == (14_400.0, 14_400.0, 86_400.0)
    breaker = config.providers["email"].breaker
    assert dataclasses.astuple(breaker) == (20, 60.0, 0.5, 10, None, None, 5.0, 300.0, 1, 1)
    assert config.providers["email"].options == MockSettings()
    assert (config.file, config.explicit) == (None, frozenset())


def test_the_real_mock_has_the_keys_and_defaults_of_the_one_here() -> None:
    assert dataclasses.asdict(mock.MockSettings()) == dataclasses.asdict(MockSettings())
    assert dict(rows(mock.MockSettings(), ())) == dict(rows(MockSettings(), ()))


def test_a_configuration_is_frozen(tmp_path: Path) -> None:
    config = nothing(tmp_path)
    assert isinstance(config.providers, MappingProxyType)
    assert isinstance(config.routes, MappingProxyType)
    for part in (config, config.server, config.providers["email"], config.providers["email"].breaker):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, dataclasses.fields(part)[0].name, None)


def test_the_sample_is_the_defaults(tmp_path: Path) -> None:
    sample = load(path=SAMPLE, environ={}, kinds=KINDS)
    assert same(sample, nothing(tmp_path))
    assert sample.file == SAMPLE


# What the sample shows for keys that have no default, or one that does not go with the rest.
EXAMPLES = {
    "server.tls.cert_file": '"/etc/postwire/tls.crt"',
    "server.tls.key_file": '"/etc/postwire/tls.key"',
    "server.tls.client_auth": '"required"',
    "server.tls.client_ca_file": '"/etc/postwire/clients.crt"',
    "telemetry.tls.cert_file": '"/etc/postwire/metrics.crt"',
    "telemetry.tls.key_file": '"/etc/postwire/metrics.key"',
    "http.tls.cert_file": '"/etc/postwire/http.crt"',
    "http.tls.key_file": '"/etc/postwire/http.key"',
    "receipts.public_url": '"https://postwire.example.com"',
    "receipts.tls.cert_file": '"/etc/postwire/receipts.crt"',
    "receipts.tls.key_file": '"/etc/postwire/receipts.key"',
    "store.encryption_keys_file": '"/etc/postwire/encryption-keys"',
    "nodes.name": '"node-1"',
    "delivery.seed": "42",
    "telemetry.otlp_endpoint": '"http://127.0.0.1:4317"',
    "guards.allow_prefixes": '["+44", "+1"]',
    "guards.max_per_recipient": '"20/1h"',
    "providers.sms-mms.rate": "100.0",
    "providers.sms-mms.burst": "20",
    "providers.sms-mms.seed": "42",
    "providers.sms-mms.breaker.slow_call_ratio": "0.5",
    "providers.sms-mms.breaker.slow_call_duration": '"5s"',
}


def test_the_sample_shows_every_key_and_its_examples_are_the_defaults(tmp_path: Path) -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    assert not re.search(r"^(?!# |#?[\[a-z]|#?$).", text, re.MULTILINE), "neither prose nor an example nor a setting"
    everything = tmp_path / "everything.toml"
    everything.write_text(re.sub(r"^#(?! |$)", "", text, flags=re.MULTILINE), encoding="utf-8")
    config = load(path=everything, environ={}, kinds=KINDS)

    defaults = dict(line.split(" = ", 1) for line in DEFAULTS.splitlines())
    assert dict(effective(config)) == defaults | EXAMPLES
    # One provider is shown in full; the other's keys are the same.
    in_full = {key for key in defaults if not key.startswith("providers.email.")}
    # Secrets are told of in prose: an example of one would be used.
    in_full -= {key + ending for key in defaults if f"{key}_file" in defaults for ending in ("", "_file")}
    in_full.remove("store.url")  # nor may it be set beside store.path
    assert config.explicit == in_full | {"providers.email.kind", "providers.email.channels"}


def test_what_is_shown_as_effective_reads_back(read: Any) -> None:
    config = read(
        TWO + 'rate = 0.5\nburst = 3\nattempt_timeout = "1.5s"\n[routes]\nsms = ["b-2"]\nmms = []\n',
        SERVER__GRACE="250ms",
        STORE__PATH='a "b"\\c',
        PROVIDERS__A__SEED="18446744073709551615",
        PROVIDERS__A__ERROR_RATIO="1e-7",
    )
    text = "\n".join(f"{key} = {value}" for key, value in effective(config) if value != "(none)")
    assert same(read(text), config)


# What wins over what.


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(read: Any) -> None:
    file = '[server]\nlisten = "127.0.0.2:1"\ngrace = "1s"\n[delivery.expire_after]\nsms = "1h"\nmms = "2h"\n'
    config = read(file, SERVER__LISTEN="[::1]:0", DELIVERY__EXPIRE_AFTER__SMS="5m")
    assert config.server.listen == "[::1]:0"
    assert config.server.grace == 1.0
    assert config.server.max_in_flight == 1000
    assert dataclasses.astuple(config.delivery.expire_after) == (300.0, 7200.0, 86_400.0)
    assert config.explicit == {
        "server.listen",
        "server.grace",
        "delivery.expire_after.sms",
        "delivery.expire_after.mms",
    }


def test_the_environment_sets_keys_of_the_built_in_mocks(read: Any) -> None:
    config = read(
        PROVIDERS__SMS_MMS__SEED="7",
        PROVIDERS__SMS_MMS__BREAKER__FAILURE_RATIO="0.25",
        PROVIDERS__EMAIL__CHANNELS="email,sms",
    )
    assert config.providers["sms-mms"].options == MockSettings(seed=7)
    assert config.providers["sms-mms"].breaker.failure_ratio == 0.25
    assert config.routes[Channel.SMS] == chain(Channel.SMS, "sms-mms", "email")
    assert config.explicit == {
        "providers.sms-mms.seed",
        "providers.sms-mms.breaker.failure_ratio",
        "providers.email.channels",
    }


def test_the_environment_sets_keys_of_declared_providers(read: Any) -> None:
    config = read(TWO, PROVIDERS__B_2__PASSWORD="hunter2", PROVIDERS__B_2__HOST="x", PROVIDERS__A__MAX_CONCURRENT="1")
    assert config.providers["b-2"].options == RelaySettings("x", "hunter2")
    assert config.providers["a"].max_concurrent == 1
    assert "hunter2" not in repr(config)
    assert "hunter2" not in str(effective(config))
    assert ("providers.b-2.password", "(set)") in effective(config)


def test_an_empty_variable_means_none_where_none_is_possible(read: Any) -> None:
    config = read("[delivery]\nseed = 1\n", DELIVERY__SEED="", TELEMETRY__METRICS_LISTEN="")
    assert config.delivery.seed is None
    assert config.telemetry.metrics_listen == ""


def test_variables_without_a_section_are_not_ours(read: Any, tmp_path: Path) -> None:
    config = read(
        "", PORT="tcp://10.0.0.1:50051", CONFIG="/elsewhere", SERVICE_HOST="10.0.0.1", PORT_50051_TCP_PORT="50051"
    )
    assert same(config, nothing(tmp_path))


def test_mocks_exist_only_while_no_provider_is_declared(read: Any) -> None:
    assert list(read("[providers]\n").providers) == ["sms-mms", "email"]
    config = read(ONE)
    assert list(config.providers) == ["a"]
    assert config.routes == {Channel.SMS: chain(Channel.SMS, "a"), Channel.MMS: (), Channel.EMAIL: ()}


def test_an_attempt_timeout_is_always_concrete(read: Any) -> None:
    config = read(TWO + 'attempt_timeout = "3s"\n[delivery]\nattempt_timeout = "7s"\n')
    assert [provider.attempt_timeout for provider in config.providers.values()] == [7.0, 3.0]


@pytest.mark.parametrize(
    ("toml", "environ", "sms", "mms"),
    [
        ("", {}, ["a", "b-2"], ["a"]),
        ('[routes]\nsms = ["b-2"]\nmms = []\n', {}, ["b-2"], []),
        ("", {"ROUTES__SMS": "b-2, a", "ROUTES__MMS": ""}, ["b-2", "a"], []),
    ],
    ids=["by default", "file", "environment"],
)
def test_routes_are_in_the_order_of_declaration_unless_they_are_given(
    read: Any, toml: str, environ: dict[str, str], sms: list[str], mms: list[str]
) -> None:
    routes = read(TWO + toml, **environ).routes
    assert list(routes) == list(Channel)
    assert routes == {
        Channel.SMS: chain(Channel.SMS, *sms),
        Channel.MMS: chain(Channel.MMS, *mms),
        Channel.EMAIL: chain(Channel.EMAIL, "b-2"),
    }


_NAMES = st.from_regex(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", fullmatch=True)


@given(st.lists(_NAMES, min_size=1, max_size=5, unique=True))
def test_a_variable_is_of_one_provider_whatever_their_names(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    file = tmp_path_factory.getbasetemp() / "names.toml"
    file.write_text("".join(f'[providers.{name}]\nkind = "mock"\nchannels = ["sms"]\n' for name in names))
    environ = {
        f"POSTWIRE_PROVIDERS__{name.upper().replace('-', '_')}__SEED": str(seed) for seed, name in enumerate(names)
    }
    assert len(environ) == len(names)
    config = load(path=file, environ=environ, kinds=KINDS)
    assert [provider.options for provider in config.providers.values()] == [
        MockSettings(seed=n) for n in range(len(names))
    ]
