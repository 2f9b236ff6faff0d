"""Readers of receipts: which there are, what is said of those that are missing, and secrets that change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import KINDS as MOCKS
from tests.support.receipt_endpoint import KINDS, TOML

from postwire.config.bind import ConfigError, setting
from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.config.schema import Config, load
from postwire.providers.base import Kind
from postwire.providers.receipts.base import ReceiptSupport
from postwire.receipts.keys import references
from postwire.receipts.readers import Readers
from postwire.reload import Reloader


def read(folder: Path, toml: str, kinds: Mapping[str, Kind] = KINDS) -> Config:
    (folder / "postwire.toml").write_text(toml, encoding="utf-8")
    return load(path=None, environ={}, kinds=kinds, cwd=folder)


def test_only_kinds_with_receipts_have_a_reader(tmp_path: Path) -> None:
    readers = Readers(read(tmp_path, TOML), KINDS)
    assert [name for name in ("one", "two", "silent", "open", "nobody") if readers.of(name)] == ["one", "two"]
    assert [name for name in ("one", "two", "silent", "open", "nobody") if readers.knows(name)] == [
        *("one", "two", "silent", "open")
    ]


def test_whose_receipts_are_not_taken_is_told_of_with_what_to_set(tmp_path: Path) -> None:
    assert list(Readers(read(tmp_path, TOML), KINDS).warnings()) == [
        "providers.open: its receipts are not taken, for want of something to check them by: "
        "set providers.open.receipts.secret"
    ]


def test_a_secret_that_changes_is_used_from_then_on(tmp_path: Path) -> None:
    config = read(tmp_path, TOML)
    readers = Readers(config, KINDS)
    toml = TOML.replace('secret = "none"', 'secret = "new"') + '[providers.one.receipts]\nsecret = "other"\n'
    reloader = Reloader(config, lambda: read(tmp_path, toml), list(readers.reloadables))
    before: Any = readers.of("one")
    assert before.secret is None
    done = reloader.apply(reloader.prepare())
    assert "providers.one.receipts.secret" in done.changed
    assert done.needs_restart == ["providers.open.receipts.secret"], "nothing was said to its vendor so far"
    after: Any = readers.of("one")
    assert after.secret == "other"
    assert readers.names == ["one", "two"]
    reloader.apply(reloader.prepare())
    assert readers.of("one") is after, "nothing has changed"


@dataclass(frozen=True, slots=True)
class Account:
    host: str = "h"
    token: str | None = setting(None, secret=True)


def test_a_reader_may_go_by_the_secrets_of_its_provider(tmp_path: Path) -> None:
    def make(options: Account, _: ProviderReceiptsConfig) -> Any:
        if options.token == "odd":
            raise ValueError("it is of no use")
        return options.token

    kinds = {"own": replace(MOCKS["mock"], settings=Account, receipts=ReceiptSupport((), make))}
    toml = '[providers.a]\nkind = "own"\nchannels = ["sms"]\ntoken = "one"\n'
    config = read(tmp_path, toml, kinds)
    readers = Readers(config, kinds)
    assert readers.of("a") == "one"  # type: ignore[comparison-overlap]
    renewed = [toml.replace("one", "two"), toml.replace("one", "odd")]
    reloader = Reloader(config, lambda: read(tmp_path, renewed.pop(0), kinds), list(readers.reloadables))
    reloader.apply(reloader.prepare())
    assert readers.of("a") == "two"  # type: ignore[comparison-overlap]
    with pytest.raises(ConfigError, match=r"^providers.a.receipts: it is of no use$"):
        reloader.prepare()
    assert readers.of("a") == "two"  # type: ignore[comparison-overlap]
    with pytest.raises(ConfigError, match=r"^providers.a.receipts: it is of no use$"):
        Readers(read(tmp_path, toml.replace("one", "odd"), kinds), kinds)


def test_references_are_by_the_key_of_the_configuration_or_one_of_the_stores(tmp_path: Path) -> None:
    message_id = "01890a5d-ac96-774b-bcce-b302099a8057"
    ours = read(tmp_path, TOML.replace("[receipts]\n", f'[receipts]\nkey = "{"k" * 32}"\n')).receipts
    stores = read(tmp_path, TOML).receipts
    made = {
        references(config, lookup).make(message_id, 1)
        for config, lookup in ((ours, b"1" * 32), (ours, b"2" * 32), (stores, b"1" * 32), (stores, b"2" * 32))
    }
    assert len(made) == 3
    assert references(ours, b"3").read(references(ours, b"4").make(message_id, 7)) == (message_id, 7)
