"""What another team's tests do: send by a sandbox, and read it back; over a real socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.e2e.calls import TIMEOUT, UNCERTAIN, dispatch, email, mms, refused, request, sms, until
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, environment, eventually
from tests.e2e.streams import in_time
from tests.support import forking
from tests.support.access import bearer, declared, made_key

from postwire.v1 import inbox_service_pb2 as pb
from postwire.v1.dispatch_service_pb2 import EraseMessagesRequest
from postwire.v1.message_pb2 import (
    CHANNEL_EMAIL,
    CHANNEL_SMS,
    MESSAGE_STATE_DELIVERED,
    MESSAGE_STATE_FAILED,
    Attachment,
    Media,
)

SANDBOX = """
[providers.trial]
kind = "sandbox"
channels = ["sms", "mms", "email"]
"""

ADA = "+14155550132"


@pytest.fixture
def trial(serve: Serve) -> Server:
    """A server with a sandbox for everything."""
    return serve(toml=SANDBOX)


def listed(server: Server, *, metadata: Any = None, **fields: Any) -> list[pb.InboxMessage]:
    """Every message, page by page."""
    chosen, size = pb.InboxFilter(**fields), 2
    found: list[pb.InboxMessage] = []
    token = ""
    while True:
        asked = pb.ListInboxRequest(filter=chosen, page_size=size, page_token=token)
        page = server.inbox.ListInbox(asked, timeout=TIMEOUT, metadata=metadata)
        assert len(page.messages) <= size
        found += page.messages
        token = page.next_page_token
        if not token:
            return found


def wait(
    server: Server, to: str = ADA, match: str = "", timeout: float = TIMEOUT, **fields: Any
) -> pb.InboxMessage | None:
    answer = server.inbox.WaitForMessage(pb.WaitForMessageRequest(to=to, match=match, **fields), timeout=timeout)
    return answer.message if answer.HasField("message") else None


def test_a_code_that_was_sent_by_sms_is_read_back(trial: Server) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(wait, trial, ADA, "YOUR CODE")
        sent = dispatch(trial, sms(ADA, "Hello"))
        sent = dispatch(trial, sms(ADA, "Your code is 417"))
        found = waiting.result(TIMEOUT)
    assert found is not None
    assert (found.message_id, found.provider_name) == (sent.message_id, "trial")
    assert found.message.sms.body == "Your code is 417"
    assert found.receive_time.ToMicroseconds() >= sent.create_time.ToMicroseconds()
    assert wait(trial, ADA, "code") == found
    assert until(trial, sent, MESSAGE_STATE_DELIVERED).outcome == sent.outcome


def test_the_log_warns_of_what_is_not_really_sent(trial: Server) -> None:
    assert [(one["channel"], one["detail"]) for one in trial.log("warning") if "channel" in one] == [
        (channel, "carried by a sandbox, which sends nothing: trial") for channel in ("sms", "mms", "email")
    ]


def test_what_has_not_come_in_time_is_left_out_before_the_deadline(trial: Server) -> None:
    dispatch(trial, sms(ADA, "too old"))
    assert wait(trial, ADA, timeout=0.5, receive_time_from=in_time(seconds=0.001)) is None
    assert wait(trial, "+14155550199", timeout=0.05) is None


def test_everything_that_was_sent_is_there_with_what_it_says(trial: Server) -> None:
    files = [Attachment(file_name="a.pdf", content_type="application/pdf", data=b"x" * 3000)]
    media = [Media(url="https://example.com/a.png"), Media(data=b"1234", content_type="image/png", file_name="b.png")]
    letter = email(
        "ada@example.com", "rejected@simulator.postwire.test", subject="Grüße", html="<p>Hi", attachments=files
    )
    letter.labels["team"] = "checkout"
    for message in (sms(), mms(media=media), letter):
        dispatch(trial, message)
    in_email, in_mms, in_sms = listed(trial)
    assert in_sms.message == sms()
    assert not in_sms.files
    assert [(one.file_name, one.content_type, one.size_bytes) for one in in_mms.files] == [
        ("", "", 0),
        ("b.png", "image/png", 4),
    ]
    assert [(one.url, one.data, one.file_name) for one in in_mms.message.mms.media] == [
        ("https://example.com/a.png", b"", ""),
        ("", b"", "b.png"),
    ]
    letter.email.attachments[0].data = b""
    assert in_email.message == letter
    assert [one.size_bytes for one in in_email.files] == [3000]
    assert list(in_email.recipient_indices) == [0]
    assert in_email.preview_path == ""
    assert [one.message_id for one in listed(trial, to="ADA@example.com")] == [in_email.message_id]
    assert listed(trial, to="rejected@simulator.postwire.test") == []
    assert [one.message_id for one in listed(trial, match="GRÜSSE")] == [in_email.message_id]
    assert listed(trial, channels=[CHANNEL_EMAIL, CHANNEL_SMS]) == [in_email, in_sms]
    assert listed(trial, receive_time_from=in_email.receive_time) == [in_email]


def test_simulators_force_outcomes_and_what_may_have_been_sent_is_there(trial: Server) -> None:
    assert dispatch(trial, sms("+15005550001")).state == MESSAGE_STATE_FAILED
    assert dispatch(trial, sms("+15005550004"), max_attempts=1).state == UNCERTAIN
    assert [one.message.sms.to for one in listed(trial)] == ["+15005550004"]


def test_a_watch_shows_what_comes(trial: Server) -> None:
    watch = trial.inbox.WatchInbox(pb.WatchInboxRequest(filter=pb.InboxFilter(match="code")), timeout=TIMEOUT)
    assert not next(watch).HasField("message")
    dispatch(trial, sms(ADA, "other"))
    sent = dispatch(trial, sms(ADA, "The code"))
    assert next(watch).message.message_id == sent.message_id
    watch.cancel()


def test_an_inbox_is_cleared_and_forgets_what_is_erased(trial: Server) -> None:
    first, second = (dispatch(trial, sms(ADA, text)) for text in ("1", "2"))
    asked = EraseMessagesRequest(message_ids=[first.message_id])
    assert trial.dispatch.EraseMessages(asked, timeout=TIMEOUT).erased == 1
    assert [one.message_id for one in listed(trial)] == [second.message_id]
    assert trial.inbox.ClearInbox(pb.ClearInboxRequest(), timeout=TIMEOUT).removed == 1
    assert listed(trial) == []


def test_what_is_asked_for_wrongly_is_refused(trial: Server) -> None:
    unknown: Any = 7
    for asked, fields in (
        (pb.ListInboxRequest(page_size=-1, filter=pb.InboxFilter(to="ada")), ["filter.to", "page_size"]),
        (
            pb.ListInboxRequest(filter=pb.InboxFilter(channels=[unknown], match="x" * 1001)),
            ["filter.channels[0]", "filter.match"],
        ),
        (pb.ListInboxRequest(page_token="bm9uc2Vuc2Vub25zZW5zZQ=="), ["page_token"]),
    ):
        found = refused(lambda asked=asked: trial.inbox.ListInbox(asked, timeout=TIMEOUT))  # type: ignore[misc]
        assert (found.reason, found.fields) == ("INVALID_PAGE", fields)
    found = refused(lambda: wait(trial, "", "x" * 1001))
    assert (found.reason, found.fields) == ("INVALID_MESSAGE", ["to", "match"])
    watch = trial.inbox.WatchInbox(pb.WatchInboxRequest(filter=pb.InboxFilter(to="ada")), timeout=TIMEOUT)
    assert refused(lambda: next(watch)).reason == "INVALID_PAGE"
    for text in ("1", "2"):
        dispatch(trial, sms(ADA, text))
    page = trial.inbox.ListInbox(pb.ListInboxRequest(page_size=1), timeout=TIMEOUT)
    other = pb.ListInboxRequest(page_token=page.next_page_token, filter=pb.InboxFilter(to=ADA))
    assert "belongs to another filter" in refused(lambda: trial.inbox.ListInbox(other, timeout=TIMEOUT)).text
    trial.restart()
    again = pb.ListInboxRequest(page_token=page.next_page_token)
    assert refused(lambda: trial.inbox.ListInbox(again, timeout=TIMEOUT)).reason == "INVALID_PAGE"


def test_mocks_fill_it_too_and_a_page_ends_before_it_is_too_large(serve: Serve) -> None:
    server = serve()
    for _ in range(6):
        dispatch(server, email("ada@example.com", html="é" * 240_000))
    page = server.inbox.ListInbox(pb.ListInboxRequest(), timeout=TIMEOUT)
    assert 1 < len(page.messages) < 6
    assert page.ByteSize() < 4 << 20
    assert len({one.inbox_message_id for one in listed(server)}) == 6
    dispatch(server, email("bob@example.com", html="é" * 260_000))
    found = wait(server, "bob@example.com")
    assert found is not None
    assert found.truncated
    assert len(found.message.email.html) == 250_000


TENANTS = ("acme", "globex")
SENDERS = {tenant: made_key() for tenant in TENANTS}
READER, OPERATOR = made_key(), made_key()


def test_a_tenant_sees_his_own_and_roles_are_asked_for(serve: Serve) -> None:
    keys = "".join(declared(SENDERS[tenant], tenant, "send") for tenant in TENANTS)
    keys += declared(READER, "acme", "read") + declared(OPERATOR, "acme", "operate")
    server = serve(toml=SANDBOX + "[tenants.acme]\n[tenants.globex]\n" + keys)
    acme, globex = (bearer(SENDERS[tenant]) for tenant in TENANTS)
    for metadata, text in ((acme, "1"), (globex, "2"), (acme, "3"), (acme, "4")):
        dispatch_as(server, metadata, text)
    assert bodies(server, acme) == bodies(server, bearer(READER)) == ["4", "3", "1"]
    assert bodies(server, globex) == ["2"]
    page = server.inbox.ListInbox(pb.ListInboxRequest(page_size=1), timeout=TIMEOUT, metadata=acme)
    stolen = pb.ListInboxRequest(page_size=1, page_token=page.next_page_token)
    assert refused(lambda: server.inbox.ListInbox(stolen, timeout=TIMEOUT, metadata=globex)).reason == "INVALID_PAGE"
    assert server.inbox.ListInbox(stolen, timeout=TIMEOUT, metadata=acme).messages[0].message.sms.body == "3"
    for call in (
        lambda: server.inbox.ClearInbox(pb.ClearInboxRequest(), timeout=TIMEOUT, metadata=bearer(READER)),
        lambda: server.inbox.ListInbox(pb.ListInboxRequest(), timeout=TIMEOUT, metadata=bearer(OPERATOR)),
        lambda: next(server.inbox.WatchInbox(pb.WatchInboxRequest(), timeout=TIMEOUT, metadata=bearer(OPERATOR))),
    ):
        assert refused(call).reason == "ROLE_REQUIRED"
    assert refused(lambda: server.inbox.ListInbox(pb.ListInboxRequest(), timeout=TIMEOUT)).reason == "NO_CREDENTIALS"
    assert server.inbox.ClearInbox(pb.ClearInboxRequest(), timeout=TIMEOUT, metadata=acme).removed == 3
    assert bodies(server, globex) == ["2"]


def dispatch_as(server: Server, metadata: Any, body: str) -> None:
    server.dispatch.Dispatch(request(sms(ADA, body)), timeout=TIMEOUT, metadata=metadata)


def bodies(server: Server, metadata: Any) -> list[str]:
    return [one.message.sms.body for one in listed(server, metadata=metadata)]


@pytest.fixture
def production(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, server__environment="production") as server:
        yield server


def test_production_keeps_nothing_of_what_mocks_take(production: Server) -> None:
    dispatch(production, sms())
    watch = production.inbox.WatchInbox(pb.WatchInboxRequest(), timeout=TIMEOUT)
    for call in (
        lambda: production.inbox.ListInbox(pb.ListInboxRequest(), timeout=TIMEOUT),
        lambda: production.inbox.ClearInbox(pb.ClearInboxRequest(), timeout=TIMEOUT),
        lambda: next(watch),
        lambda: wait(production),
    ):
        found = refused(call)
        assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INBOX_DISABLED")


def test_production_does_not_start_with_a_sandbox(tmp_path: Path) -> None:
    (tmp_path / "postwire.toml").write_text(SANDBOX, encoding="utf-8")
    for command in (["serve"], ["config", "check"]):
        done = forking.run(*command, cwd=tmp_path, env=environment(tmp_path, server__environment="production"))
        assert done.returncode != 0
        assert "providers.trial.kind: " in done.stderr
        assert "server.environment" in done.stderr


def test_who_waits_or_watches_is_let_go_when_the_server_ends(trial: Server) -> None:
    watch = trial.inbox.WatchInbox(pb.WatchInboxRequest(), timeout=TIMEOUT)
    next(watch)
    begun = threading.Event()
    with ThreadPoolExecutor() as pool:

        def wait_in_vain() -> Any:
            begun.set()
            return refused(lambda: wait(trial))

        waiting = pool.submit(wait_in_vain)
        assert begun.wait(TIMEOUT)
        ended = pool.submit(lambda: refused(lambda: next(watch)))
        assert trial.terminate() == 0
        assert {waiting.result(TIMEOUT).code, ended.result(TIMEOUT).code} == {grpc.StatusCode.UNAVAILABLE}
    eventually(lambda: trial.log("stopped"))
