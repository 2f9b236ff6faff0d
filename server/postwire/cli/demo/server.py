"""A server in a process of its own, for as long as a demo runs. Whatever happens, it does not outlive the demo."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, Final, Self

BOOT_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 20.0
"""Seconds: longer than the server's own grace."""

_KEPT_LINES: Final = 20
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


Event = Mapping[str, Any]
"""A line of the server's log."""


class ServerFailed(Exception):
    """The server did not start, or did not stop as it should. One line."""


class Server:
    """`postwire serve`, or any command that logs as it does: JSON lines on stderr.

    `on_event` gets every line, on another thread.
    """

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self._on_event = on_event
        self._process = subprocess.Popen(
            command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self._address: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # To the end, or lines would be dropped once the pipe is full.
        self._reader = threading.Thread(target=self._read, args=(self._process.stderr,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def wait_until_serving(self) -> str:
        """The address at which it serves.

        Raises:
            ServerFailed: it ended instead (its own last line is shown), or took too long.
        """
        try:
            address = self._address.get(timeout=BOOT_TIMEOUT)
        except queue.Empty:
            raise ServerFailed(f"the server did not start within {BOOT_TIMEOUT:g}s") from None
        if address is None:
            code = self._process.wait()
            said = self._said[-1].removeprefix("postwire: ") if self._said else "it said nothing"
            raise ServerFailed(f"the server ended with exit code {code}: {said}")
        return address

    def stop(self) -> None:
        """Ask it to stop, by SIGTERM, and wait until it has.

        Raises:
            ServerFailed: it did not, or its exit code is not 0.
        """
        self._process.terminate()
        try:
            code = self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise ServerFailed(f"the server did not stop within {STOP_TIMEOUT:g}s") from None
        if code:
            raise ServerFailed(f"the server stopped with exit code {code}")

    def kill(self) -> None:
        """End it at once. Harmless where it has ended."""
        self._process.kill()

    def close(self) -> None:
        """See that it is gone, whatever state it is in."""
        try:
            if self._process.poll() is None:
                self.stop()
        except ServerFailed:
            pass  # a caller that closes without stopping has a better error to report
        finally:
            self.kill()
            self._process.wait()
            self._reader.join()

    def _read(self, stderr: IO[bytes]) -> None:
        with stderr:
            for raw in stderr:
                line = raw.decode(errors="replace").strip()
                if line:
                    self._said.append(line)
                if event := _event(line):
                    if event.get("event") == "serving":
                        self._address.put(str(event.get("listen")))
                    self._on_event(event)
        self._address.put(None)


class Interrupts:
    """Turns SIGINT, SIGTERM and SIGHUP into an exception when `raising`, and else into a call of `otherwise`.

    Only the first one raises: those that follow cannot cut short the cleaning up that it began. A signal that came in
    between and has not raised yet does so at the end.
    """

    def __init__(self) -> None:
        self.otherwise: Callable[[], None] = lambda: None
        self._raising = False
        self._held: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may set handlers, or gets signals
            for number in _SIGNALS:
                if (before := signal.getsignal(number)) is not signal.SIG_IGN:  # under nohup it stays ignored
                    self._before[number] = before
                    signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if error is None and self._held is not None:
            raise _interruption(self._held)

    def let_raise(self) -> None:
        """From now on, raise. At once, if a signal has come already."""
        self._raising = True
        if self._held is not None:
            self._handle(self._held, None)

    def hold(self) -> None:
        """From now on, do not raise."""
        self._raising = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._raising:
            self._raising, self._held = False, None
            raise _interruption(number)
        self._held = number
        self.otherwise()


@contextmanager
def serving(
    config: str, on_event: Callable[[Event], None] = lambda event: None, *, has_store: bool = False
) -> Iterator[Server]:
    """A server with this configuration and, unless it `has_store`, a store of its own; both gone afterwards: see
    `running`."""
    with tempfile.TemporaryDirectory(prefix="postwire-demo-") as folder:
        file = Path(folder) / "demo.toml"
        file.write_text(config, encoding="utf-8")
        command = [sys.executable, "-m", "postwire", "serve", "--config", str(file)]
        with running(command, environ(None if has_store else Path(folder) / "demo.db"), on_event) as server:
            yield server


def environ(store: Path | None) -> Mapping[str, str]:
    """This process's environment, without settings for servers, which would win over the demo's; with this store."""
    kept = {name: value for name, value in os.environ.items() if not re.match("POSTWIRE_[A-Z0-9_]+__", name)}
    return {**kept, "POSTWIRE_STORE__PATH": str(store)} if store else kept


@contextmanager
def running(
    command: Sequence[str], environ: Mapping[str, str], on_event: Callable[[Event], None] = lambda event: None
) -> Iterator[Server]:
    """A server. On the way out, by whatever way, it is stopped; a second interrupt kills it."""
    with Interrupts() as interrupts:
        server = Server(command, environ, on_event)
        interrupts.otherwise = server.kill
        try:
            try:
                interrupts.let_raise()
                yield server
            finally:
                interrupts.hold()
        finally:
            server.close()


def _interruption(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


def _event(line: str) -> Event | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None
