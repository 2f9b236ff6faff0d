"""Getting a key set over HTTPS: from a real server, and why it cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.certificates import Authority
from tests.support.issuer_server import IssuerServer

from postwire.auth.fetching import MAX_BYTES, fetch_text


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))


@pytest.mark.usefixtures("trusted")
async def test_it_is_what_is_there_as_it_is(authority: Authority) -> None:
    with IssuerServer(authority.certify("127.0.0.1"), '{"keys": []}') as issuer:
        assert await fetch_text(issuer.url) == '{"keys": []}'
        issuer.text = "a" * MAX_BYTES
        assert await fetch_text(issuer.url) == issuer.text


@pytest.mark.usefixtures("trusted")
async def test_what_cannot_be_had_says_why(authority: Authority) -> None:
    with IssuerServer(authority.certify("127.0.0.1"), "") as issuer:
        for status in (404, 500, 302):  # it goes nowhere else
            issuer.status = status
            with pytest.raises(OSError, match=f"^the server answers {status}$"):
                await fetch_text(issuer.url)
        issuer.status, issuer.text = 200, "a" * (MAX_BYTES + 1)
        with pytest.raises(OSError, match=r"^there are more than 262,144 bytes$"):
            await fetch_text(issuer.url)
    with pytest.raises(OSError, match=r"^it could not be fetched: ClientConnectorError$"):
        await fetch_text(issuer.url)


async def test_whom_no_authority_vouches_for_is_not_believed(authority: Authority) -> None:
    with (
        IssuerServer(authority.certify("127.0.0.1"), "{}") as issuer,
        pytest.raises(OSError, match=r"^it could not be fetched: ClientConnectorCertificateError$"),
    ):
        await fetch_text(issuer.url)
    assert issuer.asked == 0
