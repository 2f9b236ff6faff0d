"""`postwire providers kinds`: what is installed, and every key of a kind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support.packages import MODULE, install, postwire_with

from postwire.cli.root import root
from postwire.config.providers import describe_kind
from postwire.config.schema import effective, load
from postwire.providers.builtin import KINDS

KEYS = MODULE.replace(
    '    url: str = "http://127.0.0.1:1"\n',
    """    url: str = setting(help="Where it is.")
    key: str | None = setting("unsafe", secret=True)
    wait: Duration = 0.5
    dkim: Dkim = field(default_factory=Dkim)
""",
).replace(
    "@dataclass",
    """from dataclasses import field
from postwire.config.bind import setting
from postwire.config.types import Duration

@dataclass(frozen=True, slots=True)
class Dkim:
    domain: str | None = None

@dataclass""",
)
KEYS = KEYS.replace("channels=(Channel.SMS,)", "channels=(Channel.EMAIL,), attempt_timeout=300.0, max_concurrent=10")


pytestmark = pytest.mark.usefixtures("unconfigured")


def run(*args: str) -> Result:
    return CliRunner().invoke(root, ["providers", "kinds", *args])


def row(table: str, key: str) -> list[str]:
    """The cells of the row that begins with that word."""
    (found,) = [line.split(None, 2) for line in table.splitlines() if line.split()[:1] == [key]]
    return found


def test_those_of_packages_are_among_them_and_what_cannot_be_used_says_why(tmp_path: Path) -> None:
    install(tmp_path, "acme", {"acme": "acme:KIND", "gone": "gone:KIND"}, acme=MODULE)
    Path("postwire.toml").write_text('[providers.a]\nkind = "acme"\nchannels = ["sms"]\n', encoding="utf-8")
    done = postwire_with(tmp_path, "providers", "kinds")
    assert (done.returncode, done.stderr) == (0, "")
    cells = [re.split("  +", line) for line in done.stdout.splitlines()]
    assert cells[0] == ["KIND", "CHANNELS", "PROVIDERS", "PACKAGE", "SUMMARY"]
    assert cells[1] == ["mock", "sms,mms,email", "-", "-", "Sends nothing, and fails as often as it is told to."]
    assert cells[-2:] == [
        ["acme", "sms", "a", "acme 1.0", "Somebody's own."],
        [
            "gone",
            "-",
            "-",
            "acme 1.0",
            "it cannot be imported (No module named 'gone'): install acme again, with all that it requires",
        ],
    ]
    found = json.loads(postwire_with(tmp_path, "providers", "kinds", "--json").stdout)["kinds"]
    assert found[-2] == {
        "kind": "acme",
        "channels": ["sms"],
        "summary": "Somebody's own.",
        "package": "acme 1.0",
        "problem": None,
        "providers": ["a"],
    }
    assert found[-1]["problem"].startswith("cannot be imported")


def test_every_key_of_one_has_its_default_and_what_it_means(tmp_path: Path) -> None:
    install(tmp_path, "acme", {"acme": "acme:KIND"}, acme=KEYS)
    Path("postwire.toml").write_text('[delivery]\nattempt_timeout = "7s"\n', encoding="utf-8")
    done = postwire_with(tmp_path, "providers", "kinds", "acme")
    assert (done.returncode, done.stderr) == (0, "")
    head, _, table = done.stdout.partition("\n\n")
    assert head.splitlines() == [
        "kind      acme",
        "channels  email",
        "package   acme 1.0",
        "summary   Somebody's own.",
    ]
    assert row(table, "url") == ["url", "(required)", "Where it is."]
    assert row(table, "key") == ["key", "(none)", "a string"]
    assert "unsafe" not in done.stdout
    assert row(table, "wait")[:2] == ["wait", '"500ms"']
    assert row(table, "dkim.domain")[:2] == ["dkim.domain", "(none)"]
    assert row(table, "max_concurrent")[:2] == ["max_concurrent", "10"], "its own default"
    assert row(table, "attempt_timeout")[:2] == ["attempt_timeout", '"5m"'], "its own, whatever [delivery] says"
    assert row(table, "breaker.failure_ratio")[:2] == ["breaker.failure_ratio", "0.5"]
    assert row(run("mock").stdout, "attempt_timeout")[:2] == ["attempt_timeout", '"7s"'], "what [delivery] says"


def test_programs_get_defaults_as_values() -> None:
    reported = json.loads(run("mock", "--json").stdout)
    assert (reported["kind"], reported["channels"], reported["providers"]) == (
        "mock",
        ["sms", "mms", "email"],
        ["sms-mms", "email"],
    )
    keys = {one["key"]: one for one in reported["keys"]}
    assert keys["error_ratio"] == {
        "key": "error_ratio",
        "default": 0.0,
        "required": False,
        "secret": False,
        "value": "a ratio from 0 to 1",
        "help": "The ratio of attempts that end error.",
    }
    assert (keys["channels"]["required"], keys["channels"]["default"]) == (True, None)
    assert keys["connect_timeout"]["default"] == "3s"


def test_it_is_of_use_while_the_configuration_is_not_sound() -> None:
    Path("postwire.toml").write_text('[providers.a]\nkind = "mock"\n', encoding="utf-8")
    result = run("mock")
    assert (result.exit_code, result.stderr) == (
        0,
        "postwire: warning: the configuration here is wrong: see postwire config check\n",
    )
    assert row(result.stdout, "attempt_timeout")[:2] == ["attempt_timeout", "(none)"]
    reported = json.loads(run("--json").stdout)["kinds"]
    assert reported[0]["kind"] == "mock"
    assert all(one["providers"] is None for one in reported)


def test_another_configuration_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('[providers.mine]\nkind = "mock"\nchannels = ["sms"]\n', encoding="utf-8")
    assert "  mine  " in run("--config", str(file)).stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("pigeon",), "'pigeon' is not a kind of provider: mock"),
        (("mock", "mock"), "unexpected extra argument"),
        (("--server", "127.0.0.1:1"), "No such option"),
    ],
)
def test_wrong_usage(args: tuple[str, ...], said: str) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_one_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    install(tmp_path, "acme", {"gone": "gone:KIND"})
    done = postwire_with(tmp_path, "providers", "kinds", "gone")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("postwire: the kind gone cannot be imported (No module named 'gone'): install acme")
    for_programs = postwire_with(tmp_path, "providers", "kinds", "gone", "--json").stderr
    assert "cannot be imported" in json.loads(for_programs)["error"]["message"]


@pytest.mark.parametrize("name", list(KINDS))
def test_every_key_of_postwires_own_says_what_it_means(name: str) -> None:
    assert [one.key for one in describe_kind(KINDS[name], attempt_timeout=10.0) if not one.help.endswith(".")] == []


def test_defaults_are_those_that_the_server_takes() -> None:
    config = load(path=None, environ={}, kinds=KINDS)
    taken = {key.removeprefix("providers.email."): value for key, value in effective(config)}
    described = [one for one in describe_kind(KINDS["mock"], attempt_timeout=10.0) if not one.required]
    assert {one.key: one.default or "(none)" for one in described} == {one.key: taken[one.key] for one in described}
