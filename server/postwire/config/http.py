"""`[http]` and `[console]`: the listener for browsers, curl and whoever has no gRPC, and what the console shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Annotated, Final

from postwire.config.bind import ConfigError
from postwire.config.endpoints import LISTEN_OR_OFF, ORIGIN, WebAddress, host_name
from postwire.config.tls import TlsConfig
from postwire.config.types import HIDDEN, Refused, Unit

HTTP_TLS: Final = ("http", "tls")

TRACE_ID: Final = "{trace_id}"
"""What stands in `console.trace_url` for the id of a trace."""


class _HostName(Unit):
    """The name of a host, without a port."""

    def word(self, text: str) -> str:
        return host_name(text)


class _TraceUrl(WebAddress):
    """An address with the id of a trace in it, or nothing at all."""

    def word(self, text: str) -> str:
        if not text:
            return text
        if TRACE_ID not in text or re.search(r"[{}]", text.replace(TRACE_ID, "")):
            raise Refused(HIDDEN, f"is not {self.wants}")
        super().word(text.replace(TRACE_ID, "0"))
        return text


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """`[http]`. `listen` may be "": then there is neither the contract over HTTP nor the console.

    `cors_origins`: of pages elsewhere that may call. `hosts`: names that callers may call it by, besides where it
    listens.
    """

    listen: Annotated[str, LISTEN_OR_OFF] = ""
    cors_origins: tuple[Annotated[str, ORIGIN], ...] = ()
    hosts: tuple[Annotated[str, _HostName("the name of a host such as postwire.example.com, without a port")], ...] = ()
    tls: TlsConfig = field(default_factory=TlsConfig)


@dataclass(frozen=True, slots=True)
class ConsoleConfig:
    """`[console]`: whether http.listen serves it, whether it can send, and where it finds a trace."""

    enabled: bool = True
    compose: bool = False
    trace_url: Annotated[
        str, _TraceUrl(f'an address such as https://traces.example.com/trace/{TRACE_ID}, or "" for none')
    ] = ""


def missing_for(http: HttpConfig) -> Iterator[ConfigError]:
    """What is wrong with a listener that is asked for where what serves it is not installed."""
    if http.listen and not all(map(find_spec, ("starlette", "uvicorn", "connectrpc"))):
        yield ConfigError("http.listen", "takes what is not installed: pip install 'postwire[web]'")
