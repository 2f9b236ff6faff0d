"""Kannel itself, a gateway that sends SMS by HTTP: its two daemons, and a simulated SMS centre behind them.

Where it is not installed, the package of the system and those that it needs are unpacked beside the other programs that
these tests use, and nothing of the machine is changed.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from tests.interop.daemons import Daemon, free_port

USER, PASSWORD = "us", "pa55w0rd"

_PACKAGES: Final = ("kannel", "libct4", "libhiredis0.14", "libmariadb3", "libpcre3")

_CONFIG: Final = """
group = core
admin-port = {admin}
admin-password = bar
smsbox-port = {boxes}
box-allow-ip = 127.0.0.1
log-level = 0

group = smsc
smsc = fake
host = 127.0.0.1
port = {centre}
connect-allow-ip = 127.0.0.1

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-interface = 127.0.0.1
sendsms-port = {http}
log-level = 0

group = sendsms-user
username = {user}
password = {password}
max-messages = 5
concatenation = true

group = sms-service
keyword = default
text = "no"
"""


def missing() -> str:
    """What this machine lacks for it; nothing if it can be run."""
    if shutil.which("smsbox", path=_path()) or (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return ""
    return "no kannel"


def install(folder: Path) -> tuple[Path, Path, str]:
    """Find the daemons, or unpack the system's packages into a folder: both, and where their libraries are."""
    if smsbox := shutil.which("smsbox", path=_path()):
        return Path(smsbox), Path(smsbox).with_name("bearerbox"), ""
    root = folder / "root"
    if not (root / "usr/sbin/smsbox").exists():
        folder.mkdir(parents=True, exist_ok=True)
        download = ("apt-get", "download", *_PACKAGES)
        if subprocess.run(download, cwd=folder, capture_output=True).returncode:
            _run("apt-get", "update", folder=folder)  # it knew of no packages yet
            _run(*download, folder=folder)
        for package in sorted(folder.glob("*.deb"), key=lambda one: one.name.startswith("kannel")):
            _run("dpkg-deb", "--extract", package, root, folder=folder)
    libraries = {str(file.parent) for file in root.rglob("*.so*")}
    return root / "usr/sbin/smsbox", root / "usr/sbin/bearerbox", os.pathsep.join(sorted(libraries))


def _path() -> str:
    return f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"


def _run(*command: str | Path, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@dataclass
class Kannel:
    """It runs. `smsbox` is the daemon that speaks HTTP, and may be left and entered again."""

    url: str
    smsbox: Daemon
    _centre: socket.socket
    _held: bytes = field(default=b"", repr=False)

    def delivered(self) -> tuple[str, str, str]:
        """The next message that has come to the SMS centre: from whom, to whom, and what."""
        while b"\n" not in self._held:
            piece = self._centre.recv(4096)
            assert piece, "the SMS centre was left"
            self._held += piece
        line, _, self._held = self._held.partition(b"\n")
        sender, to, kind, text = line.split(b" ", 3)
        if kind == b"ucs-2":
            return sender.decode(), to.decode(), unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-16-be")
        return sender.decode(), to.decode(), text.decode()


@contextmanager
def kannel(tools: Path, folder: Path) -> Iterator[Kannel]:
    """Kannel, with a connection to its SMS centre."""
    smsbox, bearerbox, libraries = install(tools / "kannel")
    ports = {name: free_port() for name in ("admin", "boxes", "centre", "http")}
    (config := folder / "kannel.conf").write_text(
        _CONFIG.format(user=USER, password=PASSWORD, **ports), encoding="utf-8"
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    boxes = (ports["boxes"], ports["centre"], ports["admin"])
    with Daemon((bearerbox, config), log=folder / "bearerbox.log", environment=environment, ports=boxes):
        http = Daemon((smsbox, config), log=folder / "smsbox.log", environment=environment, ports=(ports["http"],))
        with socket.create_connection(("127.0.0.1", ports["centre"]), 30) as centre:
            centre.settimeout(30)
            http.__enter__()
            try:
                yield Kannel(f"http://127.0.0.1:{ports['http']}/cgi-bin/sendsms", http, centre)
            finally:
                http.__exit__()
