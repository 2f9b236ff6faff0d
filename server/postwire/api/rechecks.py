"""Whether whoever has begun a stream may still go on with it: looked at from time to time, for as long as it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Self

from postwire.clock import Alarm, Clock
from postwire.core.errors import InvalidCredentials, Refusal
from postwire.core.principal import Principal

INTERVAL: Final = 60.0
"""Seconds between two looks."""


class Recheck:
    """Of one stream, which the current task answers. `look` finds out who calls, as at the beginning.

    Once he may not call any more, `refusal` says why: the task is cancelled, unless it waits for the transport, where
    that would end the call in another way. Who has the task looks at `refusal` then.
    """

    def __init__(self, look: Callable[[], Awaitable[Principal]], clock: Clock, principal: Principal) -> None:
        self.refusal: Refusal | None = None
        self._look = look
        self._clock = clock
        self._principal = principal
        self._task = asyncio.current_task()
        self._is_inside = True
        self._was_cancelled = False
        self._alarm: Alarm | None = None
        self._looking: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._set_alarm()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_inside = False
        if self._alarm:
            self._alarm.cancel()
        if self._looking:
            self._looking.cancel()

    def leave(self) -> None:
        """A response goes to the transport. Raises what the stream is to end with, if it is."""
        if self.refusal:
            raise self.refusal
        self._is_inside = False

    def resume(self) -> None:
        """It has been taken. Raises the same."""
        self._is_inside = True
        if self.refusal:
            raise self.refusal

    def cause_of(self, error: BaseException) -> BaseException:
        """What has ended the stream: `refusal`, where `error` is the cancellation that it led to and no other."""
        if self.refusal and self._was_cancelled and self._task and isinstance(error, asyncio.CancelledError):
            self._was_cancelled = False
            if not self._task.uncancel():
                return self.refusal
        return error

    def _set_alarm(self) -> None:
        self._alarm = self._clock.call_later(INTERVAL, self._begin)

    def _begin(self) -> None:
        self._looking = asyncio.get_running_loop().create_task(self._look_once())

    async def _look_once(self) -> None:
        try:
            principal = await self._look()
            if principal.tenant != self._principal.tenant:
                raise InvalidCredentials
        except Refusal as refusal:
            self.refusal = refusal.with_traceback(None)
            if self._is_inside and self._task:
                self._was_cancelled = self._task.cancel()
        else:
            self._set_alarm()
