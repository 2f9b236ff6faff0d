"""What vendors publish is fetched over https alone, in limited time, and without following anything."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.certificates import Authority
from tests.support.issuer_server import IssuerServer

from postwire.providers.receipts.base import Fetched
from postwire.receipts import fetching
from postwire.receipts.fetching import MAX_BYTES, MAX_UNDER_WAY, Fetcher


@pytest.mark.parametrize("url", ["http://example.com/", "ftp://x", "", "file:///etc/passwd", "HTTPS//x"])
async def test_only_https_is_fetched(url: str) -> None:
    with pytest.raises(OSError, match="https"):
        await Fetcher()(url)


async def test_only_so_many_are_fetched_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()

    async def fetch(url: str, **_: object) -> tuple[int, bytes]:
        await gate.wait()
        return 200, url.encode()

    monkeypatch.setattr(fetching, "fetch", fetch)
    fetcher = Fetcher()
    tasks = [asyncio.create_task(fetcher(f"https://x/{number}")) for number in range(MAX_UNDER_WAY)]
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="too much"):
        await fetcher("https://x/more")
    gate.set()
    assert [one.body for one in await asyncio.gather(*tasks)] == [f"https://x/{n}".encode() for n in range(4)]
    assert (await fetcher("https://x/more")).status == 200


async def test_what_cannot_be_reached_is_an_oserror_without_its_address() -> None:
    with pytest.raises(OSError, match=r"^(?!.*127).*$"):
        await Fetcher()("https://127.0.0.1:1/4242")


async def test_what_is_there_comes_with_its_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    with IssuerServer(authority.certify("127.0.0.1"), "a certificate") as server:
        for status in (200, 302, 404):
            server.status = status
            assert (await Fetcher()(server.url)).status == status
        server.status = 200
        assert await Fetcher()(server.url) == Fetched(200, b"a certificate")
        server.text = "a" * (MAX_BYTES + 1)
        with pytest.raises(OSError, match="65,536"):
            await Fetcher()(server.url)
