"""An email as MIME (RFC 5322, 2045 and 2046).

It is the same bytes whenever it is built of the same: the Message-ID and the delimiters derive from the message's id,
and the date is that of its acceptance. Nothing in it is over 998 octets a line, nor over 7 bits, but for addresses
whose local part is not in ASCII (RFC 6532).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from postwire.core.message import Attachment, Email
from postwire.providers.mail.encodings import base64, encoded_text
from postwire.providers.mail.fields import mailbox_field, parameter_field, text_field
from postwire.providers.mail.mailboxes import Mailbox, needs_smtputf8, parse_mailbox, wire_address
from postwire.providers.pieces import Body, Pieces, gathered

_OCTETS: Final = "application/octet-stream"
_ENTITIES: Final = ("message/", "multipart/")
"""Beginnings of media types that must not be in base64 (RFC 2046, section 5), which attachments are."""


@dataclass(frozen=True, slots=True, repr=False)
class Mime:
    """An email that is built. `fields` are its header, each with its CRLF; `body` is what follows the empty line.

    `message_id` is what its Message-ID has in brackets. `smtputf8`: its header has an address that only servers with
    SMTPUTF8 take.
    """

    fields: tuple[bytes, ...]
    body: Body
    message_id: str
    smtputf8: bool = False

    @property
    def head(self) -> bytes:
        """Its header, with the empty line after it."""
        return b"".join((*self.fields, b"\r\n"))

    @property
    def content(self) -> Body:
        """All of it: see `pieces.gathered`."""
        return gathered(lambda: _made(self.head, self.body))

    def with_field(self, field: bytes) -> Mime:
        """Return the email with one more field at its head, such as a signature."""
        return replace(self, fields=(field, *self.fields))


@dataclass(frozen=True, slots=True, repr=False)
class _Entity:
    """Part of an email. Its content lacks the end of its last line, unless `ends_line`."""

    fields: tuple[bytes, ...]
    content: Body
    ends_line: bool = False


def build(email: Email, *, sender: str, message_id: str, created: int) -> Mime:
    """Build an email.

    `sender` is used where the email has none: `ada@example.com`, or with a name before it. `message_id` is the
    message's, which nobody else has; `created` is when it was accepted, in µs since the epoch. Those in `bcc` are
    nowhere in it. Attachments that are emails themselves are sent as `application/octet-stream`.

    Raises:
        ValueError: an address is none.
    """
    author = parse_mailbox(email.sender or sender)
    to, cc, reply_to = _listed(email.to), _listed(email.cc), [parse_mailbox(email.reply_to)] if email.reply_to else []
    date = format_datetime(datetime.fromtimestamp(created // 1_000_000, UTC))
    fields = [f"Date: {date}\r\n".encode(), mailbox_field("From", [author])]
    fields += [mailbox_field(name, boxes) for name, boxes in (("Reply-To", reply_to), ("To", to), ("Cc", cc)) if boxes]
    if email.subject:
        fields.append(text_field("Subject", email.subject))
    whole_id = f"{message_id}@{author.domain}"
    fields.append(f"Message-ID: <{whole_id}>\r\n".encode())
    fields += [text_field(name, value.strip(" \t")) for name, value in email.headers.items()]
    fields.append(b"MIME-Version: 1.0\r\n")
    body = _body(email, message_id)
    return Mime(
        (*fields, *body.fields),
        gathered(lambda: _made(body.content, b"" if body.ends_line else b"\r\n")),
        whole_id,
        any(needs_smtputf8(mailbox.address) for mailbox in (author, *reply_to, *to, *cc)),
    )


def _listed(addresses: tuple[str, ...]) -> list[Mailbox]:
    return [Mailbox("", wire_address(address)) for address in addresses]


def _body(email: Email, message_id: str) -> _Entity:
    texts = [_text(kind, text) for kind, text in (("plain", email.text), ("html", email.html)) if text]
    parts = [_multipart("alternative", texts, message_id)] if len(texts) > 1 else texts
    if not email.attachments:
        return parts[0] if parts else _text("plain", "")
    return _multipart("mixed", [*parts, *map(_attached, email.attachments)], message_id)


def _text(kind: str, text: str) -> _Entity:
    encoding, content = encoded_text(text)
    fields = parameter_field("Content-Type", f"text/{kind}", [("charset", "utf-8")]), _encoding_field(encoding)
    return _Entity(fields, content, encoding != "base64" and text.endswith("\n"))


def _attached(attachment: Attachment) -> _Entity:
    media_type = attachment.content_type
    if not media_type or media_type.lower().startswith(_ENTITIES):
        media_type = _OCTETS
    disposition = parameter_field("Content-Disposition", "attachment", [("filename", attachment.file_name)])
    fields = parameter_field("Content-Type", media_type, ()), disposition, _encoding_field("base64")
    return _Entity(fields, base64(attachment.data))


def _encoding_field(encoding: str) -> bytes:
    return f"Content-Transfer-Encoding: {encoding}\r\n".encode()


def _multipart(kind: str, parts: list[_Entity], message_id: str) -> _Entity:
    digest = hashlib.sha256(f"{kind} {message_id}".encode()).hexdigest()
    boundary = f"=_{digest[:32]}"
    delimiter = f"--{boundary}".encode()
    bodies: list[Body] = []
    for part in parts:
        bodies += (delimiter + b"\r\n" + b"".join(part.fields) + b"\r\n", part.content, b"\r\n")
    bodies.append(delimiter + b"--\r\n")
    field = parameter_field("Content-Type", f"multipart/{kind}", [("boundary", boundary)])
    return _Entity((field,), Pieces(lambda: _made(*bodies)), ends_line=True)


def _made(*bodies: Body) -> Iterator[bytes]:
    for body in bodies:
        if isinstance(body, bytes):
            yield body
        else:
            yield from body.make()
