"""Where a server can be reached that is ended and started again while its callers go on."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

import grpc
from tests.support.driver import BROKEN, CANCELLED, CUT, OVERLOADED, ROOM, SHUTTING_DOWN, TIMEOUT, connect, why_of
from tests.support.server_process import ServerProcess

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.dispatch_service_pb2_grpc import DispatchServiceStub
from postwire.v1.message_pb2 import Message


class Reachable:
    """Connections to the boot that is up. `boot` counts them; `ending` is set from the signal to the end."""

    def __init__(self, server_process: ServerProcess, connections: int = 4) -> None:
        self._server_process = server_process
        self._connections = connections
        self._channels: list[grpc.aio.Channel] = []
        self._stubs: itertools.cycle[Any] = itertools.cycle(())
        self._changed = asyncio.Condition()
        self.boot = 0
        self.ending = False
        self.broken_off: Counter[str] = Counter()

    async def start(self) -> None:
        """Start the server, and let callers in."""
        assert await self._server_process.start()
        self._channels = [connect(self._server_process.address) for _ in range(self._connections)]
        self._stubs = itertools.cycle([DispatchServiceStub(channel) for channel in self._channels])
        async with self._changed:
            self.boot += 1
            self.ending = False
            self._changed.notify_all()

    async def end(self, *, kill: bool) -> None:
        """Have it end, by SIGKILL or by SIGTERM, and wait for that."""
        self.ending = True
        if kill:
            await self._server_process.kill()
        else:
            assert await self._server_process.terminate() == 0
        await self.close()

    async def close(self) -> None:
        """Let go of the connections, once the calls on them have ended."""
        channels, self._channels = self._channels, []
        await asyncio.gather(*(channel.close(TIMEOUT) for channel in channels))

    async def reach(self, *, after: int = 0) -> tuple[int, Any]:
        """The boot that is up, once there is one later than `after`, and a connection to it."""
        async with asyncio.timeout(TIMEOUT), self._changed:
            await self._changed.wait_for(lambda: self._channels and self.boot > after)
        return self.boot, next(self._stubs)

    async def dispatch(self, request: pb.DispatchRequest) -> Message | str:
        """Ask until there is an answer: the message, or why it is refused for good. As the docs say: the same again
        where the connection broke or the server is shutting down, with the next boot; a little later where it is full.
        """
        while True:
            boot, stub = await self.reach()
            try:
                answer: Message = (await stub.Dispatch(request, timeout=TIMEOUT)).message
            except grpc.aio.AioRpcError as error:
                if not await self.repeats(error, boot):
                    return why_of(error)
            else:
                return answer

    async def repeats(self, error: grpc.aio.AioRpcError, boot: int) -> bool:
        """Whether a call of a boot that has failed is to be repeated; returns when it is time to."""
        why = why_of(error)
        if why == OVERLOADED:
            await asyncio.sleep(ROOM)
            return True
        if why not in (BROKEN, CUT, SHUTTING_DOWN, CANCELLED):
            return False
        assert self.ending or self.boot > boot, f"nobody has asked it to end: {error}"
        self.broken_off[why] += 1
        await self.reach(after=boot)
        return True
