"""docs/providers.md: its package is built, installed apart, sent through and tested, by the commands that it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.support.docs import Step, steps
from tests.support.reader import ROOT, Reader, checkout

PAGE = ROOT / "docs/providers.md"
EXAMPLE = ROOT / "docs/examples/acme"
HOME = "https://api.acme.example"


class Acme:
    """Acme's API on a port of this machine. `requests` are the headers and bodies of what it was to send."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], Any]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def handler(acme) -> type[BaseHTTPRequestHandler]:  # `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(200 if self.path == "/account" else 404, {})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                acme.requests.append((dict(self.headers), body))
                self.answer(201 if self.path == "/messages" else 404, {"id": f"acme-{len(acme.requests)}"})

            def answer(self, status: int, answer: object) -> None:
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """To nobody."""

        return Handler


@pytest.fixture
def acme() -> Iterator[Acme]:
    acme = Acme()
    thread = Thread(target=acme.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield acme
    acme.server.shutdown()
    acme.server.server_close()
    thread.join()


def blocks(kind: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_what_the_page_shows_of_the_package_is_what_is_in_it() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in EXAMPLE.glob("*.py"))
    assert len(blocks("python")) >= 3
    for block in blocks("python"):
        assert block in code
    entry_point, _ = blocks("toml")
    assert entry_point in (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")


def test_the_package_is_installed_and_a_message_goes_out_through_it(acme: Acme, tmp_path: Path) -> None:
    before = set(EXAMPLE.rglob("*"))
    _, configuration = blocks("toml")
    assert HOME in configuration
    (tmp_path / "postwire.toml").write_text(configuration.replace(HOME, acme.url), encoding="utf-8")
    (tmp_path / "docs").symlink_to(ROOT / "docs", target_is_directory=True)

    def is_code(step: Step) -> bool:
        return step.kind == "python"

    leaves_nothing = {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    with Reader(
        checkout(tmp_path, is_forked=False), {"PIP_NO_INDEX": "1", "PIP_NO_COMPILE": "1"} | leaves_nothing
    ) as reader:
        done = list(reader.follow(PAGE, is_code))
        assert len(done) == 6
        ((headers, body),) = acme.requests
        assert body == {"to": "+12025550101", "text": "It is on its way.", "from": "Acme"}
        assert headers["Authorization"] == "Bearer 4711"
        reported = json.loads(reader.run(Step("command", ".venv/bin/postwire messages list --json")))
        (message,) = reported["messages"]
        assert message["message_id"] in headers["Idempotency-Key"]
        assert message["provider_message_id"] == "acme-1"
        log = (tmp_path / "postwire.log").read_text(encoding="utf-8")
    assert "4711" not in log
    (provider,) = (json.loads(line) for line in log.splitlines() if '"event":"provider"' in line)
    assert (provider["provider_name"], provider["kind"]) == ("phone", "acme")
    assert set(EXAMPLE.rglob("*")) == before, "a build leaves nothing in the checkout"


def test_every_step_is_run() -> None:
    assert [step.kind for step in steps(PAGE) if step.kind != "python"] == [
        "command", "command", "command", "server", "command", "command",
    ]  # fmt: skip
