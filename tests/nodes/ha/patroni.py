"""A PostgreSQL of three members that fails over by itself: Patroni with etcd, with proxies on all ways between them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tests.interop.daemons import free_port
from tests.nodes.ha.packages import Programs

MEMBERS: Final = (1, 2, 3)
PATIENCE: Final = 120.0
"""Seconds that a failover may take, with what comes after it."""

LEADING: Final = ("master", "primary", "leader")
SYNCHRONOUS: Final = "sync_standby"

_CONFIG: Final = """
scope: postwire
name: pg{member}
restapi: {{listen: '127.0.0.1:{rest}', connect_address: '127.0.0.1:{rest}'}}
etcd3: {{hosts: ['127.0.0.1:{etcd}'], use_proxies: true}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 3
    retry_timeout: 5
    synchronous_mode: true
    synchronous_mode_strict: true
    master_start_timeout: 0
    primary_start_timeout: 0
    postgresql: {{use_pg_rewind: true, parameters: {{max_connections: 200, jit: 'off'}}}}
  initdb: [{{encoding: UTF8}}, {{locale: C}}, data-checksums]
postgresql:
  listen: '127.0.0.1:{port}'
  connect_address: '127.0.0.1:{replication}'
  data_dir: '{folder}/pg{member}'
  bin_dir: '{programs}'
  pgpass: '{folder}/pgpass{member}'
  parameters: {{unix_socket_directories: '', shared_buffers: '32MB'}}
  authentication:
    superuser: {{username: postgres}}
    replication: {{username: postgres}}
    rewind: {{username: postgres}}
  pg_hba: [host all all 127.0.0.1/32 trust, host replication all 127.0.0.1/32 trust]
"""


class Proxies:
    """Toxiproxy, by its API. A way is cut by having what comes along it lost; whoever calls waits for ever."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self._port = free_port()
        command = (programs.toxiproxy, "-host", "127.0.0.1", "-port", str(self._port))
        with (folder / "toxiproxy.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={})
        until(self._answers)

    def _answers(self) -> bool:
        with suppress(OSError):
            self._call("GET", "/version")
            return True
        return False

    def add(self, name: str, upstream: int) -> int:
        """A way to a port; returns the port at which it begins."""
        port = free_port()
        self._call(
            "POST", "/proxies", name=name, listen=f"127.0.0.1:{port}", upstream=f"127.0.0.1:{upstream}", enabled=True
        )
        return port

    def cut(self, name: str, *directions: str) -> None:
        """Lose what comes along a way: `upstream`, `downstream`, or both."""
        for direction in directions:
            self._call(
                "POST",
                f"/proxies/{name}/toxics",
                name=f"cut-{direction}",
                type="timeout",
                stream=direction,
                attributes={"timeout": 0},
            )

    def mend(self, name: str) -> None:
        """Lose nothing any more. What was lost is not brought later: the connections end."""
        for toxic in self._call("GET", f"/proxies/{name}/toxics"):
            self._call("DELETE", f"/proxies/{name}/toxics/{toxic['name']}")

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _call(self, method: str, path: str, **body: Any) -> Any:
        data = json.dumps(body).encode() if body else None
        asked = Request(f"http://127.0.0.1:{self._port}{path}", data=data, method=method)
        with urlopen(asked, timeout=5) as response:
            answer = response.read()
        return json.loads(answer) if answer.startswith((b"[", b"{")) else answer


class Patroni:
    """Three members, of which one leads. `ways_of` are the names of the proxies that lead to a member."""

    def __init__(self, programs: Programs) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postwire-ha-"))
        self.folder.chmod(0o755)
        self._programs = programs
        if programs.owner:
            os.chown(self.folder, programs.owner["user"], programs.owner["group"])
        self.proxies = Proxies(programs, self.folder)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = {member: free_port() for member in MEMBERS}
        self._rest = {member: free_port() for member in MEMBERS}
        client, peer = free_port(), free_port()
        self._start(
            "etcd",
            str(programs.etcd),
            *("--data-dir", str(self.folder / "etcd"), "--log-level", "error"),
            *("--listen-client-urls", f"http://127.0.0.1:{client}"),
            *("--advertise-client-urls", f"http://127.0.0.1:{client}"),
            *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
            *("--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"),
            *("--initial-cluster", f"default=http://127.0.0.1:{peer}"),
        )
        for member in MEMBERS:
            config = _CONFIG.format(
                member=member,
                rest=self._rest[member],
                etcd=self.proxies.add(f"etcd-{member}", client),
                port=self._ports[member],
                replication=self.proxies.add(f"replication-{member}", self._ports[member]),
                folder=self.folder,
                programs=programs.postgres,
            )
            (self.folder / f"{member}.yml").write_text(config)

    def start(self) -> None:
        """Start all members, and return once they are in step."""
        for member in MEMBERS:
            self.start_member(member)
        self.healthy()

    def start_member(self, member: int) -> None:
        """Start one."""
        self._start(f"patroni-{member}", *self._programs.patroni, f"{self.folder}/{member}.yml")

    def _start(self, name: str, *command: str) -> None:
        environment = {**self._programs.environment, "HOME": str(self.folder)}
        if killed := self._processes.get(name):
            killed.wait()
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._programs.owner,
            )

    def url(self, database: str = "postgres") -> str:
        """Where a database is, past all proxies."""
        return self._url(self._ports.values(), database)

    def way_of(self, node: str, database: str) -> str:
        """Where a database is for a node, whose ways are its own: `NODE-1` to the first member, and so on."""
        return self._url([self.proxies.add(f"{node}-{member}", port) for member, port in self._ports.items()], database)

    @staticmethod
    def _url(ports: Sequence[int] | Any, database: str) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        return f"postgresql://postgres@{hosts}/{database}?target_session_attrs=read-write"

    def roles(self) -> dict[int, str]:
        """What each member that answers says that it is."""
        return {member: role for member in MEMBERS if (role := self._get(member, "/patroni").get("role"))}

    def leader(self) -> int | None:
        """The member that leads, as it says itself."""
        return next((member for member, role in self.roles().items() if role in LEADING), None)

    def standby(self) -> int:
        """The member without which nothing is committed."""
        (found,) = (one["name"] for one in self._members() if one["role"] == SYNCHRONOUS)
        return int(found.removeprefix("pg"))

    def _members(self) -> list[dict[str, Any]]:
        leader = self.leader()
        return list(self._get(leader, "/cluster").get("members", [])) if leader else []

    def _get(self, member: int, path: str, body: Any = None) -> dict[str, Any]:
        data = json.dumps(body).encode() if body else None
        try:
            with urlopen(Request(f"http://127.0.0.1:{self._rest[member]}{path}", data=data), timeout=10) as response:
                answer = response.read()
        except HTTPError as error:
            answer = error.read()
        except (URLError, OSError):
            return {}
        return json.loads(answer) if answer.startswith(b"{") else {}

    def is_healthy(self) -> bool:
        """Whether all members are in step, and one of them is waited for."""
        members = self._members()
        running = [one for one in members if one.get("state") in ("running", "streaming")]
        return len(running) == len(MEMBERS) and any(one["role"] == SYNCHRONOUS for one in members)

    def healthy(self) -> None:
        """Return once it is."""
        until(self.is_healthy)

    def pids(self, member: int, *, server_only: bool = False) -> list[int]:
        """All processes of a member, or its server's first one."""
        pids = [] if server_only else [self._processes[f"patroni-{member}"].pid]
        with suppress(OSError, ValueError):
            server = int((self.folder / f"pg{member}" / "postmaster.pid").read_text().split()[0])
            pids += [server] if server_only else [server, *_children(server)]
        return pids

    def signal(self, pids: Sequence[int], number: signal.Signals) -> None:
        """Send all of them a signal."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        for process in self._processes.values():
            process.poll()

    def switch_over(self) -> None:
        """Have the leader hand over, as an operator would."""
        leader = self.leader()
        assert leader
        self._get(leader, "/switchover", {"leader": f"pg{leader}", "candidate": f"pg{self.standby()}"})

    def log(self, member: int) -> str:
        """What the member has written."""
        return (self.folder / f"patroni-{member}.log").read_text(errors="replace")

    def stop(self) -> None:
        """End everything, and remove what it has written."""
        for member in MEMBERS:
            if f"patroni-{member}" in self._processes:
                self.signal(self.pids(member), signal.SIGKILL)
        for process in self._processes.values():
            process.kill()
            process.wait()
        self.proxies.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _children(parent: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(stat.parent.name)


def until(question: Any, patience: float = PATIENCE) -> None:
    """Ask until the answer is true: of processes that tell nobody."""
    end = time.monotonic() + patience
    while not question():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.1)
