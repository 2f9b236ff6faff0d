"""Reflection: what grpcurl and the like learn the contract from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection

from postwire.api import methods
from postwire.api.access import ANYBODY
from postwire.api.guard import Guard
from postwire.api.requests import read


def enable(server: grpc.aio.Server, services: Iterable[str], guard: Guard) -> None:
    """Have the server answer questions about these services, and about reflection itself, for whoever may call."""
    pool: Any = _Symbols()
    servicer = _Servicer((*services, reflection.SERVICE_NAME), pool=pool)
    guarded = guard.around(reflection.SERVICE_NAME, servicer, lambda _: ANYBODY)
    methods.serve(server, reflection.SERVICE_NAME, guarded)


_Library: Any = reflection.aio.ReflectionServicer  # whose types are those of no stream


class _Servicer(_Library):  # type: ignore[misc]
    """The library's, which reads requests that are large in our way."""

    async def ServerReflectionInfo(self, request_iterator: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for answer in super().ServerReflectionInfo((read(one) async for one in request_iterator), context):
            yield answer


class _Symbols:
    """The default pool, which also knows in which file a method is.

    The protocol asks for any fully qualified name (`grpcurl describe postwire.v1.DispatchService.Dispatch`), and
    Python's pool finds all of them but methods.
    """

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        """See `DescriptorPool`. Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindMethodByName(symbol).containing_service.file
