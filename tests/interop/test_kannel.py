"""The kind `http` with a gateway of others: Kannel takes messages, and hands them to an SMS centre."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.calls import ACCEPTANCE, SENT, dispatch, provider, sms, tried, until
from tests.e2e.server import Server, eventually
from tests.interop import kannel
from tests.interop.conftest import TOOLS
from tests.support.needed import Need

from postwire.v1.provider_service_pb2 import AVAILABILITY_AVAILABLE

DECLARED = """
[delivery]
backoff_base = "50ms"
backoff_max = "100ms"
[providers.kannel]
kind = "http"
channels = ["sms"]
url = "{url}"
method = "GET"
sender = "Acme"
success = {{ status = [202] }}
rejected = {{ status = [400, 404] }}
error = {{ status = [403, 503] }}
[providers.kannel.query]
username = "{user}"
password = "{password}"
to = "{{to}}"
from = "{{sender}}"
text = "{{body}}"
charset = "UTF-8"
coding = "2"
[providers.kannel.breaker]
open_for = "50ms"
open_for_max = "100ms"
"""


@pytest.fixture
def gateway(need: Need, tmp_path: Path) -> Iterator[kannel.Kannel]:
    need(lacking=kannel.missing())
    with kannel.kannel(TOOLS, tmp_path) as running:
        yield running


@pytest.fixture
def server(gateway: kannel.Kannel, tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "postwire"
    folder.mkdir()
    toml = DECLARED.format(url=gateway.url, user=kannel.USER, password=kannel.PASSWORD)
    (folder / "postwire.toml").write_text(toml, encoding="utf-8")
    with Server(folder) as running:
        yield running


@pytest.mark.parametrize("body", ["Hello & 100% {to}", "\u00fc \u00e7 \u20ac \u65e5\u672c \u0645\u0631", "+1 = a+b"])
def test_what_is_sent_comes_to_the_sms_centre(server: Server, gateway: kannel.Kannel, body: str) -> None:
    assert tried(dispatch(server, sms("+447700900001", body))) == [("kannel", "success")]
    assert gateway.delivered() == ("Acme", "+447700900001", body)
    assert provider(server, "kannel").availability == AVAILABILITY_AVAILABLE


def test_what_waits_while_the_gateway_is_away_is_sent_once_when_it_is_back(
    server: Server, gateway: kannel.Kannel
) -> None:
    gateway.smsbox.__exit__()
    message = dispatch(server, sms("+447700900001", "first"), wait_for=ACCEPTANCE, max_attempts=100)
    eventually(lambda: provider(server, "kannel").breaker.failures)
    gateway.smsbox.__enter__()
    assert tried(until(server, message, SENT))[-1] == ("kannel", "success")
    assert gateway.delivered()[2] == "first"
    dispatch(server, sms("+447700900001", "second"))
    assert gateway.delivered()[2] == "second"


def test_a_wrong_password_is_refused_by_the_gateway(gateway: kannel.Kannel, tmp_path: Path) -> None:
    toml = DECLARED.format(url=gateway.url, user=kannel.USER, password="wrong")
    (tmp_path / "postwire.toml").write_text(toml, encoding="utf-8")
    with Server(tmp_path) as server:
        message = dispatch(server, sms("+447700900001", "x"), max_attempts=1)
        assert tried(message) == [("kannel", "error")]
        assert message.attempts[0].error_code == "403"
