"""docs/notify.md: its hook can be used, and its receiver takes what is posted, and nothing that others have made up."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import pytest
from tests.e2e.calls import TIMEOUT, dispatch
from tests.e2e.conftest import Serve
from tests.e2e.server import eventually
from tests.support.configs import KINDS
from tests.support.docs import steps
from tests.support.reader import ROOT
from tests.support.receiver import SECRET, hook

from postwire.config.notify import NotifyConfig
from postwire.config.schema import load
from postwire.config.shown import describe
from postwire.core.event_window import StateEvent
from postwire.core.message import MessageState
from postwire.notify.cloud_events import body_of

PAGE: Final = ROOT / "docs" / "notify.md"
TEXT: Final = PAGE.read_text(encoding="utf-8")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_the_receiver_of_the_page_takes_what_is_posted(serve: Serve) -> None:
    (program,) = [step.text for step in steps(PAGE) if step.kind == "python"]
    assert len([line for line in program.splitlines() if line]) <= 20
    port = free_port()
    assert "8080" in program
    process = subprocess.Popen(
        [sys.executable, "-c", program.replace("8080", str(port))],
        env=os.environ | {"WEBHOOK_SECRET": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    lines: list[str] = []
    assert process.stdout
    reading = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
    reading.start()
    try:
        server = serve(toml=hook("billing", f"http://127.0.0.1:{port}/"))
        message = dispatch(server)
        eventually(lambda: f"{message.message_id} MESSAGE_STATE_SENT" in [line.strip() for line in lines])
        server.stop()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        connection.request("POST", "/", b"{}")
        assert connection.getresponse().status == 401
        connection.close()
    finally:
        process.terminate()
        process.wait()
        reading.join()
        process.stdout.close()


def test_the_hook_of_the_page_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = [step.text for step in steps(PAGE) if step.kind == "command"]
    for command in commands:
        subprocess.run(["bash", "-ec", command], check=True)
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    Path("postwire.toml").write_text(toml)
    made = load(path=None, environ={}, kinds=KINDS).notify["billing"]
    assert made.states[0] is MessageState.DELIVERED
    assert set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) >= {
        one.key for one in describe(NotifyConfig) if not one.key.endswith("secret_file")
    }


def test_the_event_of_the_page_is_what_is_posted() -> None:
    (shown,) = re.findall(r"^```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    value = json.loads(shown)
    event = StateEvent(
        (1,),
        value["subject"],
        value["data"]["revision"],
        MessageState.DELIVERED,
        1_795_978_753_204_117,
        {"team": "billing"},
    )
    assert json.loads(body_of(event, "default")) == value
