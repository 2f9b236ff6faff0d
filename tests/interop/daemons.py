"""Servers of others, as processes: started with their log in a file, and ended whatever has happened."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from tests.e2e.server import eventually
from tests.support.waiting import PATIENCE

_PORTS: Final = range(10_000, 30_000)
"""Below those that systems give to clients, so that nobody gets one by chance between the look and the use."""


def free_port() -> int:
    """A port of loopback where nobody listens, for a program that cannot be told to choose one and say which."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Daemon:
    """A program that listens on `ports` of loopback, while it is entered. It may be entered again."""

    def __init__(
        self, command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str], ports: Sequence[int]
    ) -> None:
        self.log = log
        self._command = command
        self._environment = environment
        self._ports = ports
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.log.parent,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            eventually(lambda: all(map(self._answers, self._ports)))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # itself and whatever it has started
            self._process.wait()
            self._process = None

    def _answers(self, port: int) -> bool:
        assert self._process
        assert self._process.poll() is None, self.log.read_text(encoding="utf-8")
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        except ConnectionRefusedError:
            return False
        return True
