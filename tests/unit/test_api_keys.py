"""Keys: how they are made, and which are taken."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.access import made_key

from postwire.auth.api_keys import ApiKeys, KnownKey, NewKey, new_key
from postwire.core.errors import InvalidCredentials
from postwire.core.principal import Principal, Role

CALLER = Principal("acme", "billing", frozenset((Role.SEND,)))
NOW = 1_700_000_000_000_000


def known(key: NewKey, expires: int | None = None) -> KnownKey:
    return KnownKey(key.id, key.sha256, CALLER, expires)


@given(st.binary(min_size=10, max_size=10), st.binary(min_size=32, max_size=32))
def test_a_key_looks_as_the_docs_say(id_bytes: bytes, secret_bytes: bytes) -> None:
    key = new_key(lambda count: {10: id_bytes, 32: secret_bytes}[count])
    found = re.fullmatch(r"pw_([a-z0-9]{10})_([a-z2-7]{52})", key.text)
    assert found
    assert found[1] == key.id
    assert hashlib.sha256(found[2].encode()).hexdigest() == key.sha256
    assert ApiKeys([known(key)]).verify(key.text, NOW) == CALLER


def test_no_two_are_the_same() -> None:
    assert len({made_key().text for _ in range(100)}) == 100


@pytest.mark.parametrize("change", ["id", "secret", "short", "upper", "other", "none"])
def test_what_is_no_key_of_ours_is_refused(change: str) -> None:
    key, other = made_key(), made_key()
    secret = key.text.rpartition("_")[2]
    text = {
        "id": f"pw_{other.id}_{secret}",
        "secret": f"pw_{key.id}_{other.text.rpartition('_')[2]}",
        "short": key.text[:-1],
        "upper": key.text.upper(),
        "other": f"{key.text}a",
        "none": "",
    }[change]
    with pytest.raises(InvalidCredentials):
        ApiKeys([known(key)]).verify(text, NOW)


def test_the_hash_of_a_key_does_not_open() -> None:
    """Who has read the configuration has no key by that."""
    key = made_key()
    with pytest.raises(InvalidCredentials):
        ApiKeys([known(key)]).verify(f"pw_{key.id}_{key.sha256[:52]}", NOW)


def test_a_key_ends_at_its_time() -> None:
    key = made_key()
    keys = ApiKeys([known(key, expires=NOW)])
    assert keys.verify(key.text, NOW - 1) == CALLER
    with pytest.raises(InvalidCredentials):
        keys.verify(key.text, NOW)


def test_only_ids_that_are_known_are_told() -> None:
    key, other = made_key(), made_key()
    keys = ApiKeys([known(key)])
    assert keys.known_id(f"{key.text[:-1]}a") == key.id
    assert keys.known_id(other.text) == keys.known_id("pw_") == ""
