"""Contents with one field that is bad, and contents that are just good enough."""

from __future__ import annotations

from typing import Any

from postwire.core.message import Attachment, Content, Email, Media, Mms, Sms

PHONE = "must be a phone number in E.164 form, such as +15005550006"
SENDER = "must be a number in E.164 form, a short code, or up to 11 letters, digits and spaces"
ADDRESS = "must be an email address, such as ada@example.com"
MAILBOX = "must be ada@example.com or Ada Lovelace <ada@example.com>, or left out"
LINE = "must be one line, without control characters but tabs"
CONTROL = "must have no control characters and no line separators"
MEDIA_TYPE = 'must be a media type, such as image/png or text/csv; charset="utf-8"'
LINE_ENDS = ("\r\n", "\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
"""What ends a line for some reader: all that `str.splitlines` knows."""
HEADER_NAME = "a name must be 1 to 76 printable ASCII characters without space and colon"
STEERING = "a name must be none that tells a provider what to do, such as X-SMTPAPI, X-SES-…"
OWN_HEADER = "a name must be none that the service writes itself, such as From, Subject, Content-Type"


def sms(**fields: Any) -> Sms:
    return Sms(**{"to": "+15005550006", "body": "Hi", **fields})


def mms(**fields: Any) -> Mms:
    return Mms(**{"to": "+15005550006", "body": "Hi", **fields})


def media(**fields: Any) -> Mms:
    return mms(media=(Media(url="https://a.test/1.png"), Media(**fields)))


def email(**fields: Any) -> Email:
    return Email(**{"to": ("ada@example.com",), "text": "Hi", **fields})


def attachment(**fields: Any) -> Email:
    return email(attachments=(Attachment(**{"file_name": "a.pdf", "content_type": "", "data": b"x", **fields}),))


MALFORMED: list[tuple[Content, str, str]] = [
    *(
        (of(to=to), f"message.{channel}.to", PHONE)
        for of, channel in ((sms, "sms"), (mms, "mms"))
        for to in (
            "",
            "15005550006",
            "+05005550006",
            "+150055",
            "+1234567890123456",
            "+1 500 555 0006",
            "+1500555000a",
        )
    ),
    *((sms(to=f"+15005550006{tail}"), "message.sms.to", PHONE) for tail in ("\n", "\r", "\0", " ", "\u0663")),
    *(
        (sms(sender=sender), "message.sms.sender", SENDER)
        for sender in (
            "12",
            "123456789",
            "           ",
            "Twelve chars",
            "Post-wire",
            "Caf\u00e9",
            "+0",
            "a\n",
            "\n",
            "Hi\0",
        )
    ),
    (sms(body=""), "message.sms.body", "must not be empty"),
    (mms(sender="no!"), "message.mms.sender", SENDER),
    (mms(body=""), "message.mms.body", "must not be empty where there is no media"),
    (media(), "message.mms.media[1]", "must have a source: a url, or data that is not empty"),
    *(
        (media(url=url), "message.mms.media[1].url", "must be an http or https address")
        for url in ("ftp://a.test/x", "a.test/x", "https://", "https:///x", "https://a.test/a b", "https://a.test/\r\n")
    ),
    (media(data=b"x"), "message.mms.media[1].content_type", "must be given with data, such as image/png"),
    *(
        (media(data=b"x", content_type=kind), "message.mms.media[1].content_type", MEDIA_TYPE)
        for kind in ("image", "image/", "/png", "image/png\r\nX: y", "im age/png", "image/png;", "a/" + "b" * 254)
    ),
    *(
        (media(url="https://a.test", file_name=f"a{end}b"), "message.mms.media[1].file_name", CONTROL)
        for end in LINE_ENDS
    ),
    (media(url="https://a.test", file_name="a\x7f"), "message.mms.media[1].file_name", CONTROL),
    (email(to=()), "message.email.to", "must name at least one recipient"),
    (email(to=(), bcc=("ada@example.com",)), "message.email.to", "must name at least one recipient"),
    *(
        (email(to=("ok@example.com", address)), "message.email.to[1]", ADDRESS)
        for address in (
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@@example.com",
            "a@b@example.com",
            "a da@example.com",
            "ada@exa mple.com",
            "Ada <ada@example.com>",
            "ada@example.com\n",
            "ada@example.com\r\nBcc: eve@example.com",
            "ada\0@example.com",
            "ada\x85@example.com",
            "ada..l@example.com",
            ".ada@example.com",
            "ada.@example.com",
            "ada@example..com",
            "ada@.example.com",
            "ada@example.com.",
            "ada@-example.com",
            "ada@example-.com",
            "ada,eve@example.com",
            '"ada"@example.com',
            "a" * 65 + "@example.com",
            "\u00e9" * 33 + "@example.com",
            "ada@" + ".".join(["e" * 62] * 4),
            "ada@" + "e" * 64,
            "ada@under_score.example.com",
            "ada@xn--.example.com",
            "\u0905\u091c\u200b\u092f@example.com",
        )
    ),
    (email(cc=("ok@example.com", "bad")), "message.email.cc[1]", ADDRESS),
    (email(bcc=("bad",)), "message.email.bcc[0]", ADDRESS),
    *((email(subject=f"Hi{end}Bcc: eve"), "message.email.subject", LINE) for end in (*LINE_ENDS, "\0", "\x9f")),
    (email(text=""), "message.email.text", "must not be empty where there is neither html nor an attachment"),
    *(
        (email(**{field: mailbox}), f"message.email.{field}", MAILBOX)
        for field in ("sender", "reply_to")
        for mailbox in (
            "Ada",
            "Ada <ada>",
            "Ada <>",
            "Ada ada@example.com",
            "Ada <ada@example.com> x",
            "Ada <ada@example.com",
            *(f"Ada{end}Bcc: eve@example.com <ada@example.com>" for end in LINE_ENDS),
            *(f"Ada <ada@example.com>{end}" for end in LINE_ENDS),
            "Ada\0 <ada@example.com>",
            "Ada\t<ada@example.com>",
            "\x9fAda <ada@example.com>",
            "ada@example.com\n",
            "A <b@c.test> <ada@example.com>",
            "A" * 1000 + " <ada@example.com>",
        )
    ),
    *(
        (email(headers={name: "x"}), "message.email.headers", HEADER_NAME)
        for name in ("", "X Y", "X:", "X\r\nBcc", "X\0", "\u00dc", "X" * 77)
    ),
    *(
        (email(headers={name: "x"}), "message.email.headers", OWN_HEADER)
        for name in ("From", "to", "CC", "Bcc", "SUBJECT", "Date", "Message-ID", "MIME-Version", "Return-Path")
    ),
    *((email(headers={name: "x"}), "message.email.headers", OWN_HEADER) for name in ("Reply-To", "Sender", "Received")),
    *(
        (email(headers={name: "x"}), "message.email.headers", OWN_HEADER)
        for name in ("DKIM-Signature", "dkim-signature")
    ),
    *(
        (email(headers={name: "x"}), "message.email.headers", STEERING)
        for name in (
            *(
                "X-SMTPAPI",
                "x-smtpapi",
                "X-SES-CONFIGURATION-SET",
                "x-ses-source-arn",
                "X-PM-Message-Stream",
                "X-PM-Tag",
            ),
            *("X-MSYS-API", "X-Mailgun-Variables", "X-MAILGUN-DROP-MESSAGE", "X-Mailin-custom", "X-MJ-CustomID"),
        )
    ),
    *(
        (email(headers={f"Content-{name}": "x"}), "message.email.headers", OWN_HEADER)
        for name in ("Type", "Transfer-Encoding", "Disposition")
    ),
    *(
        (email(headers={"X-A": "ok", "X-B": value}), "message.email.headers", f"a value {LINE}")
        for value in (*(f"a{end}Bcc: eve" for end in LINE_ENDS), "a\n", "\r", "a\0b")
    ),
    (attachment(file_name=""), "message.email.attachments[0].file_name", "must not be empty"),
    *(
        (attachment(file_name=f"a{end}X: y"), "message.email.attachments[0].file_name", CONTROL)
        for end in (*LINE_ENDS, "\0", "\t", "\x9f")
    ),
    (attachment(content_type="pdf"), "message.email.attachments[0].content_type", MEDIA_TYPE),
    (attachment(content_type="a/b\r\n"), "message.email.attachments[0].content_type", MEDIA_TYPE),
    (attachment(data=b""), "message.email.attachments[0].data", "must not be empty"),
]

TOO_LARGE: list[tuple[Content, str, str]] = [
    (sms(body="x" * 1601), "message.sms.body", "must have at most 1,600 characters"),
    (mms(body="x" * 1601), "message.mms.body", "must have at most 1,600 characters"),
    (mms(media=(Media(url="https://a.test"),) * 11), "message.mms.media", "must have at most 10 entries"),
    (media(url="https://" + "a" * 2041), "message.mms.media[1].url", "must have at most 2,048 characters"),
    (
        media(url="https://a.test", file_name="x" * 256),
        "message.mms.media[1].file_name",
        "must have at most 255 characters",
    ),
    *(
        (email(**fields), "message.email.to", "must have at most 1,000 recipients in to, cc and bcc")
        for fields in (
            {"to": ("a@example.com",) * 1001},
            {"cc": ("a@example.com",) * 500, "bcc": ("a@example.com",) * 500},
        )
    ),
    (email(subject="x" * 999), "message.email.subject", "must have at most 998 characters"),
    (email(headers={f"X-{i}": "" for i in range(51)}), "message.email.headers", "must have at most 50 entries"),
    (email(headers={"X-A": "x" * 999}), "message.email.headers", "a value must have at most 998 characters"),
    (
        email(attachments=(Attachment("a", "", b"x"),) * 101),
        "message.email.attachments",
        "must have at most 100 entries",
    ),
    (
        attachment(file_name="x" * 256),
        "message.email.attachments[0].file_name",
        "must have at most 255 characters",
    ),
]

WELL_FORMED: list[Content] = [
    *(sms(to=to) for to in ("+1234567", "+123456789012345")),
    *(sms(sender=sender) for sender in ("", "123", "12345678", "+15005550006", "A", "Eleven char", "1 a 2")),
    sms(body="x" * 1600),
    sms(body="Gr\u00fc\u00dfe \U0001f469\u200d\U0001f680 \u0645\u0631\u062d\u0628\u0627\r\n\t"),
    sms(body="\U0001f600" * 1600),
    mms(body="", media=(Media(url="http://a.test"),)),
    mms(media=(Media(url="HTTPS://u:p@a.test:80/x?y#z"),) * 10),
    media(url="https://" + "a" * 2040),
    media(data=b"\0", content_type="image/svg+xml; charset=utf-8"),
    media(data=b"\0", content_type='text/plain; charset="utf-8"'),
    media(data=b"\0", content_type='application/pdf;  name="invoice 1.pdf"'),
    media(data=b"\0", content_type="a" * 127 + "/" + "b" * 127),
    media(url="https://a.test", content_type="application/vnd.x-y.z", file_name="\u00fc \U0001f600" + "x" * 252),
    *(
        email(to=(address,))
        for address in (
            "a@b",
            "o'hara+tag@example.co.uk",
            "a" * 64 + "@example.com",
            "\u00e9" * 32 + "@example.com",
            "\u7528\u6237@\u4f8b\u5b50.\u516c\u53f8",
            "x@xn--fsq.com",
            "x@1.2.3.4",
            "!#$%&'*+/=?^_`{|}~-.a@example.com",
            "ada@" + ".".join(["e" * 63, "e" * 63, "e" * 63, "e" * 58]),
            "\u0905\u091c\u092f@\u0921\u093e\u091f\u093e.\u092d\u093e\u0930\u0924",
            "ada@bu\u0308cher.example",
        )
    ),
    email(to=("a@example.com",) * 998, cc=("b@example.com",), bcc=("c@example.com",)),
    *(
        email(sender=mailbox, reply_to=mailbox)
        for mailbox in (
            "A" * 980 + " <ada@example.com>",
            "Ada Lovelace <ada@example.com>",
            "<ada@example.com>",
            "\u00c4da <a@b>",
        )
    ),
    email(subject=""),
    email(subject="\U0001f389" * 998),
    email(text="", html="<p>"),
    email(text="", attachments=(Attachment("a", "", b"x"),)),
    email(text="a\r\n.\r\n\0", html="\0"),
    email(headers={"X-Campaign": "", "List-Unsubscribe": "<mailto:x@example.com>", "X" * 76: "\u00fc" * 998}),
    email(headers={f"X-{i}": "" for i in range(50)}),
    email(headers={"X-SES": "", "X-PMX": "", "X-Mailer": "", "X-MJ": "", "List-Unsubscribe-Post": "", "DKIM-X": ""}),
    email(attachments=(Attachment("r\u00e9sum\u00e9.pdf", "application/pdf", b"x"),) * 100),
]
