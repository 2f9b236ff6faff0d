"""docs/providers/: a page for each kind, its keys and its configuration; and the examples, which start servers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.conformance import test_ses, test_twilio, test_vonage
from tests.e2e.calls import dispatch, email, mms, sms, tried
from tests.e2e.server import Server, eventually
from tests.support.http_counterpart import HttpCall, HttpReply, counterpart_thread
from tests.support.reader import ROOT
from tests.support.smsc import SYSTEM_ID, Reply, smsc_thread
from tests.support.smtp_thread import SmtpThread

from postwire.cli.root import root
from postwire.config.bind import entries
from postwire.config.providers import ProviderTable
from postwire.config.schema import load
from postwire.providers.builtin import KINDS
from postwire.providers.smpp.pdu import Status

PAGES = ROOT / "docs/providers"
VENDORS = sorted(set(KINDS) - {"mock"})
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.toml"))


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("kind", VENDORS)
def test_a_page_has_every_key_of_its_kind(kind: str) -> None:
    text = (PAGES / f"{kind}.md").read_text(encoding="utf-8")
    table = text.split("## Keys")[1].split("##")[0]
    shown = {
        key.partition(".")[0]
        for line in table.splitlines()
        if line.startswith("| `")
        for key in re.findall(r"`([a-z_.]+)`", line.split("|")[1])
    }
    own = {entry.name for entry in entries(KINDS[kind].settings)} - {"ca_file", "proxy"}
    common = {entry.name for entry in entries(ProviderTable)} | {"ca_file", "proxy"}
    assert own <= shown <= own | common


@pytest.mark.parametrize("kind", VENDORS)
def test_the_configuration_of_a_page_is_taken(kind: str, tmp_path: Path) -> None:
    found = blocks(PAGES / f"{kind}.md")
    assert found
    (secret := tmp_path / "secret").write_text("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3", encoding="utf-8")
    for block in found:
        if "dkim" in block:
            continue  # its key is made by the commands of the page, which a test runs
        file = tmp_path / "postwire.toml"
        file.write_text(re.sub(r'_file = "[^"]+"', f'_file = "{secret}"', block), encoding="utf-8")
        config = load(path=file, environ={}, kinds=KINDS)
        assert {one.kind for one in config.providers.values()} == {kind}


def test_the_front_page_has_every_kind_and_its_channels() -> None:
    text = (PAGES / "README.md").read_text(encoding="utf-8")
    rows = {
        re.sub(r"\[?`([a-z]+)`.*", r"\1", cells[1].strip()): cells[2].strip()
        for line in text.splitlines()
        if line.startswith(("| [`", "| `")) and (cells := line.split("|"))
    }
    assert rows == {kind: ", ".join(one.value for one in KINDS[kind].channels) for kind in KINDS}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_sound(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for variable in [one for one in os.environ if one.startswith("POSTWIRE_")]:
        monkeypatch.delenv(variable)
    done = CliRunner().invoke(root, ["config", "check", "--config", f"examples/{name}"])
    assert done.exit_code == 0, done.stderr


TAKEN = {
    "/2010": HttpReply.of_json(201, test_twilio.MESSAGE),
    "/sms": test_vonage.answer("0"),
    "/v2": test_ses.TestSes.success,
}


def answered(call: HttpCall) -> HttpReply:
    """As the vendors of the examples answer."""
    if call.method == "GET":
        return HttpReply.of_json(200, {})
    return next(reply for path, reply in TAKEN.items() if call.target.startswith(path))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "examples").symlink_to(ROOT / "examples", target_is_directory=True)
    server = Server(tmp_path)
    yield server
    server.stop()


def test_twilio_with_vonage_behind_it_starts_and_sends(start: Server, tmp_path: Path) -> None:
    (tmp_path / "postwire.toml").symlink_to(ROOT / "examples/twilio-vonage.toml")
    with counterpart_thread(answered) as vendors:
        url = vendors.counterpart.url
        start.start(providers__twilio__base_url=url, providers__vonage__base_url=url)
        assert tried(dispatch(start, mms())) == [("twilio", "success")]
        vendors.counterpart.replies = [test_twilio.refusal(400, 21408)]
        assert tried(dispatch(start, sms())) == [("twilio", "error"), ("vonage", "success")]


def test_an_operator_with_two_binds_and_vonage_behind_it_starts_and_sends(start: Server, tmp_path: Path) -> None:
    (tmp_path / "postwire.toml").symlink_to(ROOT / "examples/smpp-vonage.toml")
    with counterpart_thread(answered) as vendors, smsc_thread() as (smsc, _):
        smsc.password = (ROOT / "examples/secret").read_text(encoding="utf-8").strip()
        start.start(
            providers__operator__host="127.0.0.1",
            providers__operator__port=str(smsc.port),
            providers__operator__tls="false",
            providers__operator__system_id=SYSTEM_ID,
            providers__vonage__base_url=vendors.counterpart.url,
        )
        assert tried(dispatch(start, sms())) == [("operator", "success")]
        eventually(lambda: len(smsc.bound) == 2)
        smsc.reply = Reply(status=Status.ESME_RTHROTTLED)
        assert tried(dispatch(start, sms())) == [("operator", "rate_limited"), ("vonage", "success")]


@pytest.mark.parametrize("name", ["smtp-relay", "ses-smtp"])
def test_a_mail_relay_by_itself_or_behind_ses_starts_and_sends(
    start: Server, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    (tmp_path / "postwire.toml").symlink_to(ROOT / f"examples/{name}.toml")
    with counterpart_thread(answered) as vendors, SmtpThread(users={"postwire": "put-your-own-here"}) as relay:
        settings = {
            "providers__relay__host": "127.0.0.1",
            "providers__relay__port": str(relay.server.port),
            "providers__relay__security": "none",
        }
        if name == "ses-smtp":
            settings["providers__ses__base_url"] = vendors.counterpart.url
        start.start(**settings)
        if name == "ses-smtp":
            assert tried(dispatch(start, email())) == [("ses", "success")]
            vendors.counterpart.replies = [test_ses.refusal(429, "TooManyRequestsException")]
            assert tried(dispatch(start, email())) == [("ses", "rate_limited"), ("relay", "success")]
        else:
            assert tried(dispatch(start, email())) == [("relay", "success")]
        assert len(relay.server.mails) == 1
