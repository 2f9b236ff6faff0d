"""`postwire config check|init`: all that is wrong at once, what a server stumbles over, and variables gone astray."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.support.access import declared, made_key
from tests.support.configs import KINDS
from tests.support.tokens import key_set, public_jwk

from postwire import app_log
from postwire.cli.preflight import examine
from postwire.cli.root import root
from postwire.config.bind import ConfigError
from postwire.config.schema import Config, load
from postwire.config.strays import stray_variables
from postwire.providers.builtin import KINDS as KINDS_BUILT_IN
from postwire.providers.registry import Registry

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("unconfigured")


def run(*args: str) -> Result:
    return CliRunner().invoke(root, args)


def mistakes(toml: str, **environ: str) -> list[str]:
    Path("postwire.toml").write_text(toml, encoding="utf-8")
    ours = {f"POSTWIRE_{name}": text for name, text in environ.items()}
    with pytest.raises(ConfigError) as wrong:
        load(path=None, environ=ours, kinds=KINDS)
    return [str(one) for one in (wrong.value, *wrong.value.others)]


# All at once.

MANY = """
[servr]
[server]
listen = 3
max_wait = "soon"
[store]
retention = "1h"
[providers.a]
kind = "mock"
channels = ["sms"]
error_ratio = 2.0
colour = "red"
max_concurrent = 0
[providers.b]
kind = "pigeon"
channels = ["sms"]
[providers.C]
kind = "mock"
[routes]
sms = ["a", "nobody", "b"]
[[routes.email]]
tiers = ["a"]
[[routes.email]]
match = { prefixes = ["+44"] }
tiers = ["nobody"]
"""


def test_all_that_is_wrong_is_told_at_once() -> None:
    reported = mistakes(MANY, SERVER__NONSENSE="1", SERVER__listen="x", PROVIDERS__D__SEED="1")
    assert [line.split(":")[0] for line in reported] == [
        "POSTWIRE_SERVER__listen",
        "servr",
        "server.nonsense (POSTWIRE_SERVER__NONSENSE)",
        "server.listen",
        "server.max_wait",
        "store.retention",
        "providers.C",
        "POSTWIRE_PROVIDERS__D__SEED",
        "providers.a.colour",
        "providers.a.max_concurrent",
        "providers.a.error_ratio",
        "providers.b.kind",
        "providers.C.channels",
        "routes.sms",
        "routes.email[1]",
    ]


def test_a_provider_that_is_wrong_is_no_reason_to_doubt_its_routes() -> None:
    reported = mistakes('[providers.a]\nkind = "mock"\nchannels = 3\n[routes]\nsms = ["a"]\nemail = ["a"]\n')
    assert [line.split(":")[0] for line in reported] == ["providers.a.channels"]


@pytest.mark.parametrize("args", [("serve",), ("config", "check")])
def test_both_commands_tell_all_of_it(args: tuple[str, ...]) -> None:
    Path("postwire.toml").write_text('[server]\nlisten = 3\n[store]\nretention = "23h"\n', encoding="utf-8")
    result = run(*args)
    assert (result.exit_code, result.stdout) == (4, "")
    first, second = result.stderr.splitlines()
    assert first.startswith("postwire: server.listen: 3 is not an address")
    assert second == '  store.retention: "23h" is too short, must be at least 24h'


@pytest.mark.parametrize("args", [("serve",), ("config", "check")])
def test_both_commands_name_two_rules_with_one_match(args: tuple[str, ...]) -> None:
    rule = '[[routes.sms]]\nmatch = { prefixes = ["+44"] }\ntiers = ["a"]\n'
    text = f'[providers.a]\nkind = "mock"\nchannels = ["sms"]\n{rule}{rule}'
    Path("postwire.toml").write_text(text, encoding="utf-8")
    result = run(*args)
    line = "postwire: routes.sms[1].match: is the same as that of routes.sms[0], leave one of them out\n"
    assert (result.exit_code, result.stdout, result.stderr) == (4, "", line)


def test_a_program_is_told_all_of_it() -> None:
    Path("postwire.toml").write_text('[server]\nlisten = 3\n[store]\npath = "none/postwire.db"\n', encoding="utf-8")
    error = json.loads(run("config", "check", "--json").stderr)["error"]
    assert [one["field"] for one in error["field_violations"]] == ["server.listen", "store.path"]


# What a server would stumble over.


def stumbles(toml: str) -> list[str]:
    Path("postwire.toml").write_text(toml, encoding="utf-8")
    try:
        load(path=None, environ={}, kinds=KINDS, examine=examine)
    except ConfigError as wrong:
        return [str(one) for one in (wrong, *wrong.others)]
    return []


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[store]\npath = "none/postwire.db"', "none does not exist, make it or choose another place"),
        ('[store]\npath = "file/postwire.db"', "file is no directory, make it or choose another place"),
        ('[store]\npath = "folder"', "store.path: folder is a directory, give the path of a file"),
        ('[server]\nlisten = "unix:/none/postwire.sock"', "server.listen: /none does not exist"),
        (
            '[server]\ninsecure = true\nlisten = "203.0.113.1:50051"',
            "server.listen: 203.0.113.1:50051 cannot be listened on",
        ),
        (
            '[server]\ninsecure = true\nlisten = "no-such-host.invalid:1"',
            "server.listen: no-such-host.invalid cannot be resolved",
        ),
        (
            'server.insecure = true\ntelemetry.metrics_listen = "203.0.113.1:9464"',
            "telemetry.metrics_listen: 203.0.113.1:9464 cannot be",
        ),
        (
            'server.insecure = true\nhttp.listen = "203.0.113.1:8080"',
            "http.listen: 203.0.113.1:8080 cannot be listened on",
        ),
        (
            '[http]\nlisten = "127.0.0.1:0"\ntls = { cert_file = "none", key_file = "none" }',
            "http.tls.cert_file: there is no such file",
        ),
        ('[server.tls]\ncert_file = "none"\nkey_file = "none"', "server.tls.cert_file: there is no such file"),
        ('[telemetry.tls]\ncert_file = "file"\nkey_file = "text"', "telemetry.tls.cert_file: is an empty file"),
        (f'[server]\nlisten = "unix:/tmp/{"x" * 120}"', "server.listen: the path is too long: 107 bytes"),
        ('[store]\npath = "text"', "store.path: text is not a database"),
        ('[store]\npath = "pipe"', "store.path: pipe is no regular file"),
        ('[server]\nlisten = "127.0.0.1:9464"', "telemetry.metrics_listen: 127.0.0.1:9464 is server.listen as well"),
    ],
)
def test_what_a_server_would_stumble_over_is_named(toml: str, said: str) -> None:
    Path("folder").mkdir()
    Path("file").touch()
    Path("text").write_text("not a database, " * 64, encoding="utf-8")
    os.mkfifo("pipe")
    reported, *others = stumbles(toml)
    assert said in reported
    assert all("tls.key_file" in other for other in others)


def test_a_variable_of_opentelemetrys_that_stops_the_boot_stops_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    result = run("config", "check")
    assert result.exit_code == 4
    assert result.stderr.startswith("postwire: OTEL_TRACES_EXPORTER: ")


def test_certificates_that_nothing_is_served_with_are_not_looked_at() -> None:
    Path("postwire.toml").write_text(
        '[telemetry]\nmetrics_listen = ""\n[telemetry.tls]\ncert_file = "none"\nkey_file = "none"\n', encoding="utf-8"
    )
    result = run("config", "check")
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_port_in_use_is_no_mistake_since_the_server_may_run() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert stumbles(f'[server]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"') == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    (reported,) = stumbles('[store]\npath = "closed/postwire.db"')
    assert "may not be written by this user" in reported


def test_values_for_programs_are_of_json() -> None:
    Path("postwire.toml").write_text('[routes]\nsms = ["sms-mms"]\n', encoding="utf-8")
    shown = {one["key"]: one["value"] for one in json.loads(run("config", "check", "--json").stdout)["settings"]}
    assert shown["server.max_in_flight"] == 1000
    assert shown["server.max_wait"] == "30s"
    assert shown["server.reflection"] is True
    assert shown["delivery.seed"] is None
    assert shown["routes.sms"] == ["sms-mms"]
    assert shown["providers.email.breaker.failure_ratio"] == 0.5


# Variables gone astray.


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("POSTWIRE_SERVER_LISTEN", "POSTWIRE_SERVER__LISTEN"),
        ("POSTWIRE_server__listen", "POSTWIRE_SERVER__LISTEN"),
        ("POSTWIRE_STORE_PATH", "POSTWIRE_STORE__PATH"),
        ("POSTWIRE_PROVIDERS_SMS_MMS_SEED", "POSTWIRE_PROVIDERS__SMS_MMS__SEED"),
        ("POSTWIRE_TARGETS", "POSTWIRE_TARGET"),
        ("POSTWIRE_CAFILE", "POSTWIRE_CA_FILE"),
        ("POSTWIRE_PORT", None),
        ("POSTWIRE_CONFIG", None),
    ],
)
def test_a_variable_that_is_none_of_ours_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, name: str, nearest: str | None
) -> None:
    monkeypatch.setenv(name, "x")
    result = run("config", "check")
    assert result.exit_code == 0
    hint = f", did you mean {nearest}?" if nearest else ""
    assert result.stderr == f"postwire: warning: {name} is no variable of Postwire's{hint}\n"
    assert json.loads(run("config", "check", "--json").stdout)["warnings"] == [
        f"{name} is no variable of Postwire's{hint}"
    ]


def test_without_a_word_where_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("config", "check", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert json.loads(run("config", "check", "--quiet", "--json").stdout)["settings"] == []
    monkeypatch.setenv("POSTWIRE_SERVER__GRACE", "soon")
    result = run("config", "check", "--quiet")
    assert result.exit_code == 4
    assert "server.grace" in result.stderr


INJECTED = {
    "POSTWIRE_SERVICE_HOST": "10.0.0.1",
    "POSTWIRE_SERVICE_PORT": "50051",
    "POSTWIRE_SERVICE_PORT_GRPC": "50051",
    "POSTWIRE_PORT": "tcp://10.0.0.1:50051",
    "POSTWIRE_PORT_50051_TCP": "tcp://10.0.0.1:50051",
    "POSTWIRE_PORT_50051_TCP_PROTO": "tcp",
    "POSTWIRE_PORT_50051_TCP_PORT": "50051",
    "POSTWIRE_PORT_50051_TCP_ADDR": "10.0.0.1",
    "POSTWIRE_METRICS_SERVICE_HOST": "10.0.0.2",
    "POSTWIRE_METRICS_PORT": "tcp://10.0.0.2:9464",
    "POSTWIRE_METRICS_PORT_9464_TCP_ADDR": "10.0.0.2",
}


def test_what_clusters_put_there_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(stray.injected for stray in stray_variables(INJECTED, tuple))
    for name, value in INJECTED.items():
        monkeypatch.setenv(name, value)
    result = run("config", "check")
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_server_says_it_at_its_boot(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config: Config = read("", SERVER_LISTEN="x", SERVICE_HOST="10.0.0.1", TARGET="127.0.0.1:1")
    said: list[tuple[str, object]] = []

    class Log:
        def __getattr__(self, level: str) -> Any:
            return lambda event, **fields: said.append((level, fields.get("detail")))

    monkeypatch.setattr(app_log, "_log", Log())
    registry = Registry.build(
        config, KINDS_BUILT_IN, random_seed=lambda: 1, seed=1, on_transition=print, on_fault=print
    )
    app_log.boot(config, registry)
    assert [one for one in said if "POSTWIRE_" in str(one)] == [
        ("warning", "POSTWIRE_SERVER_LISTEN is no variable of Postwire's, did you mean POSTWIRE_SERVER__LISTEN?"),
        ("debug", "POSTWIRE_SERVICE_HOST is no variable of Postwire's"),
    ]


def test_a_command_that_calls_a_server_says_what_would_have_named_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTWIRE_SERVR", "127.0.0.1:1")
    monkeypatch.setenv("POSTWIRE_SOMETHING", "of their own")
    Path("postwire.toml").write_text('[server]\nlisten = "127.0.0.1:2"\n', encoding="utf-8")
    warning = "postwire: warning: POSTWIRE_SERVR is no variable of Postwire's, did you mean POSTWIRE_SERVER?"
    assert run("health").stderr.splitlines()[0] == warning
    assert json.loads(run("health", "--json").stderr)["error"]


# Beginning one.


def test_a_first_configuration_is_the_sample_and_says_what_the_defaults_say() -> None:
    result = run("config", "init")
    assert (result.exit_code, result.stderr) == (0, "")
    assert Path("postwire.toml").read_bytes() == (ROOT / "postwire.toml").read_bytes()
    assert run("config", "check").exit_code == 0


def test_a_first_configuration_may_go_to_stdout() -> None:
    done = run("config", "init", "-")
    assert (done.exit_code, done.stdout) == (0, (ROOT / "postwire.toml").read_text(encoding="utf-8"))
    assert not Path("-").exists()


def test_a_file_that_is_there_is_never_written_over() -> None:
    Path("mine.toml").write_text("mine", encoding="utf-8")
    Path("link.toml").symlink_to("nowhere.toml")
    for name, said in (("mine.toml", "is there already"), ("link.toml", "is there already"), ("a/b.toml", "No such")):
        result = run("config", "init", name)
        assert (result.exit_code, result.stdout) == (1, "")
        assert said in result.stderr
    assert Path("mine.toml").read_text(encoding="utf-8") == "mine"
    assert not Path("nowhere.toml").exists()


def test_it_is_in_what_is_installed() -> None:
    code = (
        "from importlib import resources; print(len(resources.files('postwire').joinpath('sample.toml').read_bytes()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert int(done.stdout) == (ROOT / "postwire.toml").stat().st_size


# Who may call.


TOKENS = '[auth.jwt]\nissuer = "i"\naudience = "a"\njwks_file = "keys.json"\n'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "there is no such file"),
        ("", "is an empty file"),
        ("{}", "is no JSON Web Key Set"),
        (key_set(public_jwk(d="AA")), "has a key that is not public"),
    ],
)
def test_keys_that_are_of_no_use_are_found_before_the_start(content: str | None, problem: str) -> None:
    Path("postwire.toml").write_text(TOKENS, encoding="utf-8")
    if content is not None:
        Path("keys.json").write_text(content, encoding="utf-8")
    done = run("config", "check")
    assert done.exit_code == 4
    assert f"auth.jwt.jwks_file: {problem}, it must be a file with a JSON Web Key Set" in done.stderr
    Path("keys.json").write_text(key_set(), encoding="utf-8")
    assert run("config", "check").exit_code == 0


def test_keys_of_callers_are_shown_as_they_are() -> None:
    key = made_key()
    toml = declared(key, "acme", "send", expires="2031-01-31T00:00:00Z")
    Path("postwire.toml").write_text(toml, encoding="utf-8")
    shown = {one["key"]: one["value"] for one in json.loads(run("config", "check", "--json").stdout)["settings"]}
    assert shown["tenants.acme.keys[0].id"] == key.id
    assert shown["tenants.acme.keys[0].roles"] == ["send"]
    assert shown["tenants.acme.keys[0].expires"] == "2031-01-31T00:00:00Z"


def test_each_line_of_a_file_of_keys_that_is_wrong_is_reported_once(tmp_path: Path) -> None:
    keys, config = tmp_path / "keys", tmp_path / "postwire.toml"
    keys.write_text("one\ntwo\n", encoding="utf-8")
    config.write_text(f'[store]\nencryption_keys_file = "{keys}"\n', encoding="utf-8")
    result = run("config", "check", "--config", str(config))
    assert [line.rpartition(": ")[2] for line in result.stderr.splitlines()] == [
        "line 1 is not ID = KEY",
        "line 2 is not ID = KEY",
    ]
