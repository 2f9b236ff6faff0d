"""Any other vendor that is called over HTTP, by configuration: what the request is, and what its answers mean.

It takes what the generic SMS centre of Kannel takes: https://www.kannel.org/download/1.4.5/userguide-1.4.5/userguide.html#AEN1651

[providers.gateway]
kind = "http"
channels = ["sms"]
url = "https://gateway.example.com/send"
form = { user = "us", password = "secret", to = "{to}", text = "{body}", from = "{sender}" }
sender = "Acme"
success = { status = [200], body = "^OK" }
id = "^OK (\\w+)"
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlencode

from postwire.config.bind import setting
from postwire.config.endpoints import WEB_ADDRESS
from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.config.tables import PLACEHOLDER, TextTable, ValueTable
from postwire.config.types import whole
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Email, Mms, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse, form_request, json_request
from postwire.providers.http.vendor import HttpSettings, health_of_any_answer, http_provider
from postwire.providers.http.verdicts import Meaning, failed, id_of, rejected, result, throttled, unknown
from postwire.providers.receipts.base import ReceiptReader, ReceiptSupport
from postwire.providers.receipts.generic_http import ReceiptRules, make_reader
from postwire.providers.sms.settings import SmsSettings, sender_of, why_not

_IN_HEADERS: Final = frozenset({"to", "key", "message_id", "reference", "callback_url"})

_FOR_RECEIPTS: Final = frozenset({"reference", "callback_url"})

LOOKED_AT: Final = 64 * 1024
"""Bytes of an answer that patterns are held against."""

_EMPTY: Final[Callable[[], Any]] = dict
_TEXTS: Final = TextTable('a table of strings such as { to = "{to}" }')


def _groups(pattern: str) -> int | None:
    """How many groups a regular expression has; None if it is none."""
    try:
        return re.compile(pattern).groups
    except re.error:
        return None


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """Which answers mean something: those with one of the statuses, if any is named, whose body has the pattern."""

    status: tuple[Annotated[int, whole(100, 599)], ...] = setting((), help="The statuses; by default, any.")
    body: str | None = setting(None, help="A regular expression that the body has; by default, whatever it is.")

    @property
    def is_given(self) -> bool:
        """Whether it says anything."""
        return bool(self.status) or self.body is not None

    def holds(self, status: int, body: str) -> bool:
        """Whether it is met by an answer."""
        return (not self.status or status in self.status) and (self.body is None or bool(re.search(self.body, body)))

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        if self.body is not None and _groups(self.body) is None:
            raise ValueError("body: is not a regular expression")


@dataclass(frozen=True, slots=True)
class Auth:
    """How we say who we are: one way, or none."""

    basic: tuple[str, ...] = setting((), help='A name and a password: ["user", "password"].', secret=True)
    bearer: str | None = setting(None, help="A token.", secret=True)

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        if self.basic and len(self.basic) != 2:
            raise ValueError("basic: must be a name and a password")
        if self.basic and self.bearer is not None:
            raise ValueError("basic, bearer: only one of the two can be used")


@dataclass(frozen=True, kw_only=True)
class GenericHttpSettings(SmsSettings, HttpSettings):
    """Keys of the kind."""

    url: Annotated[str, WEB_ADDRESS] = setting(help="The address; placeholders in it are escaped.")
    method: Literal["GET", "POST", "PUT", "PATCH"] = setting("POST", help="How it is called.")
    form: Annotated[Mapping[str, str], _TEXTS] = setting(
        default_factory=_EMPTY, help="What is sent as a form.", secret=True
    )
    json: Annotated[Mapping[str, Any], ValueTable("a table")] = setting(
        default_factory=_EMPTY, help="What is sent as JSON, in place of a form; it may nest.", secret=True
    )
    query: Annotated[Mapping[str, str], _TEXTS] = setting(
        default_factory=_EMPTY, help="What is added to the address, in place of a form.", secret=True
    )
    headers: Annotated[Mapping[str, str], _TEXTS] = setting(
        default_factory=_EMPTY,
        help="More headers; they take the placeholders to, key, message_id, reference and callback_url.",
        secret=True,
    )
    auth: Auth = field(default_factory=Auth)
    number_format: Literal["e164", "digits"] = setting("e164", help="Whether numbers begin with a +.")
    rejected: AnswerRule = field(default_factory=AnswerRule)
    rate_limited: AnswerRule = field(default_factory=AnswerRule)
    error: AnswerRule = field(default_factory=AnswerRule)
    success: AnswerRule = field(default_factory=AnswerRule)
    id: str | None = setting(
        None, help="Where the id is in an answer: a regular expression with one group, or a JSON pointer."
    )

    receipt: ReceiptRules = field(default_factory=ReceiptRules)

    @property
    def placeholders(self) -> frozenset[str]:
        """Those that the request has."""
        texts = [self.url, *map(str, (self.form, self.json, self.query, self.headers))]
        return frozenset(name for text in texts for name in PLACEHOLDER.findall(text))

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        HttpSettings.check(self)
        if len(given := [name for name in ("form", "json", "query") if getattr(self, name)]) > 1:
            raise ValueError(f"{', '.join(given)}: only one of them can be used")
        if self.method == "GET" and (self.form or self.json):
            raise ValueError("method: GET has no body, use query")
        if (asking := self.placeholders & _FOR_RECEIPTS) and not self.receipt.is_given:
            raise ValueError(
                f"receipt: is missing, say where a call has what it reports, or take {{{min(asking)}}} out"
            )
        if not self.success.is_given:
            raise ValueError("success: is missing, say which answers mean that a message was taken")
        for text in self.headers.values():
            if stray := set(PLACEHOLDER.findall(text)) - _IN_HEADERS:
                raise ValueError(f"headers: {{{min(stray)}}} cannot stand in a header")
        if self.id is not None and not self.id.startswith("/") and _groups(self.id) != 1:
            raise ValueError("id: must be a regular expression with one group, or a JSON pointer such as /id")


class GenericHttp:
    """See `HttpVendor`."""

    def __init__(self, settings: GenericHttpSettings) -> None:
        self._settings = settings
        auth = settings.auth
        self._headers: dict[str, str] = {}
        if auth.basic:
            self._headers["Authorization"] = f"Basic {b64encode(':'.join(auth.basic).encode()).decode()}"
        elif auth.bearer is not None:
            self._headers["Authorization"] = f"Bearer {auth.bearer}"
        self._rules: tuple[tuple[AnswerRule, Meaning | None], ...] = (
            (settings.rejected, rejected("the vendor will not take the message")),
            (settings.rate_limited, throttled()),
            (settings.error, failed("the vendor did not take the message")),
            (settings.success, None),
        )
        self._uses = settings.placeholders

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        content = message.content
        if isinstance(content, Email):
            if len(content.recipients) != 1 or content.cc or content.bcc:
                return FieldViolation(
                    "message.email.to", "must be one recipient, without cc and bcc, for this provider"
                )
            if content.attachments:
                return FieldViolation("message.email.attachments", "must be none, for this provider")
            if content.headers or content.reply_to:
                return FieldViolation("message.email.headers", "must be none, nor reply_to, for this provider")
            if "sender" in self._uses and not (content.sender or self._settings.sender):
                return FieldViolation("message.email.sender", "must be given: the provider has none")
            return None
        if isinstance(content, Mms) and content.media:
            takes_one = "media_url" in self._uses
            if not takes_one or len(content.media) > 1 or content.media[0].data:
                most = "one at an address" if takes_one else "none"
                return FieldViolation("message.mms.media", f"must be {most}, for this provider")
        return why_not(self._settings, message, has_sender="sender" not in self._uses)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`."""
        settings, values = self._settings, self._values(message, handover)
        url = _filled(settings.url, {name: quote(value, safe="") for name, value in values.items()})
        headers = self._headers | {name: _filled(text, values) for name, text in settings.headers.items()}
        if settings.form:
            request = form_request(url, _filled(dict(settings.form), values), headers)
            return HttpRequest(settings.method, url, request.headers, request.body)
        if settings.json:
            return json_request(settings.method, url, _filled(dict(settings.json), values), headers)
        if settings.query:
            url += ("&" if "?" in url else "?") + urlencode(_filled(dict(settings.query), values), quote_via=quote)
        return HttpRequest(settings.method, url, headers)

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`. What no rule is met by is `UNCERTAIN`."""
        body = response.body[:LOOKED_AT].decode("utf-8", "replace")
        for rule, meaning in self._rules:
            if rule.is_given and rule.holds(response.status, body):
                if meaning is None:
                    return DispatchResult(Outcome.SUCCESS, provider_message_id=self._id(response, body))
                return result(meaning, str(response.status), response.retry_after(handover.now))
        return result(unknown("no rule says what the vendor's answer means"), str(response.status))

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`."""
        return HttpRequest("OPTIONS", re.split(r"[?{]", self._settings.url)[0], self._headers)

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        return health_of_any_answer(response)

    def _values(self, message: OutboundMessage, handover: Handover) -> dict[str, str]:
        """What placeholders stand for."""
        content = message.content
        values = {
            "key": handover.key,
            "message_id": handover.message_id,
            "subject": "",
            "media_url": "",
            "reference": handover.reference,
            "callback_url": handover.callback_url,
        }
        if isinstance(content, Email):
            (to,) = content.recipients
            sender = content.sender or self._settings.sender or ""
            return values | {
                "to": to,
                "body": content.text or content.html,
                "sender": sender,
                "subject": content.subject,
            }
        if isinstance(content, Mms) and content.media:
            values["media_url"] = content.media[0].url
        to, sender = content.to, sender_of(self._settings, content) or ""
        if self._settings.number_format == "digits":
            to, sender = to.removeprefix("+"), re.sub(r"^\+(?=[0-9]+$)", "", sender)
        return values | {"to": to, "body": content.body, "sender": sender}

    def _id(self, response: HttpResponse, body: str) -> str:
        """The vendor's id of what it took; empty where there is none."""
        where = self._settings.id
        if where is None:
            return ""
        if not where.startswith("/"):
            found = re.search(where, body)
            return id_of((found[1] or "").strip()) if found else ""
        return id_of(_at(response.json(), where))


