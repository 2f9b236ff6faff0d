"""The listener of receipts speaks TLS, and goes on with other certificates while it serves."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from tests.e2e.calls import TIMEOUT
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.support.certificates import Authority

from postwire.config.endpoints import host_port

SETTINGS = {"receipts__listen": "127.0.0.1:0", "receipts__public_url": "https://hooks.example.com"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def serial(server: Server) -> int:
    """By which number the certificate is known that the listener shows now."""
    address = host_port(server.wait_for_event("serving")["receipts_listen"])
    shown = ssl.get_server_certificate(address, timeout=TIMEOUT)
    return x509.load_pem_x509_certificate(shown.encode()).serial_number


def test_vendors_call_over_tls_and_a_new_certificate_is_shown_once_it_is_there(
    serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    folder = tmp_path / "tls"
    authority.issue("127.0.0.1").write(folder)
    files = {"receipts__tls__cert_file": str(folder / "tls.crt"), "receipts__tls__key_file": str(folder / "tls.key")}
    server = serve(**SETTINGS, **files)
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    host, port = host_port(server.wait_for_event("serving")["receipts_listen"])
    kept = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
    kept.request("POST", "/receipts/nobody", b"{}")
    assert kept.getresponse().status == 404
    before = serial(server)

    authority.issue("127.0.0.1").write(folder)
    eventually(lambda: serial(server) != before)
    assert server.wait_for_event("reloaded")["changed"] == ["receipts.tls.cert_file", "receipts.tls.key_file"]
    kept.close()
    plain = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    plain.request("POST", "/receipts/nobody", b"{}")
    with pytest.raises(ConnectionError):
        plain.getresponse()
    plain.close()
    assert server.terminate() == 0
    assert server.log("internal_error") == server.log("library") == []
