"""A real server process, and generated stubs to call it over a real socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import apsw
import grpc
from grpc_health.v1 import health_pb2_grpc
from tests.support.forking import Forked
from tests.support.waiting import PATIENCE

from postwire.v1 import (
    admin_service_pb2_grpc,
    dispatch_service_pb2_grpc,
    inbox_service_pb2_grpc,
    provider_service_pb2_grpc,
    suppression_service_pb2_grpc,
)

COMMAND: Final = (sys.executable, "-m", "postwire", "serve")


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """What a server is started with: free ports, a store in `folder`, and `settings` (`providers__email__seed="7"`).

    With `store__url` the store is there. No attempt and no caller is given up because the machine is slow, unless
    `settings` say so. `OTEL_...` is passed on as it is.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("POSTWIRE_", "OTEL_"))}
    ours = {
        "server__listen": "127.0.0.1:0",
        "store__path": str(folder / "postwire.db"),
        "telemetry__metrics_listen": "",
        "delivery__attempt_timeout": "1h",
        "server__max_wait": "1h",
        **settings,
    }
    if "store__url" in settings:
        del ours["store__path"]
    return inherited | {
        key if key.startswith("OTEL_") else f"POSTWIRE_{key.upper()}": value for key, value in ours.items()
    }


def eventually(question: Callable[[], object], patience: float = PATIENCE) -> None:
    """Ask until the answer is true. Only for what nothing tells of by itself."""
    end = time.monotonic() + patience
    while not question():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.005)


class Server:
    """`postwire serve` in a process of its own, with its store in `folder`. Started by `start`, or as a context."""

    main = "postwire.cli:main"
    """What runs in a fork: see `tests.support.forking`."""

    hurries = True
    """Whether it waits for nobody: see `tests.support.hurried`."""

    credentials: grpc.ChannelCredentials | None = None
    """What it is called with; None: without TLS."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.settings: Mapping[str, str] = settings
        self.store = folder / "postwire.db"
        self.address = ""
        self._process: Forked | None = None
        self._lines: list[str] = []
        self._reported = threading.Condition()
        self._log_is_read = threading.Event()
        self._reader: threading.Thread | None = None
        self._channels: list[grpc.Channel] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, **settings: str) -> None:
        """Start it, with other settings if they are given, and return once it serves."""
        assert self._process is None, "it is running"
        self.settings = {**self.settings, **settings}
        self._lines = []
        self._close_channels()
        env = environment(self.folder, **self.settings)
        reading, writing = os.pipe()
        try:
            self._process = Forked(
                self.main,
                ["serve"],
                cwd=self.folder,
                env=env,
                stderr=writing,
                prepare="tests.support.hurried:hurry" if self.hurries else "",
            )
        finally:
            os.close(writing)
        self.read_log()
        self._reader = threading.Thread(target=self._read, args=(self._process, reading), daemon=True)
        self._reader.start()
        self.address = str(self.wait_for_event("serving")["listen"])
        channel = self.channel()
        self.dispatch = dispatch_service_pb2_grpc.DispatchServiceStub(channel)
        self.providers = provider_service_pb2_grpc.ProviderServiceStub(channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(channel)
        self.inbox = inbox_service_pb2_grpc.InboxServiceStub(channel)
        self.suppressions = suppression_service_pb2_grpc.SuppressionServiceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)  # its types know no methods

    def restart(self, **settings: str) -> None:
        """Stop it in good order, and start it on the same store."""
        assert self.terminate() == 0
        self.start(**settings)

    def leave_log(self) -> None:
        """Read its stderr no further: what it writes fills the pipe."""
        self._log_is_read.clear()

    def read_log(self) -> None:
        """Read its stderr, and what was not read before."""
        self._log_is_read.set()

    def channel(self) -> grpc.Channel:
        """Another channel, with a connection of its own; closed when the server is stopped or started again."""
        options: list[tuple[str, Any]] = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", -1),
        ]
        if self.address.startswith("unix:"):  # whose path is no name that a certificate is for
            options.append(("grpc.ssl_target_name_override", "localhost"))
        if self.credentials is None:
            channel = grpc.insecure_channel(self.address, options=options)
        else:
            channel = grpc.secure_channel(self.address, self.credentials, options=options)
        self._channels.append(channel)
        return channel

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, and go on."""
        assert self._process
        self._process.send_signal(number)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it do nothing meanwhile."""
        self.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send_signal(signal.SIGCONT)

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for its end; returns the exit code. The log is complete.

        Channels stay open until the next start or `stop`, so that calls end the way the server has ended them.
        """
        assert self._process
        assert self._reader
        code = self._process.wait(patience)
        self.read_log()
        self._reader.join(PATIENCE)
        self._process = None
        return code

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and wait for that; returns the exit code."""
        self.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """End it the way a power cut or the kernel would: it learns nothing of it."""
        self.send_signal(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def stop(self) -> None:
        """For the end of a test: whatever state it is in, afterwards it is gone. It has to go in good order."""
        self._close_channels()
        if self._process is None:
            return
        early = self._process.poll()
        self._process.terminate()
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        assert early is None, f"it ended by itself, with {early}: {self.log_text()}"
        assert code == 0, f"it ended with {code}: {self.log_text()}"

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """What it has logged since it was started last, all of it or one event."""
        with self._reported:
            lines = [json.loads(line) for line in self._lines]
        return [line for line in lines if event in (None, line["event"])]

    def log_text(self) -> str:
        """Everything on its stderr, as it is."""
        with self._reported:
            return "".join(self._lines)

    def wait_for_event(self, event: str) -> dict[str, Any]:
        """Return the first log line of an event, once there is one."""

        def found() -> list[dict[str, Any]]:
            return [line for text in self._lines if text[:1] == "{" and (line := json.loads(text))["event"] == event]

        with self._reported:
            assert self._reported.wait_for(lambda: found() or self._has_ended(), PATIENCE), f"no {event}"
            assert found(), f"it ended without {event}: {''.join(self._lines)}"
            return found()[0]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read the store of a server that was stopped."""
        assert self._process is None, "it is running"
        connection = apsw.Connection(str(self.store), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return list(connection.execute(query))
        finally:
            connection.close()

    def write(self, statement: str) -> None:
        """Change the store of a server that was stopped."""
        assert self._process is None, "it is running"
        connection = apsw.Connection(str(self.store), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.execute(statement)
        finally:
            connection.close()

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _read(self, process: Forked, descriptor: int) -> None:
        with os.fdopen(descriptor, encoding="utf-8") as stderr:
            for line in stderr:
                self._log_is_read.wait()
                with self._reported:
                    self._lines.append(line)
                    self._reported.notify_all()
        process.wait()
        with self._reported:
            self._reported.notify_all()

    def _close_channels(self) -> None:
        for channel in self._channels:
            channel.close()
        self._channels.clear()
