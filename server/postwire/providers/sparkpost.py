"""SparkPost: email by its Transmissions API.

https://developers.sparkpost.com/api/transmissions/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, Final

from postwire.config.bind import setting
from postwire.config.endpoints import ORIGIN
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult, worst
from postwire.providers.base import Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse, json_request
from postwire.providers.http.vendor import HttpSettings, health_of_any_answer, http_provider
from postwire.providers.http.verdicts import (
    Table,
    account,
    code_of,
    failed,
    id_of,
    judge,
    not_here,
    rejected,
    result,
    sender_refused,
    throttled,
    unknown,
)
from postwire.providers.mail.mailboxes import parse_mailbox
from postwire.providers.mail.settings import EmailSettings, Limits, addresses_of, author_of, envelope, why_not
from postwire.providers.pieces import Base64
from postwire.providers.receipts import sparkpost as receipts
from postwire.providers.receipts.payloads import list_in, object_in

LIMITS: Final = Limits(recipients=100, parts=True, needs_subject=True, needs_text=True)
"""How many recipients is ours: beside each of them there stands the whole `To`."""

TABLE: Final[Table] = MappingProxyType(
    {
        # https://support.sparkpost.com/docs/tech-resources/extended-error-codes
        "1100": account("the API key may not send"),
        "1303": account("the account is not accepted"),
        "1304": account("the user is not accepted"),
        # "Our service did not accept responsibility for the request", where such a code says that it was its own:
        # https://support.sparkpost.com/docs/user-guide/transmission-best-practices
        "1500": failed("SparkPost could not write to its database"),
        "1501": failed("SparkPost could not read from its database"),
        "1502": failed("SparkPost lacks resources"),
        "1900": failed("SparkPost cannot make emails now"),
        "2101": throttled("the quota of the hour is used up"),
        "2102": throttled("the quota of the day is used up"),
        "5002": rejected("no recipient's address is valid"),
        # By the status: https://developers.sparkpost.com/api/transmissions/#header-sending-limits
        "420": throttled("a quota is used up"),
    }
)

SENDER_REFUSED: Final = frozenset({"7000", "7001"})
"""The sender's domain is not one of the account's, or is not verified, or is blocked: the same page."""

GENERATION_REJECTED: Final = "1902"
SUPPRESSED: Final = rejected("SparkPost has the recipient on its suppression list")
REFUSED: Final = not_here("SparkPost does not send this email, for a reason that is not known to be final")

VALIDATION_ERRORS: Final = "2000"
"""Taken, but not for all: https://developers.sparkpost.com/api/transmissions/#transmissions-post-send-a-template"""
NOT_ACCEPTED: Final = rejected("the recipient's address is not accepted")
UNNAMED: Final = unknown("taken for some of the recipients, and not said for whom")

_BRACES: Final = MappingProxyType({"{": "brace_open", "}": "brace_close"})
_RUN: Final = re.compile(r"[{}]{2,}")


@dataclass(frozen=True, kw_only=True)
class SparkPostSettings(EmailSettings, HttpSettings):
    """Keys of the kind."""

    api_key: str = setting(help="An API key that may read and write transmissions.", secret=True)
    transactional: bool = setting(
        True, help="Whether emails go to those as well who have unsubscribed from what is not transactional."
    )
    base_url: Annotated[str, ORIGIN] = setting(
        "https://api.sparkpost.com", help="Where the API is; https://api.eu.sparkpost.com in the EU."
    )

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        HttpSettings.check(self)
        EmailSettings.check(self)


