"""The keys of the kind `smtp`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.support.certificates import Authority

from postwire.config.bind import ConfigError
from postwire.config.providers import describe_kind
from postwire.config.schema import load
from postwire.providers.builtin import KINDS
from postwire.providers.smtp.provider import KIND
from postwire.providers.smtp.settings import DkimSettings, SmtpSettings

KEY = (
    Ed25519PrivateKey.from_private_bytes(bytes(32)).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
).decode()


def read(folder: Path, keys: str, **environ: str) -> Any:
    path = folder / "postwire.toml"
    path.write_text(f'[providers.relay]\nkind = "smtp"\nchannels = ["email"]\nhost = "mail.example.org"\n{keys}')
    return load(path=path, environ=environ, kinds=KINDS).providers["relay"]


def test_the_defaults(tmp_path: Path) -> None:
    config = read(tmp_path, "")
    assert config.options == SmtpSettings("mail.example.org")
    assert (config.attempt_timeout, config.max_concurrent, config.connect_timeout) == (300.0, 10, 3.0)
    defaults = {key.key: key.default for key in describe_kind(KIND, attempt_timeout=None)}
    assert (defaults["security"], defaults["command_timeout"]) == ('"starttls"', '"30s"')


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_the_port_goes_by_the_security(security: str, port: int, tmp_path: Path) -> None:
    assert read(tmp_path, f'security = "{security}"').options.effective_port == port
    assert read(tmp_path, f'security = "{security}"\nport = 2525').options.effective_port == 2525


def test_the_key_of_signatures_may_come_from_the_environment(tmp_path: Path) -> None:
    table = '[providers.relay.dkim]\ndomain = "example.org"\nselector = "s1"'
    config = read(tmp_path, table, POSTWIRE_PROVIDERS__RELAY__DKIM__PRIVATE_KEY=KEY)
    assert config.options.dkim == DkimSettings("example.org", "s1", KEY)
    assert config.options.dkim.signer() is not None
    assert "PRIVATE KEY" not in repr(config)
    assert SmtpSettings("mail.example.org").dkim.signer() is None


def test_secrets_may_stand_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key.pem").write_text(KEY)
    (tmp_path / "password").write_text("s3cret\n")
    table = '[providers.relay.dkim]\ndomain = "example.org"\nselector = "s1"\nprivate_key_file = "key.pem"'
    options = read(tmp_path, f'username = "us"\npassword_file = "password"\n{table}').options
    assert options.password == "s3cret"
    assert options.dkim.signer() is not None


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('host = ""', "host: is no host"),
        ('host = "a b"', "host: is no host"),
        ("port = 0", "port: 0 is not"),
        ('security = "ssl"', 'security: "ssl" is not one of starttls, tls, none'),
        ('username = "us"', "username: does nothing by itself, set password too"),
        ('password = "s3cret"', "password: does nothing by itself, set username too"),
        ('sender = "Us"', "sender: must be ada@example.com or"),
        ('sender = "Us <us@-.example>"', "sender: must be ada@example.com or"),
        ('return_path = "Us <us@example.org>"', "return_path: must be an address"),
        ('local_hostname = "a b"', "local_hostname: must be a name"),
        ('ca_file = "missing.pem"', "ca_file: cannot be used (No such file or directory)"),
        ('ca_file = "postwire.toml"', "ca_file: cannot be used (it holds no certificate)"),
        ('security = "none"\nca_file = "ca.pem"', "ca_file: does nothing where security is none"),
        ('command_timeout = "0s"', "command_timeout: "),
        ('[providers.relay.dkim]\nselector = "s1"', "dkim.domain: is missing"),
        ('[providers.relay.dkim]\ndomain = "a.test"\nselector = "s1"', "dkim.private_key: is missing"),
        (
            '[providers.relay.dkim]\ndomain = "a.test"\nselector = "s1"\nprivate_key = "s3cret"',
            "dkim.private_key: must be a private key in PEM, without a password",
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_key(
    keys: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Authority(tmp_path)
    if keys.startswith("host"):
        keys = f"[providers.other]\nkind = 'smtp'\nchannels = ['email']\n{keys}"
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, keys)
    assert any(problem in str(one) for one in (refused.value, *refused.value.others)), str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_its_libraries_are_loaded_only_where_it_is_declared() -> None:
    code = (
        "import json, sys; import postwire.app; from postwire.providers.builtin import KINDS; KINDS['mock'];"
        "before = {'aiosmtplib', 'cryptography'} & set(sys.modules); KINDS['smtp'];"
        "print(json.dumps([sorted(before), 'aiosmtplib' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], True]
