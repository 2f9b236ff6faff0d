"""TLS of both listeners: who is let in, and certificates that change while the server serves."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.e2e.calls import SENT, TIMEOUT, dispatch, refused, request, sms
from tests.e2e.metrics import METRICS
from tests.e2e.server import Server, environment, eventually
from tests.support import forking
from tests.support.certificates import Authority, Issued
from tests.support.waiting import PATIENCE

from postwire.auth.api_keys import new_key
from postwire.config.endpoints import host_port
from postwire.v1 import provider_service_pb2 as pb
from postwire.v1.dispatch_service_pb2_grpc import DispatchServiceStub
from postwire_client import Client, Credentials, NotAllowed


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def lead(link: Path, folder: Path) -> None:
    """Have a symbolic link lead to a folder, at once and without a moment in between."""
    new = link.with_name("new-link")
    new.symlink_to(folder)
    new.rename(link)


class TlsServer(Server):
    """One whose files are where the symbolic link `now` leads, as Kubernetes lays them; both listeners have them."""

    def __init__(self, folder: Path, authority: Authority, issued: Issued, **settings: str) -> None:
        self._versions = itertools.count(1)
        self.authority = authority
        self.now = folder / "now"
        super().__init__(folder, **self.files("server"), **self.files("telemetry"), **METRICS, **settings)
        self.replace(issued)

    def files(self, section: str) -> dict[str, str]:
        return {
            f"{section}__tls__cert_file": str(self.now / "tls.crt"),
            f"{section}__tls__key_file": str(self.now / "tls.key"),
        }

    def replace(self, issued: Issued, break_it: Callable[[Path], object] = lambda folder: None) -> None:
        """Put other files in place, all at once."""
        version = self.folder / f"version-{next(self._versions)}"
        issued.write(version)
        (version / "ca.pem").write_bytes(self.authority.ca_file.read_bytes())
        break_it(version)
        lead(self.now, version)

    def trusting(self, caller: Issued | None = None) -> grpc.ChannelCredentials:
        """What a caller calls with, with a certificate or without."""
        pair = (caller.key, caller.chain) if caller else (None, None)
        return grpc.ssl_channel_credentials(self.authority.ca_file.read_bytes(), *pair)

    def trusts(self, caller: Issued | None = None) -> None:
        self.credentials = self.trusting(caller)

    def reloads(self) -> list[dict[str, Any]]:
        """Those that have changed something, or could not."""
        found = [line for line in self.log() if line["event"] in ("reloaded", "reload_failed")]
        return [line for line in found if line.get("changed") != []]

    def wait_for_reload(self, count: int) -> dict[str, Any]:
        eventually(lambda: len(self.reloads()) >= count)
        return self.reloads()[count - 1]


Start = Callable[..., TlsServer]


@pytest.fixture
def start(tmp_path: Path, authority: Authority) -> Iterator[Start]:
    servers: list[TlsServer] = []

    def start(issued: Issued | None = None, caller: Issued | None = None, **settings: str) -> TlsServer:
        server = TlsServer(tmp_path, authority, issued or authority.issue("127.0.0.1"), **settings)
        server.trusts(caller)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()
        assert "PRIVATE KEY" not in server.log_text()


def listeners(server: Server) -> list[tuple[str, int]]:
    serving = server.wait_for_event("serving")
    return [host_port(serving["listen"]), host_port(serving["metrics_listen"])]


def serials(server: TlsServer) -> list[int]:
    """By which numbers the certificates are known that the listeners show now."""
    shown = [ssl.get_server_certificate(address, timeout=TIMEOUT) for address in listeners(server)]
    return [x509.load_pem_x509_certificate(one.encode()).serial_number for one in shown]


def handshake(address: tuple[str, int], version: ssl.TLSVersion) -> str | None:
    """The version that was agreed on, where a caller speaks no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # or OpenSSL would not even ask for an old version
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(address, TIMEOUT) as connection,
        context.wrap_socket(connection) as spoken,
    ):
        return spoken.version()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_both_listeners_speak_tls_and_nothing_older_than_1_2(start: Start, authority: Authority) -> None:
    issued = authority.issue("127.0.0.1")
    server = start(issued)
    assert dispatch(server).state == SENT
    assert serials(server) == [issued.serial] * 2
    for address in listeners(server):
        for old in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                handshake(address, old)
        assert handshake(address, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
        assert handshake(address, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    server.credentials = None
    plain = DispatchServiceStub(server.channel())
    assert refused(lambda: plain.Dispatch(request(), timeout=TIMEOUT)).code is grpc.StatusCode.UNAVAILABLE
    with socket.create_connection(listeners(server)[1], TIMEOUT) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        with suppress(ConnectionResetError):
            assert b"postwire" not in connection.makefile("rb").read()
    server.trusts()
    assert dispatch(server).state == SENT
    assert server.log("internal_error") == server.log("library") == server.reloads() == []


def test_only_the_right_name_and_authority_are_trusted(start: Start, authority: Authority, tmp_path: Path) -> None:
    server = start(authority.issue("postwire.internal"))
    assert refused(lambda: dispatch(server)).code is grpc.StatusCode.UNAVAILABLE
    server.replace(authority.issue("127.0.0.1"))
    server.send_signal(signal.SIGHUP)
    server.wait_for_reload(1)
    assert DispatchServiceStub(server.channel()).Dispatch(request(), timeout=TIMEOUT).message.state == SENT
    server.credentials = grpc.ssl_channel_credentials(Authority(tmp_path / "other").ca_file.read_bytes())
    stranger = DispatchServiceStub(server.channel())
    assert refused(lambda: stranger.Dispatch(request(), timeout=TIMEOUT)).code is grpc.StatusCode.UNAVAILABLE


class Load:
    """Calls without a pause over new connections, and over one that stays. `failures` is what went wrong."""

    def __init__(self, server: TlsServer) -> None:
        self.failures: list[object] = []
        self.calls = 0
        self._server = server
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(fresh,)) for fresh in (True, False)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _call(self, fresh: bool) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.secure_channel(self._server.address, self._server.trusting(), options)
        try:
            while not self._is_over.is_set():
                if fresh:
                    channel.close()
                    channel = grpc.secure_channel(self._server.address, self._server.trusting(), options)
                DispatchServiceStub(channel).Dispatch(request(), timeout=TIMEOUT)
                self.calls += 1
        except Exception as error:
            self.failures.append(error)
        finally:
            channel.close()


def test_certificates_are_replaced_under_load_and_no_call_fails(start: Start, authority: Authority) -> None:
    server = start()
    with Load(server) as load:
        watch = server.providers.WatchProviders(pb.WatchProvidersRequest(), timeout=TIMEOUT)
        assert next(watch).providers
        # Of another kind each time: the one before is to be gone, and not served beside it.
        kinds: list[Any] = [rsa.generate_private_key(65537, 2048), None, ec.generate_private_key(ec.SECP384R1())]
        for count, key in enumerate(kinds, 1):
            issued = authority.issue("127.0.0.1", key=key)
            server.replace(issued)
            if count > 1:
                server.send_signal(signal.SIGHUP)
            line = server.wait_for_reload(count)  # at first by itself
            assert line["event"] == "reloaded"
            assert line["changed"] == [
                f"{section}.tls.{name}" for section in ("server", "telemetry") for name in ("cert_file", "key_file")
            ]
            assert line["needs_restart"] == []
            assert serials(server) == [issued.serial] * 2
            done = load.calls
            eventually(lambda done=done: load.calls > done + 20 or load.failures)  # type: ignore[misc]
        server.providers.UpdateMockProvider(pb.UpdateMockProviderRequest(name="email", seed=7), timeout=TIMEOUT)
        watch.cancel()
    assert not load.failures
    assert server.log("internal_error") == server.log("library") == []


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def halve(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:200])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "half a certificate": (halve("tls.crt"), "cert_file: holds no certificate, or one that is broken"),
    "half a key": (halve("tls.key"), "key_file: holds no private key, or one that is broken"),
    "no certificate": (lambda folder: (folder / "tls.crt").unlink(), "cert_file: there is no such file"),
    "no key": (lambda folder: (folder / "tls.key").unlink(), "key_file: there is no such file"),
    "empty files": (write("tls.crt", b""), "cert_file: is an empty file"),
    "a request in place of the certificate": (
        write("tls.crt", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"),
        "cert_file: holds no certificate",
    ),
    "the certificate in place of the key": (
        lambda folder: (folder / "tls.crt").replace(folder / "tls.key").rename(folder / "tls.crt"),
        "key_file: there is no such file",
    ),
}


