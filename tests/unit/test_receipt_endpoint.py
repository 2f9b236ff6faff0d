"""The endpoint of receipts, over real sockets: the order of work, and what one caller can do to others: nothing."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.certificates import Authority
from tests.support.receipt_endpoint import PUBLIC_URL, RECEIPT, REFERENCE, Endpoint, answer_of, opened, request

from postwire import http_body
from postwire import http_connections as connections
from postwire.core.errors import StoreUnavailable
from postwire.core.receipts import Inbound
from postwire.receipts import http, reception


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[Endpoint]:
    async with opened(tmp_path) as endpoint:
        yield endpoint


# The order of work.


async def test_what_was_kept_is_answered_with_200_and_nothing_more(endpoint: Endpoint) -> None:
    status, headers, body = await endpoint.call(f"/receipts/one/{REFERENCE}", b'{"a": 1}')
    assert (status, body) == (200, b"")
    assert headers == {"content-length": "0"}
    assert endpoint.kept == [("one", RECEIPT)]
    (call,) = endpoint.calls()
    assert (call.method, call.body, call.reference) == ("POST", b'{"a": 1}', REFERENCE)
    assert call.is_reference(REFERENCE)
    assert not call.is_reference(REFERENCE[::-1])
    assert endpoint.refused == []


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("prefix", ["", "/pw"])
@pytest.mark.parametrize("path", ["/receipts/one", f"/receipts/one/{REFERENCE}"])
async def test_the_address_that_a_signature_covers_is_that_of_the_configuration(
    endpoint: Endpoint, method: str, prefix: str, path: str
) -> None:
    foreign = {"x_forwarded_host": "evil.example.com", "x_forwarded_proto": "http", "forwarded": "host=evil"}
    target = f"{prefix}{path}?b=%2F&a=1+2"
    assert (await endpoint.call(target, b"", method=method, **foreign))[0] == 200
    assert endpoint.calls()[-1].url == f"{PUBLIC_URL}{path}?b=%2F&a=1+2"


async def test_the_address_is_as_it_was_written(endpoint: Endpoint) -> None:
    assert (await endpoint.call("/receipts/%6Fne?"))[0] == 200
    assert endpoint.calls()[0].url == f"{PUBLIC_URL}/receipts/%6Fne"


async def test_messages_that_come_in_are_answered_without_a_reply(endpoint: Endpoint) -> None:
    assert (await endpoint.call(body=b"inbound"))[0] == 204
    assert endpoint.kept == [("one", Inbound("+1", "+2", "STOP"))]


async def test_a_forged_call_is_refused_as_its_vendor_wants_it_and_not_read(endpoint: Endpoint) -> None:
    assert (await endpoint.call(body=b"broken", x_signature="bad"))[0] == 401
    assert (await endpoint.call("/receipts/two", body=b"broken", x_signature=""))[0] == 406
    assert endpoint.refused == [("one", "signature"), ("two", "missing")]
    assert endpoint.kept == []
    assert endpoint.faults == []


async def test_a_signature_that_is_not_ascii_is_forged(endpoint: Endpoint) -> None:
    assert (await endpoint.call(x_signature="g\xf6\xf6d"))[0] == 401
    assert (await endpoint.call(x_signature="broken"))[0] == 401
    assert endpoint.refused == [("one", "signature")] * 2
    assert [type(fault) for fault in endpoint.faults] == [TypeError]


async def test_headers_that_are_there_twice_are_one(endpoint: Endpoint) -> None:
    reader, writer = await endpoint.connect()
    writer.write(b"POST /receipts/one HTTP/1.1\r\nhost: x\r\nX-Signature: good\r\nx-signature: good\r\n\r\n")
    assert (await answer_of(reader))[0] == 401
    writer.close()
    assert endpoint.calls()[0].headers["x-signature"] == "good, good"


@pytest.mark.parametrize(
    "reference",
    ["x", REFERENCE[:-1], REFERENCE + "A", REFERENCE[::-1], "%C3%A9" * 40, REFERENCE[:-2] + "%00A", "%FF" * 40],
)
async def test_a_reference_that_does_not_hold_is_forged(endpoint: Endpoint, reference: str) -> None:
    assert (await endpoint.call(f"/receipts/one/{reference}"))[0] == 401
    assert (await endpoint.call(f"/receipts/two/{reference}"))[0] == 406
    assert endpoint.refused == [("one", "reference"), ("two", "reference")]
    assert endpoint.calls() == []


async def test_what_cannot_be_read_is_400(endpoint: Endpoint) -> None:
    assert (await endpoint.call(body=b"unreadable"))[0] == 400
    assert (await endpoint.call(body=b"broken"))[0] == 400
    assert endpoint.refused == [("one", "unreadable")] * 2
    assert [type(fault) for fault in endpoint.faults] == [KeyError]


async def test_what_is_not_used_is_taken_and_counted(endpoint: Endpoint) -> None:
    assert (await endpoint.call(body=b"unused"))[0] == 200
    assert (endpoint.kept, endpoint.refused) == ([], [("one", "unused")])


async def test_a_large_call_is_read_beside_the_loop_and_comes_to_the_same(endpoint: Endpoint) -> None:
    """A MiB of events takes a reader half a second or more, in which nothing would be sent."""
    padding = b" " * reception.LARGE
    assert (await endpoint.call(body=b"{}"))[0] == 200
    assert (await endpoint.call(body=b"{}" + padding))[0] == 200
    assert (await endpoint.call(body=b"inbound" + padding))[0] == 204
    assert (await endpoint.call(body=b"unused" + padding))[0] == 200
    assert (await endpoint.call(body=b"unreadable" + padding))[0] == 400
    assert (await endpoint.call(body=b"broken" + padding))[0] == 400
    assert endpoint.kept == [("one", RECEIPT), ("one", RECEIPT), ("one", Inbound("+1", "+2", "STOP"))]
    assert endpoint.refused == [("one", "unused"), ("one", "unreadable"), ("one", "unreadable")]
    assert [type(fault) for fault in endpoint.faults] == [KeyError]
    small, *large = endpoint.read_in()
    assert small is threading.main_thread()
    assert threading.main_thread() not in large


@pytest.mark.parametrize("target", ["/receipts/nobody", f"/receipts/nobody/{REFERENCE}"])
async def test_nobody_is_404_and_his_name_is_not_kept(endpoint: Endpoint, target: str) -> None:
    assert (await endpoint.call(target))[0] == 404
    assert endpoint.refused == [("", "provider")]


async def test_a_provider_whose_receipts_are_not_taken_is_404(endpoint: Endpoint) -> None:
    assert (await endpoint.call("/receipts/silent"))[0] == 404
    assert (await endpoint.call("/receipts/open"))[0] == 404
    assert endpoint.refused == [("silent", "unconfigured"), ("open", "unconfigured")]


@pytest.mark.parametrize(
    "target", ["/", "/receipts", "/receipts/", "/receipts/one/", f"/receipts/one/{REFERENCE}/", "/pw", "/metrics", "*"]
)
async def test_other_paths_are_404_and_lead_nowhere(endpoint: Endpoint, target: str) -> None:
    status, headers, _ = await endpoint.call(target)
    assert status == 404
    assert "location" not in headers
    assert endpoint.calls() == []
    assert endpoint.kept == []


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_405(endpoint: Endpoint, method: str) -> None:
    reader, writer = await endpoint.connect()
    writer.write(request("/receipts/one", b"", method=method))
    assert (await reader.readline()).split()[1] == b"405"
    writer.close()
    assert endpoint.calls() == []


async def test_where_nothing_can_be_kept_a_vendor_may_come_again(endpoint: Endpoint) -> None:
    for trouble in (StoreUnavailable(), OSError("disk"), RuntimeError("a bug")):
        endpoint.trouble = trouble
        status, headers, _ = await endpoint.call()
        assert (status, headers["retry-after"]) == (503, "5")
    assert endpoint.refused == [("one", "unavailable")] * 3
    assert [type(fault) for fault in endpoint.faults] == [OSError, RuntimeError]
    endpoint.trouble = None
    assert (await endpoint.call())[0] == 200


async def test_what_is_checked_by_something_that_cannot_be_fetched_may_come_again(endpoint: Endpoint) -> None:
    endpoint.fetched = OSError("no network")
    assert (await endpoint.call(x_signature="fetched"))[0] == 503
    endpoint.fetched = None
    assert (await endpoint.call(x_signature="fetched"))[0] == 200


async def test_who_keeps_for_too_long_is_not_waited_for(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "KEEP_TIME", 0.01)
    endpoint.may_keep.clear()
    assert (await endpoint.call())[0] == 503
    endpoint.may_keep.set()
    await endpoint.reception.stop(5.0)
    assert endpoint.kept == [("one", RECEIPT)], "it is kept all the same"
    assert (await endpoint.call())[0] == 200


async def test_whatever_fails_is_a_fault_of_ours_and_may_come_again(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint.reception, "receive", None)
    assert (await endpoint.call())[0] == 503
    assert [type(fault) for fault in endpoint.faults] == [TypeError]


# Sizes and times.


async def test_a_body_of_1_mib_is_taken_and_none_that_is_larger(endpoint: Endpoint) -> None:
    assert (await endpoint.call(body=bytes(http.MAX_BODY)))[0] == 200
    assert len(endpoint.calls()[0].body) == http.MAX_BODY
    assert (await endpoint.call(body=bytes(http.MAX_BODY + 1)))[0] == 413
    assert (await endpoint.call(content_length="9" * 19, body=b""))[0] == 413
    assert endpoint.refused == [("one", "too_large")] * 2
    assert len(endpoint.calls()) == 1


async def test_a_body_without_a_length_is_counted_as_it_comes(endpoint: Endpoint) -> None:
    reader, writer = await endpoint.connect()
    writer.write(b"POST /receipts/one HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    for _ in range(17):
        writer.write(chunk)
    assert (await answer_of(reader))[0] == 413
    writer.close()


async def test_headers_that_never_end_are_refused(endpoint: Endpoint) -> None:
    reader, writer = await endpoint.connect()
    writer.write(b"POST /receipts/one HTTP/1.1\r\n" + b"x: " + b"y" * (connections.MAX_HEADERS + 1))
    assert (await reader.readline()).split()[1] == b"400"
    writer.close()


async def test_a_body_that_does_not_come_is_408(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_body, "BODY_TIME", 0.01)
    reader, writer = await endpoint.connect()
    writer.write(request("/receipts/one", b"abc", content_length="4"))
    status, headers, _ = await answer_of(reader)
    assert (status, headers["connection"]) == (408, "close")
    assert await reader.read() == b""
    writer.close()
    assert endpoint.refused == [("one", "too_slow")]


@pytest.mark.parametrize("sent", [b"", b"POST /rec", request("/receipts/one", b"", content_length="4")])
async def test_whoever_sends_nothing_is_cut_off(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "REQUEST_TIME", 0.05)
    reader, writer = await endpoint.connect()
    writer.write(sent)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()


async def test_the_next_request_of_a_connection_has_its_own_time(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = await endpoint.connect()
    for _ in range(3):
        writer.write(request("/receipts/one", b"{}"))
        assert (await answer_of(reader))[0] == 200
    monkeypatch.setattr(connections, "REQUEST_TIME", 0.05)
    writer.write(request("/receipts/one", b"{}"))
    assert (await answer_of(reader))[0] == 200
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()


async def test_one_connection_too_many_costs_the_one_that_has_waited_longest(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    waiting = [await endpoint.connect() for _ in range(3)]
    await asyncio.sleep(0)
    assert (await endpoint.call())[0] == 200
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await waiting[0][0].readexactly(1)
    for _, writer in waiting[1:]:
        writer.write(request("/receipts/one", b"{}"))
    for reader, _ in waiting[1:]:
        assert (await answer_of(reader))[0] == 200
    for _, writer in waiting:
        writer.close()


async def test_a_handshake_that_does_not_come_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_TIME", 0.05)
    monkeypatch.setattr(connections, "MAX_HANDSHAKES", 2)
    authority = Authority(tmp_path)
    async with opened(tmp_path, authority.certify("127.0.0.1")) as endpoint:
        silent = [await endpoint.connect() for _ in range(5)]
        trusting = ssl.create_default_context(cafile=str(authority.ca_file))
        monkeypatch.setattr(connections, "REQUEST_TIME", 10.0)
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port, ssl=trusting)
        writer.write(request("/receipts/one", b"{}"))
        assert (await answer_of(reader))[0] == 200
        writer.close()
        for reader, writer in silent:
            with suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()


# Others go on.


async def test_a_flood_at_one_provider_holds_up_no_other(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "MAX_UNDER_WAY", 8)
    endpoint.may_keep.clear()
    flood = [asyncio.create_task(endpoint.call()) for _ in range(reception.MAX_UNDER_WAY)]
    for _ in flood:
        await endpoint.keeping.acquire()
    status, headers, _ = await endpoint.call()
    assert (status, headers["retry-after"]) == (503, "5")
    assert endpoint.refused == [("one", "busy")]
    other = asyncio.create_task(endpoint.call("/receipts/two"))
    await endpoint.keeping.acquire()
    endpoint.may_keep.set()
    assert (await other)[0] == 200
    assert {status for status, _, _ in await asyncio.gather(*flood)} <= {200, 503}
    await endpoint.reception.stop(5.0)
    assert (await endpoint.call())[0] == 200, "there is room again"


async def test_bodies_of_one_provider_take_so_much_room_and_no_more(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.app.room.most = 1000
    monkeypatch.setattr(http_body, "SMALL_BODY", 150)
    held = [await endpoint.connect() for _ in range(2)]
    for _, writer in held:
        writer.write(request("/receipts/one", bytes(450), content_length="500"))
    async with asyncio.timeout(30):
        while (await endpoint.call(body=bytes(200)))[0] != 503:
            pass
    assert endpoint.refused[-1] == ("one", "busy")
    assert (await endpoint.call(body=bytes(150)))[0] == 200, "strangers keep nobody's small ones out"
    assert (await endpoint.call("/receipts/two", body=bytes(200)))[0] == 200
    for reader, writer in held:
        writer.write(bytes(50))
        assert (await answer_of(reader))[0] in (200, 503)
        writer.close()
    assert (await endpoint.call(body=bytes(900)))[0] == 200


async def test_a_caller_that_hangs_up_leaves_nothing(endpoint: Endpoint) -> None:
    for sent in (b"", b"POST", request("/receipts/one", b"abc", content_length="9")):
        _, writer = await endpoint.connect()
        writer.write(sent)
        await writer.drain()
        writer.close()
    assert (await endpoint.call())[0] == 200
    assert endpoint.faults == []


# The end.


async def test_what_is_under_way_is_answered_before_the_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as endpoint:
        endpoint.may_keep.clear()
        under_way = asyncio.create_task(endpoint.call(f"/receipts/one/{REFERENCE}"))
        _, idle = await endpoint.connect()
        await endpoint.keeping.acquire()
        stopping = asyncio.create_task(endpoint.listener.stop(5.0))
        await asyncio.sleep(0)
        endpoint.may_keep.set()
        assert (await under_way)[0] == 200
        await stopping
        with pytest.raises(ConnectionRefusedError):
            await endpoint.connect()
        idle.close()


async def test_the_end_waits_for_nobody_for_longer_than_it_may(tmp_path: Path) -> None:
    async with opened(tmp_path) as endpoint:
        endpoint.may_keep.clear()
        calls = [asyncio.create_task(endpoint.call()) for _ in range(3)]
        await endpoint.keeping.acquire()
        async with asyncio.timeout(30):
            await endpoint.listener.stop(0.01)
        endpoint.may_keep.set()
        for call in calls:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                assert (await call)[0] >= 500
