"""`postwire providers check`: what the vendors say, whatever they do to the process that asks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support.packages import MODULE, install, postwire_with

from postwire.cli.root import root

CHECKED = """
[providers.good]
kind = "good"
channels = ["sms"]
[providers.ill]
kind = "ill"
channels = ["sms"]
"""
ILL = MODULE.replace("ProviderHealth(ok=True)", 'ProviderHealth(ok=False, detail="the vendor refuses the key")')
HANGING = {
    "waits": "await asyncio.Event().wait()",
    "swallows": "while True:\n            try:\n                await asyncio.Event().wait()\n"
    "            except asyncio.CancelledError:\n                pass",
    "looks_up": "await asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)",
}
"""How a check may hang: as an honest one, as one that will not be cancelled, and on a thread that nobody can end."""

SOONER = "from postwire.providers import checks\nchecks.CHECK_TIMEOUT = 1.0\n"
"""In a package: has a check be given up sooner."""

pytestmark = pytest.mark.usefixtures("unconfigured")


def run(*args: str) -> Result:
    return CliRunner().invoke(root, ["providers", "check", *args])


def test_the_mocks_are_well() -> None:
    result = run()
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "PROVIDER  KIND  OK   DETAIL\nsms-mms   mock  yes  -\nemail     mock  yes  -\n"


def test_one_can_be_asked_alone_and_programs_get_an_object() -> None:
    assert run("email").stdout == "PROVIDER  KIND  OK   DETAIL\nemail     mock  yes  -\n"
    assert json.loads(run("email", "--json").stdout) == {
        "providers": [{"name": "email", "kind": "mock", "ok": True, "detail": "", "misconfigured": False}]
    }


def test_the_configuration_is_read_as_the_server_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "my.toml"
    file.write_text('[providers.mine]\nkind = "mock"\nchannels = ["sms"]\n', encoding="utf-8")
    assert [line.split()[0] for line in run("--config", str(file)).stdout.splitlines()] == ["PROVIDER", "mine"]
    monkeypatch.setenv("POSTWIRE_PROVIDERS__MINE__ERROR_RATIO", "2")
    result = run("--config", str(file))
    assert (result.exit_code, result.stdout) == (4, "")
    assert "providers.mine.error_ratio (POSTWIRE_PROVIDERS__MINE__ERROR_RATIO): 2 is not a ratio" in result.stderr
    error = json.loads(run("--config", str(file), "--json").stderr)["error"]
    assert [one["field"] for one in error["field_violations"]] == ["providers.mine.error_ratio"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("nobody",), "'nobody' is not declared here: sms-mms, email"),
        (("email", "sms-mms"), "unexpected extra argument"),
        (("--server", "127.0.0.1:1"), "No such option"),
    ],
)
def test_wrong_usage(args: tuple[str, ...], said: str) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_one_that_is_not_well_decides_the_exit_code(tmp_path: Path) -> None:
    install(tmp_path, "acme", {"good": "good:KIND", "ill": "ill:KIND"}, good=MODULE, ill=ILL)
    Path("postwire.toml").write_text(CHECKED, encoding="utf-8")
    done = postwire_with(tmp_path, "providers", "check")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        "PROVIDER  KIND  OK   DETAIL\ngood      good  yes  -\nill       ill   no   the vendor refuses the key\n"
    )
    assert postwire_with(tmp_path, "providers", "check", "good").returncode == 0


def test_one_that_cannot_be_made_or_raises_is_a_line_and_its_settings_are_not_told(tmp_path: Path) -> None:
    unmade = MODULE.replace("        self.name", "        raise ValueError(settings.url)\n        self.name")
    raises = MODULE.replace("return ProviderHealth(ok=True)", 'raise OSError("http://127.0.0.1:1")')
    unclosed = MODULE.replace("        pass", "        raise OSError")
    plain = MODULE.replace("async def close", "async def no_close")
    kinds = {name: f"{name}:KIND" for name in ("unmade", "raises", "unclosed", "plain")}
    install(tmp_path, "acme", kinds, unmade=unmade, raises=raises, unclosed=unclosed, plain=plain)
    tables = (f'[providers.{name}]\nkind = "{name}"\nchannels = ["sms"]\n' for name in kinds)
    Path("postwire.toml").write_text("".join(tables), encoding="utf-8")
    done = postwire_with(tmp_path, "providers", "check")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[1:] == [
        "unmade    unmade    no   providers.unmade: the kind unmade fails to make it (ValueError), check its settings",
        "raises    raises    no   its check failed with OSError",
        "unclosed  unclosed  yes  -",
        "plain     plain     yes  -",
    ]


def test_it_ends_however_a_check_hangs(tmp_path: Path) -> None:
    modules = {
        name: f"import asyncio, time\n{SOONER}{MODULE}".replace("return ProviderHealth(ok=True)", body)
        for name, body in HANGING.items()
    }
    modules["good"] = MODULE
    install(tmp_path, "acme", {name: f"{name}:KIND" for name in modules}, **modules)
    tables = (f'[providers.{name.replace("_", "-")}]\nkind = "{name}"\nchannels = ["sms"]\n' for name in HANGING)
    Path("postwire.toml").write_text("".join(tables) + CHECKED.partition("[providers.ill]")[0], encoding="utf-8")
    done = postwire_with(tmp_path, "providers", "check", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    found = {one["name"]: (one["ok"], one["detail"]) for one in json.loads(done.stdout)["providers"]}
    late = (False, "it did not answer within 1 s")
    assert found == {"waits": late, "swallows": late, "looks-up": late, "good": (True, "")}


def test_it_ends_though_one_holds_the_loop(tmp_path: Path) -> None:
    held = f"import time\n{SOONER}{MODULE}".replace("return ProviderHealth(ok=True)", "time.sleep(3600)")
    install(tmp_path, "acme", {"held": "held:KIND"}, held=held)
    Path("postwire.toml").write_text('[providers.held]\nkind = "held"\nchannels = ["sms"]\n', encoding="utf-8")
    done = postwire_with(tmp_path, "providers", "check")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[1:] == ["held      held  no  it did not answer within 1 s"]
