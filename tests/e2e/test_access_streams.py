"""Streams that run while their key is taken out of the configuration: all of them end, and nobody else's."""

from __future__ import annotations

import queue
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.e2e.calls import TIMEOUT, refusal_of, request
from tests.e2e.server import Server
from tests.support.access import bearer, declared, made_key

from postwire.v1 import admin_service_pb2, provider_service_pb2
from postwire.v1 import dispatch_service_pb2 as pb

GOES, STAYS = made_key(), made_key()
ROLES = ("send", "read", "operate")


class WatchfulServer(Server):
    main = "tests.support.watchful_server:run"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    both = declared(GOES, "acme", *ROLES) + declared(STAYS, "acme", *ROLES)
    (tmp_path / "postwire.toml").write_text(both, encoding="utf-8")
    with WatchfulServer(tmp_path) as running:
        yield running


class Outgoing:
    """What a caller sends, for as long as a test has not ended it."""

    def __init__(self, *first: Any) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for one in first:
            self.send(one)

    def send(self, one: Any) -> None:
        self._queue.put(one)

    def __iter__(self) -> Iterator[Any]:
        while (one := self._queue.get()) is not None:
            yield one


def frame() -> pb.DispatchStreamRequest:
    return pb.DispatchStreamRequest(requests=[request()])


def test_every_stream_of_the_key_ends_and_those_of_another_go_on(server: Server) -> None:
    reflect: Any = reflection_pb2_grpc.ServerReflectionStub(server.channel())
    outgoing = {
        key.id: [Outgoing(frame()), Outgoing(reflection_pb2.ServerReflectionRequest(list_services=""))]
        for key in (GOES, STAYS)
    }

    def streams(key: Any) -> dict[str, Any]:
        """Each kind, with its first response had."""
        with_key: dict[str, Any] = {"metadata": bearer(key), "timeout": TIMEOUT}
        dispatches, questions = outgoing[key.id]
        message_id = server.dispatch.Dispatch(request(), **with_key).message.message_id
        begun = {
            "DispatchStream": server.dispatch.DispatchStream(iter(dispatches), **with_key),
            "WatchMessages": server.dispatch.WatchMessages(
                pb.WatchMessagesRequest(message_ids=[message_id]), **with_key
            ),
            "WatchProviders": server.providers.WatchProviders(provider_service_pb2.WatchProvidersRequest(), **with_key),
            "WatchStats": server.admin.WatchStats(admin_service_pb2.WatchStatsRequest(), **with_key),
            "ServerReflectionInfo": reflect.ServerReflectionInfo(iter(questions), **with_key),
        }
        for call in begun.values():
            next(call)
        return begun

    going, staying = streams(GOES), streams(STAYS)
    (server.folder / "postwire.toml").write_text(declared(STAYS, "acme", *ROLES), encoding="utf-8")
    server.send_signal(signal.SIGHUP)
    for name, call in going.items():
        with pytest.raises(grpc.RpcError) as ended:
            list(call)
        found = refusal_of(ended.value)
        assert (name, found.code, found.reason) == (name, grpc.StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIALS")
    outgoing[STAYS.id][0].send(frame())
    assert next(staying["DispatchStream"]).results[0].sequence == 1
    outgoing[STAYS.id][1].send(reflection_pb2.ServerReflectionRequest(list_services=""))
    assert next(staying["ServerReflectionInfo"]).list_services_response.service
    assert staying["WatchMessages"].is_active()
    assert staying["WatchProviders"].is_active()
    for call in staying.values():
        call.cancel()
    for each in (*outgoing[GOES.id], *outgoing[STAYS.id]):
        each.send(None)
