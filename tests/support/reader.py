"""Somebody who follows a page of the docs: runs what it shows, and compares what it prints with what the page says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from tests.e2e.server import eventually
from tests.support import forked_command, forking
from tests.support.docs import Step, pattern, steps
from tests.support.forked_command import FORKER
from tests.support.waiting import PATIENCE

ROOT: Final = Path(__file__).parents[2]
GRPC: Final = "127.0.0.1:50051"
METRICS: Final = "127.0.0.1:9464"
HTTP: Final = "127.0.0.1:8080"
"""Where pages say that a server listens. Here it has free ports, and what a page says is replaced by these."""

LOG: Final = "postwire.log"
"""Where they have a server write its log."""


def checkout(folder: Path, *, is_forked: bool = True) -> Path:
    """Make a folder look like the root of a checkout in which everything is set up.

    `is_forked`: `postwire` is forked, as servers under test are, and not an interpreter that imports it.
    """
    (folder / "examples").symlink_to(ROOT / "examples", target_is_directory=True)
    venv, real = folder / ".venv", Path(sys.prefix)
    if not is_forked:
        venv.symlink_to(real, target_is_directory=True)
        return folder
    (venv / "bin").mkdir(parents=True)
    for file in (*real.iterdir(), *(real / "bin").iterdir()):
        if file not in (real / "bin", real / "bin/postwire"):
            (venv / file.relative_to(real)).symlink_to(file)
    command = venv / "bin/postwire"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -ISE "{forked_command.__file__}" "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return folder


class Reader:
    """Works in `folder`, with one server at a time, or with nodes beside it.

    `variables` are in the environment of all that is run. `patience`: the seconds that one command may take.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None, *, patience: float = 60.0) -> None:
        self.folder = folder
        self.addresses = {GRPC: "", METRICS: ""}
        self._patience = patience
        self._variables = dict(variables or {})
        self._servers: list[tuple[subprocess.Popen[bytes], Path]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def follow(self, page: Path, leave_out: Callable[[Step], bool] = lambda _: False) -> Iterator[tuple[Step, str]]:
        """Do what a page shows, step by step; gives each with what it printed, once that is as shown.

        What needs a server with TLS is left out.
        """
        for step in steps(page):
            if step.kind == "tls" or leave_out(step):
                continue
            if LOG in step.text and step.kind == "command" and step.shown:
                self._await_log(step)
            printed = self.run(step)
            if step.shown:
                assert pattern(step.shown).fullmatch(printed), f"line {step.line}: {step.text}\n{printed}"
            yield step, printed

    def _await_log(self, step: Step) -> None:
        """Wait until a log shows what a step looks for: a server writes its lines a moment after it has answered."""
        with suppress(AssertionError):  # whoever runs the step then says what is missing
            eventually(lambda: pattern(step.shown).fullmatch(self.attempt(step).stdout), self._patience)

    def run(self, step: Step) -> str:
        """Do what a step shows; returns what it printed."""
        if step.kind == "server":
            self.stop()
            self.start(step.text)
            return ""
        if step.kind == "node":
            self.start_beside(step.text)
            return ""
        done = self.attempt(step)
        assert done.returncode == 0, f"line {step.line}: {step.text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def attempt(self, step: Step) -> subprocess.CompletedProcess[str]:
        """Run a command or a program, whatever comes of it."""
        text = step.text
        for shown, real in self.addresses.items():
            text = text.replace(shown, real)
        command = [sys.executable, "-W", "error", "-c", text] if step.kind == "python" else ["bash", "-ec", text]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            pass_fds=[forking.forker().fileno()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self._patience,
            check=False,
        )

    def start(self, command: str) -> None:
        """Start a server the way the page does, and learn where it listens."""
        serving = self.start_beside(command)
        self.addresses = {GRPC: serving["listen"], METRICS: serving["metrics_listen"]}
        if "http_listen" in serving:
            self.addresses[HTTP] = serving["http_listen"]

    def start_beside(self, command: str) -> Mapping[str, str]:
        """Start a server beside those that run; returns what its log says of where it listens."""
        path = self.folder / f"postwire{len(self._servers) or ''}.log"
        with path.open("wb") as log:
            server = subprocess.Popen(
                ["bash", "-c", command.replace(HTTP, "127.0.0.1:0")],
                cwd=self.folder,
                env=self.environment(),
                pass_fds=[forking.forker().fileno()],
                stderr=log,
                start_new_session=True,
            )
        self._servers.append((server, path))
        serving: dict[str, str] = {}

        def is_serving() -> bool:
            assert server.poll() is None, path.read_text()
            for line in path.read_text().splitlines():
                if '"event":"serving"' in line:
                    serving.update(json.loads(line))
            return bool(serving)

        eventually(is_serving)
        return serving

    def stop(self) -> None:
        """Stop the servers, as Ctrl-C would, the last one first."""
        while self._servers:
            server, log = self._servers.pop()
            os.killpg(server.pid, signal.SIGINT)
            code = server.wait(PATIENCE)
            assert code == 0, f"the server ended with exit code {code}:\n{log.read_text()}"

    def environment(self) -> dict[str, str]:
        """What is run, it is run with: free ports for servers, and for clients the address of the one that runs."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("POSTWIRE_", "OTEL_"))}
        return {
            **kept,
            "POSTWIRE_SERVER__LISTEN": "127.0.0.1:0",
            "POSTWIRE_TELEMETRY__METRICS_LISTEN": "127.0.0.1:0",
            "POSTWIRE_TARGET": self.addresses[GRPC],
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1000",
            FORKER: str(forking.forker().fileno()),
            **self._variables,
        }
