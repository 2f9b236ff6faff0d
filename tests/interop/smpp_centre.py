"""SMS centres of others that speak SMPP: one by node-smpp, one by jSMPP, each a small program around the library.

They tell what happens to them, an object of JSON a line, and are told how to behave the same way.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

from tests.support.waiting import PATIENCE

SOURCES: Final = Path(__file__).parent / "smpp"
PROGRAMS: Final = {"node": ("node", "npm"), "java": ("java", "mvn")}
"""What each takes to be built and run."""

SYSTEM_ID, PASSWORD = "postwire", "s3cr3t"

THROTTLED, QUEUE_FULL, NO_SUCH_NUMBER = 0x58, 0x14, 0x0B
"""ESME_RTHROTTLED, ESME_RMSGQFUL and ESME_RINVDSTADR."""

Event = dict[str, Any]


def build(name: str, folder: Path) -> tuple[str, ...]:
    """Build one from its locked parts, which takes a minute the first time; how it is run."""
    made = folder / name
    shutil.copytree(SOURCES / name, made, dirs_exist_ok=True)
    if name == "node":
        if not _is_as_before(made / "package-lock.json", made / "node_modules/.locked"):
            _run("npm", "ci", "--no-audit", "--no-fund", folder=made)
            shutil.copy(made / "package-lock.json", made / "node_modules/.locked")
        return ("node", str(made / "centre.js"))
    _run("mvn", "-q", "package", folder=made)
    return ("java", "-jar", str(made / "target/centre.jar"))


def _is_as_before(file: Path, kept: Path) -> bool:
    return kept.exists() and kept.read_bytes() == file.read_bytes()


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


class Centre:
    """It runs while it is entered, and may be entered again, at the same port."""

    def __init__(self, command: tuple[str, ...], folder: Path, **settings: Any) -> None:
        self.port = 0
        self.events: list[Event] = []
        self._command = command
        self._log = folder / "centre.log"
        self._settings = {"users": {SYSTEM_ID: PASSWORD}, **settings}
        self._reported = threading.Condition()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        settings = json.dumps({**self._settings, "port": self.port})
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                (*self._command, settings),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
            )
        started = len(self.found("listening"))
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        self.port = self.until("listening", count=started + 1)[-1]["port"]
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(PATIENCE)
            assert self._process.stdout
            self._process.stdout.close()
            self._process = None

    def found(self, event: str, **facts: Any) -> list[Event]:
        """What has happened of a kind, with these facts."""
        return [one for one in list(self.events) if one["event"] == event and facts.items() <= one.items()]

    def until(self, event: str, *, count: int = 1, patience: float = PATIENCE, **facts: Any) -> list[Event]:
        """The same, once it has happened so often."""
        self.wait_for(lambda: len(self.found(event, **facts)) >= count, patience)
        return self.found(event, **facts)

    def wait_for(self, question: Callable[[], object], patience: float = PATIENCE) -> None:
        """Ask whenever something has happened, until the answer is true."""
        with self._reported:
            answer = self._reported.wait_for(question, patience)
        assert answer, f"it never happened: {self.events[-20:]} {self._log.read_text(encoding='utf-8')}"

    def set(self, **settings: Any) -> None:
        """Have it behave otherwise from now on."""
        before = len(self.found("set"))
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(json.dumps(settings) + "\n")
        self._process.stdin.flush()
        self.until("set", count=before + 1)

    def deliver(self, sender: str, to: str, text: str) -> Event:
        """Hand over a text that a phone has sent; how that was answered."""
        before = len(self.found("delivered", kind="inbound"))
        pdu = {"source_addr": sender, "destination_addr": to, "short_message": text}
        self.set(deliver={"system": SYSTEM_ID, "pdu": pdu})
        return self.until("delivered", kind="inbound", count=before + 1)[-1]

    def texts(self) -> list[str]:
        """What has come, put together: each as often as it came."""
        return [one["text"] for one in self.found("message")]

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            with self._reported:
                self.events.append(json.loads(line))
                self._reported.notify_all()
