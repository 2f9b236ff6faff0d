"""Everything in a store encrypted anew while it is served, and killed meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest
from tests.e2e.calls import (
    ACCEPTANCE,
    FAILED,
    QUEUED,
    SENT,
    TIMEOUT,
    dispatch_all,
    email,
    new_request_id,
    refused,
    request,
    sms,
    until,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.support.encryption import found_in, key_texts, write_keys
from tests.support.outboxes import KEYS

from postwire.core.principal import LOCAL
from postwire.v1 import admin_service_pb2 as pb
from postwire.v1.dispatch_service_pb2 import DispatchRequest, ListMessagesRequest, MessageFilter, WatchMessagesRequest
from postwire.v1.message_pb2 import Message, OutboundMessage
from postwire.v1.provider_service_pb2 import DrainProviderRequest, ResumeProviderRequest

ONE, TWO, _ = KEYS

AT_ONCE = 50
"""How many calls are under way at once."""


def encrypted(serve: Serve, folder: Path, **settings: str) -> Server:
    """A server that encrypts with a key out of a file."""
    file = write_keys(folder / "keys", [ONE])
    return serve(store__encryption_keys_file=str(file), **settings)


def rekey_of(server: Server) -> pb.Rekey:
    return server.admin.GetRekey(pb.GetRekeyRequest(), timeout=TIMEOUT).rekey


def start_rekey(server: Server, reason: str = "") -> pb.Rekey:
    return server.admin.StartRekey(pb.StartRekeyRequest(reason=reason), timeout=TIMEOUT).rekey


def until_done(server: Server) -> pb.Rekey:
    eventually(lambda: rekey_of(server).state == pb.REKEY_STATE_DONE)
    return rekey_of(server)


def large(number: int) -> OutboundMessage:
    return email(f"to{number}@example.com", text=f"{number} " + "zqtext " * 15_000)


def waiting(server: Server, messages: Sequence[OutboundMessage]) -> list[Message]:
    """Have messages accepted that wait for their provider."""
    for name in ("sms-mms", "email"):
        server.providers.DrainProvider(DrainProviderRequest(name=name), timeout=TIMEOUT)
    found: list[Message] = []
    for start in range(0, len(messages), AT_ONCE):
        found += dispatch_all(server, messages[start : start + AT_ONCE], wait_for=ACCEPTANCE)
    assert {one.state for one in found} == {QUEUED}
    return found


def release_all(server: Server) -> None:
    for name in ("sms-mms", "email"):
        server.providers.ResumeProvider(ResumeProviderRequest(name=name), timeout=TIMEOUT)


class Calling:
    """Calls a server again and again, over its restarts, each call until it is answered; `answered` is what came."""

    def __init__(self, server: Server, pause: float) -> None:
        self._server = server
        self._pause = pause
        self._stop = threading.Event()
        self.answered: list[Message] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Calling:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(TIMEOUT)

    def _run(self) -> None:
        asked: list[DispatchRequest] = []
        while asked or not self._stop.is_set():
            if not asked:
                asked.append(request(sms(body="zqtext"), new_request_id(), wait_for=ACCEPTANCE))
            with suppress(grpc.RpcError, ValueError):  # between two boots, or on a channel of the one before
                self.answered.append(self._server.dispatch.Dispatch(asked[0], timeout=TIMEOUT).message)
                asked.pop()
            self._stop.wait(self._pause)


@contextmanager
def calling(server: Server, rate: float) -> Iterator[list[Message]]:
    with Calling(server, 1 / rate) as caller:
        yield caller.answered


@pytest.mark.parametrize(
    ("count", "rate"), [(40, 50.0), pytest.param(5_000, 500.0, marks=pytest.mark.long)], ids=["few", "many"]
)
def test_it_goes_on_after_each_kill_and_then_needs_the_old_key_no_more(
    serve: Serve, tmp_path: Path, count: int, rate: float
) -> None:
    server = encrypted(serve, tmp_path)
    left = waiting(server, [large(n) if n < 40 else sms(body=f"zqtext {n}") for n in range(count)])
    page = server.dispatch.ListMessages(ListMessagesRequest(page_size=10), timeout=TIMEOUT)
    watch = server.dispatch.WatchMessages(WatchMessagesRequest(filter=MessageFilter()), timeout=TIMEOUT)
    watched = next(iter(watch)).resume_token
    watch.cancel()
    write_keys(tmp_path / "keys", [TWO, ONE])
    server.wait_for_event("reloaded")
    with calling(server, rate) as answered:
        started = start_rekey(server, "the old key leaves")
        assert (started.state, started.key_id) == (pb.REKEY_STATE_RUNNING, "key-2")
        for _ in range(2):
            server.kill()
            server.start()
            assert rekey_of(server).start_time == started.start_time
        done = until_done(server)
        assert done.key_id == "key-2"
        before = len(answered)
        eventually(lambda: len(answered) > before)
    assert done.rekeyed >= count
    write_keys(tmp_path / "keys", [TWO])
    server.restart()
    assert start_rekey(server).state == pb.REKEY_STATE_RUNNING
    assert until_done(server).rekeyed == 0, "nothing is left of what the old key has encrypted"
    next_page = ListMessagesRequest(page_size=10, page_token=page.next_page_token)
    assert len(server.dispatch.ListMessages(next_page, timeout=TIMEOUT).messages) == 10
    again = server.dispatch.WatchMessages(
        WatchMessagesRequest(filter=MessageFilter(), resume_token=watched), timeout=TIMEOUT
    )
    next(iter(again))
    again.cancel()
    release_all(server)
    for one in (*left, *answered):
        until(server, one, SENT)
    assert len({one.message_id for one in answered}) == len(answered)
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM encryption_keys") == [(1,)]
    assert found_in(server.folder.glob("postwire.db*"), [b"zqtext", *key_texts(KEYS)]) == {}


def test_what_lay_in_clear_is_encrypted_and_is_taken_for_nothing_afterwards(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    left = waiting(server, [sms(body=f"zqtext {number}") for number in range(20)])
    server.restart(store__encryption_keys_file=str(write_keys(tmp_path / "keys", [ONE])))
    start_rekey(server)
    assert until_done(server).rekeyed == 20
    assert server.terminate() == 0
    stored = "SELECT content FROM contents ORDER BY key"
    contents = [content for (content,) in server.rows(stored)]
    assert {content[:1] for content in contents} == {b"\x02"}
    assert found_in(server.folder.glob("postwire.db*"), [b"zqtext"]) == {}
    # Somebody who can write to the file puts a message of his own into the place of another.
    server.write("UPDATE contents SET content = x'010100000000' WHERE key = (SELECT min(key) FROM contents)")
    server.start()
    release_all(server)
    first, *others = left
    assert until(server, first, FAILED).attempts[-1].error_code == "content_damaged"
    assert server.wait_for_event("content_damaged")["message_id"] == first.message_id
    for one in others:
        until(server, one, SENT)


def test_a_store_that_is_not_encrypted_is_not_encrypted_anew(serve: Serve) -> None:
    server = serve()
    assert rekey_of(server) == pb.Rekey()
    refusal = refused(lambda: start_rekey(server))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STORE_NOT_ENCRYPTED")
    assert "store.encryption_keys_file" in refusal.text


def test_who_began_it_is_kept(serve: Serve, tmp_path: Path) -> None:
    server = encrypted(serve, tmp_path)
    start_rekey(server, "a new year")
    (event,) = server.admin.ListAuditEvents(pb.ListAuditEventsRequest(), timeout=TIMEOUT).events
    assert (event.method, event.principal, event.result, event.reason) == (
        "postwire.v1.AdminService/StartRekey",
        LOCAL.name,
        "OK",
        "a new year",
    )
    until_done(server)
    assert server.wait_for_event("rekeyed")["key_id"] == "key-1"
