"""Emails go to Mailpit, by a server process. It reads them as they were sent, and its failures are told apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.calls import FAILED, NO_RETRY, QUEUED, SENT, dispatch, tried
from tests.e2e.server import Server
from tests.interop import letters, mailpit
from tests.interop.conftest import TOOLS
from tests.interop.mailpit import PASSWORD, USERNAME, Mailpit
from tests.support import forking
from tests.support.certificates import Authority
from tests.support.needed import Need

ADA = f"{letters.CANARY}@example.com"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.certify("127.0.0.1")
    return made


@pytest.fixture(scope="module")
def running(need: Need, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailpit]:
    need("go")
    program = TOOLS / "mailpit"
    mailpit.build(program)
    folder = tmp_path_factory.mktemp("mailpit")
    with Mailpit(program, folder, authority.ca_file.with_name("127.0.0.1.pem")) as made:
        yield made


@pytest.fixture
def relay(running: Mailpit) -> Mailpit:
    """The same for each test, with nothing in it and nothing wrong with it."""
    running.forget()
    return running


@pytest.fixture
def server(relay: Mailpit, authority: Authority, tmp_path: Path) -> Iterator[Server]:
    toml = f"""
[providers.relay]
kind = "smtp"
channels = ["email"]
host = "127.0.0.1"
port = {relay.port}
security = "tls"
username = "{USERNAME}"
password = "{PASSWORD}"
ca_file = "{authority.ca_file}"
sender = "{letters.SENDER}"
"""
    (tmp_path / "postwire.toml").write_text(toml, encoding="utf-8")
    with Server(tmp_path, **NO_RETRY) as started:
        yield started
    assert letters.CANARY not in started.log_text()
    assert PASSWORD not in started.log_text()
    assert not started.log("internal_error")


def test_it_reads_what_was_sent(relay: Mailpit, server: Server) -> None:
    sent = dispatch(server, letters.whole())
    assert (sent.state, tried(sent)) == (SENT, [("relay", "success")])
    (got,) = relay.emails()
    assert (got["Subject"], got["Text"], got["HTML"]) == (letters.SUBJECT, letters.TEXT, letters.HTML)
    assert got["From"] == {"Name": "Postwire", "Address": "no-reply@example.org"}
    assert [one["Address"] for one in got["To"]] == list(letters.TO)
    assert [one["Address"] for one in got["Cc"]] == list(letters.CC)
    assert sorted(one["Address"] for one in got["Bcc"]) == list(letters.BCC), "whom the envelope has beside"
    assert got["MessageID"].startswith(sent.message_id)
    assert got["ListUnsubscribe"]["Links"] == [letters.HEADERS["List-Unsubscribe"].strip("<>")]
    attached = {one["FileName"]: relay.part(got, one["PartID"]) for one in got["Attachments"]}
    assert attached == {name: data for name, (_, data) in letters.FILES.items()}
    added, _, raw = relay.raw(got).partition(b"\r\n")
    assert added == b"Bcc: " + ", ".join(letters.BCC).encode(), "which it adds itself, by the envelope"
    letters.is_whole(raw)


@pytest.mark.parametrize(
    ("trigger", "code", "state", "outcome"),
    [
        ("Recipient", 451, QUEUED, "rate_limited"),
        ("Recipient", 550, FAILED, "rejected"),
        ("Sender", 451, QUEUED, "error"),
        ("Sender", 550, QUEUED, "error"),
        ("Sender", 552, FAILED, "rejected"),
        ("Authentication", 535, QUEUED, "error"),
        ("Authentication", 454, QUEUED, "error"),
    ],
)
def test_its_failures_have_their_outcomes(
    relay: Mailpit, server: Server, trigger: str, code: int, state: int, outcome: str
) -> None:
    relay.fail(**{trigger: code})
    sent = dispatch(server, letters.short(ADA))
    assert sent.state == state
    assert [name for _, name in tried(sent)] == [outcome]
    assert sent.attempts[0].error_code.split()[0] == str(code)
    assert relay.emails() == []


def test_a_check_tells_a_wrong_password_and_sends_nothing(relay: Mailpit, server: Server) -> None:
    assert forking.run("providers", "check", "relay", cwd=server.folder).returncode == 0
    relay.fail(Authentication=535)
    refused = forking.run("providers", "check", "relay", cwd=server.folder)
    assert refused.returncode != 0
    assert "password" in refused.stdout + refused.stderr
    assert relay.emails() == []
