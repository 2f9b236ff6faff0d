"""docs/http.md: what it shows is done, and what it says of the listener is so."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
from connectrpc.code import Code
from tests.support.docs import steps
from tests.support.reader import ROOT, Reader, checkout

from postwire.config.schema import load
from postwire.http_connections import MAX_CONNECTIONS
from postwire.providers.builtin import KINDS
from postwire.v1 import dispatch_service_pb2
from postwire.web.contract import CONTENT_TYPES, MAX_JSON, is_offered
from postwire.web.strict_json import MAX_VALUES

PAGE: Final = ROOT / "docs/http.md"
TEXT: Final = PAGE.read_text(encoding="utf-8")


def lacks_curl() -> str:
    """What this machine lacks for the commands of the page: `--json` came with curl 7.82."""
    if not shutil.which("curl"):
        return "no curl"
    done = subprocess.run(("curl", "--version"), capture_output=True, text=True, check=True)
    major, minor = map(int, done.stdout.split()[1].split(".")[:2])
    return "" if (major, minor) >= (7, 82) else "curl is older than 7.82"


def test_the_page_can_be_followed(tmp_path: Path) -> None:
    if lacking := lacks_curl():
        pytest.skip(lacking)
    with Reader(checkout(tmp_path)) as reader:
        done = list(reader.follow(PAGE))
    assert len(done) == len(list(steps(PAGE))) >= 10
    log = (tmp_path / "postwire.log").read_text(encoding="utf-8")
    assert "+12025550101" not in log
    assert "Your code" not in log


def test_its_configuration_is_one(tmp_path: Path) -> None:
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    path = tmp_path / "postwire.toml"
    path.write_text(toml, encoding="utf-8")
    http = load(path=path, environ={}, kinds=KINDS).http
    assert http.cors_origins == ("https://app.example.com",)
    assert http.hosts == ("postwire.example.com",)


def test_it_has_every_content_type_and_no_other() -> None:
    table = TEXT.partition("| --- |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(application/[\w+-]+)`", table)) == set(CONTENT_TYPES)


def test_it_has_every_code_of_an_error() -> None:
    table = TEXT.partition("## What is refused")[2].partition("\n## ")[0]
    shown = set(re.findall(r"`([a-z_]+)`", table))
    assert {code.value for code in Code} - shown <= {"canceled", "data_loss"}


def test_its_limits_are_those_of_the_listener() -> None:
    limits = TEXT.partition("## Limits")[2].partition("\n## ")[0]
    assert f"{MAX_JSON >> 20} MiB, {MAX_VALUES:,} values" in limits
    assert f"| connections | {MAX_CONNECTIONS};" in limits


def test_what_is_not_offered_is_on_the_page() -> None:
    methods = dispatch_service_pb2.DESCRIPTOR.services_by_name["DispatchService"].methods
    left_out = TEXT.partition("## What is left out")[2]
    assert [method.name for method in methods if not is_offered(method)] == re.findall(
        r"^\| `(\w+)`,", left_out, re.MULTILINE
    )
