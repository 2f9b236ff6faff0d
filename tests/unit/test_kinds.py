"""The kinds of providers: imported when declared, added to by packages, and one line for each that cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import KINDS as SOME
from tests.support.configs import MockSettings, kind_of
from tests.support.packages import MODULE, install, installed, postwire_with

from postwire import core
from postwire.config.bind import ConfigError
from postwire.config.providers import UnusableKind
from postwire.config.schema import effective, load
from postwire.core.message import Channel
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult
from postwire.providers.base import Kind
from postwire.providers.builtin import KINDS
from postwire.providers.kinds import Kinds


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of packages to import from. What a test has imported from it is forgotten."""
    place = tmp_path / "packages"
    place.mkdir()
    monkeypatch.syspath_prepend(place)
    yield place
    for path in place.glob("*.py"):
        sys.modules.pop(path.stem, None)


def kinds(place: Path, built_in: Mapping[str, str] | None = None) -> Kinds:
    return Kinds(built_in or {"mock": "postwire.providers.mock:KIND"}, installed(place))


def unusable(found: Kinds, name: str) -> str:
    with pytest.raises(UnusableKind) as caught:
        found[name]
    return str(caught.value)


def test_postwires_own_are_all_usable() -> None:
    assert {name: type(KINDS[name]) for name in KINDS} == dict.fromkeys(KINDS, Kind)
    for kind in KINDS.values():
        assert kind.summary.endswith(".")


def test_only_what_is_declared_is_imported(place: Path, tmp_path: Path) -> None:
    install(place, "acme", {"acme": "acme:KIND", "other": "acme_other:KIND"}, acme=MODULE, acme_other=MODULE)
    file = tmp_path / "postwire.toml"
    file.write_text('[providers.a]\nkind = "acme"\nchannels = ["sms"]\n', encoding="utf-8")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from postwire.config.schema import load\n"
        "from postwire.providers.builtin import KINDS\n"
        "config = load(path=Path(sys.argv[1]), environ={}, kinds=KINDS)\n"
        "print(config.providers['a'].options.url, 'other' in KINDS)\n"
        "files = {point.module for points in KINDS._points.values() for point in points}\n"
        "print(*sorted((files | {'aiohttp', 'aiosmtplib', 'botocore', 'cryptography'}) & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        env=os.environ | {"PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.splitlines() == ["http://127.0.0.1:1 True", "acme"]


