"""PostgreSQL servers for tests. What `initdb` makes takes a CPU second: it is made once on a machine, and copied."""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path

from postwire.cli.demo.local_postgres import LocalPostgres, made_once, programs


class CopiedPostgres(LocalPostgres):
    """One whose data is a copy."""

    def initialize(self) -> None:
        """See `LocalPostgres.initialize`."""
        self._folder.chmod(0o755)
        subprocess.run(["cp", "-a", _template(), self.data], check=True)  # which keeps owners


@functools.cache
def _template() -> Path:
    """What is copied. It stays, for the runs that follow, for as long as programs and options are the same."""
    program = (programs() / "initdb").stat()
    made_how = zlib.crc32(inspect.getsource(LocalPostgres.initialize).encode())
    name = f"postwire-initdb-{os.geteuid()}-{program.st_mtime_ns:x}-{program.st_size:x}-{made_how:x}"
    place = Path(tempfile.gettempdir()) / name
    if not (place / "data/PG_VERSION").exists():
        shutil.rmtree(place, ignore_errors=True)  # a system may remove old files, and leave their folders
    return made_once(place, lambda folder: LocalPostgres(folder).initialize()) / "data"
