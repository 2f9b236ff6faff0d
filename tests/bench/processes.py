"""The processes of a bench: started, measured, and never left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from tests.bench.jobs import Job, Round, write_job

BOOT_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 15.0
_POLL: Final = 0.005
_CPUCLOCK_SCHED: Final = 2
_KIB: Final = 1024


class BenchError(Exception):
    """The bench cannot be run, or what it measured is not what it claims to measure. One line for people."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server process under measurement. `boot` is how long (s) it took from its start until it served.

    It may work together with `others`, by their process ids, and be called over `http` as well.
    """

    name: str
    pid: int
    address: str
    boot: float = 0.0
    others: Sequence[int] = ()
    http: str = ""

    def cpu(self) -> float:
        """Seconds of CPU that it and the others have used so far, user and system, in all their threads."""
        # What clock_getcpuclockid(3) gives on Linux; in nanoseconds, where /proc/PID/stat counts in hundredths.
        clocks = [(~pid << 3) | _CPUCLOCK_SCHED for pid in (self.pid, *self.others)]
        return sum(map(time.clock_gettime_ns, clocks)) / 1e9

    def rss(self) -> int:
        """Bytes of memory that it has in RAM now."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            key, _, value = line.partition(":")
            if key == "VmRSS":
                return int(value.split()[0]) * _KIB
        raise BenchError(f"{self.name} has ended")


@contextmanager
def echo_server(log: Path) -> Iterator[Server]:
    """The yardstick; see `tests.bench.echo`."""
    with log.open("wb") as stderr, python_process("tests.bench.echo", stdout=subprocess.PIPE, stderr=stderr) as process:
        assert process.stdout
        address = process.stdout.readline().decode().strip()
        if not address:
            raise BenchError(f"the echo server did not start: {last_line(log)}")
        yield Server("echo", process.pid, address)


@contextmanager
def postwire_server(
    name: str,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    *,
    config: str | None = None,
    ends_with: int = 0,
) -> Iterator[Server]:
    """The service as users run it, with its defaults: a store on disk, two mocks. Its log goes to a file.

    The one difference: there are no metrics to be fetched, unless `environ` says where. `config` is TOML. It is to
    end with the exit code `ends_with`, or below 0 by that signal.
    """
    log = folder / f"{name}.log"
    environ = {
        "POSTWIRE_SERVER__LISTEN": "127.0.0.1:0",
        "POSTWIRE_TELEMETRY__METRICS_LISTEN": "",
        **(environ or {}),
    }
    if "POSTWIRE_STORE__URL" not in environ:
        environ["POSTWIRE_STORE__PATH"] = str(store_of(name, folder))
    arguments = ["serve"]
    if config is not None:
        file = folder / f"{name}.toml"
        file.write_text(config, encoding="utf-8")
        arguments += ["--config", str(file)]
    started = time.monotonic()
    with (
        log.open("wb") as stderr,
        python_process("postwire", *arguments, stdout=stderr, stderr=stderr, cwd=folder, environ=environ) as process,
    ):
        serving = _serving(process, log)
        booted = time.monotonic() - started
        yield Server(name, process.pid, serving["listen"], booted, http=serving.get("http_listen", ""))
        process.terminate()
        if (code := process.wait(STOP_TIMEOUT)) != ends_with:
            raise BenchError(f"the service ended with exit code {code}: {last_line(log)}")


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
    with (
        log.open("wb") as stderr,
        python_process("tests.bench.collector", stdout=subprocess.PIPE, stderr=stderr) as process,
    ):
        assert process.stdout
        address = process.stdout.readline().decode().strip()
        if not address:
            raise BenchError(f"the collector did not start: {last_line(log)}")
        running = Collector(address)
        yield running
        process.terminate()
        running.spans = int(process.stdout.readline() or -1)


@contextmanager
def counterpart(log: Path) -> Iterator[tuple[int, int, int]]:
    """See `tests.bench.counterpart`: the ports of HTTP, SMTP and SMPP."""
    with (
        log.open("wb") as stderr,
        python_process("tests.bench.counterpart", stdout=subprocess.PIPE, stderr=stderr) as process,
    ):
        assert process.stdout
        ports = process.stdout.readline().split()
        if len(ports) != 3:
            raise BenchError(f"the counterpart did not start: {last_line(log)}")
        yield int(ports[0]), int(ports[1]), int(ports[2])


class LoadGenerator:
    """See `tests.bench.load`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def run(self, job: Job) -> Round:
        """Do a job."""
        self.begin(job)
        return self.end()

    def begin(self, job: Job) -> None:
        """Set about a job, whose end is not waited for."""
        assert self._process.stdin
        self._process.stdin.write(write_job(job))
        self._process.stdin.flush()

    def end(self) -> Round:
        """Wait for the job under way."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("the load generator ended")
        return Round(**json.loads(line))


@contextmanager
def load_generator() -> Iterator[LoadGenerator]:
    """A load generator, for as many jobs as there are."""
    with python_process("tests.bench.load", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield LoadGenerator(process)


def python_process(module: str, *arguments: str, **settings: Any) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A module that is run by this interpreter; for the rest see `process_of`."""
    return process_of([sys.executable, "-m", module, *arguments], **settings)


@contextmanager
def process_of(
    command: Sequence[str],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: IO[bytes] | None = None,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended on the way out."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("POSTWIRE_", "OTEL_"))}
    process = subprocess.Popen(
        command,
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


def _serving(process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    """What the service says once it serves."""
    end = time.monotonic() + BOOT_TIMEOUT
    while time.monotonic() < end and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            if '"event":"serving"' in line:
                found: dict[str, Any] = json.loads(line)
                return found
        time.sleep(_POLL)
    raise BenchError(f"the service did not start: {last_line(log)}")


def last_line(log: Path) -> str:
    """What a process said last."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"
