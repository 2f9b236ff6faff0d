"""What falls to the leader, begun and ended as leadership comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from postwire.maintenance import Duty
from postwire.nodes.node import Node
from postwire.outbox.base import Heartbeat
from postwire.telemetry import names
from postwire.telemetry.logs import EventLog

_log = EventLog()


class Leadership:
    """Starts its duties where `node` leads, and stops them where it does not any more.

    It is not certain that only one leads: whatever a duty changes is fenced, so that it harms nothing if two do it.
    """

    def __init__(self, node: Node, duties: Sequence[Duty] = ()) -> None:
        self._node = node
        self._duties = list(duties)
        self._has_begun = False
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._is_over = False

    def add(self, duty: Duty) -> None:
        """Have one more. Before `start`."""
        self._duties.append(duty)

    def start(self) -> None:
        """Begin, where this node leads."""
        if not self._node.is_shared:
            self._begin()
            return
        self._node.on_heartbeat(self._look)
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._changed.set()

    async def stop(self) -> None:
        """Do nothing more."""
        self._is_over = True
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._end()

    def _look(self, heartbeat: Heartbeat) -> None:
        if self._has_begun is not heartbeat.is_leader:
            self._changed.set()

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            leads = self._node.is_leader
            if leads and not self._has_begun:
                _log.info(names.EVENT_LEADING, node=self._node.number)
                self._begin()
            elif not leads:
                await self._end()

    def _begin(self) -> None:
        self._has_begun = True
        for duty in self._duties:
            try:
                duty.start()
            except Exception as error:  # the others are none the worse for it
                _log.fault(error)

    async def _end(self) -> None:
        if self._has_begun:
            self._has_begun = False
            for duty in self._duties:
                try:
                    await duty.stop()
                except Exception as error:
                    _log.fault(error)
