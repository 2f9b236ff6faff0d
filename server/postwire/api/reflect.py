"""Reflection: what grpcurl and the like learn the contract from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection


def enable(server: grpc.aio.Server, services: Iterable[str]) -> None:
    """Have the server answer questions about these services, and about reflection itself."""
    pool: Any = _Symbols()
    reflection.enable_server_reflection((*services, reflection.SERVICE_NAME), server, pool)


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