class SparkPost:
    """See `HttpVendor`."""

    def __init__(self, settings: SparkPostSettings) -> None:
        self._settings = settings
        self._headers = {"Authorization": settings.api_key}

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        return why_not(self._settings, LIMITS, message, positions)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`. Each recipient is told who stands in the header, whoever the others are."""
        email = message.content
        assert isinstance(email, Email)
        author = author_of(self._settings, email)
        header_to = ",".join(addresses_of(email.to))
        headers = {name: literal(text) for name, text in email.headers.items()}
        if email.cc:
            headers["CC"] = literal(",".join(addresses_of(email.cc)))
        content = {
            "from": {"email": author.address} | ({"name": literal(author.name)} if author.name else {}),
            "subject": literal(email.subject),
            "reply_to": literal(str(parse_mailbox(email.reply_to))) if email.reply_to else "",
            "text": literal(email.text),
            "html": literal(email.html, html=True),
            "headers": headers,
            "attachments": [
                {
                    "name": one.file_name,
                    "type": one.content_type or "application/octet-stream",
                    "data": Base64(one.data),
                }
                for one in email.attachments
            ],
        }
        value: dict[str, Any] = {
            "options": {
                "transactional": self._settings.transactional,
                "open_tracking": False,
                "click_tracking": False,
            },
            "metadata": {"message_id": handover.message_id}
            | ({receipts.REFERENCE: handover.reference} if handover.reference else {}),
            "substitution_data": {name: brace for brace, name in _BRACES.items()},
            "recipients": [
                {"address": {"email": one, "header_to": header_to}} for one in envelope(email, handover.positions)
            ],
            "content": {name: one for name, one in content.items() if one not in ("", [], {})},
        }
        return json_request("POST", f"{self._settings.base_url}/api/v1/transmissions", value, self._headers)

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`."""
        answer = response.fields()
        if not 200 <= response.status < 300:
            return _refused(message, response, handover)
        results = object_in(answer, "results")
        taken = judge(response, now=handover.now, message_id=id_of(results.get("id")), table=TABLE)
        count = results.get("total_rejected_recipients")
        if taken.outcome is Outcome.SUCCESS and isinstance(count, int) and count > 0:
            return _for_some(message, handover, results, count)
        return taken

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`.

        https://developers.sparkpost.com/api/transmissions/#transmissions-get-list-all-scheduled-transmissions
        """
        return HttpRequest("GET", f"{self._settings.base_url}/api/v1/transmissions", self._headers)

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`. There are no scheduled transmissions in the EU, so that nothing may be there."""
        return health_of_any_answer(response)


def literal(text: str, *, html: bool = False) -> str:
    """A text of which SparkPost's template language makes that text again.

    Where something in it would be an expression, each brace that touches another is got from a variable, since what is
    in those is not looked into: https://developers.sparkpost.com/api/template-language/. In HTML, three braces have it
    stand there as it is.
    """
    if "{{" not in text:
        return text
    start, end = ("{{{", "}}}") if html else ("{{", "}}")
    return _RUN.sub(lambda run: "".join(f"{start}{_BRACES[brace]}{end}" for brace in run[0]), text)


def _refused(message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
    errors = [one for one in list_in(response.fields(), "errors") if isinstance(one, dict)]
    error = errors[0] if errors else {}
    code = code_of(error.get("code"))
    if code in SENDER_REFUSED:
        return result(sender_refused(message), code)
    if code == GENERATION_REJECTED:
        # https://support.sparkpost.com/docs/user-guide/using-suppression-lists: a single recipient's is answered here.
        words, email = error.get("description"), message.content
        assert isinstance(email, Email)
        is_alone = len(envelope(email, handover.positions)) == 1
        is_suppressed = is_alone and isinstance(words, str) and "suppressed" in words
        return result(SUPPRESSED if is_suppressed else REFUSED, code)
    return judge(response, now=handover.now, code=code, table=TABLE)


def _for_some(message: OutboundMessage, handover: Handover, results: Mapping[str, Any], count: int) -> DispatchResult:
    """The result where SparkPost has refused so many of the recipients, whom it names in prose alone."""
    email, message_id = message.content, id_of(results.get("id"))
    assert isinstance(email, Email)
    addresses = [one.casefold() for one in envelope(email, handover.positions)]
    if count >= len(addresses) and not results.get("total_accepted_recipients"):
        return result(NOT_ACCEPTED, VALIDATION_ERRORS)
    words = {
        word.strip(".,;:<>'\"()").casefold()
        for one in list_in(results, "rcpt_to_errors")
        if isinstance(one, dict) and isinstance(one.get("description"), str)
        for word in one["description"].split()
    }
    refused = [one in words for one in addresses]
    if sum(refused) != count:
        return replace(result(UNNAMED, VALIDATION_ERRORS), provider_message_id=message_id)
    without = RecipientResult(Outcome.REJECTED, VALIDATION_ERRORS, detail=NOT_ACCEPTED.detail)
    having = RecipientResult(Outcome.SUCCESS, provider_message_id=message_id)
    each = tuple(without if is_refused else having for is_refused in refused)
    return DispatchResult(worst(one.outcome for one in each), provider_message_id=message_id, recipients=each)


KIND: Final = Kind(
    settings=SparkPostSettings,
    make=http_provider("sparkpost", SparkPost),
    channels=(Channel.EMAIL,),
    summary="Sends email by SparkPost.",
    receipts=receipts.SUPPORT,
)
