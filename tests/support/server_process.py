"""A server that is killed, stopped and started again on one store, for tests that go on calling it meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import apsw
from tests.e2e.server import environment
from tests.support.call_log import OPENED, Call, Line, calls_in, read_lines
from tests.support.forking import Forked
from tests.support.waiting import PATIENCE


class ServerProcess:
    """The process, its store in `folder`, and the log of its calls. `address` is the latest boot's."""

    def __init__(self, folder: Path, toml: str) -> None:
        (folder / "postwire.toml").write_text(toml, encoding="utf-8")
        self.folder = folder
        self.store = folder / "postwire.db"
        self.address = ""
        self.gone = asyncio.Event()
        self.gone.set()
        self._call_log = folder / "calls.log"
        self._process: Forked | None = None
        self._reader: asyncio.Task[None] | None = None
        self._serving = asyncio.Event()
        self._lines: list[str] = []

    async def start(self, failpoint: str = "", **settings: str) -> bool:
        """Start it; whether it came as far as to serve. It does not if a failpoint is in the way.

        `settings` are as for `environment`.
        """
        assert self.gone.is_set(), "it is running"
        self.gone.clear()
        self._serving.clear()
        env = environment(self.folder, **settings) | {"CALL_LOG": str(self._call_log), "FAILPOINT": failpoint}
        reading, writing = os.pipe()
        try:
            self._process = Forked("tests.support.failing_server:run", [], cwd=self.folder, env=env, stderr=writing)
        finally:
            os.close(writing)
        self._reader = asyncio.create_task(self._read(self._process, reading))
        await first_of(self._serving.wait(), self.gone.wait())
        if not self._serving.is_set():
            assert failpoint, f"it ended by itself: {''.join(self._lines[-20:])}"
        return self._serving.is_set()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, and go on; nothing is done where it is gone."""
        assert self._process
        self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        assert self._process
        assert self._reader
        async with asyncio.timeout(PATIENCE):
            await self._reader
        return self._process.wait(PATIENCE)

    async def kill(self) -> None:
        """End it, whatever it is doing."""
        self.send_signal(signal.SIGKILL)
        assert await self.wait() == -signal.SIGKILL

    async def terminate(self) -> int:
        """Ask it to end, and wait for that; returns the exit code."""
        self.send_signal(signal.SIGTERM)
        return await self.wait()

    def log(self, event: str) -> list[dict[str, Any]]:
        """What all of its boots have logged of an event."""
        found = (json.loads(line) for line in self._lines if f'"{event}"' in line and line.startswith("{"))
        return [line for line in found if line["event"] == event]

    def no_faults(self) -> None:
        """None of its boots has come by a fault of its own."""
        assert not self.log("internal_error")
        assert not self.log("library")
        assert not [line for line in self._lines if not line.startswith("{")], "something else wrote to stderr"

    def lines(self) -> list[Line]:
        """The log of its calls."""
        return read_lines(self._call_log) if self._call_log.exists() else []

    @property
    def boots(self) -> list[int]:
        """The numbers of the boots that came as far as to open the store."""
        return [line.boot for line in self.lines() if line.event == OPENED]

    def calls(self) -> list[Call]:
        """The calls of providers that all of its boots have made."""
        return calls_in(self.lines())

    def rows(self, *queries: str) -> list[list[tuple[Any, ...]]]:
        """Read the store while nobody runs, and leave the file and its log as they are: the next boot has to cope."""
        assert self.gone.is_set(), "it is running"
        connection = apsw.Connection(str(self.store))
        try:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            return [list(connection.execute(query)) for query in queries]
        finally:
            connection.close()

    async def _read(self, process: Forked, descriptor: int) -> None:
        lines = asyncio.StreamReader(limit=1 << 20)
        stderr, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(descriptor, "rb")
        )
        try:
            async for raw in lines:
                line = raw.decode()
                if '"event":"attempt"' in line:
                    continue  # one for every failure: there are many, and nobody asks for them
                self._lines.append(line)
                if '"event":"serving"' in line:
                    self.address = str(json.loads(line)["listen"])
                    self._serving.set()
            await asyncio.to_thread(process.wait, PATIENCE)
        finally:
            stderr.close()
            self.gone.set()


async def first_of(*waiting: Any) -> None:
    """Return once one of them is done; the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in waiting]
    try:
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
