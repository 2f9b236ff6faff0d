"""Receipts of the kind `http`: where a call has what it reports, and whom to believe."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.support.receipt_calls import (
    FOREIGN,
    NOW,
    OTHER,
    REFERENCE,
    junk_bodies,
    receipt_call,
    refused,
    taken,
    verify,
)

from postwire.config.bind import ConfigError
from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.config.schema import load
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.builtin import KINDS
from postwire.providers.generic_http import KIND, AnswerRule, GenericHttpSettings
from postwire.providers.receipts.base import ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.receipts.generic_http import ReceiptRules

FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
USER = {"username": "gateway", "password": "secret"}
BASIC = {"authorization": f"Basic {b64encode(b'gateway:secret').decode()}"}

KANNEL = ReceiptRules(
    state="state",
    id="id",
    code="code",
    recipient="to",
    event_id="event",
    reference="ref",
    delivered="^1$",
    undelivered="^(2|16|34)$",
    accepted="^8$",
    opted_out="^STOP$",
    permanent="^00(1|5)$",
)
"""https://www.kannel.org/download/1.4.5/userguide-1.4.5/userguide.html#AEN5058"""


def make(rules: ReceiptRules, query: Mapping[str, str], **keys: str) -> ReceiptReader | None:
    settings = GenericHttpSettings(
        url="https://gateway.example.com/send",
        query=query,
        success=AnswerRule(status=(200,)),
        receipt=rules,
    )
    assert KIND.receipts is not None
    return KIND.receipts.make(settings, ProviderReceiptsConfig(**keys))  # type: ignore[arg-type]


def reader(rules: ReceiptRules = KANNEL, query: Mapping[str, str] | None = None, **keys: str) -> ReceiptReader:
    made = make(rules, query or {"dlr-url": "{callback_url}?state=%d"}, **keys)
    assert made is not None
    return made


READER = reader()
BY_USER = reader(KANNEL, {"to": "{to}"}, **USER)


def by_get(**fields: str) -> ReceiptCall:
    return receipt_call(b"", method="GET", query=urlencode(fields), reference=REFERENCE)


def by_form(**fields: str) -> ReceiptCall:
    return receipt_call(urlencode(fields).encode(), FORM, reference=REFERENCE)


def by_json(**fields: Any) -> ReceiptCall:
    return receipt_call(fields, {"content-type": "application/json"}, reference=REFERENCE)


@pytest.mark.parametrize("call", [by_get, by_form, by_json])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"state": "1"}, Receipt(ReceiptState.DELIVERED, reference=REFERENCE)),
        (
            {"state": "2", "code": "001", "to": "+14155550132", "event": "e-1", "id": "not-believed"},
            Receipt(
                ReceiptState.UNDELIVERED,
                reference=REFERENCE,
                code="001",
                recipient="+14155550132",
                event_id="e-1",
                permanent=True,
            ),
        ),
        ({"state": "16", "code": "012"}, Receipt(ReceiptState.UNDELIVERED, reference=REFERENCE, code="012")),
        ({"state": "8"}, Receipt(ReceiptState.ACCEPTED, reference=REFERENCE)),
        ({"state": "STOP"}, Receipt(ReceiptState.OPTED_OUT, reference=REFERENCE)),
        ({"state": "4"}, None),
    ],
)
def test_a_field_is_where_the_vendor_puts_it(call: Any, fields: dict[str, str], expected: Receipt | None) -> None:
    assert taken(READER, call(**fields)) == ([expected] if expected else [])


def test_json_may_have_numbers_and_nest() -> None:
    assert taken(READER, by_json(state=1)) == [Receipt(ReceiptState.DELIVERED, reference=REFERENCE)]
    nested = reader(ReceiptRules(state="/results/0/status/name", code="/results/0/error/id", delivered="^DELIVERED"))
    value = {"results": [{"status": {"name": "DELIVERED_TO_HANDSET"}, "error": {"id": 0}}]}
    assert taken(nested, by_json(**value)) == [Receipt(ReceiptState.DELIVERED, reference=REFERENCE, code="0")]
    nothing: list[dict[str, Any]] = [{}, {"results": {}}, {"results": [{"status": {"name": True}}]}, {"results": [7]}]
    for odd in nothing:
        with pytest.raises(Unreadable):
            nested.read(by_json(**odd), NOW)


def test_patterns_are_asked_for_in_an_order() -> None:
    both = reader(ReceiptRules(state="state", delivered="DELIV", undelivered="."))
    assert [one.state for one in taken(both, by_get(state="DELIVRD")) if isinstance(one, Receipt)] == [
        ReceiptState.DELIVERED
    ]
    assert [one.state for one in taken(both, by_get(state="EXPIRED")) if isinstance(one, Receipt)] == [
        ReceiptState.UNDELIVERED
    ]


def test_a_reference_in_the_address_is_believed_of_its_attempt_alone() -> None:
    (found,) = taken(READER, by_get(state="1", id="someone-elses", ref=OTHER))
    assert isinstance(found, Receipt)
    assert (found.reference, found.provider_message_id) == (REFERENCE, "")


def test_so_is_one_that_the_gateway_quotes() -> None:
    quoting = reader(query={"client_ref": "{reference}"})
    call = receipt_call(b"", method="GET", query=urlencode({"state": "1", "ref": OTHER, "id": "x"}))
    assert taken(quoting, call) == [Receipt(ReceiptState.DELIVERED, reference=OTHER)]
    for foreign in ("", "x", FOREIGN, OTHER + "A"):
        query = urlencode({"state": "1", "ref": foreign})
        assert refused(quoting, receipt_call(b"", BASIC, method="GET", query=query)) == "reference"


