"""Brevo: email by its API v3.

https://developers.brevo.com/reference/send-transac-email
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.header import Header
from types import MappingProxyType
from typing import Annotated, Any, Final

from postwire.config.bind import setting
from postwire.config.endpoints import ORIGIN
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse, json_request
from postwire.providers.http.vendor import HttpSettings, health_by_status, http_provider
from postwire.providers.http.verdicts import Table, account, code_of, judge, unknown
from postwire.providers.mail.mailboxes import Mailbox, needs_smtputf8, parse_mailbox
from postwire.providers.mail.settings import EmailSettings, Limits, addresses_of, author_of, why_not
from postwire.providers.pieces import Base64
from postwire.providers.receipts import brevo as receipts

LIMITS: Final = Limits(recipients=99, needs_subject=True, needs_text=True)
"""https://developers.brevo.com/docs/batch-send-transactional-emails: so many in each version of an email. A version has
nobody in its header but who gets it, so that an email cannot go to some of its recipients as it went to the others."""

MAX_BYTES: Final = 20_000_000
"""Of texts and attachments: https://help.brevo.com/hc/en-us/articles/4402811730962"""

DEDUP_WINDOW: Final = 15 * 60.0
"""https://developers.brevo.com/changelog/email-api-now-supports-idempotency; a later page says 30 minutes:
https://developers.brevo.com/docs/heterogenous-versions-batch-emails"""

KEY: Final = "idempotencyKey"
"""The field among the headers of an email that has the key. Only so spelt, and only there, it is looked at:
https://github.com/getbrevo/brevo-node/issues/94"""

DUPLICATE: Final = "duplicate_parameter"

TABLE: Final[Table] = MappingProxyType(
    {
        # https://github.com/getbrevo/brevo-python/blob/main/docs/ErrorModel.md lists them. `invalid_parameter` and
        # `missing_parameter` are not here: they say so of anything, a sender among it.
        "unauthorized": account("the key is not accepted"),
        "permission_denied": account("the account may not send"),
        "reseller_permission_denied": account("the account may not send"),
        "account_under_validation": account("the account is not validated yet"),
        "not_enough_credits": account("there are not enough credits"),
        # https://developers.brevo.com/docs/heterogenous-versions-batch-emails, where it is not said of our key.
        DUPLICATE: unknown("there was such a request before"),
        "duplicate_request": unknown("there was such a request before"),
    }
)

_FILE_NAME: Final = re.compile(
    # https://developers.brevo.com/reference/send-transac-email
    r".*\.(?:aif|aifc|aiff|avi|bmp|cgm|css|csv|doc|docm|docx|eps|ez|flac|gif|htm|html|ics|jpeg|jpg|m4a|m4v|mkv|mobi|mov"
    r"|mp3|mp4|mpeg|mpg|msg|odt|ods|ogg|pdf|pkpass|png|ppt|pptx|pub|rtf|shtml|tar|tif|tiff|txt|wav|wma|wmv|xls|xlsm"
    r"|xlsx|xml|zip)",
    re.IGNORECASE | re.DOTALL,
)
"""Of attachments. What one is goes by the ending alone."""

STEERING: Final = ("idempotencykey", "sender.ip", "x-sib-")
"""How headers begin that Brevo takes for orders, beside those that validation refuses:
https://developers.brevo.com/docs/how-to-use-sandbox-mode and the page of the endpoint."""

EXPRESSIONS: Final = ("{{", "{%")
"""How begins what Brevo's template language would replace, in texts that come with a request as well:
https://help.brevo.com/hc/en-us/articles/4402386448530"""
_SPECIAL: Final = re.compile(r'[()<>@,;:\\".\[\]]')


@dataclass(frozen=True, kw_only=True)
class BrevoSettings(EmailSettings, HttpSettings):
    """Keys of the kind."""

    api_key: str = setting(help="An API key, which begins with xkeysib-.", secret=True)
    base_url: Annotated[str, ORIGIN] = setting("https://api.brevo.com", help="Where the API is.")

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        HttpSettings.check(self)
        EmailSettings.check(self)


