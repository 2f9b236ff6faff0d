"""Notices that the wall clock was set, or that the machine was suspended, and has what waits looked at again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from postwire.clock import Clock
from postwire.core.clock_steps import STEP, StepDetector
from postwire.delivery.wakeable_task import WakeableTask
from postwire.outbox.base import WorkQueue
from postwire.telemetry import names
from postwire.telemetry.logs import EventLog

INTERVAL: Final = 1.0
"""Seconds between two looks at the clocks."""

_log = EventLog()


class ClockSteps:
    """`ahead` is by how much (µs) the wall clock is ahead of the due clock since it was last set, `lowest` the least
    that it has been. `wake` is called when the wall clock was set, or the machine was suspended.
    """

    def __init__(self, *, outbox: WorkQueue, clock: Clock, detector: StepDetector, wake: Callable[[], None]) -> None:
        self._outbox = outbox
        self._clock = clock
        self._wake = wake
        self._detector = detector
        self._kept = 0
        self._asleep = self._suspended()
        self._wakeable = WakeableTask(self._look, outbox=outbox, clock=clock)

    @property
    def ahead(self) -> int:
        """See the class."""
        return self._detector.ahead

    @property
    def lowest(self) -> int:
        """See the class."""
        return self._detector.lowest

    def start(self) -> None:
        """Begin to look."""
        self._wakeable.start()

    async def stop(self) -> None:
        """Look no more."""
        await self._wakeable.stop()

    async def _look(self) -> float:
        asleep = self._suspended()
        if step := self._detector.observe(self._clock.due(), self._clock.wall(), self._clock.due()):
            _log.warning(names.EVENT_CLOCK_STEPPED, seconds=round(step / 1e6, 3))
        if step or abs(asleep - self._asleep) > STEP:
            self._asleep = asleep
            self._wake()
        if self._kept != self.ahead:  # for the next boot
            ahead = self.ahead
            await self._outbox.keep_ahead(ahead)
            self._kept = ahead
        return INTERVAL

    def _suspended(self) -> float:
        """For how long (µs) the machine was suspended, but for a constant."""
        return self._clock.due() - self._clock.monotonic() * 1e6
