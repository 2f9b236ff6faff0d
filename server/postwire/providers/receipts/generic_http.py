"""What any other vendor reports, by configuration: by GET or POST, in a query, a form or JSON.

It calls the address that `{callback_url}` has given it, or quotes the `{reference}`; nobody else can make one that
holds, and what is believed by it is of the attempt alone that it names. A vendor that can do neither has one address
for all its calls, and says who it is by basic auth.

A gateway such as Kannel's, which is called with `dlr-url = "{callback_url}?state=%d&code=%A"`:

    [providers.gateway.receipt]
    state = "state"
    code = "code"
    delivered = "^1$"
    undelivered = "^(2|16)$"
    accepted = "^8$"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from postwire.config.bind import setting
from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.http.verdicts import code_of, id_of
from postwire.providers.receipts.base import Fetch, Forged, ReceiptCall, ReceiptReader, Unreadable
from postwire.providers.receipts.basic_auth import BasicAuth
from postwire.providers.receipts.payloads import MAX_FIELDS, json_value, reference_of, text_of, unproven

STATES: Final = (
    ReceiptState.DELIVERED,
    ReceiptState.UNDELIVERED,
    ReceiptState.ACCEPTED,
    ReceiptState.COMPLAINED,
    ReceiptState.OPTED_OUT,
)
"""In this order they are asked for."""

_LOOKED_AT: Final = 1024
"""Characters of a field that patterns are held against."""


@dataclass(frozen=True, slots=True)
class ReceiptRules:
    """Where a call has what it reports, and what the values mean."""

    state: str | None = setting(
        None, help="The field with the state: its name in the query, the form or the JSON, or a JSON pointer."
    )
    id: str | None = setting(None, help="That with the id which the answer had.")
    reference: str | None = setting(None, help="That which quotes {reference}, where it is not in the address.")
    code: str | None = setting(None, help="That with the reason.")
    recipient: str | None = setting(None, help="That with the recipient.")
    event_id: str | None = setting(None, help="That with the id of the report, the same when it comes again.")
    delivered: str | None = setting(None, help="A regular expression that the state has if it is delivered.")
    undelivered: str | None = setting(None, help="The same for undelivered.")
    accepted: str | None = setting(None, help="The same for accepted.")
    complained: str | None = setting(None, help="The same for complained.")
    opted_out: str | None = setting(None, help="The same for opted_out.")
    permanent: str | None = setting(None, help="One that the code has if the recipient cannot be reached, ever.")

    @property
    def is_given(self) -> bool:
        """Whether receipts are read at all."""
        return self.state is not None

    def patterns(self) -> Mapping[ReceiptState, re.Pattern[str]]:
        """What the states look like, in the order in which they are asked for."""
        texts = {state: getattr(self, state.value) for state in STATES}
        return {state: re.compile(text) for state, text in texts.items() if text is not None}

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        for name in (*(state.value for state in STATES), "permanent"):
            try:
                re.compile(getattr(self, name) or "")
            except re.error:
                raise ValueError(f"{name}: is not a regular expression") from None
        if self.state is None:
            if given := [name for name in self.__slots__ if getattr(self, name) is not None]:
                raise ValueError(f"state: is missing, beside {given[0]}")
        elif self.delivered is None:
            raise ValueError("delivered: is missing, say what the state is of a message that was delivered")
        if self.permanent is not None and self.code is None:
            raise ValueError("code: is missing, which permanent is held against")


class GenericHttpReceipts:
    """See `ReceiptReader`."""

    refused_status = 401

    def __init__(self, rules: ReceiptRules, user: BasicAuth | None, at: Callable[[Any, str], Any]) -> None:
        """`at` follows a JSON pointer."""
        self._rules = rules
        self._user = user
        self._at = at
        self._patterns = rules.patterns()
        self._permanent = None if rules.permanent is None else re.compile(rules.permanent)

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """See `ReceiptReader.verify`."""
        if self._user:
            self._user.verify(call)
        elif not call.reference:
            try:
                fields = self._fields(call)
            except Unreadable:
                raise Forged("reference") from None
            if not call.is_reference(self._quoted(fields)):
                raise Forged("reference")

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt]:
        """See `ReceiptReader.read`."""
        rules, fields = self._rules, self._fields(call)
        if not (text := self._text(fields, rules.state)[:_LOOKED_AT]):
            raise Unreadable("there is no state")
        state = next((state for state, pattern in self._patterns.items() if pattern.search(text)), None)
        if state is None:
            return []
        code = code_of(self._text(fields, rules.code))
        provider_message_id = id_of(self._text(fields, rules.id)) if self._user else ""
        reference = call.reference or self._quoted(fields)
        if not (reference or provider_message_id):
            raise Unreadable("there is neither a reference nor an id")
        return [
            Receipt(
                state,
                reference=reference,
                provider_message_id=provider_message_id,
                recipient=self._text(fields, rules.recipient),
                code=code,
                event_id=id_of(self._text(fields, rules.event_id)),
                permanent=bool(self._permanent and self._permanent.search(code)),
            )
        ]

    def _quoted(self, fields: _Fields) -> str:
        """The reference in a field, whoever has made it."""
        return reference_of(self._text(fields, self._rules.reference))

    def _text(self, fields: _Fields, name: str | None) -> str:
        """What a field has; empty where it is not there."""
        if name is None:
            return ""
        if not name.startswith("/"):
            if name in fields.texts:
                return text_of(fields.texts[name])
            value = fields.json.get(name) if isinstance(fields.json, dict) else None
        else:
            value = self._at(fields.json, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return str(value) if is_number else text_of(value)

    def _fields(self, call: ReceiptCall) -> _Fields:
        """What a call has.

        Raises:
            Unreadable: its body is neither a form nor JSON, or too large, or has too many fields.
        """
        kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
        query, form, value = urlsplit(call.url).query, "", None
        if kind == "application/x-www-form-urlencoded":
            form = unproven(call.body).decode("ascii", "replace")
        elif call.body:
            value = json_value(unproven(call.body))
        try:
            pairs = [
                pair
                for text in (form, query)
                for pair in parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
            ]
        except ValueError:
            raise Unreadable("is not a form in UTF-8") from None
        return _Fields(dict(pairs), value)


@dataclass(frozen=True, slots=True, repr=False)
class _Fields:
    """Those of a query and a form, and what is in JSON."""

    texts: Mapping[str, str]
    json: Any


def make_reader(
    rules: ReceiptRules, placeholders: Collection[str], config: ProviderReceiptsConfig, at: Callable[[Any, str], Any]
) -> ReceiptReader | None:
    """The reader of a provider that has these rules, and in its request these placeholders; None where it has no rules.

    Raises:
        ValueError: led by a key, where there is nothing to believe a call by.
    """
    user = BasicAuth.of(config)
    if not rules.is_given:
        return None
    is_quoted = "callback_url" in placeholders or ("reference" in placeholders and rules.reference is not None)
    if user is None and not is_quoted:
        raise ValueError(
            "username: is missing, with a password: nothing else says who calls, unless the request has "
            "{callback_url}, or {reference} and receipt.reference says where it comes back"
        )
    return GenericHttpReceipts(rules, user, at)
