"""What a store keeps to know repeated requests by tells nobody what they said; and earlier hashes serve on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import build
from tests.support.store_files import database

from postwire.core import canonical
from postwire.core.errors import RequestIdReused
from postwire.core.message import DEFAULT_TENANT, NO_OPTIONS, OutboundMessage, Sms
from postwire.outbox.base import NewMessage
from postwire.outbox.sqlite import SqliteOutbox

NUMBER = "+15005550006"
TEXT = "Your code is {code}."
CODES = 10**4


def dictionary() -> Iterator[bytes]:
    """The hash of the payload of every message with a code to a number that is known."""
    options = canonical.encode_options(NO_OPTIONS)
    encoded = canonical.encode_message(OutboundMessage(Sms(NUMBER, TEXT.format(code="####"))))
    before, after = encoded.split(b"####")
    for code in range(CODES):
        yield canonical.payload_hash(b"%b%04d%b" % (before, code, after), options)


def found_in(path: Path) -> bool:
    """Whether one of the dictionary is in a store's file, anywhere."""
    data = path.read_bytes()
    there = {data[at : at + 32] for at in range(len(data) - 31)}
    return not there.isdisjoint(dictionary())


def with_code(code: int, request_id: str = "login-1") -> NewMessage:
    command = build.command(Sms(NUMBER, TEXT.format(code=f"{code:04d}")), request_id=request_id)
    return build.new_message(command)


async def kept(path: Path, *news: NewMessage) -> None:
    outbox = await SqliteOutbox.open(str(path))
    for new in news:
        await outbox.accept(new)
    await outbox.close()


def as_earlier(path: Path, new: NewMessage) -> None:
    """Keep the hash of a message as releases without a lookup key did."""
    with database(path) as connection:
        connection.execute("UPDATE messages SET payload_hash = ?", (new.payload_hash,))


async def test_a_code_cannot_be_looked_up_in_a_dictionary(tmp_path: Path) -> None:
    path = tmp_path / "postwire.db"
    new = with_code(1_234)
    assert new.payload_hash in dictionary()
    await kept(path, new)
    assert not found_in(path)
    as_earlier(path, new)
    assert found_in(path), "or the dictionary is of no use"


async def test_what_an_earlier_release_has_accepted_is_known_again(tmp_path: Path) -> None:
    path = tmp_path / "postwire.db"
    new = with_code(1)
    await kept(path, new)
    as_earlier(path, new)
    outbox = await SqliteOutbox.open(str(path))
    again, other = with_code(1), with_code(2)
    accepted = await outbox.accept(again)
    assert (accepted.created, accepted.record) == (False, new.record)
    with pytest.raises(RequestIdReused):
        await outbox.accept(other)
    assert await outbox.find_by_request_id("login-1", DEFAULT_TENANT, again.payload_hash) == new.record
    with pytest.raises(RequestIdReused):
        await outbox.find_by_request_id("login-1", DEFAULT_TENANT, other.payload_hash)
    await outbox.close()


async def test_equal_payloads_are_kept_as_others_in_another_store(tmp_path: Path) -> None:
    hashes: list[set[object]] = []
    for name in ("a", "b"):
        await kept(path := tmp_path / name, with_code(1, "r-1"), with_code(1, "r-2"))
        with database(path) as connection:
            hashes.append({row[0] for row in connection.execute("SELECT payload_hash FROM messages")})
    assert [len(one) for one in hashes] == [1, 1]
    assert hashes[0] != hashes[1]