@pytest.mark.parametrize(
    "code",
    [
        "import postwire_client",
        "import postwire.app, postwire.cli.root, postwire.providers.builtin as all; all.KINDS['mock']",
    ],
)
def test_neither_a_client_nor_a_server_with_mocks_pays_for_vendors(code: str) -> None:
    libraries = {"aiosmtplib", "botocore", "cryptography"}
    look = (
        f"import sys\n{code}\n"
        f"loaded = sys.modules.keys() & {libraries} | {{name for name in sys.modules if '.providers.http' in name}}\n"
        "print(*sorted(loaded))"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == []


def test_names_and_packages_are_known_without_an_import(place: Path) -> None:
    install(place, "acme-kinds", {"acme": "acme_gone:KIND"})
    found = kinds(place)
    assert list(found) == ["mock", "acme"]
    assert len(found) == 2
    assert ("acme" in found, "mock" in found, "pigeon" in found) == (True, True, False)
    assert (found.package("acme"), found.package("mock")) == ("acme-kinds 1.0", "")
    with pytest.raises(KeyError):
        found["pigeon"]


def test_one_is_imported_once(place: Path) -> None:
    install(place, "acme", {"acme": "acme:KIND"}, acme=MODULE)
    found = kinds(place)
    assert found["acme"] is found["acme"]
    assert found["acme"].channels == (Channel.SMS,)


def test_a_name_of_postwires_own_is_taken(place: Path) -> None:
    install(place, "acme", {"mock": "acme:KIND"}, acme=MODULE)
    assert unusable(kinds(place), "mock") == (
        "is a kind of Postwire's own, and of a package as well: uninstall acme 1.0"
    )


def test_two_packages_cannot_share_a_name(place: Path) -> None:
    for package in ("one", "two"):
        install(place, package, {"acme": "acme:KIND"}, acme=MODULE)
    assert unusable(kinds(place), "acme") == "is a kind of several packages: uninstall all but one of one 1.0, two 1.0"


def test_what_a_kind_of_postwires_own_takes_is_named_as_an_extra(place: Path) -> None:
    built_in = {"ses": "needs_botocore:KIND [aws]", "rest": "needs_botocore:KIND"}
    (place / "needs_botocore.py").write_text("import no_such_botocore\n", encoding="utf-8")
    found = kinds(place, built_in)
    missing = "cannot be imported (No module named 'no_such_botocore'): pip install"
    assert unusable(found, "ses") == f"{missing} 'postwire[aws]'"
    assert unusable(found, "rest") == f"{missing} 'postwire[server]'"


@pytest.mark.parametrize(
    ("value", "module", "said"),
    [
        ("acme:KIND", "import no_such", "cannot be imported (No module named 'no_such'): install acme again, with all"),
        ("gone:KIND", "", "cannot be imported (No module named 'gone'): install acme again, with all"),
        ("acme:KIND", "", "of the package acme 1.0 cannot be imported (AttributeError: module 'acme' has no"),
        ("acme:KIND", "1 / 0", "of the package acme 1.0 cannot be imported (ZeroDivisionError: division by zero)"),
        ("acme:KIND", "KIND = 3", "of the package acme 1.0 is broken: acme:KIND must be a Kind of postwire.prov"),
        ("acme", "", "of the package acme 1.0 is broken: acme must be a Kind of postwire.providers.base"),
        ("acme:KIND", MODULE.replace("url: str", "rate: float"), "is broken: its settings have keys that every"),
        ("acme:KIND", MODULE.replace("url: str", "url: bytes"), "is broken: no unit is known for a setting of type"),
        ("acme:KIND", MODULE.replace("(Channel.SMS,)", "('sms',)"), "TypeError: channels must be members of Channel"),
        ("acme:KIND", MODULE.replace("(Channel.SMS,)", "()"), "TypeError: channels must be members of Channel"),
    ],
)  # fmt: skip
def test_a_package_that_is_broken_is_told_in_one_line(place: Path, value: str, module: str, said: str) -> None:
    install(place, "acme", {"acme": value}, acme=module)
    reported = unusable(kinds(place), "acme")
    assert said in reported
    assert "\n" not in reported


def test_a_kind_that_cannot_be_used_stops_the_boot_and_the_check_where_it_is_declared(
    place: Path, tmp_path: Path
) -> None:
    install(place, "acme", {"acme": "acme:KIND", "good": "good:KIND"}, acme="import no_such\n", good=MODULE)
    file = tmp_path / "postwire.toml"

    def run(command: str, declared: str) -> subprocess.CompletedProcess[str]:
        file.write_text(declared, encoding="utf-8")
        return postwire_with(place, *command.split(), "--config", str(file), cwd=tmp_path)

    for command in ("config check", "serve"):
        done = run(command, '[providers.a]\nkind = "acme"\nchannels = ["sms"]\n')
        assert done.returncode == 4
        assert done.stderr == (
            "postwire: providers.a.kind: \"acme\" cannot be imported (No module named 'no_such'): "
            "install acme again, with all that it requires\n"
        )
    done = run("config check", '[providers.a]\nkind = "good"\nchannels = ["sms"]\n')
    assert (done.returncode, done.stderr) == (0, ""), "what is not declared is in nobody's way"


def test_a_provider_that_cannot_be_made_stops_the_boot_and_its_settings_are_not_told(
    place: Path, tmp_path: Path
) -> None:
    install(
        place,
        "acme",
        {"acme": "acme:KIND"},
        acme=MODULE.replace("        self.name", "        raise ValueError(settings.url)\n        self.name"),
    )
    (tmp_path / "postwire.toml").write_text('[providers.a]\nkind = "acme"\nchannels = ["sms"]\n', encoding="utf-8")
    done = postwire_with(place, "serve", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == ("postwire: providers.a: the kind acme fails to make it (ValueError), check its settings\n")


# What the configuration makes of it.

PHONES = {
    **SOME,
    "phone": kind_of(
        MockSettings,
        channels=(Channel.SMS, Channel.MMS),
        connect_timeout=7.0,
        attempt_timeout=300.0,
        max_concurrent=10,
    ),
}
PHONE = '[providers.a]\nkind = "phone"\nchannels = ["sms"]\n'


def read(tmp_path: Path, toml: str, **environ: str) -> Any:
    file = tmp_path / "postwire.toml"
    file.write_text(toml, encoding="utf-8")
    ours = {f"POSTWIRE_PROVIDERS__A__{name}": text for name, text in environ.items()}
    return load(path=file, environ=ours, kinds=PHONES)


def limits(config: Any) -> tuple[float, float, int]:
    declared = config.providers["a"]
    return declared.connect_timeout, declared.attempt_timeout, declared.max_concurrent


def test_a_kinds_own_defaults_go_before_the_common_ones(tmp_path: Path) -> None:
    delivery = '[delivery]\nattempt_timeout = "20s"\n'
    assert limits(read(tmp_path, PHONE + delivery)) == (7.0, 300.0, 10)
    assert limits(read(tmp_path, PHONE.replace("phone", "mock") + delivery)) == (3.0, 20.0, 64)
    shown = dict(effective(read(tmp_path, PHONE)))
    assert shown["providers.a.connect_timeout"] == '"7s"'
    assert shown["providers.a.attempt_timeout"] == '"5m"'
    assert read(tmp_path, PHONE).explicit == {"providers.a.kind", "providers.a.channels"}


def test_the_configuration_goes_before_both(tmp_path: Path) -> None:
    said = 'connect_timeout = "1s"\nattempt_timeout = "2s"\nmax_concurrent = 3\n'
    assert limits(read(tmp_path, PHONE + said)) == (1.0, 2.0, 3)
    assert limits(read(tmp_path, PHONE + said, CONNECT_TIMEOUT="4s", MAX_CONCURRENT="5")) == (4.0, 2.0, 5)


@pytest.mark.parametrize(
    ("toml", "environ", "line"),
    [
        (
            PHONE.replace('"sms"', '"sms", "email"'),
            {},
            'providers.a.channels: "email" cannot be carried by the kind phone, which carries sms, mms',
        ),
        (
            PHONE,
            {"CHANNELS": "email"},
            'providers.a.channels (POSTWIRE_PROVIDERS__A__CHANNELS): "email" cannot be carried by the kind phone, '
            "which carries sms, mms",
        ),
        (PHONE + 'connect_timeout = "0s"', {}, 'providers.a.connect_timeout: "0s" is too short, must be more than 0s'),
        (PHONE + "connect_timeout = 3", {}, "providers.a.connect_timeout: 3 has no unit, write a duration such as"),
    ],
)
def test_what_does_not_go_with_a_kind_is_refused(tmp_path: Path, toml: str, environ: dict[str, str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, toml, **environ)
    assert str(caught.value).startswith(line)
    assert not caught.value.others


# What a package imports.


def test_the_words_of_a_plug_in_are_those_of_the_core() -> None:
    assert (core.Channel, core.DispatchResult) == (Channel, DispatchResult)
    assert (core.Outcome, core.RecipientResult) == (Outcome, RecipientResult)
    with pytest.raises(AttributeError, match="Nonsense"):
        core.Nonsense  # noqa: B018
    with pytest.raises(ImportError):
        exec("from postwire.core import Nonsense")
