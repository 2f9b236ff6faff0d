"""An email with something of everything, and whether one that has arrived is it."""

from __future__ import annotations

import email
import email.policy
import random
from email.message import EmailMessage
from typing import Any, Final

from postwire.v1.message_pb2 import Attachment, Email, OutboundMessage

CANARY: Final = "zq9canary7"
"""In every part of an email that has room for it. Nobody but its recipients may see it."""

SENDER: Final = "Postwire <no-reply@example.org>"
SUBJECT: Final = f"\U0001f389 Gr\u00fc\u00dfe {CANARY} \u65e5\u672c"
TEXT: Final = f".\r\n..hidden\r\nFrom me, {CANARY}\r\n{'x' * 1_200}\r\n\u20ac \U0001f469\u200d\U0001f680\r\n.\r\n"
HTML: Final = f"<p>{CANARY} \u00fc</p>\r\n<p>{'y' * 2_000}</p>\r\n"
HEADERS: Final = {
    "List-Unsubscribe": f"<https://example.org/u/{CANARY}/{'u' * 300}>",
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    "X-Campaign": f"\u00fcber {CANARY}",
}
FILES: Final = {
    "\u00dcbersicht 2026.pdf": ("application/pdf", random.Random(1).randbytes(5_000_000)),
    f"{CANARY}.csv": ('text/csv; charset="utf-8"', b"a;b\r\n.\r\n\0\r\n"),
}

TO: Final = tuple(f"{CANARY}-{number:02}@example.com" for number in range(12))
CC: Final = tuple(f"{CANARY}-{number:02}@example.com" for number in range(12, 17))
BCC: Final = tuple(f"{CANARY}-{number:02}@example.com" for number in range(17, 20))
ALL: Final = TO + CC + BCC


def whole() -> OutboundMessage:
    """The email, to `ALL`."""
    attachments = [Attachment(file_name=name, content_type=kind, data=data) for name, (kind, data) in FILES.items()]
    content = Email(
        to=TO, cc=CC, bcc=BCC, subject=SUBJECT, text=TEXT, html=HTML, headers=HEADERS, attachments=attachments
    )
    return OutboundMessage(email=content)


def short(*to: str, **fields: Any) -> OutboundMessage:
    """One of a line."""
    return OutboundMessage(email=Email(**{"to": to, "subject": CANARY, "text": f"{CANARY}\n", **fields}))


def is_whole(raw: bytes) -> None:
    """Check that what has arrived is the email of `whole`, whatever servers have put before it."""
    read = email.message_from_bytes(raw, EmailMessage, policy=email.policy.default)
    assert not read.defects
    assert read["Subject"] == SUBJECT
    assert str(read["From"]) == SENDER
    assert [one.addr_spec for one in read["To"].addresses] == list(TO)
    assert [one.addr_spec for one in read["Cc"].addresses] == list(CC)
    assert read["Bcc"] is None
    assert {name: read[name] for name in HEADERS} == HEADERS
    for kind, text in (("plain", TEXT), ("html", HTML)):
        body = read.get_body((kind,))
        assert isinstance(body, EmailMessage)
        assert _decoded(body) == text.encode()
    attached = {one.get_filename(): (one.get_content_type(), _decoded(one)) for one in read.iter_attachments()}
    assert attached == {name: (kind.partition(";")[0], data) for name, (kind, data) in FILES.items()}
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))


def _decoded(part: Any) -> bytes:
    decoded = part.get_payload(decode=True)
    assert isinstance(decoded, bytes)
    return decoded
