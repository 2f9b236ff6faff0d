"""What a figure was measured on, as far as it may depend on that."""

from __future__ import annotations

import os
import platform
import sysconfig
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench.loops import loop_name

_SYNCS: Final = 200
_PAGE: Final = 4096
_GIB: Final = 1024**3


def interpreter() -> str:
    """The build of Python and its event loop: what Postwire costs next to echo, which is mostly C, goes by these."""
    version = ".".join(platform.python_version_tuple()[:2])
    return f"{platform.python_implementation()} {version}, {_optimised()}, {loop_name()}"


def machine() -> dict[str, Any]:
    """What there is to run on: of the disk, the median of what it takes to write a page and sync it, in ms."""
    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB),
        "system": " ".join((platform.system(), ".".join(platform.release().split(".")[:2]))),
        "sync_ms": round(_sync() * 1000, 3),
    }


def _optimised() -> str:
    if sysconfig.get_config_var("Py_DEBUG"):
        return "built for debugging"
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return "built with PGO" if "--enable-optimizations" in options else "built without PGO"


def cpu() -> str:
    """Its model, or its architecture where that is not told."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return " ".join(value.split())
    return platform.machine()


def _sync() -> float:
    seconds = []
    with tempfile.TemporaryFile(prefix="postwire-bench-", buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(bytes(_PAGE))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - started)
    return median(seconds)
