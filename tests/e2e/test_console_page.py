"""docs/console.md: what it shows is done, its pages are those of the console, and its pictures are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest
from tests.e2e.test_http_page import lacks_curl
from tests.support.docs import steps
from tests.support.reader import ROOT, Reader, checkout

from postwire.config.schema import load
from postwire.providers.builtin import KINDS

PAGE: Final = ROOT / "docs/console.md"
TEXT: Final = PAGE.read_text(encoding="utf-8")
PAGES: Final = (ROOT / "console/src/app/pages.ts").read_text(encoding="utf-8")


def test_the_page_can_be_followed(tmp_path: Path) -> None:
    if lacking := lacks_curl():
        pytest.skip(lacking)
    with Reader(checkout(tmp_path)) as reader:
        done = list(reader.follow(PAGE))
    assert len(done) == len(list(steps(PAGE))) >= 2


def test_its_configuration_is_one_and_its_keys_are_all_there_are(tmp_path: Path) -> None:
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    path = tmp_path / "postwire.toml"
    path.write_text(toml, encoding="utf-8")
    console = load(path=path, environ={}, kinds=KINDS).console
    assert console.compose
    sample = tomllib.loads((ROOT / "postwire.toml").read_text(encoding="utf-8"))["console"]
    assert set(re.findall(r"`console\.(\w+)`", TEXT)) == sample.keys()


def test_it_has_every_page_and_no_other() -> None:
    table = TEXT.partition("## The pages")[2].partition("\n\n!")[0]
    rows = set(re.findall(r"^\| ([A-Z][\w ]+) \|", table, re.MULTILINE))
    titles = set(re.findall(r'title: "([^"]+)"', PAGES))
    assert rows == titles - {"Message"} | {"A message"}


@pytest.mark.parametrize("page", ["docs/console.md", "README.md"])
def test_its_pictures_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+\.png)\)", text)
    assert pictures
    for picture in pictures:
        assert (ROOT / page).parent.joinpath(picture).stat().st_size > 10_000, picture
