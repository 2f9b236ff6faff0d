"""What is built of the console is what its sources make, as far as Python can say."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from tools import console
from tools.console import BUILT, RECORD, ROOT, Refused


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the check reads."""
    for folder in (console.SOURCES, *console.CONTRACT, BUILT):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns(*console.MADE))
    return tmp_path


def test_what_is_committed_is_what_was_built() -> None:
    console.check_record()


def test_the_record_names_sources_and_files_alone() -> None:
    assert set(json.loads((ROOT / BUILT / RECORD).read_bytes())) == {"sources", "files"}


@pytest.mark.parametrize(
    "path", ["console/src/main.tsx", "console/package-lock.json", "protos/postwire/v1/message.proto"]
)
def test_a_source_that_has_changed_is_noticed(checkout: Path, path: str) -> None:
    with (checkout / path).open("a") as file:
        file.write("\n")
    with pytest.raises(Refused, match="make console"):
        console.check_record(checkout)


def test_a_source_that_is_new_is_noticed(checkout: Path) -> None:
    (checkout / "console/src/another.ts").write_text("")
    with pytest.raises(Refused, match="make console"):
        console.check_record(checkout)


def test_what_explains_and_what_is_made_are_no_sources(checkout: Path) -> None:
    (checkout / "console/README.md").write_text("")
    (checkout / "console/node_modules").mkdir()
    (checkout / "console/node_modules/found.js").write_text("")
    console.check_record(checkout)


def test_a_built_file_that_was_changed_by_hand_is_noticed(checkout: Path) -> None:
    (checkout / BUILT / "index.html").write_text("")
    with pytest.raises(Refused, match="by hand"):
        console.check_record(checkout)


def test_a_record_that_is_gone_is_noticed(checkout: Path) -> None:
    (checkout / BUILT / RECORD).unlink()
    with pytest.raises(Refused, match="is not there"):
        console.check_record(checkout)


def test_too_much_javascript_is_refused() -> None:
    noise = random.Random(1).randbytes(console.MAX_SCRIPT)
    console.refuse_oversize({"a.js": noise[: console.MAX_SCRIPT // 2], "a.css": noise})
    with pytest.raises(Refused, match="compressed"):
        console.refuse_oversize({"a.js": noise, "b.js": noise})


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("index.html", "<script>go()</script>"),
        ("index.html", "<style>p{}</style>"),
        ("index.html", '<p style="color: red">'),
        ("index.html", '<body onload="go()">'),
        ("index.html", '<script src="https://example.com/a.js"></script>'),
        ("index.html", '<link href="//example.com/a.css">'),
        ("a.css", "@import 'b.css';"),
        ("a.css", "p{background:url(https://example.com/a.png)}"),
    ],
)
def test_what_the_policy_of_the_page_forbids_is_refused(path: str, content: str) -> None:
    with pytest.raises(Refused):
        console.refuse_forbidden({path: content.encode()})
