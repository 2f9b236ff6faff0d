"""Bodies that cannot be read, cut down to what they are refused for.

connectrpc leaves the error that ends a call in a cycle with all that was read, until the collector comes, which counts
objects and not how large they are: strangers could fill the memory. `codecs.Unread` is emptied by then; this is for
what does not become one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

_ENVELOPE: Final = struct.Struct(">BI")
_COMPRESSED: Final = 1
_KNOWN: Final = ("", "identity", "gzip")


def trimmed(data: bytes, headers: Mapping[bytes, bytes], *, is_enveloped: bool) -> bytes:
    """The body of a request that is answered in the same way, and no larger than it has to be for that."""
    if not is_enveloped:
        return data if headers.get(b"content-encoding", b"").decode("latin-1") in _KNOWN else b""
    if len(data) < _ENVELOPE.size:
        return data
    flags, length = _ENVELOPE.unpack_from(data)
    left = len(data) - _ENVELOPE.size
    if flags > _COMPRESSED:
        return _ENVELOPE.pack(flags, 0)
    if length > left:
        return data[: _ENVELOPE.size]  # as if nothing of it had come
    if length < left:
        return _ENVELOPE.pack(0, 0) * 2  # a second one, whatever it is
    if flags == _COMPRESSED and b"gzip" not in (
        headers.get(b"connect-content-encoding"),
        headers.get(b"grpc-encoding"),
    ):
        return _ENVELOPE.pack(flags, 1) + b"\0"
    return data
