"""Header fields: folded, encoded and quoted.

Sources: RFC 5322 for folding and for names before addresses, RFC 2047 for encoded words, RFC 2231 for parameters. The
standard library's own folding is not used: it makes encoded words of long values in ASCII, such as those of
List-Unsubscribe, which no reader decodes there (RFC 2047, section 5).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote

from postwire.providers.mail.mailboxes import Mailbox

MAX_LINE: Final = 998
"""Octets of a line, at most, without its end (RFC 5322, section 2.1.1)."""
_WIDTH: Final = 78
"""Characters of a line, where it can be folded."""
_ENCODED_WIDTH: Final = 76
"""The same for a line that has an encoded word (RFC 2047, section 2)."""
_PREFIX: Final = " =?utf-8?b?"
_SUFFIX: Final = "?="
_WORD_BYTES: Final = 45
"""Bytes of text in an encoded word, at most: it may have 75 characters."""
_LEAST_BYTES: Final = 12
"""A line that has less room than for an encoded word with this many bytes gets none."""
_QUOTED_AT_MOST: Final = 200
"""Characters of a name before an address that is written without encoded words."""
_SECTIONS: Final = re.compile(r".{1,60}(?<!%)(?<!%[0-9A-F])(?!%[89AB])")
"""What one section has of a parameter's value that is percent-encoded."""

_PLAIN: Final = re.compile(r"[!-~](?:[\t -~]*[!-~])?")
_TOKEN: Final = re.compile(r"[\t ]*[!-~]+")
_LIKE_ENCODED: Final = re.compile(r"=\?[^?]*\?[bq]\?.*?\?=", re.IGNORECASE)
"""What a reader would decode, though it is to be read as it is."""
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_TO_ESCAPE: Final = re.compile(r'(["\\])')
_PRINTABLE: Final = re.compile(r"[ -~]*")


def text_field(name: str, text: str) -> bytes:
    """Return a field whose value is text: as it is where that can be, else in encoded words.

    Text that reads back as other than it is, such as with a blank at its end, is encoded as well.
    """
    if not text:
        return f"{name}:\r\n".encode()
    if _PLAIN.fullmatch(text) and not _LIKE_ENCODED.search(text):
        first, *others = _TOKEN.findall(text)
        if all(len(token) < MAX_LINE for token in (first, *others)):
            return _folded(name, [f" {first}", *others], first_width=MAX_LINE)
    return _folded(name, _encoded(text, len(name) + 1), _ENCODED_WIDTH)


def mailbox_field(name: str, mailboxes: Sequence[Mailbox]) -> bytes:
    """Return a field that lists addresses. One that is not in ASCII is written as it is (RFC 6532)."""
    tokens: list[str] = []
    width = _WIDTH
    for mailbox in mailboxes:
        if mailbox.name:
            phrase = _phrase(mailbox.name, len(name) + 1)
            if phrase[0].startswith(_PREFIX):
                width = _ENCODED_WIDTH
            tokens += [*phrase, f" <{mailbox.address}>,"]
        else:
            tokens.append(f" {mailbox.address},")
    tokens[-1] = tokens[-1][:-1]
    return _folded(name, tokens, width)


def parameter_field(name: str, value: str, parameters: Iterable[tuple[str, str]]) -> bytes:
    """Return a field of MIME: its value, which is in ASCII, and parameters after it."""
    tokens = [f" {value}"]
    for key, text in parameters:
        for token in _parameter(key, text):
            tokens[-1] += ";"
            tokens.append(f" {token}")
    return _folded(name, tokens, first_width=MAX_LINE)


def _folded(name: str, tokens: Sequence[str], width: int = _WIDTH, first_width: int | None = None) -> bytes:
    """Lay out tokens, each with its blank in front. The first follows the name unless it is over `first_width`."""
    line, lines = f"{name}:", []
    for index, token in enumerate(tokens):
        if len(line) + len(token) > ((first_width or width) if index == 0 else width):
            lines.append(line)
            line = token
        else:
            line += token
    return "\r\n".join((*lines, line, "")).encode()


def _encoded(text: str, used: int) -> list[str]:
    """Encoded words, each of whole characters. `used` is how much of the first line is taken."""
    data, start, words = text.encode(), 0, []
    room = (_ENCODED_WIDTH - used - len(_PREFIX) - len(_SUFFIX)) // 4 * 3
    if room < _LEAST_BYTES:
        room = _WORD_BYTES
    while start < len(data):
        end = min(start + room, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        payload = binascii.b2a_base64(data[start:end], newline=False).decode()
        words.append(f"{_PREFIX}{payload}{_SUFFIX}")
        start, room = end, _WORD_BYTES
    return words


def _phrase(name: str, used: int) -> list[str]:
    """A name before an address, as tokens."""
    if len(name) <= _QUOTED_AT_MOST and _PRINTABLE.fullmatch(name) and not _LIKE_ENCODED.search(name):
        if _ATOMS.fullmatch(name):
            return [f" {word}" for word in name.split(" ")]
        return [f" {_quoted(name)}"]
    return _encoded(name, used)


def _quoted(text: str) -> str:
    escaped = _TO_ESCAPE.sub(r"\\\1", text)
    return f'"{escaped}"'


def _parameter(key: str, text: str) -> list[str]:
    if _PRINTABLE.fullmatch(text) and not _LIKE_ENCODED.search(text):
        return [f"{key}={_quoted(text)}"]
    # No section ends within a character, since readers decode each by itself.
    sections = _SECTIONS.findall(quote(text, safe=""))
    if len(sections) == 1:
        return [f"{key}*=utf-8''{sections[0]}"]
    return [f"{key}*{at}*={'' if at else _CHARSET}{section}" for at, section in enumerate(sections)]


_CHARSET: Final = "utf-8''"
