"""Reads the configuration again when somebody asks for it, and files of secrets and certificates when they change."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from postwire.clock import Clock
from postwire.config.bind import ConfigError
from postwire.config.secret_files import FileWatch
from postwire.daemon import run_in_daemon
from postwire.delivery.wakeable_task import MAX_IDLE_DELAY, WakeableTask
from postwire.outbox.base import Availability
from postwire.reload import Reloader
from postwire.telemetry import names
from postwire.telemetry.logs import EventLog

INTERVAL: Final = 2.0
"""Seconds between two looks at the files of secrets and certificates."""

SETTLING_INTERVAL: Final = 0.5
"""The same while one of them changes."""

_THREAD: Final = "postwire-reload"

_log = EventLog()


class Reloading:
    """One reload at a time. What it reads, it reads on a thread of its own: it may be a pipe that nobody writes to."""

    def __init__(self, reloader: Reloader, *, outbox: Availability, clock: Clock) -> None:
        self._reloader = reloader
        self._watch = FileWatch()
        self._asked = False
        self._wakeable = WakeableTask(self._work, outbox=outbox, clock=clock)

    def start(self) -> None:
        """Begin."""
        self._wakeable.start()

    async def stop(self) -> None:
        """Take over nothing more."""
        await self._wakeable.stop()

    def reload(self) -> None:
        """Have the configuration read again."""
        self._asked = True
        self._wakeable.wake()

    async def _work(self) -> float:
        if self._asked:
            self._asked = False
            await self._read_all()
            return 0.0
        files = set(self._reloader.config.secret_files.values())
        if not files:
            return MAX_IDLE_DELAY
        look = await run_in_daemon(lambda: self._watch.look(files), _THREAD)
        if look.changed:
            await self._read_secrets(look.files)
        return SETTLING_INTERVAL if look.changing else INTERVAL

    async def _read_all(self) -> None:
        try:
            reloaded = self._reloader.apply(await run_in_daemon(self._reloader.prepare, _THREAD))
        except ConfigError as error:
            _log.error(names.EVENT_RELOAD_FAILED, detail="; ".join(map(str, (error, *error.others))))
        else:
            _log.answer(names.EVENT_RELOADED, changed=reloaded.changed, needs_restart=reloaded.needs_restart)

    async def _read_secrets(self, changed: Collection[Path]) -> None:
        before = self._reloader.config
        plan = await run_in_daemon(self._reloader.prepare_secrets, _THREAD)
        # What is wrong with the files of others was reported when those changed.
        unchanged = {_table(key) for key in before.secret_files} - {
            _table(key) for key, file in before.secret_files.items() if file in changed
        }
        mistakes = [str(one) for one in plan.mistakes if _table(one.key) not in unchanged]
        if mistakes:
            _log.error(names.EVENT_RELOAD_FAILED, detail="; ".join(mistakes))
        if plan.config is not before or plan.renewed:
            reloaded = self._reloader.apply(plan)
            _log.info(names.EVENT_RELOADED, changed=reloaded.changed, needs_restart=reloaded.needs_restart)


def _table(key: str) -> str:
    """The listener, or the provider, that a key is of: `server.tls`, `providers.relay`."""
    return ".".join(key.split(".")[:2])
