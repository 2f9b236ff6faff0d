"""What a release is made of: the bill of materials, what an audit says, and what the unit and the container may do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tools import audit, sbom

import postwire

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "postwire.service"
CONTAINERFILE = ROOT / "deploy" / "Containerfile"

FAULT = {"id": "PYSEC-2026-1", "fix_versions": ["1.1"], "aliases": [], "description": "…"}


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    return sbom.sbom()


@pytest.mark.long
def test_the_bill_of_materials_is_what_its_schema_asks_for(bill: dict[str, Any]) -> None:
    assert sbom.fault_in(json.dumps(bill)) == ""
    assert bill["metadata"]["component"]["version"] == postwire.__version__


@pytest.mark.long
def test_it_has_everything_that_is_locked_and_the_hashes(bill: dict[str, Any]) -> None:
    locked: dict[tuple[str, str], set[str]] = {}
    for line in sbom.LOCK.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"([a-z0-9-]+)==([^\s;]+)", line):
            hashes = locked.setdefault((found[1], found[2]), set())
        elif found := re.match(r"\s+--hash=sha256:([0-9a-f]{64})", line):
            hashes.add(found[1])
    assert len(locked) > 30
    assert locked == {
        (one["name"], one["version"]): {
            digest["content"] for place in one["externalReferences"] for digest in place["hashes"]
        }
        for one in bill["components"]
    }


@pytest.mark.parametrize(
    ("output", "complaint", "status", "says"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], "", 0, "1 distributions audited, 0 known faults"),
        ([{"name": "a", "version": "1", "vulns": [FAULT]}], "", 1, "a 1: PYSEC-2026-1, mended in 1.1"),
        ([{"name": "a", "skip_reason": "not found"}], "", 0, audit.SKIPPED),
        (
            [{"name": "a", "skip_reason": "not found"}, {"name": "b", "version": "1", "vulns": []}],
            "",
            0,
            "NOT AUDITED, unknown to the index: a",
        ),
        (None, "…\nrequests.exceptions.ConnectionError: …", 0, audit.SKIPPED),
        (None, "…\nValueError: the lock is broken", 1, "pip-audit failed: ValueError: the lock is broken"),
    ],
)
def test_an_audit_says_what_it_has_not_looked_at(output: object, complaint: str, status: int, says: str) -> None:
    answer = "" if output is None else json.dumps({"dependencies": output, "fixes": []})
    assert audit.verdict(answer, complaint)[0] == status
    assert says in audit.verdict(answer, complaint)[1]


def test_the_unit_exposes_little() -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("there is no systemd-analyze")
    done = subprocess.run(
        [tool, "security", "--offline=yes", "--no-pager", str(UNIT)], capture_output=True, text=True, check=False
    )
    found = re.search(r"Overall exposure level for postwire\.service: ([0-9.]+)", done.stdout)
    if found is None:
        pytest.skip(f"systemd-analyze cannot look at a file: {done.stderr}")
    assert float(found[1]) < 2.0, done.stdout


def test_the_unit_shows_no_configuration_to_who_reads_the_journal() -> None:
    checks = [line for line in UNIT.read_text(encoding="utf-8").splitlines() if "config check" in line]
    assert len(checks) == 2
    assert all("config check --quiet " in line for line in checks)


def test_nobody_can_log_in_as_the_user_of_the_container() -> None:
    text = CONTAINERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    (made,) = re.findall(r"^RUN useradd (.*)$", text, re.MULTILINE)
    assert "--shell /usr/sbin/nologin" in made
    _, _, final = text.rpartition("\nFROM ")
    assert final.index("USER postwire") < final.index("ENTRYPOINT")
    assert re.findall(r"^VOLUME (.*)$", final, re.MULTILINE) == ["/var/lib/postwire"], "all else may be read-only"
    assert "--read-only" in text
    for shell in re.findall(r"^(?:CMD|ENTRYPOINT|\s+CMD) (.*)$", final, re.MULTILINE):
        assert shell.startswith("["), "no shell is needed"
