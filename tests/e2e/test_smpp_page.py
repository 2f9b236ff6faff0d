"""docs/providers/smpp.md: what it shows is done, with a message centre of this machine in place of the one it names."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from tests.support.docs import steps
from tests.support.reader import ROOT, Reader, checkout
from tests.support.smsc import PASSWORD, SYSTEM_ID, smsc_thread

from postwire.providers.smpp.provider import KIND
from postwire.providers.smpp.settings import SmppSettings

PAGE = ROOT / "docs/providers/smpp.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_can_be_followed_and_the_message_comes_to_the_centre(tmp_path: Path) -> None:
    configuration, *_ = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "postwire.toml").write_text(configuration, encoding="utf-8")
    (tmp_path / "smpp-password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    with smsc_thread() as (smsc, _):
        variables = {
            "POSTWIRE_PROVIDERS__OPERATOR__HOST": "127.0.0.1",
            "POSTWIRE_PROVIDERS__OPERATOR__PORT": str(smsc.port),
            "POSTWIRE_PROVIDERS__OPERATOR__SYSTEM_ID": SYSTEM_ID,
        }
        with Reader(checkout(tmp_path), variables) as reader:
            done = list(reader.follow(PAGE))
        assert len(done) == len(list(steps(PAGE)))
        texts = [one.text for one in smsc.submitted]
    assert texts == ["Your code is 4711"]
    log = (tmp_path / "postwire.log").read_text(encoding="utf-8")
    assert PASSWORD not in log
    assert "447700900001" not in log


def test_the_table_has_every_key_with_its_default() -> None:
    table = TEXT.split("## Keys")[1].split("##")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "`" in line]
    shown = {
        name: default.strip('`"')
        for names, default, _ in (row for row in rows if len(row) == 3)
        for name in re.findall(r"`([a-z_.]+)`", names)
    }
    own = {one.name for one in fields(SmppSettings)} - {"ca_file"}
    assert set(shown) - {"max_concurrent", "attempt_timeout"} == own
    assert KIND.attempt_timeout == float(shown["attempt_timeout"].removesuffix("s"))
    for one in fields(SmppSettings):
        if shown.get(one.name, "").isdecimal():
            assert one.default == int(shown[one.name]), one.name
