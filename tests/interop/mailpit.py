"""Mailpit itself: a mail server that keeps everything, shows it by an API, and fails on demand."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final, Self
from urllib.request import Request, urlopen

from tests.interop.daemons import Daemon, free_port
from tests.support.waiting import PATIENCE

MODULE: Final = Path(__file__).parent / "mailpit"
"""Pins Mailpit, apart from the other programs: what it needs would decide about what they get."""

PACKAGE: Final = "github.com/axllent/mailpit"

USERNAME, PASSWORD = "postwire", "s3cret-of-ours"


def build(program: Path) -> None:
    """Build it, which takes minutes; then go finds that nothing has changed, which takes a second."""
    done = subprocess.run(("go", "build", "-o", program, PACKAGE), cwd=MODULE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Mailpit(Daemon):
    """Runs while it is entered. `certificate` has its certificate and key; it takes nothing but TLS, from the start."""

    def __init__(self, program: Path, folder: Path, certificate: Path) -> None:
        self.port = free_port()
        api = free_port()
        self._api = f"http://127.0.0.1:{api}/api/v1"
        accounts = folder / "accounts"
        accounts.write_text(f"{USERNAME}:{PASSWORD}\n", encoding="utf-8")
        command = (
            *(program, "--listen", f"127.0.0.1:{api}", "--smtp", f"127.0.0.1:{self.port}"),
            *("--database", folder / "mailpit.db", "--disable-version-check", "--smtp-disable-rdns", "--enable-chaos"),
            *("--smtp-auth-file", accounts, "--smtp-require-tls"),
            *("--smtp-tls-cert", certificate, "--smtp-tls-key", certificate),
        )
        super().__init__(command, log=folder / "mailpit.log", environment={"HOME": str(folder)}, ports=[self.port, api])

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def fail(self, **triggers: int) -> None:
        """Answer with these codes from now on: to `Sender`, `Recipient` or `Authentication`; and well to the rest."""
        chaos = {name: {"ErrorCode": code, "Probability": 100} for name, code in triggers.items()}
        self._ask("/chaos", "PUT", chaos)

    def emails(self) -> list[dict[str, Any]]:
        """Everything that it has had and not forgotten: what it has read of each."""
        listed = json.loads(self._ask("/messages"))["messages"]
        return [json.loads(self._ask(f"/message/{one['ID']}")) for one in listed]

    def raw(self, email: dict[str, Any]) -> bytes:
        """An email as it has come."""
        return self._ask(f"/message/{email['ID']}/raw")

    def part(self, email: dict[str, Any], part_id: str) -> bytes:
        """What is attached, as it has decoded it."""
        return self._ask(f"/message/{email['ID']}/part/{part_id}")

    def forget(self) -> None:
        """Forget all emails, and fail no more."""
        self._ask("/messages", "DELETE")
        self.fail()

    def _ask(self, path: str, method: str = "GET", value: object = None) -> bytes:
        data = None if value is None else json.dumps(value).encode()
        asked = Request(self._api + path, data, {"Content-Type": "application/json"}, method=method)
        with urlopen(asked, timeout=PATIENCE) as answer:
            return bytes(answer.read())
