"""`[server.tls]` and `[telemetry.tls]`: what is refused, by which key, and what the files have to hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from tests.support.certificates import Authority

from postwire.certificates import Renewal
from postwire.config.bind import ConfigError
from postwire.config.schema import Config
from postwire.config.tls import SERVER, TELEMETRY, ServerTlsConfig, TlsConfig, read_certificates
from postwire.http_tls import HttpTls

PAIR = 'cert_file = "tls.crt"\nkey_file = "tls.key"\n'


def lines(read: Any, toml: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as wrong:
        read(toml, **environ)
    return [str(one) for one in (wrong.value, *wrong.value.others)]


# Keys.


@pytest.mark.parametrize("table", ["server.tls", "telemetry.tls"])
def test_half_a_pair_is_refused(read: Any, table: str) -> None:
    assert lines(read, f'[{table}]\ncert_file = "a"\n') == [
        f"{table}.key_file: is missing where cert_file is set, set both or neither"
    ]
    assert lines(read, f'[{table}]\nkey_file = "a"\n') == [
        f"{table}.cert_file: is missing where key_file is set, set both or neither"
    ]
    assert not read(f"[{table}]\n").server.tls.is_on


def test_certificates_of_callers_take_tls_and_authorities(read: Any) -> None:
    required = 'client_auth = "required"\n'
    assert lines(read, f"[server.tls]\n{required}") == [
        "server.tls.client_auth: takes TLS, set cert_file and key_file too"
    ]
    assert lines(read, f"[server.tls]\n{PAIR}{required}") == [
        'server.tls.client_ca_file: is missing where client_auth is "required", say which authorities to trust'
    ]
    assert lines(read, f'[server.tls]\n{PAIR}client_ca_file = "ca.pem"\n') == [
        'server.tls.client_ca_file: does nothing by itself, set client_auth = "required" too'
    ]
    assert read(f'[server.tls]\n{PAIR}{required}client_ca_file = "ca.pem"\n').server.tls.client_auth == "required"
    (line,) = lines(read, f'[server.tls]\n{PAIR}client_auth = "request"\n')
    assert line.startswith('server.tls.client_auth: "request" is not ')
    (line,) = lines(read, f"[telemetry.tls]\n{PAIR}{required}")
    assert line.startswith("telemetry.tls.client_auth: is not known")


# Listeners beyond loopback.


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "postwire.internal:1", "[2001:db8::1]:1"])
def test_a_listener_beyond_loopback_needs_tls(read: Any, address: str) -> None:
    beyond = f"{address} is beyond loopback and has no TLS, set"
    or_else = "or server.insecure = true where something else protects it"
    server = f"server.listen: {beyond} server.tls.cert_file and server.tls.key_file, {or_else}"
    metrics = f"telemetry.metrics_listen: {beyond} telemetry.tls.cert_file and telemetry.tls.key_file, {or_else}"
    assert lines(read, f'server.listen = "{address}"') == [server]
    assert lines(read, f'telemetry.metrics_listen = "{address}"') == [metrics]
    (line,) = lines(read, SERVER__LISTEN=address, toml="")
    assert line == server.replace("listen:", "listen (POSTWIRE_SERVER__LISTEN):", 1)
    (line,) = lines(read, TELEMETRY__METRICS_LISTEN=address, toml="")
    assert line == metrics.replace("listen:", "listen (POSTWIRE_TELEMETRY__METRICS_LISTEN):", 1)
    assert read(f'[server]\nlisten = "{address}"\n[server.tls]\n{PAIR}').server.tls.is_on
    assert read(f'[telemetry]\nmetrics_listen = "{address}"\n[telemetry.tls]\n{PAIR}').telemetry.tls.is_on
    assert lines(read, f'telemetry.metrics_listen = "{address}"\n[server.tls]\n{PAIR}') == [metrics]
    assert read(SERVER__LISTEN=address, TELEMETRY__METRICS_LISTEN="[::]:2", SERVER__INSECURE="true").server.insecure


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.8.9.1:1", "localhost:1", "[::1]:1", "unix:/run/postwire.sock"])
def test_a_listener_on_this_machine_needs_none(read: Any, address: str) -> None:
    assert read(f'server.listen = "{address}"').server.listen == address


def test_where_the_server_cannot_be_read_nobody_knows_whether_it_is_insecure(read: Any) -> None:
    toml = '[server]\ninsecure = true\ngrace = 3\n[telemetry]\nmetrics_listen = "0.0.0.0:1"\n'
    (line,) = lines(read, toml)
    assert line.startswith("server.grace: 3 has no unit")


# Files.


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls(folder: Path) -> ServerTlsConfig:
    return ServerTlsConfig(folder / "tls.crt", folder / "tls.key", folder / "ca.pem", "required")


def test_what_the_files_hold(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue("localhost").write(tmp_path)
    found = read_certificates(tls(tmp_path), SERVER)
    assert found
    assert (found.chain, found.key) == (issued.chain.rstrip(b"\n"), issued.key.rstrip(b"\n"))
    assert found.client_ca == authority.ca_file.read_bytes().rstrip(b"\n")
    assert "PRIVATE" not in repr(found)
    assert read_certificates(TlsConfig(), TELEMETRY) is None
    # Both in one file, as some write it.
    (tmp_path / "tls.crt").write_bytes(issued.chain + issued.key)
    (tmp_path / "tls.key").write_bytes(issued.chain + issued.key)
    assert read_certificates(tls(tmp_path), SERVER)


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)])
def test_kinds_of_keys_that_grpc_takes(authority: Authority, tmp_path: Path, key: Any) -> None:
    authority.issue("localhost", key=key).write(tmp_path)
    assert read_certificates(tls(tmp_path), SERVER)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-60])


def encrypt(file: Path) -> None:
    key: Any = load_pem_private_key(file.read_bytes(), None)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))


def make_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no certificate": ("tls.crt", Path.unlink, "cert_file: there is no such file"),
    "half a certificate": ("tls.crt", truncate, "cert_file: holds no certificate, or one that is broken"),
    "an empty certificate": ("tls.crt", lambda file: file.write_bytes(b"\n"), "cert_file: is an empty file"),
    "no text": ("tls.crt", lambda file: file.write_bytes(b"0\x82\xff"), "cert_file: is a file that is not UTF-8"),
    "a folder": ("tls.crt", make_folder, "cert_file: is a directory"),
    "no key": ("tls.key", Path.unlink, "key_file: there is no such file"),
    "half a key": ("tls.key", truncate, "key_file: holds no private key, or one that is broken"),
    "an encrypted key": ("tls.key", encrypt, "key_file: is encrypted, and there is nobody to ask for its password"),
    "no authority": ("ca.pem", Path.unlink, "client_ca_file: there is no such file"),
    "half an authority": ("ca.pem", truncate, "client_ca_file: holds no certificate, or one that is broken"),
}


@pytest.mark.parametrize(("name", "harm", "problem"), BROKEN.values(), ids=BROKEN.keys())
def test_a_file_that_is_of_no_use_is_named_by_its_key(
    authority: Authority, tmp_path: Path, name: str, harm: Callable[[Path], object], problem: str
) -> None:
    authority.issue("localhost").write(tmp_path)
    harm(tmp_path / name)
    with pytest.raises(ConfigError) as wrong:
        read_certificates(tls(tmp_path), SERVER)
    assert str(wrong.value).startswith(f"server.tls.{problem}, it must be the path of a file ")
    assert not wrong.value.others


def test_all_files_that_are_of_no_use_are_named_at_once(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as wrong:
        read_certificates(tls(tmp_path / "nowhere"), SERVER)
    assert [one.key for one in (wrong.value, *wrong.value.others)] == [
        "server.tls.cert_file",
        "server.tls.key_file",
        "server.tls.client_ca_file",
    ]


def test_a_key_of_another_certificate_is_refused(authority: Authority, tmp_path: Path) -> None:
    authority.issue("localhost").write(tmp_path)
    (tmp_path / "tls.key").write_bytes(authority.issue("localhost").key)
    with pytest.raises(ConfigError) as wrong:
        read_certificates(tls(tmp_path), SERVER)
    problem = "is not the key of the first certificate in cert_file, they must go together"
    assert str(wrong.value) == f"server.tls.key_file: {problem}"


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP521R1())])
def test_a_kind_of_key_that_grpc_refuses_callers_with_is_refused(
    authority: Authority, tmp_path: Path, key: Any
) -> None:
    authority.issue("localhost", key=key).write(tmp_path)
    with pytest.raises(ConfigError) as wrong:
        read_certificates(tls(tmp_path), SERVER)
    problem = "is of a kind that gRPC does not take, it must be RSA, or ECDSA on P-256 or P-384"
    assert str(wrong.value) == f"server.tls.key_file: {problem}"
    assert read_certificates(TlsConfig(tmp_path / "tls.crt", tmp_path / "tls.key"), TELEMETRY)


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_key_that_others_may_read_is_warned_about(
    authority: Authority, tmp_path: Path, mode: int, warns: bool
) -> None:
    authority.issue("localhost").write(tmp_path)
    (tmp_path / "tls.key").chmod(mode)
    found = read_certificates(tls(tmp_path), SERVER)
    assert found
    warning = f"server.tls.key_file: others than its owner may read it: {tmp_path / 'tls.key'}"
    assert list(found.warnings) == [warning] * warns


# What is taken over at a reload.


class Listener:
    """A listener in `folder` that is given other certificates."""

    def __init__(self, folder: Path, config: Config) -> None:
        certificates = read_certificates(config.server.tls, SERVER)
        assert certificates
        self.used: list[Any] = []
        self.reloadable = Renewal(SERVER, lambda config: config.server.tls, certificates, self._make).reloadable

    def _make(self, certificates: Any, _: TlsConfig) -> Callable[[], None]:
        return lambda: self.used.append(certificates)


KEYS = ("server.tls.cert_file", "server.tls.key_file", "server.tls.client_ca_file")


def test_what_has_changed_is_taken_over_once(authority: Authority, tmp_path: Path, read: Any) -> None:
    authority.issue("localhost").write(tmp_path)
    toml = f'[server.tls]\ncert_file = "{tmp_path}/tls.crt"\nkey_file = "{tmp_path}/tls.key"\n'
    listener = Listener(tmp_path, read(toml))
    assert tuple(listener.reloadable.keys) == KEYS
    assert not listener.reloadable.prepare(read(toml)).renewed
    issued = authority.issue("localhost").write(tmp_path)
    prepared = listener.reloadable.prepare(read(toml))
    assert (prepared.renewed, prepared.left, listener.used) == ([*KEYS[:2]], [], [])
    prepared.apply()
    assert [one.chain for one in listener.used] == [issued.chain.rstrip(b"\n")]
    listener.reloadable.prepare(read(toml)).apply()
    assert len(listener.used) == 1
    # Without TLS, and with certificates of callers, it is another listener.
    assert listener.reloadable.prepare(read("")).left == KEYS
    requires = f'{toml}client_auth = "required"\nclient_ca_file = "{authority.ca_file}"\n'
    prepared = listener.reloadable.prepare(read(requires))
    assert (list(prepared.renewed), prepared.left) == ([], [*KEYS[2:]])
    authority.issue("localhost").write(tmp_path)
    listener.reloadable.prepare(read(requires)).apply()
    assert [one.client_ca for one in listener.used] == [None, None]


def test_what_openssl_does_not_serve_is_refused(authority: Authority, tmp_path: Path) -> None:
    authority.issue("localhost", key=rsa.generate_private_key(65537, 1024)).write(tmp_path)
    pair = TlsConfig(tmp_path / "tls.crt", tmp_path / "tls.key")
    certificates = read_certificates(pair, TELEMETRY)
    assert certificates
    with pytest.raises(
        ConfigError, match=r"^telemetry\.tls\.cert_file: cannot be served \(EE_KEY_TOO_SMALL\), it must"
    ):
        HttpTls(certificates, pair, TELEMETRY, lambda config: config.telemetry.tls)
