"""The processes of the peer, in an environment of their own that is made on first use, and never part of ours."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.processes import BOOT_TIMEOUT, BenchError, LoadGenerator, Server, last_line, process_of
from tests.bench.progress import say

WORKERS: Final = 4
THREADS: Final = 16
"""Of each worker: together as many attempts at once as `max_concurrent` has by default."""

_ROOT: Final = Path(__file__).parents[3]
_REQUIREMENTS: Final = _ROOT / "requirements" / "peer.txt"
_ENVIRONMENT: Final = _ROOT / "build" / "peer"
_PYTHON: Final = str(_ENVIRONMENT / "bin" / "python")
_POLL: Final = 0.01
_PIP: Final = ("-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
_REDIS: Final = (
    *("--port", "0"),
    *("--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0", "--save", ""),
)
_WORKER: Final = (
    *("-m", "celery", "--app", "tests.bench.peer.tasks", "worker", "--pool", "threads", "--concurrency", str(THREADS)),
    *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR", "--hostname"),
)


class NoPeer(Exception):
    """The peer cannot be run here, and is left out. One line that says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Redis and workers under measurement, and who calls them."""

    server: Server
    load: LoadGenerator
    caller: Server
    """The process of `load`."""

    def count(self) -> int:
        """How many messages are on record."""
        return sum(1 for line in self._ask("KEYS message:*") if line.startswith(b"message:"))

    def _ask(self, command: str) -> list[bytes]:
        with _connected(self.server.address) as connection:
            connection.sendall(command.encode() + b"\r\nECHO end-of-bench\r\n")
            answer = b""
            while not answer.endswith(b"end-of-bench\r\n"):
                if not (more := connection.recv(1 << 20)):
                    raise BenchError("Redis has ended")
                answer += more
        return answer.split(b"\r\n")


@contextmanager
def peer(folder: Path) -> Iterator[Peer]:
    """Everything that a message needs.

    Raises:
        NoPeer: something is missing here.
    """
    found = shutil.which("redis-server")
    if found is None:
        raise NoPeer("redis-server is not on PATH; install Redis to have it measured")
    _install()
    folder.mkdir()
    address, log = str(folder / "redis"), folder / "peer.log"
    environ = {"PEER_REDIS": address, "PYTHONPATH": str(_ROOT)}
    with ExitStack() as running:
        output = running.enter_context(log.open("wb"))
        redis = [found, *_REDIS, "--dir", str(folder), "--unixsocket", address]
        store = running.enter_context(process_of(redis, stdout=output, stderr=output))
        _wait_for(store, address, log)
        workers = [
            running.enter_context(
                process_of([_PYTHON, *_WORKER, f"{number}@peer"], stdout=output, stderr=output, environ=environ)
            )
            for number in range(WORKERS)
        ]
        load = [_PYTHON, "-m", "tests.bench.peer.load"]
        pipe = subprocess.PIPE
        callers = running.enter_context(process_of(load, stdin=pipe, stdout=pipe, stderr=output, environ=environ))
        yield Peer(
            Server("peer", store.pid, address, others=[worker.pid for worker in workers]),
            LoadGenerator(callers),
            Server("callers", callers.pid, address),
        )


def _install() -> None:
    """Make the environment, unless it was made already for these requirements and this interpreter."""
    stamp = _ENVIRONMENT / ".made-for"
    made_for = f"{sys.base_prefix} {sys.version}\n{_REQUIREMENTS.read_text(encoding='utf-8')}"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == made_for:
        return
    say("installing Celery into build/peer")
    commands = [
        [sys.executable, "-m", "venv", "--clear", str(_ENVIRONMENT)],
        [_PYTHON, *_PIP, "install", "--require-hashes", "--requirement", str(_REQUIREMENTS)],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.splitlines() or ["it said nothing"]
            raise NoPeer(f"Celery could not be installed: {lines[-1]}")
    stamp.write_text(made_for, encoding="utf-8")


def _wait_for(store: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + BOOT_TIMEOUT
    while time.monotonic() < end and store.poll() is None:
        try:
            with _connected(address):
                return
        except OSError:
            time.sleep(_POLL)
    raise BenchError(f"Redis did not start: {last_line(log)}")


def _connected(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(BOOT_TIMEOUT)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection
