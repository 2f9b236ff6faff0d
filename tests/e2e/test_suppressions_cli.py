"""`postwire suppressions`, against a real server: one address or a million lines."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.server import Server, environment
from tests.support import forking

CANARY = "zqcanary@example.com"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as running:
        yield running


def run(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forking.run(
        "suppressions", *arguments, "--server", server.address, cwd=server.folder, env=environment(server.folder)
    )


def shown(server: Server, *arguments: str) -> Any:
    done = run(server, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def csv(server: Server, *lines: str) -> str:
    (server.folder / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    return "list.csv"


def test_they_are_added_looked_up_and_removed(started: Server) -> None:
    assert shown(started, "add", "+15005550006", CANARY, "--reason", "opt-out", "--source", "list 7") == {"added": 2}
    assert shown(started, "add", CANARY, "--sender", "sms-mms", "--expire-at", "in 2h") == {"added": 1}
    done = run(started, "check", "+15005550006", "b@example.com", CANARY)
    heading, *rows = done.stdout.splitlines()
    assert heading.split() == ["ADDRESS", "REASON", "SENDER", "SOURCE", "SINCE", "UNTIL"]
    assert [row.split()[:3] for row in rows] == [
        ["+15005550006", "opt_out", "any"],
        [CANARY, "opt_out", "any"],
        [CANARY, "manual", "sms-mms"],
    ]
    listed = shown(started, "list", "--limit", "2")
    assert listed["more"] is True
    assert CANARY not in json.dumps(listed)
    assert run(started, "list", "--limit", "1").stderr.startswith("There are more")
    assert shown(started, "remove", CANARY, "b@example.com") == {"removed": 1}
    assert run(started, "remove", CANARY).stdout.split() == ["removed", "0"]


def test_what_the_server_refuses_is_named_by_its_field(started: Server) -> None:
    done = run(started, "add", "zqcanary")
    assert done.returncode == 1
    assert "suppressions[0].address" in done.stderr
    assert "zqcanary" not in done.stderr


def test_a_file_is_imported_and_again_adds_nothing(started: Server) -> None:
    lines = [f"r{number}@example.com,hard_bounce,,2100-01-31T12:00:00Z" for number in range(2_500)]
    name = csv(started, "Address,reason,source,expire_time", *lines, "", "+15005550006,,import,")
    done = run(started, "import", name, "--source", "default")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "2,501 added, 0 suppressed already, 0 of no use\n"
    assert shown(started, "import", name) == {"added": 0, "known": 2_501, "bad": [], "bad_count": 0}
    (found,) = shown(started, "check", "r7@example.com")["suppressions"]
    assert (found["reason"], found["expire_time"]) == ("SUPPRESSION_REASON_HARD_BOUNCE", "2100-01-31T12:00:00Z")
    (other,) = shown(started, "check", "+15005550006")["suppressions"]
    assert (other["reason"], other["source"]) == ("SUPPRESSION_REASON_MANUAL", "import")


def test_lines_of_no_use_are_named_by_number_and_the_others_are_imported(started: Server) -> None:
    name = csv(
        started,
        "address;reason;expire_time",
        "zqcanary;;",
        "a@example.com;;",
        "b@example.com;zqcanary;",
        "c@example.com;;zqcanary",
        "d@example.com;;2001-01-31T12:00:00Z",
        "+15005550006;complaint;",
    )
    done = run(started, "import", name)
    assert done.returncode == 1
    assert done.stdout == "2 added, 0 suppressed already, 4 of no use\n"
    named = [line.split(":")[0].strip() for line in done.stderr.splitlines()]
    assert sorted(named) == ["line 2", "line 4", "line 5", "line 6"]
    assert "zqcanary" not in done.stderr
    mended = csv(started, "address", "zqcanary@example.com", "a@example.com")
    assert shown(started, "import", mended) == {"added": 1, "known": 1, "bad": [], "bad_count": 0}


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["zqcanary@example.com"], "line 1: column 1: is not known, known here: address, reason"),
        (["address,raeson", "a@example.com,x"], "line 1: column 2: raeson is not known, did you mean reason?"),
        (["address,address"], "line 1: column 1: address is there twice"),
        (["reason"], "line 1: has no column 'address'"),
        (["address", "a@example.com,b"], "line 2: has 2 cells, and the header names 1"),
        (["address", '"a@example.com'], "line 2: is not CSV"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused(started: Server, lines: list[str], problem: str) -> None:
    done = run(started, "import", csv(started, *lines))
    assert done.returncode == 2
    assert f"postwire: {problem}" in done.stderr
    assert "zqcanary" not in done.stderr
    assert "before it: 0 added" in done.stderr


def test_there_has_to_be_a_file(started: Server) -> None:
    done = run(started, "import", "nowhere.csv")
    assert done.returncode == 2
    assert "nowhere.csv" in done.stderr
    assert shown(started, "import", csv(started, "")) == {"added": 0, "known": 0, "bad": [], "bad_count": 0}
