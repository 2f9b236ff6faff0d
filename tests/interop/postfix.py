"""Postfix itself, with a configuration and a queue of its own: what it delivers lies in a folder for each mailbox.

Where it is not installed, the package of the system is unpacked beside the other programs that these tests use, and
nothing of the machine is changed. It has to be started by root.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.e2e.server import eventually
from tests.interop.daemons import Daemon, free_port

OWNER, DELIVERS, GROUP = "daemon", "nobody", "mail"
"""Accounts that every system has: of the queue, of the mailboxes, and of those who may hand in emails here."""

DOMAIN: Final = "example.com"
"""Whose mailboxes it has. It relays to nobody else."""

MAX_SIZE: Final = 10_240_000
"""Bytes of an email that it takes."""

_PRIVATE: Final = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"),
    *("private", "saved", "trace"),
)

_MAIN: Final = """
compatibility_level = 3.6
config_directory = {conf}
queue_directory = {queue}
data_directory = {data}
command_directory = {commands}
daemon_directory = {daemons}
shlib_directory = {libraries}
import_environment = MAIL_CONFIG LD_LIBRARY_PATH
mail_owner = {owner}
setgid_group = {group}
default_privs = {delivers}
maillog_file = {log}
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.net
mydestination =
mynetworks =
alias_maps =
alias_database =
local_recipient_maps =
message_size_limit = {max_size}
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {mail}
virtual_mailbox_maps = texthash:{conf}/mailboxes
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = {certificate}
smtpd_tls_received_header = yes
smtpd_recipient_restrictions =
    reject_unauth_destination, reject_unlisted_recipient, check_policy_service inet:127.0.0.1:{policy}
"""

_MASTER: Final = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class Installation:
    """Where its programs are."""

    commands: str
    daemons: str
    libraries: str


def missing() -> str:
    """What this machine lacks for it; nothing if it can be run."""
    if os.geteuid():
        return "no root, as whom Postfix is started"
    if not _postconf() and not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return "no postfix"
    return ""


def install(folder: Path) -> Installation:
    """Find it, or unpack the system's package into a folder. Asked again, that is there already."""
    if postconf := _postconf():
        names = ("command_directory", "daemon_directory", "shlib_directory")
        values = subprocess.run((postconf, "-dh", *names), capture_output=True, text=True, check=True).stdout
        return Installation(*values.splitlines())
    root = folder / "root"
    found = Installation(*(str(root / path) for path in ("usr/sbin", "usr/lib/postfix/sbin", "usr/lib/postfix")))
    if not Path(found.daemons, "master").exists():
        folder.mkdir(parents=True, exist_ok=True)
        download = ("apt-get", "download", "postfix")
        if subprocess.run(download, cwd=folder, capture_output=True).returncode:
            _run("apt-get", "update", folder=folder)  # it knew of no packages yet
            _run(*download, folder=folder)
        (package,) = folder.glob("postfix_*.deb")
        _run("dpkg-deb", "--extract", package, root, folder=folder)
    return found