def _filled(template: Any, values: Mapping[str, str]) -> Any:
    """A template with its placeholders filled in, once: what is filled in is not looked at again."""
    if isinstance(template, str):
        return PLACEHOLDER.sub(lambda found: values[found[1]], template)
    if isinstance(template, dict):
        return {name: _filled(one, values) for name, one in template.items()}
    if isinstance(template, list):
        return [_filled(one, values) for one in template]
    return template


def _at(value: Any, pointer: str) -> Any:
    """What a JSON pointer leads to (RFC 6901); None where it leads nowhere."""
    for part in pointer[1:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, dict):
            value = value.get(name)
        else:
            return None
    return value


def _receipts(settings: GenericHttpSettings, config: ProviderReceiptsConfig) -> ReceiptReader | None:
    return make_reader(settings.receipt, settings.placeholders, config, _at)


def _receipts_asked_by(settings: GenericHttpSettings) -> str:
    return "receipt" if settings.receipt.is_given else ""


KIND: Final = Kind(
    settings=GenericHttpSettings,
    make=http_provider("http", GenericHttp),
    channels=tuple(Channel),
    summary="Calls any other vendor over HTTP, as the configuration says.",
    receipts=ReceiptSupport(
        keys=("username", "password"), make=_receipts, in_address=True, asked_by=_receipts_asked_by
    ),
)
