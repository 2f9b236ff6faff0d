"""What a well-formed call is. Every bad field is named at once, by its path and by what would be right.

The rules are those the contract states at each field. Sources: E.164 (ITU-T) for numbers, RFC 5322 for headers, RFC
2045 and 6838 for media types; what an address is says `core.addresses`. Whatever ends a line anywhere is refused in
everything that becomes a header or an envelope field: that is how mail headers are injected.

A text here never repeats a value, nor a key of a map: both are the caller's data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from postwire.core.addresses import is_address
from postwire.core.errors import FieldViolation, InvalidMessage, InvalidPage, MessageTooLarge
from postwire.core.message import (
    Content,
    DispatchOptions,
    Email,
    Media,
    Mms,
    Sms,
)

MAX_VIOLATIONS: Final = 25
"""How many bad fields are named. Error details over 8 KB would reach the caller as RESOURCE_EXHAUSTED instead."""

MAX_TEXT: Final = 1_600
MAX_MEDIA: Final = 10
MAX_URL: Final = 2_048
MAX_FILE_NAME: Final = 255
MAX_MEDIA_TYPE: Final = 255
MAX_RECIPIENTS: Final = 1_000
MAX_LINE: Final = 998
MAX_HEADERS: Final = 50
MAX_ATTACHMENTS: Final = 100
MAX_LABELS: Final = 16
MAX_LABEL_VALUE: Final = 256
MAX_REASON: Final = 256
MAX_REQUEST_ID: Final = 128
MAX_ATTEMPTS: Final = 100

_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_SHORT_CODE: Final = re.compile(r"[0-9]{3,8}")
_ALPHANUMERIC_SENDER: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")
_PROVIDER_NAME: Final = re.compile(r"(?=.{1,64}\Z)[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MAILBOX: Final = re.compile(r"[^<>]*<([^<>]*)>")
_TOKEN: Final = r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+"
_QUOTED_STRING: Final = r'"(?:[\t !#-\[\]-~]|\\[\t -~])*"'
_MEDIA_TYPE: Final = re.compile(
    r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}"
    rf"(?:[\t ]*;[\t ]*{_TOKEN}=(?:{_TOKEN}|{_QUOTED_STRING}))*"
)
_URL: Final = re.compile(r"https?://[^\s/?#\x00-\x1f\x7f]+[^\s\x00-\x1f\x7f]*", re.IGNORECASE)
_HEADER_NAME: Final = re.compile(r"[!-9;-~]{1,76}")
_LABEL_KEY: Final = re.compile(r"[A-Za-z0-9._/-]{1,64}")
_REQUEST_ID: Final = re.compile(r"[ -~]{1,128}")
_CONTROL_BUT_TAB: Final = r"\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029"
"""Unicode's control characters and its two separators: whatever ends a line for any reader is one of these."""
_NOT_IN_A_LINE: Final = re.compile(f"[{_CONTROL_BUT_TAB}]")
_NOT_IN_A_NAME: Final = re.compile(f"[\t{_CONTROL_BUT_TAB}]")

_OWN_HEADERS: Final = frozenset(
    {
        "bcc",
        "cc",
        "content-disposition",
        "content-transfer-encoding",
        "content-type",
        "date",
        "dkim-signature",
        "from",
        "message-id",
        "mime-version",
        "received",
        "reply-to",
        "return-path",
        "sender",
        "subject",
        "to",
    }
)

_STEERING: Final = ("x-smtpapi", "x-ses-", "x-pm-", "x-msys-", "x-mailgun-", "x-mailin-", "x-mj-")
"""Beginnings of names by which an email tells SendGrid, Amazon SES, Postmark, SparkPost, Mailgun, Brevo and Mailjet
what to do: to charge another account, to send to others, to track, to wait."""

