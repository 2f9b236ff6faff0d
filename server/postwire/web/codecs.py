"""How requests and answers are written, for connectrpc.

A request is read only once it is known who calls: to unpack a bomb, or JSON of many values, takes time, of which a
stranger is to have none. And what takes long is done on another thread, so that everybody else goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final
from weakref import WeakValueDictionary

import grpc
from connectrpc.code import Code
from connectrpc.compression import Compression
from connectrpc.compression.gzip import GzipCompression
from connectrpc.errors import ConnectError
from google.protobuf import json_format
from google.protobuf.message import Message

from postwire.api.call import OtherStatus
from postwire.api.errors import INTERNAL_TEXT
from postwire.api.requests import LARGE, parse
from postwire.core.errors import Refusal
from postwire.web.strict_json import read_json

LARGE_ANSWER: Final = 16 << 10
"""From how many bytes on an answer is written on another thread."""

LARGE_REQUEST: Final = 32 << 10
"""The same, from which on a request is read."""

MANY_COMMAS: Final = 300
"""The same, of commas in JSON: each value takes time, and those of 30 kB hold up the loop for 130 ms."""

LARGE_PACKED: Final = 2 << 10
"""From how many bytes on one that is compressed is not read for a record of a call that is refused. All of these are
read on another thread: what is in one may be a thousand times as large."""

THREADS: Final = 2
"""How many of these are used at once: there are others who need some, to look up names for instance."""


class Encoding(Enum):
    """How requests and answers are written; as content types call it."""

    JSON = "json"
    BINARY = "proto"


def _json_of(message: Message) -> bytes:
    """In one line. What has its default is left out."""
    return json_format.MessageToJson(message, indent=None, ensure_ascii=False).encode()


_WRITE: Final[Mapping[Encoding, Callable[[Message], bytes]]] = {
    Encoding.JSON: _json_of,
    Encoding.BINARY: lambda message: message.SerializeToString(),
}
_READ: Final[Mapping[Encoding, Callable[[bytes, type[Message]], Message]]] = {
    Encoding.JSON: read_json,
    Encoding.BINARY: parse,
}


class _Packed(bytes):
    """Bytes that are compressed still."""


class LazyGzip(Compression):
    """Compresses at once, and leaves what is compressed to `Unread`."""

    def __init__(self) -> None:
        self._gzip = GzipCompression(level=1)  # on the loop

    def name(self) -> str:
        """See `Compression.name`."""
        return self._gzip.name()

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        """See `Compression.compress`."""
        return self._gzip.compress(data)

    def decompress(self, data: bytes | bytearray | memoryview, read_max_bytes: int | None = None) -> bytes:
        """See `Compression.decompress`."""
        return _Packed(data)


class Written:
    """Stands for an answer that is written already."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class Codec:
    """As connectrpc takes one."""

    def __init__(self, encoding: Encoding, max_bytes: int, on_fault: Callable[[Exception], None]) -> None:
        """`max_bytes`: of a request, once it is unpacked. `on_fault` hears of an answer that cannot be written."""
        self.encoding = encoding
        self.max_bytes = max_bytes
        self._on_fault = on_fault
        self._threads = asyncio.Semaphore(THREADS)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # of tenants that use a thread

    def name(self) -> str:
        """What it is called in content types."""
        return self.encoding.value

    def encode(self, message: Message | Written) -> bytes:
        """Write an answer."""
        return message.data if isinstance(message, Written) else self._write(message)

    def decode(self, data: bytes | bytearray, message_class: type[Message]) -> Unread:
        """Take a request, to be read later."""
        return Unread(self, data if isinstance(data, bytes) else bytes(data), message_class)

    async def write(self, message: Message, tenant: str) -> Message | Written:
        """Write an answer where it is large."""
        if message.ByteSize() < LARGE_ANSWER:
            return message
        return Written(await self.apart(lambda: self._write(message), tenant))

    def _write(self, message: Message) -> bytes:
        try:
            return _WRITE[self.encoding](message)
        except Exception as error:  # whose text may quote what is in the answer
            self._on_fault(error)
            raise ConnectError(Code.INTERNAL, INTERNAL_TEXT) from None

    async def apart(self, work: Callable[[], Any], tenant: str) -> Any:
        """Do something on another thread, of which a tenant has one at once: so tenants take turns. Whoever hangs up
        meanwhile leaves it to its end, and its place taken.
        """
        turn = self._turns.setdefault(tenant, asyncio.Lock())
        await turn.acquire()
        try:
            await self._threads.acquire()
        except BaseException:
            turn.release()
            raise

        def over(_: object) -> None:
            self._threads.release()
            turn.release()

        working = asyncio.create_task(asyncio.to_thread(work))
        working.add_done_callback(over)
        return await asyncio.shield(working)


class Unread:
    """A request as it has come in."""

    __slots__ = ("_codec", "_data", "_message", "_message_class")

    def __init__(self, codec: Codec, data: bytes, message_class: type[Message]) -> None:
        self._codec = codec
        self._data = data
        self._message_class = message_class
        self._message: Message | None = None

    async def read(self, tenant: str) -> Message:
        """Return the message, which is of a tenant, once.

        Raises:
            Refusal, OtherStatus: it is none.
        """
        try:
            self._message = message = (
                await self._codec.apart(self._read, tenant) if self._takes_long() else self._read()
            )
            return message
        except (Refusal, OtherStatus) as error:
            # The call stays in a cycle with it until the collector comes: it must not lead to what was read, which may
            # be large.
            error.__context__ = None
            raise error.with_traceback(None) from None
        finally:
            self._data = b""

    def forget(self, _: object) -> None:
        """Hold nothing of it any more. Its call is over, and may stay in a cycle with the error that has ended it until
        the collector comes, which counts objects and not how large they are.
        """
        self._data = b""
        self._message = None

    def __getattr__(self, name: str) -> Any:
        """A field, for whoever keeps a record of a call that is refused, whether it is read by then or not."""
        if name.startswith("_") or self._is_large():
            raise AttributeError(name)
        try:
            return getattr(self._message or self._read(), name)
        except (Refusal, OtherStatus):
            raise AttributeError(name) from None

    def _takes_long(self) -> bool:
        if self._is_large() or isinstance(self._data, _Packed):
            return True
        if self._codec.encoding is Encoding.BINARY:
            return len(self._data) > LARGE
        return self._data.count(b",") > MANY_COMMAS

    def _is_large(self) -> bool:
        if isinstance(self._data, _Packed):
            return len(self._data) > LARGE_PACKED
        return self._codec.encoding is Encoding.JSON and len(self._data) > LARGE_REQUEST

    def _read(self) -> Message:
        data = self._data
        if isinstance(data, _Packed):
            data = self._unpacked()
        return _READ[self._codec.encoding](data, self._message_class)

    def _unpacked(self) -> bytes:
        try:
            return GzipCompression().decompress(self._data, self._codec.max_bytes)
        except ConnectError:
            text = f"what is in the body is larger than {self._codec.max_bytes} bytes"
            raise OtherStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, text) from None
        except Exception:  # zlib's own, or that it ends too early
            raise OtherStatus(grpc.StatusCode.INVALID_ARGUMENT, "the body is not gzip") from None
