"""The servers that stand in for vendors: that they can be closed whenever it is."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import Any

import pytest
from tests.support import listeners


@pytest.mark.parametrize("turns", range(6))
async def test_a_server_is_closed_while_somebody_comes(turns: int) -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    accepted: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()):
        for _ in range(turns):
            await asyncio.sleep(0)
        await listeners.close(server)
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        for writer in accepted:
            writer.close()
            await writer.wait_closed()
    await server.wait_closed()
    gc.collect()  # a transport that nobody ends complains of it
    assert not faults
