"""All hooks of the configuration: started, stopped, and given new secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from postwire.clock import Clock
from postwire.config.bind import ConfigError
from postwire.config.notify import NotifyConfig
from postwire.config.renewal import secret_keys, with_secrets_of
from postwire.config.schema import Config
from postwire.core.splitmix import stream
from postwire.notify.hook import Hook, Store
from postwire.notify.poster import Poster
from postwire.reload import Prepared, Reloadable
from postwire.telemetry.base import HookReport


class Notify:
    """The hooks, each of which goes its own way. `seed` is for the jitter of what they try again."""

    def __init__(self, configs: Mapping[str, NotifyConfig], *, store: Store, clock: Clock, seed: int) -> None:
        """Raises OSError where a `ca_file` is of no use any more."""
        self._configs = dict(configs)
        self._hooks = {
            name: Hook(
                config,
                Poster(config),
                store=store,
                clock=clock,
                draw=stream(seed, f"notify.{name}").next_unit,
            )
            for name, config in configs.items()
        }

    async def start(self) -> None:
        """Go on where each of them stood.

        Raises:
            StoreUnavailable: the store cannot be read, or cannot commit.
        """
        for hook in self._hooks.values():
            await hook.start()

    async def stop(self, grace: float) -> None:
        """Begin nothing more, and give what is on its way up to `grace` seconds."""
        await asyncio.gather(*(hook.stop(grace) for hook in self._hooks.values()))

    def reports(self) -> Sequence[HookReport]:
        """What telemetry shows of them. On any thread."""
        return [hook.report() for hook in self._hooks.values()]

    @property
    def reloadables(self) -> Sequence[Reloadable]:
        """Secrets may change while they run; all else needs a restart."""
        return [
            Reloadable(tuple(secret_keys(NotifyConfig, ("notify", name))), partial(self._prepare, name))
            for name in self._hooks
        ]

    def _prepare(self, name: str, config: Config) -> Prepared:
        mine, declared = self._configs[name], config.notify.get(name)
        keep_all = Prepared(lambda: None, left=tuple(secret_keys(NotifyConfig, ("notify", name))))
        if declared is None:
            return keep_all
        try:
            renewed = with_secrets_of(mine, declared, ("notify", name))
        except ConfigError:  # a file that goes with it is gone meanwhile
            return keep_all
        return Prepared(partial(self._renew, renewed) if renewed != mine else lambda: None)

    def _renew(self, config: NotifyConfig) -> None:
        self._configs[config.name] = config
        self._hooks[config.name].renew(config)