BAD_REQUEST_ID: Final = f"must be 1 to {MAX_REQUEST_ID} printable ASCII characters"
_BAD_PHONE: Final = "must be a phone number in E.164 form, such as +15005550006"
_BAD_ADDRESS: Final = "must be an email address, such as ada@example.com"
_BAD_NAME: Final = "must have no control characters and no line separators"
_BAD_MEDIA_TYPE: Final = 'must be a media type, such as image/png or text/csv; charset="utf-8"'
_BAD_LINE: Final = "must be one line, without control characters but tabs"


class Violations:
    """Gathers what is wrong with one call."""

    __slots__ = ("_malformed", "_too_large")

    def __init__(self) -> None:
        self._malformed: list[FieldViolation] = []
        self._too_large: list[FieldViolation] = []

    def malformed(self, field: str, description: str) -> None:
        """Note a field that is missing or malformed."""
        self._malformed.append(FieldViolation(field, description))

    def too_large(self, field: str, description: str) -> None:
        """Note a field that is larger than allowed."""
        self._too_large.append(FieldViolation(field, description))

    def note(self, others: Violations) -> None:
        """Note what others have gathered."""
        if others._malformed or others._too_large:
            self._malformed += others._malformed
            self._too_large += others._too_large

    def raise_page(self) -> None:
        """Refuse a list if anything was noted.

        Raises:
            InvalidPage: something is wrong with it.
        """
        if self._malformed:
            raise InvalidPage(*_refusal_of(self._malformed))

    def __bool__(self) -> bool:
        """Whether anything was noted."""
        return bool(self._malformed or self._too_large)

    def raise_any(self) -> None:
        """Refuse the call if anything was noted.

        Raises:
            InvalidMessage: something is missing or malformed; what is too large is named beside it.
            MessageTooLarge: nothing else is wrong.
        """
        if self._malformed:
            raise InvalidMessage(*_refusal_of(self._malformed + self._too_large))
        if self._too_large:
            raise MessageTooLarge(*_refusal_of(self._too_large))


def _refusal_of(violations: Sequence[FieldViolation]) -> tuple[str, Sequence[FieldViolation]]:
    """The text for people and the list for programs, both cut at `MAX_VIOLATIONS`."""
    named = violations[:MAX_VIOLATIONS]
    first = f"{named[0].field}: {named[0].description}"
    if len(violations) == 1:
        return first, named
    more = len(violations) - len(named)
    others = len(violations) - 1
    text = f"{first} (and {others} more bad {'field' if others == 1 else 'fields'})"
    if not more:
        return text, named
    return text, (*named, FieldViolation("", f"and {more} more"))


def check_request_id(request_id: str, found: Violations, *, needed: bool = False) -> None:
    """Note what is wrong with a request id. Left out, it is the server's to assign, unless it is `needed`."""
    if (request_id or needed) and not _REQUEST_ID.fullmatch(request_id):
        found.malformed("request_id", BAD_REQUEST_ID)


def is_request_id(text: str) -> bool:
    """Whether a message can have this request id."""
    return bool(_REQUEST_ID.fullmatch(text))


def check_reason(reason: str, found: Violations) -> None:
    """Note what is wrong with the reason that an operator gives."""
    check_name("reason", reason, MAX_REASON, found)


def is_phone(text: str) -> bool:
    """Whether this is a phone number in E.164 form."""
    return _PHONE.fullmatch(text) is not None


def is_short_code(text: str) -> bool:
    """Whether this may be a short code, as messages name it."""
    return _SHORT_CODE.fullmatch(text) is not None


def check_any_address(path: str, address: str, found: Violations) -> None:
    """Note what is neither a phone number nor an email address."""
    if not _PHONE.fullmatch(address) and not is_address(address):
        found.malformed(path, "must be a phone number in E.164 form, or an email address")


def check_any_sender(path: str, sender: str, found: Violations) -> None:
    """Note what is neither a sender of any message nor the name of a provider."""
    forms = _PHONE, _SHORT_CODE, _ALPHANUMERIC_SENDER, _PROVIDER_NAME
    if sender and not any(form.fullmatch(sender) for form in forms) and not is_address(sender):
        found.malformed(path, "must be a sender as messages name it, or the name of a provider, or left out")


