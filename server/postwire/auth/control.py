"""Who may call, for as long as a server runs: from the configuration that it boots with to each that it reads again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from postwire.auth.authenticator import AccessTable, Authenticator
from postwire.auth.fetched_keys import FetchedKeys, KnownKeys
from postwire.auth.jwks import KeySet
from postwire.clock import Clock
from postwire.config.auth import JWKS_FILE, AuthConfig
from postwire.config.bind import ConfigError
from postwire.config.schema import Config
from postwire.config.secret_files import read_secret
from postwire.reload import Prepared, Reloadable

_URL: Final = "auth.jwt.jwks_url"
_KEYS: Final = ("auth.keys", "auth.jwt.*", "tenants.*", "tenants.*.keys", "tenants.*.certificates")


class AccessControl:
    """`authenticator` says who calls; `reloadable` has it take over another configuration.

    `fetch` gets what is at a URL, and raises OSError where it cannot. `on_trouble` hears in one line what is wrong with
    a URL, and None once that is over.
    """

    def __init__(
        self,
        config: Config,
        *,
        fetch: Callable[[str], Awaitable[str]],
        clock: Clock,
        on_trouble: Callable[[str | None], None],
    ) -> None:
        """Begin with a configuration.

        Raises:
            ConfigError: what it names cannot be read.
        """
        self._fetch = fetch
        self._clock = clock
        self._on_trouble = on_trouble
        self._text, keys = read_keys(config.auth)
        self._url: str | None = None
        self._stopping: set[asyncio.Task[None]] = set()
        self.authenticator = Authenticator(AccessTable.of(config.auth, config.tenants), KnownKeys(KeySet()))
        self.reloadable = Reloadable(_KEYS, self._prepare)
        self._take_keys(config, keys)

    def start(self) -> None:
        """Fetch keys, if there are any to fetch, beside everything else."""
        if isinstance(keys := self.authenticator.keys, FetchedKeys):
            keys.fetch_now()

    async def until_fetched(self) -> None:
        """Return once that is done, whatever came of it."""
        if isinstance(keys := self.authenticator.keys, FetchedKeys):
            await keys.until_fetched()

    async def stop(self) -> None:
        """Fetch nothing more."""
        self._retire()
        if self._stopping:
            await asyncio.wait(self._stopping)

    def _prepare(self, config: Config) -> Prepared:
        if self.authenticator.table.authenticates and not config.authenticates:
            # More likely a file that was cut off than somebody who wants that, and at once.
            problem = "nothing is left to ask callers for, start the server anew if everybody is to be let in"
            raise ConfigError("auth", problem)
        text, keys = read_keys(config.auth)
        renewed = (JWKS_FILE,) if text and self._text and text != self._text else ()
        return Prepared(partial(self._apply, config, text, keys), renewed)

    def _apply(self, config: Config, text: str | None, keys: KeySet) -> None:
        self.authenticator.table = AccessTable.of(config.auth, config.tenants)
        if text is None or text != self._text:
            self._text = text
            self._take_keys(config, keys)
            self.start()

    def _take_keys(self, config: Config, keys: KeySet) -> None:
        url = config.auth.jwt.jwks_url if config.auth.jwt else None
        if url is None:
            self._retire()
            self.authenticator.keys = KnownKeys(keys)
        elif url != self._url:
            self._retire()
            self.authenticator.keys = FetchedKeys(lambda: self._fetch(url), self._clock, self._report)
        self._url = url

    def _retire(self) -> None:
        if isinstance(keys := self.authenticator.keys, FetchedKeys):
            task = asyncio.get_running_loop().create_task(keys.stop())
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    def _report(self, trouble: str) -> None:
        self._on_trouble(f"{_URL}: {trouble}" if trouble else None)


def read_keys(auth: AuthConfig) -> tuple[str | None, KeySet]:
    """What is in the file of keys, and the keys; None and none of them where there is no such file.

    Raises:
        ConfigError: it is of no use.
    """
    file = auth.jwt.jwks_file if auth.jwt else None
    if file is None:
        return None, KeySet()
    try:
        text = read_secret(file)
        return text, KeySet.parse(text)
    except ValueError as wrong:
        raise ConfigError(JWKS_FILE, f"{wrong}, it must be a file with a JSON Web Key Set") from None
