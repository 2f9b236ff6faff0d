"""One byte string for one payload: what request ids are compared by, and how content is kept.

Protobuf's own bytes are not canonical (the order of a map, unknown fields), so payloads are written in an encoding of
our own: a version byte, then fields in the order of their tags. A field is its tag (1 byte), its length (4 bytes,
little endian) and its bytes; a nested value is a field whose bytes are fields again. What is empty or left out is not
written, so a field added later changes no old payload's bytes. Maps are written sorted by key, as pairs of fields.

The tags are part of the file format: a tag never changes its meaning, and a new field takes a new one.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from postwire.core.message import (
    EMPTY,
    NO_OPTIONS,
    Attachment,
    Content,
    DeliveryGuarantee,
    DispatchOptions,
    Email,
    Media,
    Mms,
    OutboundMessage,
    Priority,
    Sms,
)

VERSION: Final = 1
_VERSION_BYTE: Final = bytes([VERSION])
_HEAD: Final = struct.Struct("<BI")
_PAIR_KEY, _PAIR_VALUE = 1, 2
_LABELS: Final = 9
_NO_FIELDS: Final = b""
_KEYED: Final = b"\x02"
_KEYED_SIZE: Final = len(_KEYED) + hashlib.sha256().digest_size
_PURPOSE: Final = b"postwire/payload/2"


def encode_message(message: OutboundMessage) -> bytes:
    """The message's canonical bytes."""
    content = message.content
    if isinstance(content, Sms):
        tag, body = 1, _text(1, content.to) + _text(2, content.body) + _text(3, content.sender)
    elif isinstance(content, Mms):
        tag, body = 2, _encode_mms(content)
    else:
        tag, body = 3, _encode_email(content)
    return b"".join((_VERSION_BYTE, _HEAD.pack(tag, len(body)), body, _pairs(_LABELS, message.labels)))


def encode_options(options: DispatchOptions) -> bytes:
    """The canonical bytes of the options that belong to the payload: all of ours, since `wait_for` is none of them."""
    if options == NO_OPTIONS:
        return _VERSION_BYTE
    return b"".join(
        (
            _VERSION_BYTE,
            _number(1, options.send_time),
            _number(2, options.expire_time),
            _text(3, "" if options.priority is Priority.NORMAL else options.priority.value),
            _text(
                4,
                ""
                if options.delivery_guarantee is DeliveryGuarantee.AT_LEAST_ONCE
                else options.delivery_guarantee.value,
            ),
            _text(5, options.provider_name or ""),
            _number(6, options.max_attempts),
            _number(7, 1 if options.ignore_suppression else None),
        )
    )


def payload_hash(encoded_message: bytes, encoded_options: bytes) -> bytes:
    """32 bytes that are equal for equal payloads (SHA-256 over both, the first framed by its length)."""
    digest = hashlib.sha256(_HEAD.pack(0, len(encoded_message)))
    digest.update(encoded_message)
    digest.update(encoded_options)
    return digest.digest()


def keyed_hash(digest: bytes, lookup_key: bytes) -> bytes:
    """What a store keeps of a payload's hash: 33 bytes, version 2.

    Whoever has a file with the hash itself can try all numbers and codes; he cannot without the key.
    """
    return _KEYED + hmac.digest(lookup_key, _PURPOSE + digest, "sha256")


def is_payload(kept: bytes, digest: bytes, lookup_key: bytes) -> bool:
    """Whether a payload whose hash is `digest` is the one of which a store keeps `kept`.

    That is the keyed hash, or, from a release before there were any, the hash itself.
    """
    if len(kept) == _KEYED_SIZE and kept.startswith(_KEYED):
        return kept == keyed_hash(digest, lookup_key)
    return kept == digest


def encode(message: OutboundMessage, options: DispatchOptions) -> tuple[bytes, bytes]:
    """The message's canonical bytes, and the hash of the payload that it makes with its options."""
    encoded = encode_message(message)
    return encoded, payload_hash(encoded, _known_options(options))


_known_options = lru_cache(maxsize=256)(encode_options)
"""Most callers send the same options again and again."""


def decode_message(data: bytes) -> OutboundMessage:
    """The message that `encode_message` made `data` of.

    Raises:
        ValueError: `data` is not such bytes, or of a later version.
    """
    if not data or data[0] != VERSION:
        raise ValueError("content is not in an encoding that this version of postwire reads")
    content: Content | None = None
    labels: dict[str, str] = {}
    for tag, value in _fields(memoryview(data)[1:]):
        if tag == _LABELS:
            labels.update([_decode_pair(value)])
        elif tag in _DECODERS:
            content = _DECODERS[tag](value)
    if content is None:
        raise ValueError("content is of a channel that this version of postwire does not know")
    return OutboundMessage(content, MappingProxyType(labels) if labels else EMPTY)


