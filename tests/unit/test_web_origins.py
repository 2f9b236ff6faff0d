"""By which names a server may be called from a browser, and by which pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from postwire.config.http import HttpConfig
from postwire.config.tls import TlsConfig
from postwire.web.origins import Origins

LOCAL = HttpConfig(listen="127.0.0.1:8080", hosts=("console.example.com", "[2001:db8::1]"))
ANYWHERE = HttpConfig(listen="0.0.0.0:8080")
NAMED = HttpConfig(listen="postwire.internal:8080", cors_origins=("https://app.example.com",))


@pytest.mark.parametrize(
    ("config", "host", "is_own"),
    [
        (LOCAL, "127.0.0.1:8080", True),
        (LOCAL, "127.0.0.1", True),
        (LOCAL, "127.8.8.8:1", True),
        (LOCAL, "localhost:8080", True),
        (LOCAL, "LOCALHOST", True),
        (LOCAL, "app.localhost", True),
        (LOCAL, "[::1]:8080", True),
        (LOCAL, "console.example.com", True),
        (LOCAL, "Console.Example.com:443", True),
        (LOCAL, "[2001:db8::1]:8080", True),
        (LOCAL, "evil.example.com", False),
        (LOCAL, "console.example.com.evil.example", False),
        (LOCAL, "evil-localhost", False),
        (LOCAL, "192.0.2.1", False),
        (LOCAL, "localhost@evil.example", False),
        (LOCAL, "localhost:80:80", False),
        (LOCAL, "", False),
        (LOCAL, "[::1", False),
        (ANYWHERE, "192.0.2.1:8080", True),
        (ANYWHERE, "[2001:db8::1]", True),
        (ANYWHERE, "evil.example.com", False),
        (NAMED, "postwire.internal:8080", True),
        (NAMED, "localhost", True),
        (NAMED, "192.0.2.1", False),
    ],
)
def test_a_request_has_to_name_this_server(config: HttpConfig, host: str, *, is_own: bool) -> None:
    assert Origins(config).is_own_name(host) is is_own


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("https://console.example.com", "console.example.com", True),
        ("http://localhost:8080", "127.0.0.1:8080", False),
        ("http://127.0.0.1:9999", "127.0.0.1:8080", False),
        ("null", "127.0.0.1:8080", False),
        ("", "", False),
        ("file://", "127.0.0.1:8080", False),
        ("http://evil.example.com", "127.0.0.1:8080", False),
    ],
)
def test_a_page_of_its_own_is_one_that_was_loaded_from_it(origin: str, host: str, *, is_own: bool) -> None:
    assert Origins(LOCAL).is_own(origin, host) is is_own


def test_where_there_is_tls_a_page_without_is_another() -> None:
    secure = Origins(HttpConfig(listen="127.0.0.1:8080", tls=TlsConfig(Path("c"), Path("k"))))
    assert secure.is_own("https://127.0.0.1:8080", "127.0.0.1:8080")
    assert not secure.is_own("http://127.0.0.1:8080", "127.0.0.1:8080")


def test_pages_elsewhere_may_call_where_the_configuration_says_so() -> None:
    assert Origins(NAMED).is_allowed("https://app.example.com")
    assert not Origins(NAMED).is_allowed("http://app.example.com")
    assert not Origins(LOCAL).is_allowed("https://app.example.com")
