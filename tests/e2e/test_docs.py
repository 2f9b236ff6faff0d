"""Every command of the README and the quickstart runs as it stands, and prints what the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest
from tests.e2e.server import PATIENCE, eventually
from tests.support.docs import Step, pattern, steps

from postwire.config import load
from postwire.providers.builtin import KINDS

ROOT = Path(__file__).parents[2]
PAGES = {"README.md": 4, "docs/quickstart.md": 40, "docs/operations.md": 15}
"""The pages, and how many steps each has at the least: a page whose blocks are not found would pass without a word."""


class Reader:
    """Somebody who follows a page: a working directory with the checkout's `.venv`, and one server at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "postwire.log"
        self._server: subprocess.Popen[bytes] | None = None
        self._addresses = {"127.0.0.1:50051": "", "127.0.0.1:9464": ""}
        (folder / ".venv").symlink_to(Path(sys.prefix), target_is_directory=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, step: Step) -> str:
        """Do what a step shows; returns what it printed."""
        if step.kind == "server":
            self.stop()
            self.start(step.text)
            return ""
        text = step.text
        for shown, real in self._addresses.items():
            text = text.replace(shown, real)
        command = [sys.executable, "-W", "error", "-c", text] if step.kind == "python" else ["bash", "-ec", text]
        done = subprocess.run(
            command, cwd=self._folder, env=self._environment(), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"line {step.line}: {step.text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, command: str) -> None:
        """Start a server, and learn where it listens."""
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(
                ["bash", "-c", command], cwd=self._folder, env=self._environment(), stderr=log, start_new_session=True
            )
        serving: dict[str, str] = {}

        def is_serving() -> bool:
            assert self._server is not None
            assert self._server.poll() is None, self._log.read_text()
            for line in self._log.read_text().splitlines():
                if '"event":"serving"' in line:
                    serving.update(json.loads(line))
            return bool(serving)

        eventually(is_serving)
        self._addresses = {"127.0.0.1:50051": serving["listen"], "127.0.0.1:9464": serving["metrics_listen"]}

    def stop(self) -> None:
        """Stop the server, as Ctrl-C would."""
        if self._server:
            os.killpg(self._server.pid, signal.SIGINT)
            assert self._server.wait(PATIENCE) == 0
            self._server = None

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("POSTWIRE_", "OTEL_"))}
        return kept | {
            "POSTWIRE_SERVER__LISTEN": "127.0.0.1:0",
            "POSTWIRE_TELEMETRY__METRICS_LISTEN": "127.0.0.1:0",
            "POSTWIRE_TARGET": self._addresses["127.0.0.1:50051"],
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1000",
        }


def is_for_another_place(step: Step) -> bool:
    """make sets up an environment of its own, and has tests of its own; grpcurl may be missing."""
    program = step.text.split()[0]
    return program == "make" or (program == "grpcurl" and not shutil.which("grpcurl"))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_can_be_followed(page: str, tmp_path: Path) -> None:
    done = 0
    with Reader(tmp_path) as reader:
        for step in steps(ROOT / page):
            if is_for_another_place(step):
                continue
            printed = reader.run(step)
            if step.shown:
                assert pattern(step.shown).fullmatch(printed), f"line {step.line}: {step.text}\n{printed}"
            done += 1
    assert done >= PAGES[page]


@pytest.mark.parametrize("page", PAGES)
def test_configurations_are_such_as_the_server_takes(page: str, tmp_path: Path) -> None:
    kinds = {name: kind.settings for name, kind in KINDS.items()}
    for block in re.findall(
        r"^```toml\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        file = tmp_path / "postwire.toml"
        file.write_text(block, encoding="utf-8")
        assert load(path=file, environ={}, kinds=kinds).explicit


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
