"""Processes that are forked from one which has imported Postwire: most of what a start costs is that import.

Nothing else is saved. What is run has its own arguments, environment, working directory and descriptors, and ends as
every interpreter does. Where the start itself is what a test is about, it starts an interpreter of its own.

Run as a module this is the process that is forked. It has no threads and has opened nothing.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryFile
from typing import Any, Final

from tests.support.waiting import PATIENCE

POSTWIRE: Final = "postwire.cli:main"
"""The `postwire` command."""

_IMPORTED: Final = (
    "cryptography.x509",
    "postwire.app",
    "postwire.cli.send.bulk",
    "postwire.cli.root",
    "postwire.cli.serve",
    "postwire.http_tls",
    "postwire.telemetry.exposition",
    "postwire.telemetry.http",
    "postwire.telemetry.metrics",
    "postwire.telemetry.otlp",
    "postwire.telemetry.tracing",
    "postwire_client",
    "rich.console",
    "rich.table",
)
"""What is imported before a fork."""

_lock: Final = threading.Lock()
"""Guards the connection to the process that is forked: one request after another."""


def run(*args: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Run `postwire` with these arguments and nothing on stdin, to its end: like `subprocess.run`."""
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        process = Forked(
            POSTWIRE,
            args,
            cwd=cwd or Path.cwd(),
            env=os.environ if env is None else env,
            stdout=stdout.fileno(),
            stderr=stderr.fileno(),
        )
        code = process.wait(PATIENCE)
        printed, reported = (os.pread(one.fileno(), 1 << 24, 0).decode() for one in (stdout, stderr))
    return CompletedProcess(["postwire", *args], code, printed, reported)


class Forked:
    """A process that calls `main` ("module:function"), with nothing on stdin. It is used like a `Popen`."""

    def __init__(
        self,
        main: str,
        args: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdout: int = subprocess.DEVNULL,
        stderr: int,
    ) -> None:
        self.args = [main, *args]
        self.returncode: int | None = None
        self._ended = threading.Event()
        request = json.dumps({"main": main, "args": args, "cwd": str(cwd), "env": dict(env)}).encode()
        reading, writing = os.pipe()
        with open(os.devnull, "r+b") as null:  # noqa: PTH123  nothing but a descriptor
            try:
                outputs = [null.fileno() if one == subprocess.DEVNULL else one for one in (stdout, stderr)]
                with _lock:
                    head = len(request).to_bytes(4, "big")
                    socket.send_fds(_forker(), [head], [null.fileno(), *outputs, writing])
                    _forker().sendall(request)
            finally:
                os.close(writing)
        self._reports = os.fdopen(reading, "rb")
        self.pid = int(self._reports.readline())
        threading.Thread(target=self._await_end, daemon=True).start()

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns the exit code. Raises TimeoutExpired."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _await_end(self) -> None:
        with self._reports:
            self.returncode = int(self._reports.readline())
        self._ended.set()


@functools.cache
def _forker() -> socket.socket:
    """The connection to the process that is forked, which ends with it."""
    ours, theirs = socket.socketpair()
    with theirs:
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        ).returncode = 0  # nobody waits for it: it ends after us
    return ours


# In the process that is forked.


def _serve(connection: socket.socket) -> None:
    """Fork for each request, until the other side is gone. Returns in the forked processes as well, once they end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those that run
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    for name in _IMPORTED:
        importlib.import_module(name)
    # What is imported is no garbage. Without this each fork looks through all of it as it ends, and has a copy made of
    # every page: two thirds of what an end costs.
    gc.collect()
    gc.freeze()
    while True:
        head, descriptors, _, _ = socket.recv_fds(connection, 4, 4)
        if not head:
            return
        request = json.loads(connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))
        if os.fork() == 0:
            connection.close()
            _fork(request, descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)


def _fork(request: Mapping[str, Any], descriptors: list[int]) -> None:
    """Run the request in a fork of this process, and report its id and how it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *standard, reports = descriptors
    if (pid := os.fork()) == 0:
        os.close(reports)
        _run(request, standard)
        return
    for descriptor in standard:
        os.close(descriptor)
    os.write(reports, b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(reports, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _run(request: Mapping[str, Any], standard: list[int]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["cwd"])
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # As an interpreter opens them that starts with these.
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115  they have no end
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    random.seed()
    sys.argv = ["postwire", *request["args"]]
    module, _, name = request["main"].partition(":")
    getattr(importlib.import_module(module), name)()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
