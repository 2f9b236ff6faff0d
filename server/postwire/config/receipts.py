"""`[receipts]`: the listener that vendors report to, and how long what they report is waited for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Annotated, Final

from postwire.config.bind import ConfigError, setting
from postwire.config.endpoints import LISTEN_OR_OFF, PUBLIC_URL
from postwire.config.tls import TlsConfig
from postwire.config.types import Duration, PositiveDuration

RECEIPTS_TLS: Final = ("receipts", "tls")

MIN_KEY: Final = 32
"""Characters of a key, at the least."""


@dataclass(frozen=True, slots=True)
class ReceiptsConfig:
    """`[receipts]`. `listen` may be "": then no vendor can report anything over HTTP. `key` is what references are made
    with; by default, one of the store's. Times are in seconds.
    """

    listen: Annotated[str, LISTEN_OR_OFF] = ""
    public_url: Annotated[str, PUBLIC_URL] | None = None
    key: str | None = setting(None, secret=True)
    hold_unknown: Duration = 600.0
    wait: PositiveDuration = 3 * 86400.0
    tls: TlsConfig = field(default_factory=TlsConfig)

    def check(self) -> None:
        if self.listen and self.public_url is None:
            raise ValueError("public_url: is missing where listen is set, say under which address vendors reach it")
        if self.key is not None and len(self.key) < MIN_KEY:
            raise ValueError(f"key: is too short, it must have {MIN_KEY} characters or more")


def missing_for(receipts: ReceiptsConfig) -> ConfigError | None:
    """What is wrong with a listener that is asked for where what serves it is not installed."""
    if receipts.listen and not all(map(find_spec, ("starlette", "uvicorn"))):
        return ConfigError("receipts.listen", "takes what is not installed: pip install 'postwire[web]'")
    return None


def idle(receipts: ReceiptsConfig, keys: Iterable[str]) -> Iterator[ConfigError]:
    """What is wrong with keys of providers that ask for receipts, where nobody can call."""
    for key in keys if not receipts.listen else ():
        yield ConfigError(key, "does nothing by itself, set receipts.listen too")
