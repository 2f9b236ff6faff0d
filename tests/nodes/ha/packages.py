"""The programs of a cluster that fails over: Debian's, unpacked and not installed, and a proxy built by Go."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.reader import ROOT

FOLDER: Final = ROOT / "build" / "ha"
PYTHON: Final = "/usr/bin/python3"
"""The system's, for which its packages are made."""

_MODULE: Final = Path(__file__).parent / "toxiproxy"
_PACKAGE: Final = "github.com/Shopify/toxiproxy/v2/cmd/server"
_NAMES: Final = (
    "etcd-server",
    "libpq5",
    "patroni",
    "python3-cdiff",
    "python3-click",
    "python3-dateutil",
    "python3-dnspython",
    "python3-etcd",
    "python3-pkg-resources",
    "python3-prettytable",
    "python3-psutil",
    "python3-psycopg2",
    "python3-six",
    "python3-urllib3",
    "python3-wcwidth",
    "python3-yaml",
)
"""What Patroni needs, beside PostgreSQL itself."""


@dataclass(frozen=True)
class Programs:
    """Where they are. `environment` is what they run with, and `owner` (the arguments of `subprocess`) who runs them:
    PostgreSQL refuses root."""

    etcd: Path
    patroni: tuple[str, ...]
    postgres: Path
    toxiproxy: Path
    environment: Mapping[str, str]
    owner: Mapping[str, Any]


def missing() -> str:
    """What this machine lacks for it; nothing if it can be run."""
    lacking = [f"no {name}" for name in ("apt-get", "dpkg-deb", "go", PYTHON) if not shutil.which(name)]
    if os.geteuid() == 0 and not _owner():
        lacking.append("no user who runs PostgreSQL, which refuses root")
    return " and ".join(lacking)


def install() -> Programs:
    """Fetch, unpack and build what is not there yet."""
    root, toxiproxy = FOLDER / "root", FOLDER / "toxiproxy"
    stamp = FOLDER / ".unpacked"
    if not stamp.exists():
        shutil.rmtree(root, ignore_errors=True)
        packages = FOLDER / "packages"
        packages.mkdir(parents=True, exist_ok=True)
        _download(packages)
        for package in sorted(packages.glob("*.deb")):
            _run("dpkg-deb", "--extract", package, root, folder=FOLDER)
        stamp.touch()
    _run("go", "build", "-o", toxiproxy, _PACKAGE, folder=_MODULE)
    readable = _readable(root)
    (postgres,) = sorted(readable.glob("usr/lib/postgresql/*/bin"))
    libraries = sorted({str(file.parent) for file in readable.glob("usr/lib/*/*.so*")})
    environment = {
        "PATH": f"{postgres}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "PYTHONPATH": str(readable / "usr/lib/python3/dist-packages"),
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "LC_ALL": "C",
    }
    patroni = (PYTHON, str(readable / "usr/bin/patroni"))
    return Programs(readable / "usr/bin/etcd", patroni, postgres, toxiproxy, environment, _owner())


def _download(folder: Path) -> None:
    """The newest PostgreSQL of the system's release is the one that its Patroni is for."""
    if subprocess.run(("apt-cache", "show", "patroni"), capture_output=True).returncode:
        _run("apt-get", "update", folder=folder)  # it knew of no packages yet
    described = _run("apt-cache", "show", "postgresql", folder=folder)
    depends = next(line for line in described.splitlines() if line.startswith("Depends:"))
    server = next(word for word in depends.replace(",", " ").split() if word.startswith("postgresql-1"))
    client = server.replace("postgresql-", "postgresql-client-")
    needed = _run("apt-cache", "depends", server, folder=folder).splitlines()
    libraries = [line.split()[-1] for line in needed if line.strip().startswith("Depends: lib") and "libc6" not in line]
    # What just-in-time compilation needs is a hundred megabytes, and it is off.
    libraries = [name for name in libraries if not name.startswith(("libllvm", "libpq"))]
    _run("apt-get", "download", *_NAMES, server, client, *libraries, folder=folder)


def _readable(root: Path) -> Path:
    """The programs where their owner can read them: a checkout may be where only root gets to."""
    owner = _owner()
    if not owner or not subprocess.run(("test", "-r", root / "usr/bin/etcd"), **owner).returncode:
        return root
    place = Path(tempfile.gettempdir()) / f"postwire-ha-{int((FOLDER / '.unpacked').stat().st_mtime)}"
    if not place.exists():
        made = Path(tempfile.mkdtemp(prefix="postwire-ha-"))
        shutil.copytree(root, made / "root", symlinks=True)
        (made / "root").chmod(0o755)
        made.chmod(0o755)
        made.rename(place)
    return place / "root"


def _owner() -> Mapping[str, Any]:
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    return {}


def _run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]}: {done.stderr}"
    return done.stdout
