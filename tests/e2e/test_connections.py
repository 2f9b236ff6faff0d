"""How many connections a server has, how old they get, and what has to come on them."""

from __future__ import annotations

import gzip
import itertools
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.e2e.calls import ACCEPTANCE, dispatch, dispatch_all, request, sms
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.support import floods
from tests.support.http2 import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Connection, call, frame, message
from tests.support.waiting import PATIENCE

from postwire.api.transport import MAX_METADATA_BYTES, MIN_STREAMS
from postwire.v1.provider_service_pb2 import ListProvidersRequest, WatchProvidersRequest
from postwire_client import Client

RECONNECTS = 3


class ShortLived(Server):
    """One whose connections are old at once."""

    main = "tests.support.short_lived_connections:run"


@pytest.fixture
def short_lived(tmp_path: Path) -> Iterator[ShortLived]:
    with ShortLived(tmp_path, server__max_wait="100ms") as running:
        yield running


def test_one_connection_too_many_is_closed_and_the_others_go_on(serve: Serve) -> None:
    server = serve(server__max_connections="3")
    with Connection(server.address) as one, Connection(server.address) as other:
        dispatch(server)  # the third
        assert one.ping() == ""
        assert not is_taken(server)
        assert one.ping() == other.ping() == ""
        dispatch(server)
    eventually(lambda: is_taken(server))


def is_taken(server: Server) -> bool:
    try:
        with Connection(server.address) as connection:
            return not connection.is_closed()
    except ConnectionError:
        return False


def test_those_of_a_unix_socket_are_counted_as_well(serve: Serve) -> None:
    with tempfile.TemporaryDirectory(prefix="pw-") as folder:
        server = serve(server__listen=f"unix:{folder}/s", server__max_connections="1")
        dispatch(server)
        with socket.socket(socket.AF_UNIX) as too_many:
            too_many.settimeout(PATIENCE)
            too_many.connect(f"{folder}/s")
            assert too_many.recv(1) == b""
        dispatch(server)


def test_who_connects_and_says_nothing_is_hung_up_on(short_lived: ShortLived) -> None:
    host, _, port = short_lived.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as silent:
        while silent.recv(4096):
            pass  # the server's settings, and what it says in the end


def test_who_takes_no_notice_of_our_settings_is_hung_up_on(short_lived: ShortLived) -> None:
    with Connection(short_lived.address, acknowledges=False) as rude:
        while not rude.is_closed():
            pass


def test_an_old_connection_ends_in_good_order(short_lived: ShortLived) -> None:
    with Connection(short_lived.address) as connection:
        while (received := connection.receive())[0] != GOAWAY:
            pass
        assert received[3][4:8] == bytes(4), "no error"


def test_the_client_does_not_notice_that_its_connections_grow_old(short_lived: ShortLived) -> None:
    with Client(short_lived.address) as client:
        watch = client.watch_providers()
        for _ in range(RECONNECTS):
            assert next(watch), "a new stream begins with every provider"
            client.dispatch(sms())
        numbers = itertools.count()
        count = 0
        asked = (request(request_id=f"old-{next(numbers)}", wait_for=ACCEPTANCE) for _ in range(2_000))
        for result in client.dispatch_many(asked):
            assert result.message is not None
            count += 1
        assert count == 2_000


def test_calls_that_a_connection_has_no_room_for_wait_at_the_caller(serve: Serve) -> None:
    server = serve(server__max_in_flight="1")
    dispatch(server)  # and the settings have come
    watches = [server.providers.WatchProviders(WatchProvidersRequest(), timeout=PATIENCE) for _ in range(MIN_STREAMS)]
    assert all(next(one).providers for one in watches)
    late = server.providers.ListProviders.future(ListProvidersRequest(), timeout=PATIENCE)
    assert not late.done()
    watches[0].cancel()
    assert late.result().providers


def test_metadata_may_be_so_large_and_no_larger(server: Server) -> None:
    server.providers.ListProviders(ListProvidersRequest(), metadata=(("x-token", "v" * 14_000),), timeout=PATIENCE)
    with pytest.raises(grpc.RpcError) as failed:
        server.providers.ListProviders(
            ListProvidersRequest(), metadata=(("x-token", "v" * MAX_METADATA_BYTES),), timeout=PATIENCE
        )
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the memory of a process")
def test_a_message_that_is_too_large_once_it_is_unpacked_is_refused(server: Server) -> None:
    floods.forget_peak(server.pid)
    before = floods.resident(server.pid)
    packed = gzip.compress(bytes(300 << 20), 1)
    with Connection(server.address) as connection:
        connection.send(frame(HEADERS, call(floods.DISPATCH, ("grpc-encoding", "gzip")), stream=1, flags=END_HEADERS))
        data = message(packed, compressed=True)
        pieces = [data[start : start + 16384] for start in range(0, len(data), 16384)]
        connection.flood(
            frame(DATA, piece, stream=1, flags=END_STREAM if index == len(pieces) - 1 else 0)
            for index, piece in enumerate(pieces)
        )
        while True:
            kind, _, stream, payload = connection.receive()
            if kind == HEADERS and stream == 1:
                break
    assert b"grpc-status\x018" in payload, "RESOURCE_EXHAUSTED"
    assert b"max" in payload
    dispatch_all(server, [sms()])
    assert floods.resident(server.pid, peak=True) - before < 300 << 20
