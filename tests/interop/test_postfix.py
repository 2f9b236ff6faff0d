"""Emails go through Postfix, by a server process, and lie in the mailboxes as they were sent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.e2e.calls import FAILED, QUEUED, SENT, dispatch, tried, until
from tests.e2e.server import Server
from tests.interop import letters, postfix
from tests.interop.conftest import TOOLS
from tests.interop.postfix import Postfix
from tests.support import forking
from tests.support.certificates import Authority
from tests.support.dkim_verifier import verify
from tests.support.needed import Need

from postwire.v1 import message_pb2
from postwire.v1.message_pb2 import Message

ANA, BOB, EVE, ZOE = (f"{letters.CANARY}-{name}@example.com" for name in ("ana", "bob", "eve", "zoe"))
BEYOND_ASCII: Final = "\u7528\u6237@example.com"
UNKNOWN: Final = f"{letters.CANARY}-unknown@example.com"

KEY: Final = ed25519.Ed25519PrivateKey.generate()

AN_HOUR: Final = 3_600


class Suspended(Server):
    """A server on a machine that a test can have slept for a while."""

    main = "tests.support.stepped_server:run"

    def sleep(self, seconds: int) -> None:
        """Have it wake up so many seconds later than it was started."""
        file = self.folder / "slept"
        file.with_suffix(".new").write_text(str(seconds))
        file.with_suffix(".new").replace(file)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.certify("127.0.0.1")
    return made


@pytest.fixture(scope="module")
def relay(need: Need, authority: Authority) -> Iterator[Postfix]:
    need(lacking=postfix.missing())
    mailboxes = (*letters.ALL, ANA, BOB, EVE, ZOE, BEYOND_ASCII)
    with (
        postfix.folder_of_its_own() as folder,
        Postfix(
            postfix.install(TOOLS / "postfix"), folder, authority.ca_file.with_name("127.0.0.1.pem"), mailboxes
        ) as running,
    ):
        yield running


@pytest.fixture
def server(
    relay: Postfix, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Suspended]:
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    toml = f"""
[providers.relay]
kind = "smtp"
channels = ["email"]
host = "127.0.0.1"
port = {relay.port}
ca_file = "{authority.ca_file}"
sender = "{letters.SENDER}"
dkim = {{ domain = "example.org", selector = "s1", private_key = '''{key}''' }}
"""
    (tmp_path / "postwire.toml").write_text(toml, encoding="utf-8")
    monkeypatch.setitem(os.environ, "CLOCK_SLEPT", str(tmp_path / "slept"))
    started = Suspended(tmp_path)
    started.sleep(0)
    with started:
        yield started
    assert letters.CANARY not in started.log_text()
    assert not started.log("internal_error")


def outcomes(message: Message) -> list[tuple[str, str]]:
    """Each recipient's state, with the code that was given for it."""
    return [
        (message_pb2.MessageState.Name(one.state).removeprefix("MESSAGE_STATE_"), one.error_code)
        for one in message.recipients
    ]


def as_sent(raw: bytes) -> bytes:
    """An email without what servers have put before it."""
    return raw[raw.index(b"DKIM-Signature:") :]


def test_an_email_reaches_everybody_as_it_was_sent(relay: Postfix, server: Suspended) -> None:
    sent = dispatch(server, letters.whole())
    assert (sent.state, tried(sent)) == (SENT, [("relay", "success")])
    first, *others = relay.until_delivered(*letters.ALL)
    letters.is_whole(first)
    assert verify(first, KEY.public_key())["d"] == "example.org"
    before = first.partition(b"DKIM-Signature")[0]
    assert before.startswith(b"Return-Path: <no-reply@example.org>\r\n")
    assert b"using TLSv1." in before, "it went in plain text"
    assert [as_sent(raw) for raw in others] == [as_sent(first)] * len(others)


def test_who_is_refused_or_put_off_is_so_alone(relay: Postfix, server: Suspended) -> None:
    relay.greylisted.add(EVE)
    sent = dispatch(server, letters.short(ANA, UNKNOWN, EVE, bcc=[BOB], headers=letters.HEADERS))
    assert sent.state == QUEUED
    assert outcomes(sent) == [("SENT", ""), ("FAILED", "550 5.1.1"), ("QUEUED", "450 4.7.1"), ("SENT", "")]
    first = relay.until_delivered(ANA, BOB)
    assert not relay.delivered(EVE)

    relay.greylisted.clear()
    server.sleep(AN_HOUR)
    done = until(server, sent, FAILED)
    assert outcomes(done) == [("SENT", ""), ("FAILED", "550 5.1.1"), ("SENT", ""), ("SENT", "")]
    assert tried(done) == [("relay", "rate_limited"), ("relay", "success")]
    (later,) = relay.until_delivered(EVE)
    assert relay.until_delivered(ANA, BOB) == first
    assert as_sent(later) == as_sent(first[0])


def test_an_address_beyond_ascii_is_sent_to_as_it_is(relay: Postfix, server: Suspended) -> None:
    assert dispatch(server, letters.short(BEYOND_ASCII)).state == SENT
    (raw,) = relay.until_delivered(BEYOND_ASCII)
    assert f"To: {BEYOND_ASCII}\r\n".encode() in raw


def test_what_is_too_large_for_the_server_is_rejected(relay: Postfix, server: Suspended) -> None:
    data = bytes(postfix.MAX_SIZE)
    large = letters.short(ZOE, attachments=[message_pb2.Attachment(file_name="a", data=data)])
    sent = dispatch(server, large)
    assert (sent.state, tried(sent), sent.attempts[0].error_code) == (FAILED, [("relay", "rejected")], "552 5.3.4")


def test_a_server_that_was_restarted_is_sent_to_in_one_attempt(relay: Postfix, server: Suspended) -> None:
    """The connection that has been kept from before is gone."""
    assert dispatch(server, letters.short(ZOE)).state == SENT
    relay.until_delivered(ZOE)
    relay.restart()
    sent = dispatch(server, letters.short(ZOE))
    assert (sent.state, tried(sent)) == (SENT, [("relay", "success")])
    relay.until_idle()
    assert len(relay.delivered(ZOE)) == 2


def test_a_check_sends_nothing(relay: Postfix, server: Suspended) -> None:
    before = relay.log.count("from=<")
    done = forking.run("providers", "check", "relay", cwd=server.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert relay.log.count("from=<") == before