def check_name(path: str, name: str, most: int, found: Violations) -> None:
    """Note what is wrong with words of the caller's own."""
    if _NOT_IN_A_NAME.search(name):
        found.malformed(path, _BAD_NAME)
    _check_length(path, name, most, found)


def check_content(content: Content, found: Violations) -> None:
    """Note everything that is wrong with the content."""
    if isinstance(content, Sms):
        _check_phone("message.sms.to", content.to, found)
        _check_phone_sender("message.sms.sender", content.sender, found)
        if not content.body:
            found.malformed("message.sms.body", "must not be empty")
        _check_length("message.sms.body", content.body, MAX_TEXT, found)
    elif isinstance(content, Mms):
        _check_mms(content, found)
    else:
        _check_email(content, found)


def check_options(options: DispatchOptions, found: Violations) -> None:
    """Note everything that is wrong with the options, whatever the time is."""
    if options.max_attempts is not None and not 1 <= options.max_attempts <= MAX_ATTEMPTS:
        found.malformed("options.max_attempts", f"must be from 1 to {MAX_ATTEMPTS}, or left out")


def _check_mms(mms: Mms, found: Violations) -> None:
    _check_phone("message.mms.to", mms.to, found)
    _check_phone_sender("message.mms.sender", mms.sender, found)
    if not mms.body and not mms.media:
        found.malformed("message.mms.body", "must not be empty where there is no media")
    _check_length("message.mms.body", mms.body, MAX_TEXT, found)
    check_count("message.mms.media", len(mms.media), MAX_MEDIA, found)
    for index, media in enumerate(mms.media[:MAX_MEDIA]):
        _check_media(f"message.mms.media[{index}]", media, found)


def _check_media(path: str, media: Media, found: Violations) -> None:
    if not media.url and not media.data:
        found.malformed(path, "must have a source: a url, or data that is not empty")
    if len(media.url) > MAX_URL:  # first: the pattern takes quadratic time on what does not match it
        found.too_large(f"{path}.url", f"must have at most {MAX_URL:,} characters")
    elif media.url and not _URL.fullmatch(media.url):
        found.malformed(f"{path}.url", "must be an http or https address")
    if media.data and not media.content_type:
        found.malformed(f"{path}.content_type", "must be given with data, such as image/png")
    _check_media_type(f"{path}.content_type", media.content_type, found)
    _check_file_name(f"{path}.file_name", media.file_name, found)


def _check_email(email: Email, found: Violations) -> None:
    if not email.to:
        found.malformed("message.email.to", "must name at least one recipient")
    check_count("message.email.to", len(email.recipients), MAX_RECIPIENTS, found, "recipients in to, cc and bcc")
    for field, addresses in (("to", email.to), ("cc", email.cc), ("bcc", email.bcc)):
        for index, address in enumerate(addresses[:MAX_RECIPIENTS]):
            if not is_address(address):
                found.malformed(f"message.email.{field}[{index}]", _BAD_ADDRESS)
    _check_line("message.email.subject", email.subject, found)
    if not email.text and not email.html and not email.attachments:
        found.malformed("message.email.text", "must not be empty where there is neither html nor an attachment")
    for field, mailbox in (("sender", email.sender), ("reply_to", email.reply_to)):
        if mailbox and not _is_mailbox(mailbox):
            found.malformed(
                f"message.email.{field}",
                "must be ada@example.com or Ada Lovelace <ada@example.com>, or left out",
            )
    if email.headers:
        _check_headers(email.headers, found)
    check_count("message.email.attachments", len(email.attachments), MAX_ATTACHMENTS, found)
    for index, attachment in enumerate(email.attachments[:MAX_ATTACHMENTS]):
        path = f"message.email.attachments[{index}]"
        if not attachment.file_name:
            found.malformed(f"{path}.file_name", "must not be empty")
        _check_file_name(f"{path}.file_name", attachment.file_name, found)
        _check_media_type(f"{path}.content_type", attachment.content_type, found)
        if not attachment.data:
            found.malformed(f"{path}.data", "must not be empty")


