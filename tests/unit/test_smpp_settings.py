"""The keys of the kind `smpp`, and TLS to a message centre."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import Authority
from tests.support.smpp_sending import made, opened, send
from tests.support.smsc import Smsc

from postwire.config.schema import load
from postwire.core.outcome import Outcome
from postwire.providers.builtin import KINDS
from postwire.providers.smpp import bind as binds
from postwire.providers.smpp.connection import Connection
from postwire.providers.smpp.settings import SmppSettings
from postwire.testing.attempts import until

CONFIG = """
[providers.centre]
kind = "smpp"
channels = ["sms"]
host = "smsc"
system_id = "us"
"""


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"host": ""}, "host"),
        ({"system_id": ""}, "system_id"),
        ({"system_id": "x" * 16}, "system_id"),
        ({"password": "x" * 65}, "password"),
        ({"ca_file": "/nowhere"}, "ca_file"),
    ],
)
def test_keys_that_are_of_no_use_are_named(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: "):
        SmppSettings(**({"host": "smsc", "system_id": "us"} | settings)).check()


def test_the_port_follows_from_tls() -> None:
    assert SmppSettings(host="smsc", system_id="us").effective_port == 2775
    assert SmppSettings(host="smsc", system_id="us", tls=True).effective_port == 3550
    assert SmppSettings(host="smsc", system_id="us", tls=True, port=1).effective_port == 1


@pytest.mark.parametrize(
    ("keys", "most"), [("", 10), ("binds = 3\nwindow = 7\n", 21), ("binds = 3\nmax_concurrent = 2\n", 2)]
)
def test_as_many_attempts_as_windows_hold_are_under_way(keys: str, most: int, tmp_path: Path) -> None:
    file = tmp_path / "postwire.toml"
    file.write_text(CONFIG + keys, encoding="utf-8")
    provider = load(path=file, environ={}, kinds=KINDS).providers["centre"]
    assert (provider.max_concurrent, provider.attempt_timeout) == (most, 30.0)


async def test_what_is_sent_over_tls_is_for_who_has_the_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trusted: dict[str, Any] = {"tls": True, "ca_file": str(authority.ca_file)}
    async with Smsc(tls=authority.certify("127.0.0.1")) as smsc:
        async with opened(smsc, **trusted) as provider:
            assert (await send(provider)).outcome is Outcome.SUCCESS
        stranger = made(smsc, tls=True)
        health = await stranger.check()
        assert (health.ok, "certificate" in health.detail) == (False, True)
        await stranger.close()
        plain = made(smsc, response_timeout=0.2)
        assert not (await plain.check()).ok
        await plain.close()
    async with Smsc() as smsc:
        provider = made(smsc, **trusted, connect_timeout=0.5)
        assert not (await provider.check()).ok
        await provider.close()


async def test_a_bind_that_our_own_code_has_made_to_fail_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))
    monkeypatch.setattr(binds, "HURRY", 0.01)
    async with Smsc() as smsc, opened(smsc) as provider:
        error, real = RuntimeError("ours"), Connection.open
        left = [error]

        async def fails_once(*given: Any) -> Connection:
            if left:
                raise left.pop()
            return await real(*given)

        monkeypatch.setattr(Connection, "open", fails_once)
        smsc.hang_up()
        await until(lambda: bool(faults), "it did not fail")
        assert (await send(provider)).outcome is Outcome.SUCCESS
    assert faults == [error]


@pytest.mark.parametrize(
    ("said", "detail"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak SMPP"), (b"", "ended without an answer")],
    ids=["http", "nothing"],
)
async def test_what_answers_there_may_be_something_else(said: bytes, detail: str) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    smsc = Smsc()
    smsc.port = server.sockets[0].getsockname()[1]
    provider = made(smsc)
    health = await provider.check()
    assert (health.ok, detail in health.detail) == (False, True)
    await provider.close()
    server.close()
    await server.wait_closed()
