"""Several nodes as processes, on one database, each of which may be ended and started again while others go on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.e2e.server import environment
from tests.nodes.served import LOG
from tests.support.forking import Forked
from tests.support.waiting import PATIENCE

KEPT_LINES: Final = 200
DEAD: Final = 5
"""How a node ends that the others have taken for dead."""


class Node:
    """A node that may be started again and again under one name. `address` and `receipts` are where the latest start
    serves, "" before it does; `ended` has how its starts have ended, by exit code."""

    def __init__(self, name: str, folder: Path, settings: Mapping[str, str]) -> None:
        self.name = name
        self.address = ""
        self.receipts = ""
        self.is_stopped = False
        self.is_ending = False
        self.is_ready = asyncio.Event()
        self.gone = asyncio.Event()
        self.gone.set()
        self.ended: Counter[int] = Counter()
        self.events: Counter[str] = Counter()
        self.faults: list[str] = []
        self.lines: list[str] = []
        self.log = folder / f"{name}.handed"
        self._folder = folder
        self._settings = settings
        self._process: Forked | None = None
        self._reader: asyncio.Task[None] | None = None

    def start(self, **settings: str) -> None:
        """Start it, and go on."""
        assert self.gone.is_set(), "it is running"
        self.gone.clear()
        self.is_ready.clear()
        env = environment(self._folder, **{**self._settings, **settings})
        env.pop("POSTWIRE_STORE__PATH")
        env |= {LOG: str(self.log), "POSTWIRE_NODES__NAME": self.name}
        reading, writing = os.pipe()
        try:
            self._process = Forked("tests.nodes.served:run", [], cwd=self._folder, env=env, stderr=writing)
        finally:
            os.close(writing)
        self._reader = asyncio.create_task(self._read(self._process, reading))

    async def ready(self) -> None:
        """Return once it serves."""
        async with asyncio.timeout(PATIENCE):
            serving, gone = asyncio.create_task(self.is_ready.wait()), asyncio.create_task(self.gone.wait())
            await asyncio.wait((serving, gone), return_when=asyncio.FIRST_COMPLETED)
            serving.cancel()
            gone.cancel()
        assert self.is_ready.is_set(), f"{self.name} has ended: {''.join(self.lines[-20:])}"

    @property
    def serves(self) -> bool:
        """Whether it is up and goes on."""
        return bool(self.address) and not (self.is_stopped or self.is_ending or self.gone.is_set())

    @property
    def process_id(self) -> int:
        """That of the latest start."""
        assert self._process
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, and go on."""
        assert self._process
        self.is_ending |= number in (signal.SIGTERM, signal.SIGKILL)
        self._process.send_signal(number)

    def pause(self) -> None:
        """Stop it where it is."""
        self.is_stopped = True
        self.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)
        self.is_stopped = False

    async def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        assert self._process
        process = self._process  # it may be started again at once
        async with asyncio.timeout(PATIENCE):
            await self.gone.wait()
        assert process.returncode is not None
        return process.returncode

    async def kill(self) -> None:
        """End it, whatever it does."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def terminate(self) -> int:
        """Ask it to end, and wait for that."""
        self.signal(signal.SIGTERM)
        return await self.wait()

    async def _read(self, process: Forked, descriptor: int) -> None:
        lines = asyncio.StreamReader(limit=1 << 20)
        stderr, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(descriptor, "rb")
        )
        try:
            async for raw in lines:
                self._heard(raw.decode())
            self.ended[await asyncio.to_thread(process.wait, PATIENCE)] += 1
        finally:
            stderr.close()
            self.address = self.receipts = ""
            self.is_stopped = self.is_ending = False
            self.gone.set()

    def _heard(self, line: str) -> None:
        if '"event":"attempt"' in line:
            return  # one for every failure
        self.lines.append(f"{self.name} {line}")
        if not line.startswith("{"):
            self.faults.append(f"{self.name}: {line.rstrip()}")
            return
        entry: dict[str, Any] = json.loads(line)
        event = str(entry["event"])
        self.events[event] += 1
        if event in ("internal_error", "library"):
            self.faults.append(f"{self.name}: {line.rstrip()}")
        if event == "serving":
            self.receipts = f"http://{entry['receipts_listen']}" if "receipts_listen" in entry else ""
            self.address = str(entry["listen"])
            self.is_ready.set()


class Cluster:
    """The nodes `node-1`, `node-2` and so on. `toml` gives the configuration of each; its name stands for `NODE`."""

    def __init__(self, folder: Path, toml: Callable[[str], str], count: int, **settings: str) -> None:
        self.folder = folder
        self.nodes = []
        for number in range(1, count + 1):
            name = f"node-{number}"
            place = folder / name
            place.mkdir()
            (place / "postwire.toml").write_text(toml(name).replace("NODE", name), encoding="utf-8")
            self.nodes.append(Node(name, place, settings))

    @property
    def serving(self) -> list[Node]:
        """Those that are up."""
        return [node for node in self.nodes if node.serves]

    @property
    def faults(self) -> list[str]:
        """What nodes have said of faults of their own."""
        return [line for node in self.nodes for line in node.faults]

    @property
    def ended(self) -> Counter[int]:
        """How they have ended, by exit code."""
        return sum((node.ended for node in self.nodes), Counter())

    async def start(self) -> None:
        """Start all of them, and return once they serve."""
        for node in self.nodes:
            if node.gone.is_set():
                node.start()
        for node in self.nodes:
            await node.ready()

    async def end(self) -> None:
        """End all that are left, whatever they do."""
        for node in self.nodes:
            if not node.gone.is_set():
                await node.kill()
