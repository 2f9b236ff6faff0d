"""The first calls that the README shows are the programs in `clients/`, and links to their lines lead there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"

FIRST_CALLS = {
    "go": "go/first/main.go",
    "ts": "node/src/first.ts",
    "java": "java/src/main/java/**/First.java",
    "rust": "rust/src/bin/first.rs",
}
"""By the language of the block that shows it."""

_LINK = re.compile(r"\[`([^`]+)`\]\(([^)#]+)#L(\d+)(?:-L(\d+))?\)")


def first_calls() -> dict[str, str]:
    """Those that there are."""
    found = {language: list((ROOT / "clients").glob(path)) for language, path in FIRST_CALLS.items()}
    return {language: path.read_text(encoding="utf-8") for language, paths in found.items() for path in paths}


def shown(language: str) -> list[str]:
    blocks = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [block[1] for block in blocks.finditer(README.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("language", FIRST_CALLS)
def test_a_block_is_the_program(language: str) -> None:
    for block in shown(language):
        assert block == first_calls().get(language)


def test_all_of_them_are_shown_once_there_are_all() -> None:
    if first_calls().keys() == FIRST_CALLS.keys():
        assert {language: len(shown(language)) for language in FIRST_CALLS} == dict.fromkeys(FIRST_CALLS, 1)


def pages() -> list[str]:
    return sorted(str(page.relative_to(ROOT)) for page in (ROOT / "clients").glob("*/README.md"))


@pytest.mark.parametrize("page", pages())
def test_links_of_a_client_lead_somewhere(page: str) -> None:
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert "://" in target or (path.parent / target).exists(), target
    for name, target, first, last in _LINK.findall(text):
        lines = (path.parent / target).read_text(encoding="utf-8").splitlines()
        assert int(last or first) <= len(lines), f"{target} has no line {last or first}"
        named = target if "." in name else "\n".join(lines[int(first) - 1 : int(last or first)])
        assert name in named, f"{target}#L{first} does not show {name}"
