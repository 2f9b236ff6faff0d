"""`[http]` and `[console]`: what is refused, by which key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.configs import KINDS

from postwire.config import http
from postwire.config.bind import ConfigError
from postwire.config.schema import Config, load

Read = Callable[..., Config]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(toml: str = "", **environ: str) -> Config:
        (tmp_path / "postwire.toml").write_text(toml, encoding="utf-8")
        ours = {f"POSTWIRE_{name}": text for name, text in environ.items()}
        return load(path=None, environ=ours, kinds=KINDS, cwd=tmp_path)

    return read


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ('http.listen = "8080"', 'http.listen: "8080" is not an address'),
        ('http.listen = "unix:/x"', 'http.listen: "unix:/x" is not an address'),
        (
            'http.listen = "0.0.0.0:1"',
            "http.listen: 0.0.0.0:1 is beyond loopback and has no TLS, set http.tls.cert_file",
        ),
        ('http.listen = "127.0.0.1:50051"', "http.listen: 127.0.0.1:50051 is server.listen as well"),
        ('http.listen = "127.0.0.1:9464"', "http.listen: 127.0.0.1:9464 is telemetry.metrics_listen as well"),
        (
            'http.listen = "127.0.0.1:1"\nreceipts.listen = "127.0.0.1:1"\nreceipts.public_url = "https://x"',
            "receipts.listen: 127.0.0.1:1 is http.listen as well, choose another port",
        ),
        ('http.cors_origins = ["https://x/path"]', "http.cors_origins: the value is not"),
        ('http.cors_origins = ["*"]', "http.cors_origins: the value is not"),
        ('http.hosts = ["https://x"]', 'http.hosts: "https://x" is not'),
        ('http.hosts = ["x:80"]', 'http.hosts: "x:80" is not'),
        ('http.hosts = ["*"]', 'http.hosts: "*" is not'),
        ('http.tls.cert_file = "x"', "http.tls.key_file: is missing where cert_file is set"),
        ('console.trace_url = "https://x/trace"', "console.trace_url: the value is not an address such as"),
        ('console.trace_url = "https://x/{trace}"', "console.trace_url: the value is not"),
        ('console.trace_url = "https://x/{trace_id}/{span_id}"', "console.trace_url: the value is not"),
        ('console.trace_url = "javascript:x({trace_id})"', "console.trace_url: the value is not"),
        ('console.trace_url = "https://u:4242@x/{trace_id}"', "console.trace_url: the value is not"),
        ("console.enabeld = true", "console.enabeld: is not known, did you mean console.enabled?"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(read: Read, toml: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(toml)
    assert not caught.value.others
    assert str(caught.value).startswith(line)
    assert "4242" not in str(caught.value)


def test_what_is_right_is_taken(read: Read) -> None:
    config = read(
        'server.insecure = true\nhttp.listen = "0.0.0.0:1"\n'
        'http.hosts = ["Console.example.com", "[::2]", "192.0.2.1"]\n'
        'http.cors_origins = ["HTTPS://app.example.com/"]\nconsole.trace_url = "http://127.0.0.1:16686/trace/{trace_id}?x=1"'
    )
    assert config.http.hosts == ("console.example.com", "[::2]", "192.0.2.1")
    assert config.http.cors_origins == ("https://app.example.com",)
    assert config.console.trace_url == "http://127.0.0.1:16686/trace/{trace_id}?x=1"
    assert read(HTTP__HOSTS="a,b").http.hosts == ("a", "b")


def test_it_takes_the_extra_web(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    listening = read('http.listen = "127.0.0.1:1"').http
    assert not list(http.missing_for(listening))
    monkeypatch.setattr(http, "find_spec", lambda name: None if name == "connectrpc" else name)
    (missing,) = http.missing_for(listening)
    assert str(missing) == "http.listen: takes what is not installed: pip install 'postwire[web]'"
    assert not list(http.missing_for(read("").http))
