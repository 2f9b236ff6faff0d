"""Contents at rest: what is to be read in a store's files, keys that come and go, and everything encrypted anew."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.e2e.calls import (
    ACCEPTANCE,
    NO_RETRY,
    QUEUED,
    SENT,
    TIMEOUT,
    dispatch,
    dispatch_all,
    email,
    get,
    request,
    sms,
    update,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, environment
from tests.e2e.streams import in_time
from tests.support import forking
from tests.support.encryption import found_in, key_texts, write_keys
from tests.support.outboxes import KEYS

from postwire.config.encryption_keys import EncryptionKey
from postwire.outbox.sqlite.maintenance import backup
from postwire.v1.message_pb2 import Message, OutboundMessage

ONE, TWO, THREE = KEYS


def marked(number: int) -> OutboundMessage:
    """A message whose number, addresses, subject and text are to be found nowhere."""
    if number % 2:
        return sms(f"+1987654321{number % 10_000:04d}", f"zqtext{number:06d} zqbody")
    return email(
        f"zqto{number:06d}@example.com",
        cc=[f"zqcc{number:06d}@example.com"],
        subject=f"zqsubject{number:06d}",
        text=f"zqtext{number:06d}",
        headers={"X-Zqheader": f"zqvalue{number:06d}"},
    )


MARKS = [b"1987654321", b"zqto", b"zqcc", b"zqsubject", b"zqtext", b"zqbody", b"zqvalue", b"zqheader"]
"""What all of them have in common."""


def files_of(server: Server, *others: Path) -> list[Path]:
    """All there is beside a store and in it."""
    return [*server.folder.glob("postwire.db*"), *others]


def send_marked(server: Server, count: int) -> list[Message]:
    """Have so many messages sent, or wait: some for later, some for another attempt."""
    update(server, "sms-mms", error_ratio=0.5)
    sent: list[Message] = []
    for start in range(0, count, 50):
        numbers = range(start, min(start + 50, count))
        sent += dispatch_all(server, [marked(number) for number in numbers if number % 3])
        sent += dispatch_all(server, [marked(n) for n in numbers if n % 3 == 0], send_time=in_time(hours=1))
    assert {one.state for one in sent} >= {SENT, QUEUED}
    return sent


def nothing_is_read(server: Server, *others: Path) -> None:
    assert found_in(files_of(server, *others), [*MARKS, *key_texts(KEYS)]) == {}


def encrypted(serve: Serve, folder: Path, **settings: str) -> Server:
    """A server that encrypts with a key out of a file."""
    file = write_keys(folder / "keys", [ONE])
    return serve(store__encryption_keys_file=str(file), **{**NO_RETRY, **settings})


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.long)])
def test_no_file_has_what_waits_or_was_sent(serve: Serve, tmp_path: Path, count: int) -> None:
    server = encrypted(serve, tmp_path)
    sent = send_marked(server, count)
    copy = tmp_path / "copy.db"
    backup(server.store, copy)
    nothing_is_read(server, copy)
    send_marked(server, 30)  # the log is emptied now and then
    server.kill()  # which leaves it as it is
    assert (tmp_path / "postwire.db-wal").stat().st_size
    nothing_is_read(server)
    server.start()
    assert get(server, sent[0]).state in (SENT, QUEUED)
    assert server.terminate() == 0
    nothing_is_read(server)
    assert not any(mark.decode() in server.log_text() for mark in MARKS)


def test_without_keys_what_waits_is_to_be_read_and_what_was_sent_is_not(serve: Serve, tmp_path: Path) -> None:
    server = serve(**NO_RETRY)
    dispatch_all(server, [marked(number) for number in range(100)])
    waits = dispatch(server, sms(body="zqwaits"), send_time=in_time(hours=1))
    assert server.terminate() == 0
    assert found_in(files_of(server), [*MARKS, b"zqwaits"]) == {"postwire.db": [b"zqwaits"]}
    assert waits.state == QUEUED


def refused_start(folder: Path, **settings: str) -> str:
    """What a server says that does not start."""
    done = forking.run("serve", cwd=folder, env=environment(folder, **settings))
    assert done.returncode == 4, done.stderr
    return done.stderr


def test_a_start_without_the_key_is_refused_and_one_with_it_goes_on(serve: Serve, tmp_path: Path) -> None:
    server = encrypted(serve, tmp_path)
    asked = request(sms(body="zqwaits"), wait_for=ACCEPTANCE, send_time=in_time(hours=1))
    waits = server.dispatch.Dispatch(asked, timeout=TIMEOUT).message
    assert server.terminate() == 0
    line = refused_start(tmp_path)
    assert 'store.encryption_keys_file: contents of the store may be encrypted with "key-1"' in line
    write_keys(tmp_path / "keys", [TWO])
    line = refused_start(tmp_path, store__encryption_keys_file=str(tmp_path / "keys"))
    assert '"key-1", which is missing' in line
    write_keys(tmp_path / "keys", [TWO, ONE])
    server.start()
    assert server.dispatch.Dispatch(asked, timeout=TIMEOUT).message == waits


def test_a_file_with_a_mistake_stops_the_start_and_shows_nothing_of_it(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("secretid = c2VjcmV0\n")
    line = refused_start(tmp_path, store__encryption_keys_file=str(file))
    assert f"store.encryption_keys_file: {file}: line 1 has a key that is not the Base64 of 32 bytes" in line
    assert "secretid" not in line
    assert "c2VjcmV0" not in line


@pytest.mark.parametrize("asked", [True, False], ids=["SIGHUP", "by itself"])
def test_keys_are_read_again_while_it_serves(serve: Serve, tmp_path: Path, asked: bool) -> None:
    server = encrypted(serve, tmp_path)
    first = dispatch(server, sms(body="zqfirst"), send_time=in_time(hours=1))

    def change(*keys: EncryptionKey) -> None:
        write_keys(tmp_path / "keys", keys)
        if asked:
            server.send_signal(signal.SIGHUP)

    change(TWO, ONE)
    assert server.wait_for_event("reloaded")["changed"] == ["store.encryption_keys_file"]
    second = dispatch(server, sms(body="zqsecond"), send_time=in_time(hours=1))
    change(TWO)
    assert "key-1" in server.wait_for_event("reload_failed")["detail"]
    third = dispatch(server, sms(body="zqthird"), send_time=in_time(hours=1))
    assert server.terminate() == 0
    assert ids_of(server, [first, second, third]) == ["key-1", "key-2", "key-2"]
    nothing_is_read(server)


def ids_of(server: Server, messages: Iterable[Message]) -> list[str]:
    """The ids of the keys that contents of a server that was stopped are encrypted with."""
    found = dict(server.rows("SELECT lower(hex(message_id)), content FROM messages JOIN contents USING (key)"))
    return [found[one.message_id.replace("-", "")][2:7].decode() for one in messages]