def test_who_is_nobody_is_refused() -> None:
    assert refused(READER, receipt_call(b"", method="GET", query="state=1")) == "reference"
    assert refused(BY_USER, by_get(state="1")) == "credentials"
    wrong = {"authorization": f"Basic {b64encode(b'gateway:wrong').decode()}"}
    assert refused(BY_USER, receipt_call(b"", wrong, method="GET", query="state=1&id=7")) == "credentials"


def test_with_a_user_the_id_of_the_answer_is_enough() -> None:
    call = receipt_call(b"state=1&id=7", FORM | BASIC)
    assert taken(BY_USER, call) == [Receipt(ReceiptState.DELIVERED, provider_message_id="7")]
    with pytest.raises(Unreadable, match="neither a reference nor an id"):
        BY_USER.read(receipt_call(b"state=1", FORM | BASIC), NOW)


@pytest.mark.parametrize("body", junk_bodies())
@pytest.mark.parametrize("headers", [{}, FORM, {"content-type": "multipart/form-data; boundary=x"}])
def test_what_cannot_be_read_is_said(body: bytes, headers: dict[str, str]) -> None:
    assert refused(READER, receipt_call(body, headers)) == "reference"
    call = receipt_call(body, headers, reference=REFERENCE)
    verify(READER, call)
    with pytest.raises(Unreadable):
        READER.read(call, NOW)


def test_a_form_has_an_end() -> None:
    with pytest.raises(Unreadable):
        READER.read(by_form(state="1", **{f"f{at}": "" for at in range(2000)}), NOW)


def test_without_rules_no_receipts_are_taken() -> None:
    assert make(ReceiptRules(), {"dlr-url": "{callback_url}"}) is None
    assert make(ReceiptRules(), {"to": "{to}"}, **USER) is None


@pytest.mark.parametrize(
    ("query", "rules"),
    [
        ({"to": "{to}"}, KANNEL),
        ({"ref": "{reference}"}, ReceiptRules(state="state", delivered="1")),
        ({"message": "{message_id}"}, KANNEL),
    ],
)
def test_where_nothing_says_who_calls_it_is_refused(query: dict[str, str], rules: ReceiptRules) -> None:
    with pytest.raises(ValueError, match=r"^username: is missing, with a password"):
        make(rules, query)


def test_half_a_user_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^password: is missing"):
        make(KANNEL, {"dlr-url": "{callback_url}"}, username="x")


TOML = """
receipts.listen = "127.0.0.1:0"
receipts.public_url = "https://hooks.example.com"

[providers.gateway]
kind = "http"
channels = ["sms"]
url = "https://gateway.example.com/send"
query = {{ to = "{{to}}", dlr = "{{callback_url}}?state=%d" }}
success = {{ status = [200] }}
receipt = {{ {} }}
"""


def configured(receipt: str, tmp_path: Any) -> GenericHttpSettings:
    file = tmp_path / "postwire.toml"
    file.write_text(TOML.format(receipt), encoding="utf-8")
    settings = load(path=file, environ={}, kinds=KINDS).providers["gateway"].options
    assert isinstance(settings, GenericHttpSettings)
    return settings


def test_the_rules_are_configured(tmp_path: Any) -> None:
    settings = configured('state = "state", delivered = "^1$", code = "/a/0"', tmp_path)
    assert settings.receipt == ReceiptRules(state="state", delivered="^1$", code="/a/0")
    assert settings.placeholders == {"to", "callback_url"}


WHOLE = 'state = "state", delivered = "^1$"'


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (
            ('receipts.listen = "127.0.0.1:0"', ""),
            r"^providers.gateway.receipt: does nothing by itself, set receipts.li",
        ),
        (("{callback_url}", "none"), r"^providers.gateway.receipts.username: is missing, with a password"),
        (
            ("receipt = ", "rejected = "),
            r"^providers.gateway.receipt: is missing, say where .* take {callback_url} out",
        ),
    ],
)
def test_receipts_are_refused_where_they_cannot_come_or_not_be_believed(
    changed: tuple[str, str], problem: str, tmp_path: Any
) -> None:
    file = tmp_path / "postwire.toml"
    text = TOML.format("status = [400]" if changed[1] == "rejected = " else WHOLE)
    file.write_text(text.replace(*changed), encoding="utf-8")
    with pytest.raises(ConfigError, match=problem):
        load(path=file, environ={}, kinds=KINDS)


@pytest.mark.parametrize(
    ("receipt", "problem"),
    [
        ('state = "state"', r"receipt.delivered: is missing"),
        ('delivered = "1"', r"receipt.state: is missing, beside delivered"),
        ('state = "s", delivered = "("', r"receipt.delivered: is not a regular expression"),
        ('state = "s", delivered = "1", opted_out = "*"', r"receipt.opted_out: is not a regular expression"),
        ('state = "s", delivered = "1", permanent = "1"', r"receipt.code: is missing, which permanent"),
        ('state = "s", delivered = "1", status = "1"', r"receipt.status: is not known"),
    ],
)
def test_rules_that_say_nothing_are_refused(receipt: str, problem: str, tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match=problem):
        configured(receipt, tmp_path)


def test_json_of_any_shape_is_none_of_its_fields() -> None:
    for value in (None, 7, "state", ["state"], {"state": None}):
        call = receipt_call(json.dumps(value).encode(), reference=REFERENCE)
        with pytest.raises(Unreadable):
            READER.read(call, NOW)
