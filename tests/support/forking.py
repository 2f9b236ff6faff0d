"""Processes that are forked from one which has imported Postwire: most of what a start costs is that import.

What is run has its own arguments, environment, working directory and descriptors. It ends as every interpreter does,
but does not take apart what was imported: that has a copy made of every page, and costs as much as half a boot. Where
the start or the end itself is what a test is about, it starts an interpreter of its own.

Run as a module this is the process that is forked. It has no threads and has opened nothing.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryFile
from typing import Any, Final

from tests.support import forked_command
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
    "postwire.web.endpoint",
    "postwire_client",
    "rich.console",
    "rich.table",
    "tests.support.hurried",
    "tests.support.killed",
    "tests.support.owner",
    "tests.support.packages",
    "uvloop",
)
"""What is imported before a fork."""

_lock: Final = threading.Lock()
"""Held while the process that is forked is started: there is one."""


def run(
    *args: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, main: str = POSTWIRE, prepare: str = ""
) -> CompletedProcess[str]:
    """Run `postwire` with these arguments and nothing on stdin, to its end: like `subprocess.run`."""
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        process = Forked(
            main,
            args,
            cwd=cwd or Path.cwd(),
            env=os.environ if env is None else env,
            stdout=stdout.fileno(),
            stderr=stderr.fileno(),
            prepare=prepare,
        )
        code = process.wait(PATIENCE)
        printed, reported = (os.pread(one.fileno(), 1 << 24, 0).decode() for one in (stdout, stderr))
    return CompletedProcess([main, *args], code, printed, reported)


def child(*args: str, **options: Any) -> subprocess.Popen[str]:
    """Start `postwire` with these arguments and the descriptors that `options` give it, as they are for a `Popen`.

    It is a child, as that would be: see `tests.support.forked_command`. It is not to be killed, which would leave the
    fork behind.
    """
    connection = forker().fileno()
    return subprocess.Popen(
        [sys.executable, "-ISE", forked_command.__file__, *args],
        env={**os.environ, forked_command.FORKER: str(connection)},
        pass_fds=[connection],
        text=True,
        **options,
    )


class Forked:
    """A process that calls `main` ("module:function"), with nothing on stdin. It is used like a `Popen`.

    `prepare` is called before, if it is given.
    """

    def __init__(
        self,
        main: str,
        args: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdout: int = subprocess.DEVNULL,
        stderr: int,
        prepare: str = "",
    ) -> None:
        self.args = [main, *args]
        self.returncode: int | None = None
        self._ended = threading.Event()
        request = {"main": main, "args": args, "cwd": str(cwd), "env": dict(env), "prepare": prepare}
        with _lock, open(os.devnull, "r+b") as null:  # noqa: PTH123  nothing but a descriptor
            outputs = [null.fileno() if one == subprocess.DEVNULL else one for one in (stdout, stderr)]
            self._reports = forked_command.ask(forker(), request, (null.fileno(), *outputs))
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
def forker() -> socket.socket:
    """The connection to the process that is forked, which ends with it."""
    ours, theirs = socket.socketpair()
    atexit.register(ours.close)
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
    for name in _IMPORTED:
        importlib.import_module(name)
    _warm_up()
    # What is imported is no garbage. Without this each fork looks through all of it as it ends, and has a copy made of
    # every page: two thirds of what an end costs.
    gc.collect()
    gc.freeze()
    with _Ends() as ends, selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        selector.register(ends, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if ends in ready:
                ends.report()
            if connection not in ready:
                continue
            head, descriptors, _, _ = socket.recv_fds(connection, 1, 5)
            if not head:
                return
            asked, reports, *standard = descriptors
            with os.fdopen(asked, "rb") as asking:
                request = json.load(asking)
            if (pid := os.fork()) == 0:
                os.close(reports)
                break
            for descriptor in standard:
                os.close(descriptor)
            ends.expect(pid, reports)
    connection.close()
    _run(request, standard)


class _Ends:
    """Tells of each fork its id, and how it ends. Left in a fork, it has none."""

    def __init__(self) -> None:
        self._reports: dict[int, int] = {}
        self._reading, self._writing = os.pipe()
        for descriptor in (self._reading, self._writing):
            os.set_blocking(descriptor, False)

    def __enter__(self) -> _Ends:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in (self._reading, self._writing, *self._reports.values()):
            os.close(descriptor)

    def fileno(self) -> int:
        """Can be read from once a process has ended."""
        return self._reading

    def expect(self, pid: int, reports: int) -> None:
        os.write(reports, b"%d\n" % pid)
        self._reports[pid] = reports

    def report(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._reading, 1 << 16)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                reports = self._reports.pop(pid)
                os.write(reports, b"%d\n" % os.waitstatus_to_exitcode(status))
                os.close(reports)


def _warm_up() -> None:
    """Have what every fork would find out for itself: which packages add kinds of providers, and what settings are."""
    from postwire.config.schema import load
    from postwire.providers.builtin import KINDS

    load(path=None, environ={}, kinds=KINDS, cwd=Path(__file__).parent)


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
    sys.modules["__main__"].__package__ = None  # a script, for whoever looks how it was started
    if prepare := request.get("prepare"):
        _named(prepare)()
    main = _named(request["main"])
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        _end(end.code or 0)
    _end(0)


def _named(function: str) -> Callable[[], object]:
    module, _, name = function.partition(":")
    found: Callable[[], object] = getattr(importlib.import_module(module), name)
    return found


def _end(code: int) -> None:
    """What an interpreter does as it ends, up to where it takes itself apart."""
    threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing does
    atexit._run_exitfuncs()
    gc.collect()  # what is garbage tells so
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
