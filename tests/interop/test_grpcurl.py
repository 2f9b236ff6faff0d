"""Every grpcurl command of the docs runs as it stands, against a server that it learns the contract from."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from tests.interop.conftest import TOOLS
from tests.interop.readers import PageReader
from tests.interop.table import Row
from tests.support.docs import Step, steps
from tests.support.needed import Need
from tests.support.reader import ROOT, checkout

PAGE = "docs/grpcurl.md"


def build() -> Path:
    """Build grpcurl, at the version of this folder's go.mod. Where nothing has changed, go only looks."""
    program = TOOLS / "grpcurl"
    command = ["go", "build", "-o", str(program), "github.com/fullstorydev/grpcurl/cmd/grpcurl"]
    subprocess.run(command, cwd=Path(__file__).parent, check=True)
    return program


def commands(page: Path) -> list[Step]:
    """The commands with grpcurl in them."""
    return [step for step in steps(page) if step.kind == "command" and "grpcurl" in step.text]


def pages() -> list[str]:
    everywhere = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    return sorted(str(page.relative_to(ROOT)) for page in everywhere if commands(page))


@pytest.mark.parametrize("page", pages())
def test_a_page_can_be_followed_with_grpcurl(page: str, row: Row, need: Need, tmp_path: Path) -> None:
    row.client = f"grpcurl, {page}"
    need("go")
    path = {"PATH": f"{build().parent}{os.pathsep}{os.environ['PATH']}"}
    with PageReader(checkout(tmp_path), path) as reader:
        done = list(reader.follow(ROOT / page, lambda step: step.text.split()[0] == "make"))
        reader.stop()
        row.calls, row.messages = reader.ended.total(), reader.messages
    reasons = re.compile(r'"reason": "(?:ERROR_REASON_)?([A-Z_]+)"')
    row.errors = Counter(reason for _, printed in done for reason in reasons.findall(printed))
    assert [step for step, _ in done if step in commands(ROOT / page)] == commands(ROOT / page)


def test_the_page_of_recipes_has_all_of_them() -> None:
    """What is not found would pass without a word."""
    assert {"README.md", PAGE} <= set(pages())
    called = {name for step in commands(ROOT / PAGE) for name in re.findall(r"(?:Service|Health)/(\w+)", step.text)}
    assert called >= {
        "Check",
        "Dispatch",
        "DispatchStream",
        "DrainProvider",
        "ExplainRoute",
        "GetCaller",
        "ListMessages",
        "ResumeProvider",
        "UpdateMockProvider",
        "WatchMessages",
        "WatchStats",
    }


def test_the_version_to_install_is_the_one_that_is_tested() -> None:
    module = (Path(__file__).with_name("go.mod")).read_text(encoding="utf-8")
    [version] = re.findall(r"github\.com/fullstorydev/grpcurl (v\S+)", module)
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert re.findall(r"grpcurl/cmd/grpcurl@(\S+)", page) == [version]
