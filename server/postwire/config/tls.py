"""TLS of a listener: `[server.tls]` and `[telemetry.tls]`, and what is in their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from postwire.config.bind import ConfigError, EnvTree, Mistakes
from postwire.config.endpoints import is_loopback
from postwire.config.secret_files import is_open_to_others, read_secret
from postwire.config.types import KeyPath, dotted

if TYPE_CHECKING:
    from cryptography import x509

SERVER: Final = ("server", "tls")
TELEMETRY: Final = ("telemetry", "tls")

_KEY: Final = "it must be the path of a file that holds a private key in PEM"
_CERTIFICATES: Final = "it must be the path of a file of certificates in PEM"


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """A listener's certificate, and its key: both, or neither, and then there is no TLS."""

    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def is_on(self) -> bool:
        """Whether the listener speaks TLS."""
        return self.cert_file is not None

    def check(self) -> None:
        _check_pair(self)


@dataclass(frozen=True, slots=True)
class ServerTlsConfig(TlsConfig):
    """`[server.tls]`: the same, and whether callers need a certificate, from which authorities."""

    client_ca_file: Path | None = None
    client_auth: Literal["none", "required"] = "none"

    def check(self) -> None:
        _check_pair(self)
        if self.client_auth == "none":
            if self.client_ca_file is not None:
                raise ValueError('client_ca_file: does nothing by itself, set client_auth = "required" too')
            return
        if not self.is_on:
            raise ValueError("client_auth: takes TLS, set cert_file and key_file too")
        if self.client_ca_file is None:
            raise ValueError(
                'client_ca_file: is missing where client_auth is "required", say which authorities to trust'
            )


def _check_pair(tls: TlsConfig) -> None:
    if tls.cert_file is None and tls.key_file is not None:
        raise ValueError("cert_file: is missing where key_file is set, set both or neither")
    if tls.key_file is None and tls.cert_file is not None:
        raise ValueError("key_file: is missing where cert_file is set, set both or neither")


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the files of a listener hold, in PEM: its certificate with those between it and the authority, its key, and
    the authorities of callers where these need a certificate.

    `warnings` are for whoever starts the server.
    """

    chain: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None
    warnings: tuple[str, ...] = field(default=(), compare=False)


def tls_files(tls: TlsConfig, path: KeyPath) -> Mapping[str, Path]:
    """The files of a listener's TLS, by the keys that name them. `path` leads to its table."""
    named = {name: getattr(tls, name, None) for name in ("cert_file", "key_file", "client_ca_file")}
    return {dotted((*path, name)): file for name, file in named.items() if file is not None}


def read_certificates(tls: TlsConfig, path: KeyPath) -> Certificates | None:
    """What the files hold now; None where there is no TLS. `path` leads to the table.

    Raises:
        ConfigError: they cannot be read, hold something else, or do not go together.
    """
    if tls.cert_file is None or tls.key_file is None:
        return None
    mistakes = Mistakes()
    client_ca_file = getattr(tls, "client_ca_file", None)
    chain = key = client_ca = certificate = private = None
    with mistakes.caught():
        chain, found = _read(tls.cert_file, (*path, "cert_file"), _certificates, _CERTIFICATES)
        certificate = found[0]
    with mistakes.caught():
        key, private = _read(tls.key_file, (*path, "key_file"), _private_key, _KEY)
        if isinstance(tls, ServerTlsConfig):
            _check_kind(private, (*path, "key_file"))
    if client_ca_file:
        with mistakes.caught():
            client_ca, _ = _read(client_ca_file, (*path, "client_ca_file"), _certificates, _CERTIFICATES)
    mistakes.raise_if_any()
    assert chain is not None
    assert key is not None
    assert certificate is not None
    if certificate.public_key() != private.public_key():
        problem = "is not the key of the first certificate in cert_file, they must go together"
        raise ConfigError(dotted((*path, "key_file")), problem)
    return Certificates(chain, key, client_ca, tuple(_warnings(tls.key_file, path)))


def _read(file: Path, path: KeyPath, parse: Callable[[bytes], Any], wants: str) -> tuple[bytes, Any]:
    try:
        content = read_secret(file).encode()
        return content, parse(content)
    except ValueError as wrong:
        raise ConfigError(dotted(path), f"{wrong}, {wants}") from None


def _certificates(content: bytes) -> list[x509.Certificate]:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(content)
        for one in found:
            one.public_key()  # which is not looked at before
    except Exception:  # it says in many ways that it cannot read something
        raise ValueError("holds no certificate, or one that is broken") from None
    return found


def _private_key(content: bytes) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(content, password=None)
    except TypeError:
        raise ValueError("is encrypted, and there is nobody to ask for its password") from None
    except Exception:
        raise ValueError("holds no private key, or one that is broken") from None


def _check_kind(key: Any, path: KeyPath) -> None:
    """BoringSSL, which gRPC speaks TLS with, takes any other key and then refuses every handshake."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    of_curve = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    if not (of_curve or isinstance(key, rsa.RSAPrivateKey)):
        raise ConfigError(
            dotted(path), "is of a kind that gRPC does not take, it must be RSA, or ECDSA on P-256 or P-384"
        )


def _warnings(key_file: Path, path: KeyPath) -> list[str]:
    if not is_open_to_others(key_file):
        return []
    return [f"{dotted((*path, 'key_file'))}: others than its owner may read it: {key_file}"]


def clashes(listeners: Mapping[str, str]) -> Iterator[ConfigError]:
    """What is wrong with listeners that are where an earlier one is. They are by their keys; "" is none."""
    first: dict[str, str] = {}
    for key, address in listeners.items():
        if address in first and not address.endswith(":0"):
            yield ConfigError(key, f"{address} is {first[address]} as well, choose another port")
        elif address:
            first[address] = key


def unprotected(listen: str, tls: TlsConfig, path: tuple[str, str], env: EnvTree) -> Iterator[ConfigError]:
    """What is wrong with a listener beyond loopback that has no TLS. `path` leads to its address."""
    if not listen or tls.is_on or is_loopback(listen):
        return
    table, name = path
    problem = (
        f"{listen} is beyond loopback and has no TLS, set {table}.tls.cert_file and {table}.tls.key_file, "
        "or server.insecure = true where something else protects it"
    )
    node = env.at(table).at(name)
    yield ConfigError(dotted(path), problem, variable=None if node.text is None else node.variable)
