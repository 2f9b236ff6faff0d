"""Every command of the README and the quickstart runs as it stands, and prints what the page says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.docs import Step, steps
from tests.support.reader import ROOT, Reader, checkout

from postwire.config.schema import load
from postwire.providers.builtin import KINDS

PAGES = {
    "README.md": 4,
    "docs/quickstart.md": 40,
    "docs/operations.md": 15,
    "docs/observability.md": 7,
    "docs/encryption.md": 6,
    "docs/guards.md": 5,
    "docs/suppression.md": 8,
    "docs/access.md": 13,
    "docs/tls.md": 18,
    "docs/providers/README.md": 3,
    "docs/providers/sms.md": 3,
}
"""The pages, and how many steps each has at the least: a page whose blocks are not found would pass without a word."""

INSTALLED = ("README.md",)
"""Those whose commands are what is installed, and start an interpreter each. Of the others, `postwire` is forked."""


def is_for_another_place(step: Step) -> bool:
    """make sets up an environment of its own, and has tests of its own; grpcurl may be missing."""
    program = step.text.split()[0]
    return program == "make" or (program == "grpcurl" and not shutil.which("grpcurl"))


def lacks_openssl(page: str) -> bool:
    """Whether a page makes certificates, which this machine has nothing for: it takes OpenSSL 3, and no LibreSSL."""
    if "$ openssl req" not in (ROOT / page).read_text(encoding="utf-8"):
        return False
    program = shutil.which("openssl")
    version = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout if program else ""
    return not re.match(r"OpenSSL ([3-9]|\d\d)\.", version)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_can_be_followed(page: str, tmp_path: Path) -> None:
    if lacks_openssl(page):
        pytest.skip("no OpenSSL 3")
    with Reader(checkout(tmp_path, is_forked=page not in INSTALLED)) as reader:
        done = list(reader.follow(ROOT / page, is_for_another_place))
    assert len(done) >= PAGES[page]


def test_the_programs_of_the_python_clients_page_run(tmp_path: Path) -> None:
    """Its commands are those of its own folder, which `make interop` follows."""
    programs = [step for step in steps(ROOT / "clients/python/README.md") if step.kind == "python"]
    with Reader(checkout(tmp_path)) as reader:
        reader.start(".venv/bin/postwire serve")
        for program in programs:
            reader.run(program)
    assert len(programs) >= 4


@pytest.mark.parametrize("page", PAGES)
def test_configurations_are_such_as_the_server_takes(page: str, tmp_path: Path) -> None:
    for block in re.findall(
        r"^```toml\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        file, secret = tmp_path / "postwire.toml", tmp_path / "secret"
        secret.write_text("4711" * 8, encoding="utf-8")
        file.write_text(re.sub(r'_file = "[^"]+"', f'_file = "{secret}"', block), encoding="utf-8")
        assert load(path=file, environ={}, kinds=KINDS).explicit


def test_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
