"""The Python clients spread their calls where a target stands for several addresses, and leave out one that is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.server import Server, eventually
from tests.support.client_adapters import CLIENT_ADAPTERS, connect

from postwire_client import Client, OutboundMessage, Sms

HELLO = OutboundMessage(sms=Sms(to="+15005550006", body="Hello"))


@pytest.fixture(params=CLIENT_ADAPTERS)
def client_of(request: pytest.FixtureRequest) -> Callable[..., Client]:
    return lambda *args, **settings: connect(request.param, *args, **settings)


def count(server: Server) -> int:
    with Client(server.address) as client:
        return len(list(client.list_messages()))


def test_calls_go_to_every_address_and_on_without_one_that_is_gone(
    client_of: Callable[..., Client], tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("one", "another")]
    for folder in folders:
        folder.mkdir()
    with (
        Server(folders[0]) as one,
        Server(folders[1]) as another,
        client_of(f"ipv4:{one.address},{another.address}") as client,
    ):

        def each_has_one() -> bool:
            client.dispatch(HELLO)
            return bool(count(one) and count(another))

        eventually(each_has_one)
        assert one.terminate() == 0
        before = count(another)
        for _ in range(4):
            client.dispatch(HELLO)
        assert count(another) == before + 4