def wait_for_problem(server: TlsServer, seen: int, problem: str) -> None:
    eventually(lambda: any(problem in str(line) for line in server.reloads()[seen:]))


def test_files_of_no_use_change_nothing_until_they_are_mended(start: Start, authority: Authority) -> None:
    good = authority.issue("127.0.0.1")
    server = start(good)
    other = authority.issue("127.0.0.1")
    swapped = Issued(other.chain, good.key, other.serial)
    states = [
        *((other, break_it, problem) for break_it, problem in BROKEN.values()),
        (swapped, lambda folder: None, "key_file: is not the key of the first certificate in cert_file"),
    ]
    for issued, break_it, problem in states:
        seen = len(server.reloads())
        server.replace(issued, break_it)
        server.send_signal(signal.SIGHUP)
        wait_for_problem(server, seen, f"server.tls.{problem}")
        assert {line["event"] for line in server.reloads()} == {"reload_failed"}
        assert serials(server) == [good.serial] * 2
    assert dispatch(server).state == SENT
    server.replace(other)
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.log("reloaded"))
    assert serials(server) == [other.serial] * 2
    assert DispatchServiceStub(server.channel()).Dispatch(request(), timeout=TIMEOUT).message.state == SENT


def test_a_pair_that_is_broken_is_reported_in_one_line_and_one_listener_does_not_hold_up_the_other(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    issued = authority.issue("127.0.0.1").write(tmp_path / "before")
    lead(tmp_path / "metrics", tmp_path / "before")
    settings = {
        "telemetry__tls__cert_file": str(tmp_path / "metrics/tls.crt"),
        "telemetry__tls__key_file": str(tmp_path / "metrics/tls.key"),
    }
    server = TlsServer(tmp_path, authority, issued)
    server.settings = {**server.settings, **settings}
    server.trusts()
    with server:
        after = authority.issue("127.0.0.1").write(tmp_path / "after")
        server.replace(issued, halve("tls.key"))
        lead(tmp_path / "metrics", tmp_path / "after")
        eventually(lambda: server.log("reload_failed") and server.log("reloaded"))
        eventually(lambda: serials(server) == [issued.serial, after.serial])
        mended = authority.issue("127.0.0.1")
        server.replace(mended)
        eventually(lambda: serials(server) == [mended.serial, after.serial])
        failures = [line["detail"] for line in server.log("reload_failed") if "server.tls" in line["detail"]]
        good = "it must be the path of a file that holds a private key in PEM"
        assert failures == [f"server.tls.key_file: holds no private key, or one that is broken, {good}"]


# Certificates of callers.


def test_callers_need_a_certificate_where_it_is_required(start: Start, authority: Authority, tmp_path: Path) -> None:
    ca_file = tmp_path / "now" / "ca.pem"
    caller = authority.issue("billing.internal", "spiffe://example.org/billing")
    server = start(caller=caller, server__tls__client_auth="required", server__tls__client_ca_file=str(ca_file))

    def calls(caller: Issued | None) -> bool:
        server.trusts(caller)
        call = DispatchServiceStub(server.channel()).Dispatch.future(request(), timeout=TIMEOUT)
        assert call.code() in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
        return call.code() is grpc.StatusCode.OK

    other = Authority(tmp_path / "other")
    stranger = other.issue("billing.internal", "spiffe://example.org/billing")
    assert dispatch(server).state == SENT
    assert [calls(one) for one in (caller, None, stranger)] == [True, False, False]
    # The authority is replaced: who has a certificate of it comes in, and who had one does not.
    issued = authority.issue("127.0.0.1")
    server.replace(issued, lambda folder: (folder / "ca.pem").write_bytes(other.ca_file.read_bytes()))
    server.send_signal(signal.SIGHUP)
    assert "server.tls.client_ca_file" in server.wait_for_reload(1)["changed"]
    assert [calls(one) for one in (caller, None, stranger)] == [False, False, True]
    assert dispatch(server).state == SENT, "a connection that was there stays"
    # The metrics are for Prometheus, which has none.
    assert serials(server)[1] == issued.serial


def test_tls_goes_over_a_unix_socket_as_well(tmp_path: Path, authority: Authority) -> None:
    server = TlsServer(tmp_path, authority, authority.issue("localhost"), server__listen=f"unix:{tmp_path / 's'}")
    server.trusts()
    with server:
        assert dispatch(server).state == SENT
        server.credentials = None
        plain = DispatchServiceStub(server.channel())
        assert refused(lambda: plain.Dispatch(request(), timeout=TIMEOUT)).code is grpc.StatusCode.UNAVAILABLE


def test_a_key_goes_over_tls_and_a_certificate_says_who_calls(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    key = new_key(os.urandom)
    (tmp_path / "token").write_text(f"{key.text}\n", encoding="utf-8")
    (tmp_path / "postwire.toml").write_text(
        f"""
        [[tenants.acme.keys]]
        id = "{key.id}"
        sha256 = "{key.sha256}"
        roles = ["send"]
        [[tenants.acme.certificates]]
        uri = "spiffe://example.org/billing"
        roles = ["read"]
        """,
        encoding="utf-8",
    )
    caller = authority.issue("billing.internal", "spiffe://example.org/billing").write(tmp_path, "caller")
    required = {"server__tls__client_auth": "required", "server__tls__client_ca_file": str(authority.ca_file)}
    server = start(caller=caller, **required)
    files: dict[str, Any] = {
        "ca_file": authority.ca_file,
        "cert_file": tmp_path / "caller.crt",
        "key_file": tmp_path / "caller.key",
    }
    certified = Credentials(**files)
    with Client(server.address, credentials=certified, timeout=TIMEOUT) as client:
        assert not list(client.list_messages())
        with pytest.raises(NotAllowed, match="ROLE_REQUIRED"):
            client.dispatch(sms())
    with Client(
        server.address, credentials=Credentials(**files, token_file=tmp_path / "token"), timeout=TIMEOUT
    ) as client:
        assert client.dispatch(sms()).state == SENT
        with pytest.raises(NotAllowed, match="ROLE_REQUIRED"):
            list(client.list_messages())
    options = [word for name, file in files.items() for word in (f"--{name.replace('_', '-')}", str(file))]
    sends = ("send", "sms", "--to", "+15005550006", "--body", "Hello", "--server", server.address, *options)
    refused_to = forking.run(*sends, cwd=tmp_path)
    assert (refused_to.returncode, refused_to.stdout) == (1, "")
    assert refused_to.stderr.startswith("postwire: PERMISSION_DENIED ROLE_REQUIRED: ")
    assert forking.run(*sends, "--token-file", str(tmp_path / "token"), cwd=tmp_path).returncode == 0
    assert key.text not in server.log_text()


def test_a_key_that_others_may_read_is_warned_about(start: Start, tmp_path: Path) -> None:
    server = start()
    assert not [line for line in server.log("warning") if "tls" in line["detail"]]
    key = server.now / "tls.key"
    key.chmod(0o644)
    server.restart()
    warnings = [line["detail"] for line in server.log("warning") if "tls" in line["detail"]]
    assert warnings == [
        f"{section}.tls.key_file: others than its owner may read it: {key}" for section in ("server", "telemetry")
    ]
    checked = forking.run("config", "check", "--json", cwd=tmp_path, env=environment(tmp_path, **server.settings))
    assert json.loads(checked.stdout)["warnings"] == warnings
