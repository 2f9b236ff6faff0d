"""`[receipts]` and `[providers.NAME.receipts]`: what is refused, by which key, and what is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import KINDS as MOCKS

from postwire.config import receipts
from postwire.config.bind import ConfigError, setting
from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.config.providers import describe_kind
from postwire.config.renewal import read_files_again
from postwire.config.schema import Config, effective, load
from postwire.providers.receipts.base import ReceiptSupport

MOCK = MOCKS["mock"]
LISTEN = '[receipts]\nlisten = "127.0.0.1:8081"\npublic_url = "https://example.com"\n'
ONE = '[providers.a]\nkind = "signing"\nchannels = ["sms"]\n[providers.a.receipts]\n'


@dataclass(frozen=True, slots=True)
class Settings:
    token: str | None = setting(None, secret=True)


def make(_: Any, table: ProviderReceiptsConfig) -> None:
    if table.public_key == "wrong":
        raise ValueError("public_key: is no key, paste it as the console shows it")
    if table.secret == "0dd":
        raise ValueError("it is 0dd")


KINDS = {
    "mock": replace(MOCK, receipts=None),
    "signing": replace(MOCK, settings=Settings, receipts=ReceiptSupport(("secret", "public_key"), make)),
}

Read = Callable[..., Config]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(toml: str = "", **environ: str) -> Config:
        (tmp_path / "postwire.toml").write_text(toml, encoding="utf-8")
        ours = {f"POSTWIRE_{name}": text for name, text in environ.items()}
        return load(path=None, environ=ours, kinds=KINDS, cwd=tmp_path)

    return read


def lines(read: Read, toml: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(toml, **environ)
    return [str(one) for one in (caught.value, *caught.value.others)]


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ('listen = "127.0.0.1:1"', "receipts.public_url: is missing where listen is set"),
        ('listen = "unix:/x"', 'receipts.listen: "unix:/x" is not an address'),
        (
            'listen = "0.0.0.0:1"\npublic_url = "https://x"',
            "receipts.listen: 0.0.0.0:1 is beyond loopback and has no TLS",
        ),
        ('listen = "127.0.0.1:50051"\npublic_url = "https://x"', "receipts.listen: 127.0.0.1:50051 is server.listen"),
        (
            'listen = "127.0.0.1:9464"\npublic_url = "https://x"',
            "receipts.listen: 127.0.0.1:9464 is telemetry.metrics_listen",
        ),
        ('public_url = "https://x/?token=4242"', "receipts.public_url: the value is not an address such as"),
        ('public_url = "https://x#y"', "receipts.public_url: the value is not"),
        ('public_url = "https://user:4242@x"', "receipts.public_url: the value is not"),
        ('public_url = "ftp://x"', "receipts.public_url: the value is not"),
        ('public_url = "https://"', "receipts.public_url: the value is not"),
        ('public_url = "https://x:99999"', "receipts.public_url: "),
        ('key = "sh0rt"', "receipts.key: is too short, it must have 32 characters or more"),
        ('key_file = "nowhere"', "receipts.key_file: there is no such file"),
        ('wait = "0s"', "receipts.wait: "),
        ('tls.cert_file = "x"', "receipts.tls.key_file: is missing where cert_file is set"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(read: Read, toml: str, line: str) -> None:
    (found,) = lines(read, f"[receipts]\n{toml}\n")
    assert found.startswith(line)
    assert "4242" not in found
    assert "sh0rt" not in found


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://Example.com/", "https://example.com"),
        ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("https://[::1]:8081/a/b/", "https://[::1]:8081/a/b"),
        ("HTTPS://example.com/Hooks", "https://example.com/Hooks"),
    ],
)
def test_a_public_url_has_no_slash_at_its_end(read: Read, text: str, url: str) -> None:
    assert read(f'[receipts]\npublic_url = "{text}"\n').receipts.public_url == url


def test_listeners_may_all_have_any_port(read: Read) -> None:
    free = "127.0.0.1:0"
    environ = {"RECEIPTS__PUBLIC_URL": "https://x", "SERVER__LISTEN": free, "TELEMETRY__METRICS_LISTEN": free}
    assert read(RECEIPTS__LISTEN=free, **environ).receipts.listen == free
    assert read(RECEIPTS__LISTEN="[::]:1", SERVER__INSECURE="true", RECEIPTS__PUBLIC_URL="https://x").receipts.listen


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        (
            'username = "me"',
            "providers.a.receipts.username: is not for receipts of the kind signing, which takes secret, public_key",
        ),
        ('password_file = "{file}"', "providers.a.receipts.password_file: is not for receipts of the kind signing"),
        ('topics = ["x"]', "providers.a.receipts.topics: is not for receipts of the kind signing"),
        ('sekret = "x"', "providers.a.receipts.sekret: is not known, did you mean providers.a.receipts.secret?"),
        ('public_key = "wrong"', "providers.a.receipts.public_key: is no key, paste it as the console shows it"),
        ('secret = "0dd"', "providers.a.receipts: it is (secret)"),
        ('secret = "x"\nsecret_file = "{file}"', "providers.a.receipts.secret, providers.a.receipts.secret_file: are"),
    ],
)
def test_a_key_that_the_kind_does_not_take_is_refused(read: Read, tmp_path: Path, toml: str, line: str) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (found,) = lines(read, LISTEN + ONE + toml.replace("{file}", str(tmp_path / "file")))
    assert found.startswith(line)


def test_a_kind_without_receipts_takes_none_of_the_keys(read: Read) -> None:
    toml = LISTEN + ONE.replace('"signing"', '"mock"')
    line = "is not for receipts of the kind mock, which has none: take it out"
    assert lines(read, toml + 'secret = "x"') == [f"providers.a.receipts.secret: {line}"]
    (found,) = lines(read, toml.partition("[providers.a.receipts]")[0], PROVIDERS__A__RECEIPTS__SECRET="4242")
    assert found.startswith("providers.a.receipts.secret")
    assert found.endswith(line)


def test_what_cannot_be_used_for_want_of_a_listener_is_refused(read: Read) -> None:
    line = "providers.a.receipts: does nothing by itself, set receipts.listen too"
    assert lines(read, ONE + 'secret = "x"') == [line]


def test_the_secrets_are_not_shown_and_their_files_are_read_again(read: Read, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter2\n", encoding="utf-8")
    config = read(LISTEN + ONE + f'secret_file = "{file}"\npublic_key = "shown"')
    assert config.providers["a"].receipts == ProviderReceiptsConfig(secret="hunter2", public_key="shown")
    shown = dict(effective(config))
    assert shown["providers.a.receipts.secret"] == "(set)"
    assert shown["providers.a.receipts.secret_file"] == f'"{file}"'
    assert shown["providers.a.receipts.public_key"] == '"shown"'
    assert "hunter2" not in repr(config)
    assert config.secret_files == {"providers.a.receipts.secret_file": file}

    file.write_text("hunter3", encoding="utf-8")
    again, mistakes = read_files_again(config)
    assert not mistakes
    assert again.providers["a"].receipts == ProviderReceiptsConfig(secret="hunter3", public_key="shown")
    file.unlink()
    again, (mistake,) = read_files_again(config)
    assert again is config
    assert mistake.key == "providers.a.receipts.secret_file"


def test_what_serves_has_to_be_installed(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    assert receipts.missing_for(read(LISTEN).receipts) is None
    monkeypatch.setattr(receipts, "find_spec", lambda name: None)
    assert str(receipts.missing_for(read(LISTEN).receipts)) == (
        "receipts.listen: takes what is not installed: pip install 'postwire[web]'"
    )
    assert receipts.missing_for(read("").receipts) is None


def test_of_a_kind_those_keys_are_described_that_it_takes() -> None:
    keys = [one.key for one in describe_kind(KINDS["signing"], attempt_timeout=None)]
    assert [key for key in keys if key.startswith("receipts.")] == [
        "receipts.secret",
        "receipts.secret_file",
        "receipts.public_key",
    ]
    assert not any(one.key.startswith("receipts.") for one in describe_kind(KINDS["mock"], attempt_timeout=None))


@pytest.mark.parametrize("key", ["secret", "public_key"])
def test_what_is_given_as_nothing_is_refused(read: Read, key: str) -> None:
    """With it every call would be forged, and nobody would know why."""
    assert lines(read, f'{LISTEN}{ONE}{key} = ""\n') == [f"providers.a.receipts.{key}: is empty"]
