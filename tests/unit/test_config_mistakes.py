"""The configuration: a clear line for each mistake."""

# ruff: noqa: E501  # the errors' lines stand here whole, as people see them

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import KINDS, ONE, RELAY, kind_of

from postwire.config.bind import ConfigError
from postwire.config.endpoints import host_port
from postwire.config.schema import load


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("listen = 1", "listen: is not known, known here: server, store, nodes, delivery, telemetry, audit, http, console, receipts, suppression, inbound, guards, auth, tenants, providers, routes, notify"),
        ("[servr]", "servr: is not known, did you mean server?"),
        ("[server]\nlissen = 1", "server.lissen: is not known, did you mean server.listen?"),
        ("[server]\nmax-wait = 1", "server.max-wait: is not known, did you mean server.max_wait?"),
        ("[[server]]", "server: is not a table, write it as [server]"),
        ("[server]\nlisten = 50051", "server.listen: 50051 is not an address such as 127.0.0.1:50051, [::1]:50051 or unix:/run/postwire.sock"),
        ("[server]\nmax_message_bytes = '2GiB'", 'server.max_message_bytes: "2GiB" is not from 1 to 2147483647 bytes'),
        ("[server]\nmax_wait = '0s'", 'server.max_wait: "0s" is too short, must be more than 0s'),
        ("[store]\nsync = 'off'", 'store.sync: "off" is not one of full, normal'),
        ("[store]\npath = ':memory:'", "store.path: is no place that outlives the process, write the path of a file"),
        ("[delivery]\nbackoff_base = '6m'", "delivery.backoff_base: 6m is longer than backoff_max (5m), must be at most that"),
        ("[delivery]\nexpire_after = '6m'", "delivery.expire_after: is not a table, write it as [delivery.expire_after]"),
        ("[delivery.expire_after]\nfax = '6m'", "delivery.expire_after.fax: is not known, known here: sms, mms, email"),
        ("[telemetry]\nmetrics_listen = 'unix:/x'", 'telemetry.metrics_listen: "unix:/x" is not an address such as 127.0.0.1:9464, or "" for none'),
        ("[telemetry]\nlog_level = 'INFO'", 'telemetry.log_level: "INFO" is not one of debug, info, warning, error'),
        ("[telemetry]\notlp_endpoint = 'http://me:hunter2@host'", "telemetry.otlp_endpoint: the value is not an address such as http://127.0.0.1:4317, without a user or a query"),
        ("[telemetry]\notlp_endpoint = 'https://host?key=hunter2'", "telemetry.otlp_endpoint: the value is not an address such as http://127.0.0.1:4317, without a user or a query"),
        ("providers = 1", "providers: is not a table, declare a provider as [providers.NAME]"),
        ("[[providers]]", "providers: is not a table, declare a provider as [providers.NAME]"),
        ("[providers]\nkind = 'mock'", "providers.kind: is not a table, declare a provider as [providers.NAME]"),
        ("[providers.A]", "providers.A: is not a provider's name, must be lower-case letters and digits with single dashes between, such as sms-eu"),
        ("[providers.a--b]", "providers.a--b: is not a provider's name, must be lower-case letters and digits with single dashes between, such as sms-eu"),
        ("[providers.'a\\n']", 'providers."a\\\\n": is not a provider\'s name, must be lower-case letters and digits with single dashes between, such as sms-eu'),
        ("[providers.a]", 'providers.a.kind: is missing, it must be a kind of provider such as "mock"'),
        ("[providers.a]\nkind = 'mok'", 'providers.a.kind: "mok" is not a kind of provider, must be one of mock, relay'),
        ("[providers.a]\nkind = 'mock'", 'providers.a.channels: is missing, it must be a list of channels such as ["sms", "mms"]'),
        ("[providers.a]\nkind = 'mock'\nchannels = []", 'providers.a.channels: a list is too short, write a list of channels such as ["sms", "mms"]'),
        ("[providers.a]\nkind = 'mock'\nchannels = ['fax']", 'providers.a.channels: "fax" is not one of sms, mms, email'),
        ("[providers.a]\nkind = 'mock'\nchannels = ['sms', 'sms']", 'providers.a.channels: "sms" is there twice, write it once'),
        (ONE + "eror_ratio = 1", "providers.a.eror_ratio: is not known, did you mean providers.a.error_ratio?"),
        (ONE + "host = 'h'", "providers.a.host: is not known, known here: kind, channels, max_concurrent, rate, burst, connect_timeout, attempt_timeout, breaker, receipts, seed, error_ratio, rate_limited_ratio, uncertain_ratio, rejected_ratio, latency, retry_after, connect_error_ratio, deferred_ratio, misconfigured, dedup_window, open_delay, max_recipients, delivered_ratio, undelivered_ratio, receipt_delay, doubled_receipt_ratio"),
        (ONE + "error_ratio = 1.5", "providers.a.error_ratio: 1.5 is not a ratio from 0 to 1"),
        (ONE + "error_ratio = 0.6\nrejected_ratio = 0.6", "providers.a.error_ratio, providers.a.rejected_ratio: sum to over 1, must sum to 1 at most"),
        (ONE + "burst = 3", "providers.a.burst: does nothing by itself, set rate too"),
        (ONE + "rate = 0", "providers.a.rate: 0 is not a rate from 0.001 to 1000000 messages a second"),
        (ONE + "breaker.minimum_calls = 21", "providers.a.breaker.minimum_calls: 21 is more than window_calls (20), must be at most that"),
        (ONE + "breaker.open_for = '6m'", "providers.a.breaker.open_for: 6m is longer than open_for_max (5m), must be at most that"),
        (ONE + "breaker.slow_call_ratio = 1", "providers.a.breaker.slow_call_ratio: does nothing by itself, set slow_call_duration too"),
        (ONE + "breaker.slow_call_duration = '1s'", "providers.a.breaker.slow_call_duration: does nothing by itself, set slow_call_ratio too"),
        (ONE + "breaker.failure_ratio = 0", "providers.a.breaker.failure_ratio: 0 is not a ratio over 0 and up to 1"),
        (ONE + "breaker.failures = 0", "providers.a.breaker.failures: is not known, did you mean providers.a.breaker.failure_ratio?"),
        (RELAY + "password = 4242", "providers.a.password: the value is not a string"),
        (RELAY + "pasword = 'hunter2'", "providers.a.pasword: is not known, did you mean providers.a.password?"),
        ("[routes]\nsms = ['x']", 'routes.sms: there is no provider "x", those that carry it: sms-mms'),
        ("[routes]\nsms = ['email']", 'routes.sms: "email" does not carry sms, those that carry it: sms-mms'),
        (ONE + "[routes]\nmms = ['a']", 'routes.mms: "a" does not carry mms, those that carry it: none'),
        ("[routes]\nsms = ['sms-mms', 'sms-mms']", 'routes.sms: "sms-mms" is there twice, write it once'),
        ("[routes]\nsms = 'x'", 'routes.sms: "x" is not a list of providers such as ["a", "b"]'),
        ("[routes]\nfax = ['x']", "routes.fax: is not known, known here: sms, mms, email"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_one_line_that_names_the_key(read: Any, toml: str, line: str) -> None:
    tomllib.loads(toml)
    with pytest.raises(ConfigError) as caught:
        read(toml)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("variable", "text", "line"),
    [
        ("SERVR__LISTEN", "", "servr (POSTWIRE_SERVR__LISTEN): is not known, did you mean POSTWIRE_SERVER__LISTEN?"),
        ("SERVER__LISSEN", "", "server.lissen (POSTWIRE_SERVER__LISSEN): is not known, did you mean POSTWIRE_SERVER__LISTEN?"),
        ("SERVER__LISTEN", "", 'server.listen (POSTWIRE_SERVER__LISTEN): "" is not an address such as 127.0.0.1:50051, [::1]:50051 or unix:/run/postwire.sock'),
        ("SERVER__listen", "", "POSTWIRE_SERVER__listen: is not a name of ours, write it in capitals, digits and _"),
        ("SERVER__", "", 'server."" (POSTWIRE_SERVER__): is not known, known here: listen, max_in_flight, max_connections, max_message_bytes, max_wait, grace, reflection, insecure, environment, tls'),
        ("DELIVERY__EXPIRE_AFTER", "5h", "delivery.expire_after (POSTWIRE_DELIVERY__EXPIRE_AFTER): is a table, set one of its keys as POSTWIRE_DELIVERY__EXPIRE_AFTER__KEY"),
        ("DELIVERY__BACKOFF_BASE", "6m", "delivery.backoff_base (POSTWIRE_DELIVERY__BACKOFF_BASE): 6m is longer than backoff_max (5m), must be at most that"),
        ("PROVIDERS__FOO__SEED", "5", "POSTWIRE_PROVIDERS__FOO__SEED: there is no such provider, the environment can only set keys of sms-mms, email"),
        ("PROVIDERS__SMS__MMS__SEED", "5", "POSTWIRE_PROVIDERS__SMS__MMS__SEED: there is no such provider, the environment can only set keys of sms-mms, email"),
        ("PROVIDERS__EMAIL", "5", "providers.email (POSTWIRE_PROVIDERS__EMAIL): is a table, set one of its keys as POSTWIRE_PROVIDERS__EMAIL__KEY"),
        ("PROVIDERS__SMS_MMS__SEEDS", "5", "providers.sms-mms.seeds (POSTWIRE_PROVIDERS__SMS_MMS__SEEDS): is not known, did you mean POSTWIRE_PROVIDERS__SMS_MMS__SEED?"),
        ("PROVIDERS__SMS_MMS__SEED", "-1", "providers.sms-mms.seed (POSTWIRE_PROVIDERS__SMS_MMS__SEED): -1 is not a whole number from 0 to 18446744073709551615"),
        ("PROVIDERS__SMS_MMS__KIND", "mok", 'providers.sms-mms.kind (POSTWIRE_PROVIDERS__SMS_MMS__KIND): "mok" is not a kind of provider, must be one of mock, relay'),
        ("PROVIDERS__SMS_MMS__CHANNELS", "", 'providers.sms-mms.channels (POSTWIRE_PROVIDERS__SMS_MMS__CHANNELS): a list is too short, write a list of channels such as ["sms", "mms"]'),
        ("PROVIDERS__SMS_MMS__BREAKER__FAILURE_RATIO", "2", "providers.sms-mms.breaker.failure_ratio (POSTWIRE_PROVIDERS__SMS_MMS__BREAKER__FAILURE_RATIO): 2 is not a ratio over 0 and up to 1"),
        ("ROUTES__SMS", "email", 'routes.sms (POSTWIRE_ROUTES__SMS): "email" does not carry sms, those that carry it: sms-mms'),
        ("ROUTES__SMS", "sms-mms,", 'routes.sms (POSTWIRE_ROUTES__SMS): a list has an empty item, write a list of providers such as ["a", "b"]'),
        ("ROUTES__FAX", "", "routes.fax (POSTWIRE_ROUTES__FAX): is not known, known here: sms, mms, email"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_environment_names_the_variable(read: Any, variable: str, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read("", **{variable: text})
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a = 1\nb = \xff", "is not UTF-8 at byte 10, save it as UTF-8"),
        (b"[server]\nlisten = nope", "is not valid TOML: Invalid value (at line 2, column 10)"),
        (b"x = " + b"[" * 5000, "is not valid TOML: maximum recursion depth exceeded"),
    ],
)
def test_a_file_that_cannot_be_understood(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "my.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path=file, environ={}, kinds=KINDS)
    assert str(caught.value).startswith(f"{file}: {problem}")


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    for path, problem in (
        (tmp_path / "absent.toml", "does not exist, give the path of a TOML file"),
        (tmp_path, "is a directory, give the path of a TOML file"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(path=path, environ={}, kinds=KINDS)
        assert str(caught.value) == f"{path}: {problem}"


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)  # as root, no file refuses to be read
    with pytest.raises(ConfigError) as caught:
        load(path=None, environ={}, kinds=KINDS, cwd=tmp_path)
    assert str(caught.value) == f"{tmp_path}/postwire.toml: cannot be read (Permission denied), make it readable"


def test_the_file_in_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "postwire.toml").write_bytes(b'\xef\xbb\xbf[server]\r\ngrace = "3s"\r\n')
    monkeypatch.chdir(tmp_path)
    config = load(path=None, environ={}, kinds=KINDS)
    assert (config.server.grace, config.file) == (3.0, Path("postwire.toml"))


def test_a_kind_may_not_take_a_key_that_all_providers_have(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Clash:
        rate: int = 0

    with pytest.raises(TypeError, match="'rate'"):
        load(path=None, environ={}, kinds={"mock": kind_of(Clash)}, cwd=tmp_path)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:50051", ("127.0.0.1", 50051)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("localhost:65535", ("localhost", 65535)),
        ("my_host.example.:1", None),
        ("my_host-1.example:1", ("my_host-1.example", 1)),
        ("[::1]:50051", ("::1", 50051)),
        ("[::]:1", ("::", 1)),
        ("::1:50051", None),
        ("[1.2.3.4]:1", None),
        ("[::1]", None),
        (":50051", None),
        ("*:50051", None),
        ("50051", None),
        ("1.2.3:50051", None),
        ("1.2.3.256:50051", None),
        ("host:65536", None),
        ("host:٣", None),
        ("host:-1", None),
        ("http://host:1", None),
        ("me@host:1", None),
        (" host:1", None),
        ("host:1\n", None),
    ],
)
def test_addresses(read: Any, address: str, parts: tuple[str, int] | None) -> None:
    if parts:
        assert host_port(address) == parts
        anywhere = {"SERVER__INSECURE": "true"}
        assert read("", SERVER__LISTEN=address, **anywhere).server.listen == address
        config = read("", TELEMETRY__METRICS_LISTEN=address, SERVER__LISTEN="unix:/a", **anywhere)
        assert config.telemetry.metrics_listen == address
        return
    with pytest.raises(ValueError, match="not an address of the form host:port"):
        host_port(address)
    for key in ("SERVER__LISTEN", "TELEMETRY__METRICS_LISTEN"):
        with pytest.raises(ConfigError, match="is not an address such as"):
            read("", **{key: address})


def test_grpc_may_listen_on_a_socket_file(read: Any) -> None:
    assert read("", SERVER__LISTEN="unix:/run/postwire.sock").server.listen == "unix:/run/postwire.sock"
    for address in ("unix:", "unix:/", "unix:postwire.sock"):
        with pytest.raises(ConfigError, match=r"^server\.listen"):
            read("", SERVER__LISTEN=address)


@pytest.mark.parametrize(
    ("endpoint", "good"),
    [
        ("http://127.0.0.1:4317", True), ("https://collector.example", True), ("http://[::1]:4317/", True),
        ("collector:4317", False), ("[::1]:4317", False), ("collector", False), ("ftp://host:1", False),
        ("http://", False), ("http://a b", False), ("collector:4317/path", False), ("http://host:99999", False),
    ],
)  # fmt: skip
def test_collector_addresses(read: Any, endpoint: str, good: bool) -> None:
    if good:
        assert read("", TELEMETRY__OTLP_ENDPOINT=endpoint).telemetry.otlp_endpoint == endpoint
    else:
        with pytest.raises(ConfigError, match=r"^telemetry\.otlp_endpoint .*: the value is not an address"):
            read("", TELEMETRY__OTLP_ENDPOINT=endpoint)
