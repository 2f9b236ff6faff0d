"""How requests are read and answers are written over HTTP: late, and apart where it takes long."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import threading
import traceback
from functools import partial
from typing import Any

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from tests.support.waiting import PATIENCE, within

from postwire.api.call import OtherStatus
from postwire.api.errors import INTERNAL_TEXT
from postwire.api.requests import LARGE
from postwire.core.errors import InvalidMessage
from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import provider_service_pb2
from postwire.web import codecs
from postwire.web.codecs import THREADS, Codec, Encoding, LazyGzip, Unread, Written

MIB = 1 << 20
TENANT = "acme"
DRAIN = provider_service_pb2.DrainProviderRequest


def unread(data: bytes, message_class: Any = pb.DispatchRequest, *, encoding: Encoding = Encoding.JSON) -> Unread:
    return Codec(encoding, MIB, lambda error: None).decode(data, message_class)


def packed(data: bytes) -> bytes:
    return LazyGzip().decompress(gzip.compress(data))


async def test_a_request_is_read_once_it_is_asked_for() -> None:
    request = unread(b"{")
    with pytest.raises(InvalidMessage):
        await request.read(TENANT)
    message: Any = await unread(b'{"request_id": "a"}').read(TENANT)
    assert message.request_id == "a"
    again: Any = await unread(message.SerializeToString(), encoding=Encoding.BINARY).read(TENANT)
    assert again == message


async def test_what_is_no_message_is_refused_without_a_reason_of_ours() -> None:
    with pytest.raises(OtherStatus, match=r"the body is no postwire\.v1\.DispatchRequest"):
        await unread(b"\xff\xff", encoding=Encoding.BINARY).read(TENANT)


async def test_what_is_compressed_is_unpacked_as_it_is_read() -> None:
    message: Any = await unread(packed(b'{"request_id": "a"}')).read(TENANT)
    assert message.request_id == "a"
    with pytest.raises(OtherStatus, match="larger than 1048576 bytes") as caught:
        await unread(packed(bytes(MIB + 1))).read(TENANT)
    assert caught.value.code.name == "RESOURCE_EXHAUSTED"
    for data in (b"{}", gzip.compress(b"{}")[:-4], b""):
        with pytest.raises(OtherStatus, match="the body is not gzip"):
            await unread(LazyGzip().decompress(data or b"\0")).read(TENANT)


@pytest.mark.parametrize("data", [packed(b"\xff" * MIB), packed(bytes(MIB + 1)), b"\xff" * MIB])
async def test_a_refusal_does_not_lead_to_what_was_read(data: bytes) -> None:
    """Or that is kept until the collector comes, which counts objects and not how large they are."""
    request = unread(data, encoding=Encoding.BINARY)
    with pytest.raises(OtherStatus) as caught:
        await request.read(TENANT)
    assert caught.value.__context__ is None
    *_, frame = (frame for frame, _ in traceback.walk_tb(caught.tb))
    assert frame.f_code is Unread.read.__code__
    assert request._data == b""


@pytest.mark.parametrize(
    ("data", "is_apart"),
    [
        (b'{"request_id": "a"}', False),
        (b'{"request_id": "' + b"a" * codecs.LARGE_REQUEST + b'"}', True),
        (b'{"message": {"mms": {"media": [{}' + b",{}" * codecs.MANY_COMMAS + b"]}}}", False),
        (b'{"message": {"mms": {"media": [{},{}' + b",{}" * codecs.MANY_COMMAS + b"]}}}", True),
        (packed(b'{"request_id": "a"}'), True),
        (packed(json.dumps({"request_id": "".join(map(str, range(3_000)))}).encode()), True),
    ],
    # Names: what is packed has the time in it, and tests have to be called the same in every process.
    ids=["small", "large", "some values", "many values", "small, packed", "large, packed"],
)
async def test_what_takes_long_is_read_on_another_thread(
    monkeypatch: pytest.MonkeyPatch, data: bytes, *, is_apart: bool
) -> None:
    threads: list[threading.Thread] = []

    def read(data: bytes, message_class: Any) -> Any:
        threads.append(threading.current_thread())
        return message_class()

    monkeypatch.setattr(codecs, "_READ", {Encoding.JSON: read})
    await unread(data).read(TENANT)
    assert [one is not threading.main_thread() for one in threads] == [is_apart]


@pytest.mark.parametrize(("size", "is_apart"), [(LARGE, False), (LARGE + 1, True)])
async def test_so_is_what_is_large_in_protocol_buffers(
    monkeypatch: pytest.MonkeyPatch, size: int, *, is_apart: bool
) -> None:
    threads: list[threading.Thread] = []
    monkeypatch.setattr(codecs, "_READ", {Encoding.BINARY: lambda *_: threads.append(threading.current_thread())})
    await unread(bytes(size), encoding=Encoding.BINARY).read(TENANT)
    assert [one is not threading.main_thread() for one in threads] == [is_apart]


async def test_a_record_of_a_refused_call_says_what_it_was_about() -> None:
    request = unread(b'{"name": "email", "reason": "maintenance"}', DRAIN)
    assert (request.name, request.reason) == ("email", "maintenance")
    for data in (b"{", b'{"nmae": "email"}', b'{"name": "' + b"a" * codecs.LARGE_REQUEST + b'"}'):
        assert getattr(unread(data, DRAIN), "name", "") == ""
    assert getattr(request, "message_id", "") == ""
    await request.read(TENANT)
    assert (request.name, request.reason) == ("email", "maintenance")


async def test_answers_leave_out_what_has_its_default() -> None:
    codec = Codec(Encoding.JSON, MIB, lambda error: None)
    assert codec.encode(pb.DispatchRequest(request_id="ä")).decode() == '{"requestId": "ä"}'
    assert codec.encode(pb.DispatchRequest()) == b"{}"
    small = pb.DispatchRequest(request_id="a")
    assert await codec.write(small, TENANT) is small
    large = pb.DispatchRequest(request_id="a" * codecs.LARGE_ANSWER)
    written = await codec.write(large, TENANT)
    assert isinstance(written, Written)
    assert json.loads(codec.encode(written)) == {"requestId": large.request_id}


async def test_an_answer_that_cannot_be_written_is_a_fault_of_ours_that_quotes_nothing() -> None:
    faults: list[Exception] = []
    codec = Codec(Encoding.JSON, MIB, faults.append)
    answer = pb.DispatchResponse()
    answer.message.create_time.seconds = 2**60
    answer.message.request_id = "s3cr3t"
    with pytest.raises(ConnectError) as caught:
        codec.encode(answer)
    assert (caught.value.code, caught.value.message) == (Code.INTERNAL, INTERNAL_TEXT)
    answer.message.request_id *= codecs.LARGE_ANSWER
    with pytest.raises(ConnectError):
        await codec.write(answer, TENANT)
    assert len(faults) == 2


async def test_one_who_hangs_up_leaves_his_place_taken_until_his_thread_has_ended() -> None:
    codec, may_end, begun = Codec(Encoding.JSON, MIB, lambda error: None), threading.Event(), asyncio.Queue[int]()
    loop = asyncio.get_running_loop()

    def work(number: int) -> None:
        loop.call_soon_threadsafe(begun.put_nowait, number)
        may_end.wait(PATIENCE)

    try:
        for number in range(THREADS):
            hanging_up = asyncio.create_task(codec.apart(partial(work, number), str(number)))
            assert await within(begun.get()) == number
            hanging_up.cancel()
            await asyncio.wait([hanging_up])
        assert codec._threads.locked()
        last = asyncio.create_task(codec.apart(lambda: "done", TENANT))
    finally:
        may_end.set()
    assert await within(last) == "done"
    assert not codec._threads.locked()


async def test_however_much_one_tenant_has_read_another_has_a_thread() -> None:
    codec, may_end, begun = Codec(Encoding.JSON, MIB, lambda error: None), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def work() -> str:
        loop.call_soon_threadsafe(begun.set)
        may_end.wait(PATIENCE)
        return "done"

    try:
        greedy = [asyncio.create_task(codec.apart(work, "greedy")) for _ in range(10 * THREADS)]
        given_up = greedy.pop()
        await within(begun.wait())
        given_up.cancel()
        assert await within(asyncio.create_task(codec.apart(lambda: "answered", TENANT))) == "answered"
        assert not any(one.done() for one in greedy)
    finally:
        may_end.set()
    assert set(await within(asyncio.gather(*greedy))) == {"done"}
    del given_up
    gc.collect()  # the error that has ended it
    assert not codec._turns