def _encode_mms(mms: Mms) -> bytes:
    return b"".join(
        (
            _text(1, mms.to),
            _text(2, mms.body),
            _text(3, mms.sender),
            *(
                _nested(
                    4,
                    _text(1, media.url),
                    _bytes(2, media.data),
                    _text(3, media.content_type),
                    _text(4, media.file_name),
                )
                for media in mms.media
            ),
        )
    )


def _encode_email(email: Email) -> bytes:
    return b"".join(
        (
            *(_text(1, address) for address in email.to),
            *(_text(2, address) for address in email.cc),
            *(_text(3, address) for address in email.bcc),
            _text(4, email.subject),
            _text(5, email.text),
            _text(6, email.html),
            _text(7, email.sender),
            _text(8, email.reply_to),
            _pairs(9, email.headers),
            *(
                _nested(
                    10,
                    _text(1, attachment.file_name),
                    _text(2, attachment.content_type),
                    _bytes(3, attachment.data),
                )
                for attachment in email.attachments
            ),
        )
    )


def _decode_sms(data: memoryview) -> Sms:
    fields = dict(_fields(data))
    return Sms(to=_str(fields, 1), body=_str(fields, 2), sender=_str(fields, 3))


def _decode_mms(data: memoryview) -> Mms:
    fields = list(_fields(data))
    single = dict(fields)
    return Mms(
        to=_str(single, 1),
        body=_str(single, 2),
        sender=_str(single, 3),
        media=tuple(_decode_media(value) for tag, value in fields if tag == 4),
    )


def _decode_media(data: memoryview) -> Media:
    fields = dict(_fields(data))
    return Media(
        url=_str(fields, 1),
        data=bytes(fields.get(2, _NO_FIELDS)),
        content_type=_str(fields, 3),
        file_name=_str(fields, 4),
    )


def _decode_email(data: memoryview) -> Email:
    fields = list(_fields(data))
    single = dict(fields)
    headers = dict(_decode_pair(value) for tag, value in fields if tag == 9)

    def every(wanted: int) -> tuple[str, ...]:
        return tuple(str(value, "utf-8") for tag, value in fields if tag == wanted)

    return Email(
        to=every(1),
        cc=every(2),
        bcc=every(3),
        subject=_str(single, 4),
        text=_str(single, 5),
        html=_str(single, 6),
        sender=_str(single, 7),
        reply_to=_str(single, 8),
        headers=MappingProxyType(headers) if headers else EMPTY,
        attachments=tuple(_decode_attachment(value) for tag, value in fields if tag == 10),
    )


def _decode_attachment(data: memoryview) -> Attachment:
    fields = dict(_fields(data))
    return Attachment(file_name=_str(fields, 1), content_type=_str(fields, 2), data=bytes(fields.get(3, _NO_FIELDS)))


_DECODERS: Final[Mapping[int, Callable[[memoryview], Content]]] = {
    1: _decode_sms,
    2: _decode_mms,
    3: _decode_email,
}


def _bytes(tag: int, value: bytes) -> bytes:
    return _HEAD.pack(tag, len(value)) + value if value else _NO_FIELDS


def _text(tag: int, value: str) -> bytes:
    if not value:
        return _NO_FIELDS
    data = value.encode()
    return _HEAD.pack(tag, len(data)) + data


def _number(tag: int, value: int | None) -> bytes:
    return _NO_FIELDS if value is None else _bytes(tag, str(value).encode())


def _nested(tag: int, *fields: bytes) -> bytes:
    # Written even when nothing is in it: an element of a list counts by being there.
    body = b"".join(fields)
    return _HEAD.pack(tag, len(body)) + body


def _pairs(tag: int, mapping: Mapping[str, str]) -> bytes:
    if not mapping:
        return _NO_FIELDS
    pairs: Iterable[tuple[str, str]] = sorted(mapping.items())
    return b"".join(_nested(tag, _text(_PAIR_KEY, key), _text(_PAIR_VALUE, value)) for key, value in pairs)


def _decode_pair(data: memoryview) -> tuple[str, str]:
    fields = dict(_fields(data))
    return _str(fields, _PAIR_KEY), _str(fields, _PAIR_VALUE)


def _str(fields: Mapping[int, memoryview], tag: int) -> str:
    return str(fields.get(tag, _NO_FIELDS), "utf-8")


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at < len(data):
        if at + _HEAD.size > len(data):
            raise ValueError("content is cut short")
        tag, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + length > len(data):
            raise ValueError("content is cut short")
        yield tag, data[at : at + length]
        at += length