class Brevo:
    """See `HttpVendor`."""

    def __init__(self, settings: BrevoSettings) -> None:
        self._settings = settings
        self._headers = {"api-key": settings.api_key, "Accept": "application/json"}

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        email = message.content
        assert isinstance(email, Email)
        return why_not(self._settings, LIMITS, message, positions) or _unlike(email)

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """See `HttpVendor.request`."""
        email = message.content
        assert isinstance(email, Email)
        lists = {"to": email.to, "cc": email.cc, "bcc": email.bcc}
        headers = dict(email.headers) | {KEY: handover.key}
        if handover.reference:
            headers[receipts.REFERENCE] = handover.reference
        value: dict[str, Any] = {
            "sender": _mailbox(author_of(self._settings, email)),
            **{name: [{"email": one} for one in addresses_of(listed)] for name, listed in lists.items() if listed},
            "subject": email.subject,
            "textContent": email.text,
            "htmlContent": email.html,
            "headers": headers,
            "attachment": [{"name": one.file_name, "content": Base64(one.data)} for one in email.attachments],
        }
        if email.reply_to:
            value["replyTo"] = _mailbox(parse_mailbox(email.reply_to), is_raw=True)
        value = {name: one for name, one in value.items() if one not in ("", [])}
        return json_request("POST", f"{self._settings.base_url}/v3/smtp/email", value, self._headers)

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """See `HttpVendor.verdict`. Of a key that it knows, Brevo says that its email was processed."""
        answer = response.fields()
        is_refused = response.status >= 400
        code = code_of(answer.get("code")) if is_refused else ""
        words = answer.get("message")
        if code == DUPLICATE and isinstance(words, str) and "idempotency key" in words:
            return DispatchResult(Outcome.SUCCESS)
        message_id = "" if is_refused else receipts.message_id_of(answer.get("messageId"))
        return judge(response, now=handover.now, code=code, message_id=message_id, table=TABLE)

    def probe(self) -> HttpRequest:
        """See `HttpVendor.probe`. https://developers.brevo.com/reference/get-account"""
        return HttpRequest("GET", f"{self._settings.base_url}/v3/account", self._headers)

    def health(self, response: HttpResponse) -> ProviderHealth:
        """See `HttpVendor.health`."""
        return health_by_status(response)


def _unlike(email: Email) -> FieldViolation | None:
    """Why Brevo would not send an email as it is; None if it would.

    It sends headers that are not in ASCII as they are, and leaves out a `Cc` in which an address is not:
    https://anymail.dev/en/stable/esps/brevo/#limitations-and-quirks
    """
    for name, text in email.headers.items():
        if name.lower().startswith(STEERING):
            return FieldViolation("message.email.headers", "has one that cannot be set, by this provider")
        if not text.isascii():
            return FieldViolation("message.email.headers", "must be in ASCII, for this provider")
    for field in ("to", "cc", "bcc"):
        if any(map(needs_smtputf8, getattr(email, field))):
            return FieldViolation(f"message.email.{field}", "must have ASCII before the @, for this provider")
    for field in ("subject", "text", "html"):
        text = getattr(email, field)
        if any(start in text for start in EXPRESSIONS):
            return FieldViolation(f"message.email.{field}", "must not have {{ or {%, for this provider")
    for one in email.attachments:
        if not _FILE_NAME.fullmatch(one.file_name):
            return FieldViolation("message.email.attachments", "has a name whose ending this provider does not take")
    size = len(email.text) + len(email.html) + sum(len(one.data) for one in email.attachments)
    if size > MAX_BYTES:
        return FieldViolation("message.email.attachments", f"must have at most {MAX_BYTES} bytes with the text, here")
    return None


def _mailbox(mailbox: Mailbox, *, is_raw: bool = False) -> dict[str, str]:
    """A mailbox as Brevo wants it. It loses a name that is not in ASCII and has punctuation, and sends any other such
    name of `replyTo` (`is_raw`) as it is, which servers refuse: https://anymail.dev/en/stable/esps/brevo/"""
    name = mailbox.name
    if not name.isascii() and (is_raw or _SPECIAL.search(name)):
        name = Header(name, "utf-8").encode().replace("\n", "")
    return {"email": mailbox.address} | ({"name": name} if name else {})


def _dedup_window(_: BrevoSettings) -> float:
    return DEDUP_WINDOW


KIND: Final = Kind(
    settings=BrevoSettings,
    make=http_provider("brevo", Brevo, dedup_window=_dedup_window),
    channels=(Channel.EMAIL,),
    summary="Sends email by Brevo, which was Sendinblue.",
    receipts=receipts.SUPPORT,
)
