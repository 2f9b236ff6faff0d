"""`postwire keys new`: what it prints is taken as it is, and the key goes with it."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.support.access import bearer, keys_of, table_of

from postwire.auth.authenticator import Authenticator
from postwire.auth.identity import Credentials
from postwire.cli.root import root
from postwire.core.principal import Principal, Role


def run(*args: str) -> Result:
    return CliRunner().invoke(root, ["keys", "new", *args])


def caller(text: str, table: str, tenant: str | None = None) -> Principal:
    """Who calls with a key, where this is in the configuration."""
    ((_, authorization), *_) = bearer(text)
    shown = Credentials(authorization, tenant)
    return Authenticator(table_of(table), keys_of()).authenticate(shown, time.time_ns() // 1000)


def parts(shown: str) -> tuple[str, str]:
    """The key and the table, each by itself between empty lines."""
    blocks = shown.split("\n\n")
    (key,) = [block for block in blocks if re.fullmatch("pw_[a-z0-9]{10}_[a-z2-7]{52}", block)]
    (table,) = [block for block in blocks if block.startswith("[[")]
    assert shown.endswith("\n\n")
    return key, table


def test_a_key_of_a_tenant_is_printed_once_with_its_table() -> None:
    done = run(
        "acme", "--role", "send", "--role", "read", "--name", 'the "billing"', "--expires", "2031-01-31T01:00:00+01:00"
    )
    assert done.exit_code == 0, done.output
    key, table = parts(done.stdout)
    assert caller(key, table) == Principal("acme", 'the "billing"', frozenset((Role.SEND, Role.READ)))
    assert "\nexpires = 2031-01-31T00:00:00Z" in table
    assert done.stdout.count(key.rpartition("_")[2]) == 1


def test_an_administrator_s_key_acts_for_every_tenant() -> None:
    key, table = parts(run("--admin").stdout)
    assert caller(key, table) == Principal("default", key.split("_")[1], frozenset((Role.ADMIN,)))


def test_it_ends_so_long_from_now() -> None:
    found: Any = json.loads(run("acme", "--role", "send", "--expires", "in 90d", "--json").stdout)
    assert caller(found["key"], found["toml"]).tenant == "acme"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["expires"])
    assert {name: found[name] for name in ("tenant", "roles", "name")} == {
        "tenant": "acme",
        "roles": ["send"],
        "name": None,
    }


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ((), "for which TENANT? or --admin for an administrator's key"),
        (("acme",), "what may it do? give --role once or more"),
        (("acme", "--admin"), "leave TENANT and --role out"),
        (("--admin", "--role", "send"), "leave TENANT and --role out"),
        (("Acme", "--role", "send"), "'Acme' is not a tenant's name, such as acme or acme-eu"),
        (("acme", "--role", "root"), "'root' is not one of"),
        (("acme", "--role", "send", "--name", "a\nb"), "is not a text of one line"),
        (("acme", "--role", "send", "--expires", "2020-01-31T00:00:00Z"), "this time is over"),
        (("acme", "--role", "send", "--expires", "soon"), "is not a time such as"),
    ],
)
def test_what_is_wrong_is_said(args: tuple[str, ...], line: str) -> None:
    done = run(*args)
    assert done.exit_code == 2
    assert line in done.output
    assert "pw_" not in done.output
