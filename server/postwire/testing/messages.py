"""What the suite sends."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from postwire.core.message import Attachment, Channel, Content, Email, Media, Mms, OutboundMessage, Sms

PHONE: Final = "+15005550187"
CANARY: Final = "zq9canary7"
"""In every part of `PRIVATE` that has room for it."""

PRIVATE_WORDS: Final = (PHONE[1:], CANARY)
"""What nobody may see of `PRIVATE`, in small letters."""

UNICODE: Final = (
    "\u00fc \u20ac \u0645\u0631\u062d\u0628\u0627 \u65e5\u672c \U0001f469\u200d\U0001f680 e\u0301 \"'\\<&>{}%"
)
"""Two, three and four bytes to a character, from right to left, joined, and what formats have a meaning for."""

PLAIN: Final[Mapping[Channel, Content]] = MappingProxyType(
    {
        Channel.SMS: Sms(PHONE, "Your code is 123456"),
        Channel.MMS: Mms(PHONE, "Look"),
        Channel.EMAIL: Email(("ada@example.com",), subject="Hello", text="Hello"),
    }
)

PRIVATE: Final[Mapping[Channel, Content]] = MappingProxyType(
    {
        Channel.SMS: Sms(PHONE, CANARY),
        Channel.MMS: Mms(PHONE, CANARY),
        Channel.EMAIL: Email(
            (f"{CANARY}@example.com",),
            subject=CANARY,
            text=CANARY,
            html=f"<p>{CANARY}</p>",
            headers={"X-Campaign": CANARY},
            attachments=(Attachment(f"{CANARY}.txt", "text/plain", CANARY.encode()),),
        ),
    }
)

THREE: Final = Email(("a@example.com",), cc=("b@example.com",), bcc=("c@example.com",), subject="Hello", text="Hello")

SAMPLES: Final[Mapping[str, Content]] = MappingProxyType(
    {
        **{f"{channel.value}-plain": content for channel, content in PLAIN.items()},
        "sms-unicode": Sms(PHONE, UNICODE),
        "sms-lines": Sms(PHONE, "one\ntwo\r\n\tthree "),
        "mms-unicode": Mms(PHONE, UNICODE),
        "mms-bytes": Mms(PHONE, media=(Media(data=b"\x89PNG\r\n\0", content_type="image/png"),)),
        "mms-address": Mms(PHONE, media=(Media(url="https://example.com/a.png?b=c&d=%20"),)),
        "email-unicode": Email(
            ("ada@example.com",),
            subject=UNICODE,
            text=UNICODE,
            html="<p>\u00fc</p>",
            headers={"X-Campaign": "\u00fc"},
            attachments=(Attachment("\u00fc.pdf", "application/pdf", b"%PDF\0\r\n.\r\n"),),
        ),
        "email-dots": Email(("ada@example.com",), subject="Hello", text=".\n..\nFrom me\n.\n"),
        "email-many": Email(
            tuple(f"{i}@example.com" for i in range(20)),
            cc=("c@example.com",),
            bcc=("d@example.com",),
            subject="Hello",
            text="Hello",
        ),
        "sms-longest": Sms(PHONE, "x" * 1_600),
        "sms-longest-unicode": Sms(PHONE, "\U0001f600" * 1_600),
        "mms-most-media": Mms(
            PHONE, "x" * 1_600, media=tuple(Media(url=f"https://example.com/{i}.png") for i in range(10))
        ),
        "email-most-recipients": Email(tuple(f"{i}@example.com" for i in range(1_000)), subject="Hello", text="Hello"),
        "email-large": Email(
            ("ada@example.com",),
            subject="x" * 998,
            text="Hello",
            attachments=(Attachment("a.bin", "application/octet-stream", bytes(range(256)) * 8_192),),
        ),
    }
)
"""By name, which begins with the channel. The last of each are as large as the service takes, or 2 MiB."""


def labelled(content: Content) -> OutboundMessage:
    """Return the message of a content, with a label that nobody may see, either."""
    return OutboundMessage(content, {"team": CANARY})