def _postconf() -> str | None:
    return shutil.which("postconf", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")


def _run(*command: str | Path, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Postfix:
    """Has a mailbox for each of the addresses `mailboxes`. Its certificate, with the key, is in the file `certificate`.

    Whoever is in `greylisted` is put off, until they are taken out. Entered, it runs; it can be left and entered again.
    """

    def __init__(self, installed: Installation, folder: Path, certificate: Path, mailboxes: Sequence[str]) -> None:
        self.port = free_port()
        self.greylisted: set[str] = set()
        self._installed = installed
        self._mailboxes = {address: f"{number}/" for number, address in enumerate(mailboxes)}
        self._certificate = certificate
        self._folder = folder
        self._mail = folder / "mail"

    def __enter__(self) -> Self:
        self._running = self._run()
        self._running.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.__exit__(None, None, None)

    def restart(self) -> None:
        """End it, with all connections, and start it again at the same port."""
        self.__exit__()
        self.__enter__()

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self._folder / "log").read_text(encoding="utf-8")

    def delivered(self, address: str) -> list[bytes]:
        """The emails in a mailbox, as they would be on the way: with CRLF."""
        return [one.read_bytes().replace(b"\n", b"\r\n") for one in self._files(address)]

    def until_delivered(self, *addresses: str) -> list[bytes]:
        """The one email that each of the mailboxes has, once it is there."""
        eventually(lambda: all(self._files(one) for one in addresses))
        self.until_idle()
        found = [self.delivered(one) for one in addresses]
        assert [len(one) for one in found] == [1] * len(addresses)
        return [one for (one,) in found]

    def until_idle(self) -> None:
        """Wait until nothing is on its way to a mailbox any more."""
        queues = [self._folder / "queue" / name for name in ("incoming", "active", "deferred", "maildrop")]
        eventually(lambda: not any(one.is_file() for queue in queues for one in queue.rglob("*")))

    def _files(self, address: str) -> list[Path]:
        return sorted((self._mail / self._mailboxes[address] / "new").glob("*"))

    @contextmanager
    def _run(self) -> Iterator[None]:
        with _Greylist(self.greylisted) as policy:
            if not (self._folder / "queue").exists():
                self._make_folders()
            self._configure(policy.port)
            installed = self._installed
            environment = {
                "PATH": "/usr/bin:/bin",
                "MAIL_CONFIG": str(self._folder / "conf"),
                "LD_LIBRARY_PATH": installed.libraries,
            }
            command = (Path(installed.daemons, "master"), "-d", "-c", self._folder / "conf")
            with Daemon(command, log=self._folder / "master.log", environment=environment, ports=[self.port]):
                yield

    def _make_folders(self) -> None:
        owner, delivers, group = pwd.getpwnam(OWNER), pwd.getpwnam(DELIVERS), grp.getgrnam(GROUP)
        queue = self._folder / "queue"
        for path in (self._folder / "conf", queue, queue / "pid"):
            path.mkdir()
        for path in (self._folder / "data", *(queue / name for name in _PRIVATE)):
            path.mkdir(0o700)
            os.chown(path, owner.pw_uid, owner.pw_gid)
        for path, mode in ((queue / "maildrop", 0o730), (queue / "public", 0o710)):
            path.mkdir()
            path.chmod(mode)
            os.chown(path, owner.pw_uid, group.gr_gid)
        self._mail.mkdir(0o700)
        os.chown(self._mail, delivers.pw_uid, delivers.pw_gid)

    def _configure(self, policy: int) -> None:
        conf, delivers = self._folder / "conf", pwd.getpwnam(DELIVERS)
        main = _MAIN.format(
            conf=conf,
            queue=self._folder / "queue",
            data=self._folder / "data",
            folder=self._folder,
            log=self._folder / "log",
            mail=self._mail,
            commands=self._installed.commands,
            daemons=self._installed.daemons,
            libraries=self._installed.libraries,
            owner=OWNER,
            group=GROUP,
            delivers=DELIVERS,
            uid=delivers.pw_uid,
            gid=delivers.pw_gid,
            domain=DOMAIN,
            max_size=MAX_SIZE,
            certificate=self._certificate,
            policy=policy,
        )
        (conf / "main.cf").write_text(main, encoding="utf-8")
        (conf / "master.cf").write_text(_MASTER.format(port=self.port), encoding="utf-8")
        lines = (f"{address} {folder}\n" for address, folder in self._mailboxes.items())
        (conf / "mailboxes").write_text("".join(lines), encoding="utf-8")


@contextmanager
def folder_of_its_own() -> Iterator[Path]:
    """A folder that all of its accounts can get to; that of a test is its user's alone."""
    with tempfile.TemporaryDirectory(prefix="postwire-postfix-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


class _Greylist(socketserver.ThreadingTCPServer):
    """What Postfix asks about each recipient, by its protocol for policies (SMTPD_POLICY_README)."""

    daemon_threads = True

    def __init__(self, greylisted: set[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Policy)
        self.greylisted = greylisted
        self.port = self.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Policy(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Greylist)
        asked: dict[str, str] = {}
        for line in self.rfile:
            if line.strip():
                name, _, value = line.decode().rstrip("\n").partition("=")
                asked[name] = value
                continue
            recipient = asked.get("recipient", "")
            put_off = recipient in self.server.greylisted
            action = f"450 4.7.1 <{recipient}> is greylisted" if put_off else "DUNNO"
            self.wfile.write(f"action={action}\n\n".encode())
            asked.clear()