def _check_headers(headers: Mapping[str, str], found: Violations) -> None:
    # One violation a rule, whatever the number of headers: a path never holds a map's key.
    path = "message.email.headers"
    check_count(path, len(headers), MAX_HEADERS, found)
    if not all(_HEADER_NAME.fullmatch(name) for name in headers):
        found.malformed(path, "a name must be 1 to 76 printable ASCII characters without space and colon")
    if any(name.lower() in _OWN_HEADERS for name in headers):
        found.malformed(path, "a name must be none that the service writes itself, such as From, Subject, Content-Type")
    if any(name.lower().startswith(_STEERING) for name in headers):
        found.malformed(path, "a name must be none that tells a provider what to do, such as X-SMTPAPI, X-SES-…")
    if any(_NOT_IN_A_LINE.search(value) for value in headers.values()):
        found.malformed(path, f"a value {_BAD_LINE}")
    if any(len(value) > MAX_LINE for value in headers.values()):
        found.too_large(path, f"a value must have at most {MAX_LINE} characters")


def check_labels(labels: Mapping[str, str], found: Violations) -> None:
    """Note everything that is wrong with a message's labels."""
    if not labels:
        return
    path = "message.labels"
    check_count(path, len(labels), MAX_LABELS, found)
    if not all(_LABEL_KEY.fullmatch(key) for key in labels):
        found.malformed(path, "a key must be 1 to 64 characters out of A-Z a-z 0-9 . _ / -")
    if any(_NOT_IN_A_NAME.search(value) for value in labels.values()):
        found.malformed(path, f"a value {_BAD_NAME}")
    if any(len(value) > MAX_LABEL_VALUE for value in labels.values()):
        found.too_large(path, f"a value must have at most {MAX_LABEL_VALUE} characters")


def _check_phone(path: str, number: str, found: Violations) -> None:
    if not _PHONE.fullmatch(number):
        found.malformed(path, _BAD_PHONE)


def _check_phone_sender(path: str, sender: str, found: Violations) -> None:
    if sender and not any(form.fullmatch(sender) for form in (_PHONE, _SHORT_CODE, _ALPHANUMERIC_SENDER)):
        found.malformed(path, "must be a number in E.164 form, a short code, or up to 11 letters, digits and spaces")


def _is_mailbox(mailbox: str) -> bool:
    if len(mailbox) > MAX_LINE or _NOT_IN_A_NAME.search(mailbox):
        return False
    match = _MAILBOX.fullmatch(mailbox)
    return is_address(match[1] if match else mailbox)


def _check_line(path: str, line: str, found: Violations) -> None:
    if _NOT_IN_A_LINE.search(line):
        found.malformed(path, _BAD_LINE)
    _check_length(path, line, MAX_LINE, found)


def _check_file_name(path: str, name: str, found: Violations) -> None:
    check_name(path, name, MAX_FILE_NAME, found)


def _check_media_type(path: str, media_type: str, found: Violations) -> None:
    if media_type and not (len(media_type) <= MAX_MEDIA_TYPE and _MEDIA_TYPE.fullmatch(media_type)):
        found.malformed(path, _BAD_MEDIA_TYPE)


def _check_length(path: str, text: str, limit: int, found: Violations) -> None:
    if len(text) > limit:
        found.too_large(path, f"must have at most {limit:,} characters")


def check_count(path: str, count: int, limit: int, found: Violations, what: str = "entries") -> None:
    """Note a list that is too long."""
    if count > limit:
        found.too_large(path, f"must have at most {limit:,} {what}")
