"""What a page of somebody else's is built of: a client generated from the protos, and the packages of the console."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.reader import ROOT

PACKAGES: Final = ROOT / "console" / "node_modules"
"""Installed by `make console`, and by `make check` where Node is."""

_PROTOS: Final = (ROOT / "protos", ROOT / "clients/node/third_party")


class Workshop:
    """A folder in which scripts are built."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "node_modules").symlink_to(PACKAGES, target_is_directory=True)
        plugin = {"local": str(PACKAGES / ".bin/protoc-gen-es"), "out": str(folder / "gen"), "opt": "target=js"}
        template = json.dumps({"version": "v2", "plugins": [plugin]})
        for protos in _PROTOS:
            self._run(Path(sys.executable).with_name("buf"), "generate", protos, "--template", template)

    def build(self, name: str, source: str) -> bytes:
        """A script with all that it imports."""
        entry, made = self._folder / f"{name}.ts", self._folder / "made" / f"{name}.js"
        entry.write_text(source, encoding="utf-8")
        self._run(PACKAGES / ".bin/rolldown", entry, "--format", "esm", "--platform", "browser", "--file", made)
        return made.read_bytes()

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
