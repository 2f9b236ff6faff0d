"""The processes of a bench: started, measured, and never left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

import apsw
from tests.bench.load import Job, Round

BOOT_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 15.0
_POLL: Final = 0.01
_CPUCLOCK_SCHED: Final = 2
_LEFT_BEHIND: Final = {
    "messages": "messages",
    "of them SENT": "messages WHERE state = 'sent'",
    "contents": "contents",
    "attempts": "attempts",
    "of them successes": "attempts WHERE number = 1 AND outcome = 'success'",
}


class BenchError(Exception):
    """The bench cannot be run, or what it measured is not what it claims to measure. One line for people."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server process under measurement."""

    name: str
    pid: int
    address: str

    def cpu(self) -> float:
        """Seconds of CPU that it has used so far, user and system, in all its threads."""
        # What clock_getcpuclockid(3) gives on Linux; in nanoseconds, where /proc/PID/stat counts in hundredths.
        return time.clock_gettime_ns((~self.pid << 3) | _CPUCLOCK_SCHED) / 1e9


@contextmanager
def echo_server(log: Path) -> Iterator[Server]:
    """The yardstick; see `tests.bench.echo`."""
    with log.open("wb") as stderr, _process("tests.bench.echo", stdout=subprocess.PIPE, stderr=stderr) as process:
        assert process.stdout
        address = process.stdout.readline().decode().strip()
        if not address:
            raise BenchError(f"the echo server did not start: {_last_line(log)}")
        yield Server("echo", process.pid, address)


@contextmanager
def postwire_server(name: str, folder: Path, environ: Mapping[str, str]) -> Iterator[Server]:
    """The service as users run it, with its defaults: a store on disk, two mocks. Its log goes to a file."""
    log = folder / f"{name}.log"
    environ = {
        "POSTWIRE_SERVER__LISTEN": "127.0.0.1:0",
        "POSTWIRE_STORE__PATH": str(store_of(name, folder)),
        "POSTWIRE_TELEMETRY__METRICS_LISTEN": "",
        **environ,
    }
    with (
        log.open("wb") as stderr,
        _process("postwire", "serve", stdout=stderr, stderr=stderr, cwd=folder, environ=environ) as process,
    ):
        yield Server(name, process.pid, _serving_address(process, log))
        process.terminate()
        if code := process.wait(STOP_TIMEOUT):
            raise BenchError(f"the service ended with exit code {code}: {_last_line(log)}")


def store_of(name: str, folder: Path) -> Path:
    """The store of the service that was started under that name."""
    return folder / f"{name}.db"


class Collector:
    """See `tests.bench.collector`. `spans` is known once it has been stopped."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.spans = -1


@contextmanager
def collector(log: Path) -> Iterator[Collector]:
    """A place to send spans to."""
    with log.open("wb") as stderr, _process("tests.bench.collector", stdout=subprocess.PIPE, stderr=stderr) as process:
        assert process.stdout
        address = process.stdout.readline().decode().strip()
        if not address:
            raise BenchError(f"the collector did not start: {_last_line(log)}")
        running = Collector(address)
        yield running
        process.terminate()
        running.spans = int(process.stdout.readline() or -1)


class LoadGenerator:
    """See `tests.bench.load`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def run(self, job: Job) -> Round:
        """Do a job."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("the load generator ended")
        return Round(**json.loads(line))


@contextmanager
def load_generator() -> Iterator[LoadGenerator]:
    """A load generator, for as many jobs as there are."""
    with _process("tests.bench.load", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield LoadGenerator(process)


def stored(store: Path) -> dict[str, int]:
    """How many rows a store holds, by what they are: each message that was sent leaves one of each."""
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return {name: _count(connection, source) for name, source in _LEFT_BEHIND.items()}
    finally:
        connection.close()


def _count(connection: apsw.Connection, source: str) -> int:
    ((count,),) = connection.execute(f"SELECT count(*) FROM {source}").fetchall()
    assert isinstance(count, int)
    return count


@contextmanager
def _process(
    module: str,
    *arguments: str,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: IO[bytes] | None = None,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("POSTWIRE_", "OTEL_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env={"GRPC_VERBOSITY": "NONE"} | inherited | dict(environ or {}),  # its core writes to stderr on its own
        start_new_session=True,  # a Ctrl-C is for the bench alone, which then ends this one
    )
    try:
        yield process
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _serving_address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + BOOT_TIMEOUT
    while time.monotonic() < end and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            if '"event":"serving"' in line:
                return str(json.loads(line)["listen"])
        time.sleep(_POLL)
    raise BenchError(f"the service did not start: {_last_line(log)}")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"
