"""Has the store go on with other keys, and sees it encrypted anew, a few contents at a time: others write as well."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from postwire.clock import Clock
from postwire.config.bind import ConfigError
from postwire.config.encryption_keys import KEY, EncryptionKey, keys_of
from postwire.config.schema import Config
from postwire.core import audit
from postwire.core.audit import AuditedMethod
from postwire.core.errors import StoreUnavailable
from postwire.core.principal import Principal
from postwire.delivery.wakeable_task import WakeableTask
from postwire.outbox.base import EncryptedStore, OutboxError, Rekey
from postwire.reload import Prepared, Reloadable
from postwire.telemetry import names
from postwire.telemetry.logs import EventLog

BETWEEN_STEPS: Final = 0.02
"""Seconds."""

BETWEEN_LOOKS: Final = 5.0
"""Seconds until it is looked again whether another node was asked for one."""

AFTER_NO_ROOM: Final = 30.0
"""Seconds after a step that could not be kept, or that other nodes are in the way of. It is larger than what messages
take: on a disk that is nearly full they still have room, as long as nobody tries to take it and has the store count as
unavailable."""

_log = EventLog()


class Rekeying:
    """The keys of a store that was opened with `keys`, and the rekey that is under way, if one is.

    Where several nodes share the store, `is_leader` says whether this one does the work now: then it is asked for.
    """

    def __init__(
        self,
        *,
        outbox: EncryptedStore,
        clock: Clock,
        keys: Sequence[EncryptionKey],
        is_leader: Callable[[], bool] | None = None,
    ) -> None:
        self._is_leader = is_leader
        self._outbox = outbox
        self._clock = clock
        self._keys = tuple(keys)
        self._used = self._keys
        self._waiting_for: Sequence[str] = ()
        self._problem: str | None = None
        self._wakeable = WakeableTask(self._work, outbox=outbox, clock=clock)
        self.reloadable: Final = Reloadable((KEY,), self._prepare)

    def start(self) -> None:
        """Begin, with what an earlier boot has left."""
        self._wakeable.start()

    async def stop(self) -> None:
        """Do nothing more."""
        await self._wakeable.stop()

    async def begin(self, reason: str, by: Principal) -> Rekey:
        """Have everything encrypted anew that is not encrypted with the first key; returns how far that has come.

        Raises:
            StoreNotEncrypted: there is no key.
        """
        await self._take_over()
        now = self._clock.wall()
        event = audit.event(AuditedMethod.START_REKEY, by, reason=reason, now=now)
        begun = await self._outbox.start_rekey(now, event)
        self._wakeable.wake()
        return begun

    async def last(self) -> Rekey | None:
        """How far the last one has come, if there was any."""
        return await self._outbox.rekey()

    def _prepare(self, config: Config) -> Prepared:
        keys = keys_of(config.store.encryption_keys_file)
        if problem := self._outbox.why_insufficient(keys):
            raise ConfigError(KEY, problem)

        def apply() -> None:
            self._keys = keys
            self._wakeable.wake()

        return Prepared(apply, renewed=(KEY,) if keys != self._keys else ())

    async def _work(self) -> float:
        await self._take_over()
        if (problem := self._outbox.why_insufficient(self._keys)) != self._problem:
            self._problem = problem
            if problem:  # other nodes have gone on without this one, whose lease had lapsed
                _log.warning(names.EVENT_KEYS_MISSING, detail=problem)
        if self._is_leader and not self._is_leader():
            return BETWEEN_LOOKS
        try:
            rekey = await self._outbox.rekey_step(self._clock.wall())
        except StoreUnavailable:
            return AFTER_NO_ROOM
        if rekey is None:
            return BETWEEN_LOOKS if self._is_leader else math.inf
        if rekey.waiting_for:
            if rekey.waiting_for != self._waiting_for:
                _log.warning(names.EVENT_REKEY_WAITS, key_id=rekey.key_id, nodes=", ".join(rekey.waiting_for))
            self._waiting_for = rekey.waiting_for
            return AFTER_NO_ROOM
        if rekey.end_time is None:
            return BETWEEN_STEPS
        fields = {"key_id": rekey.key_id, "rekeyed": rekey.rekeyed, "damaged": rekey.damaged}
        (_log.warning if rekey.damaged else _log.info)(names.EVENT_REKEYED, **fields)
        return 0.0

    async def _take_over(self) -> None:
        """Have the store use the keys that were read last."""
        while (keys := self._keys) != self._used:
            try:
                await self._outbox.use_keys(keys)
            except (
                OutboxError
            ) as error:  # it was looked at when they were read, and the store has come to need one since
                _log.error(names.EVENT_RELOAD_FAILED, detail=str(error))
            self._used = keys
