"""Many messages at once, as users send them: the client's stream and the commands around it, against real servers."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.support import forking
from tests.support.waiting import PATIENCE

from postwire.outbox.sqlite.maintenance import check
from postwire_client import (
    Client,
    DeliveryGuarantee,
    DispatchOptions,
    DispatchRequest,
    InvalidRequest,
    MessageState,
    OutboundMessage,
    Sms,
    TryAgain,
    WaitFor,
)

SENT = MessageState.MESSAGE_STATE_SENT
TO = "+15005550100"


def requests(
    count: int, prefix: str = "r", wait_for: WaitFor.ValueType = WaitFor.WAIT_FOR_OUTCOME
) -> list[DispatchRequest]:
    return [
        DispatchRequest(
            message=OutboundMessage(sms=Sms(to=TO, body=f"number {n}")),
            request_id=f"{prefix}-{n}",
            options=DispatchOptions(wait_for=wait_for),
        )
        for n in range(count)
    ]


def command(server: Server, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return forking.run(*arguments, "--server", server.address, cwd=cwd)


# The client.


def test_every_request_of_a_stream_has_its_result(server: Server) -> None:
    asked = requests(645, "every")
    with Client(server.address) as client:
        results = list(client.dispatch_many(iter(asked), frame_size=100))
    assert sorted(one.index for one in results) == list(range(645))
    assert all(one.request is asked[one.index] and one.error is None for one in results)
    assert {one.message.state for one in results if one.message} == {SENT}
    assert [one.message.request_id for one in results if one.message] == [one.request.request_id for one in results]


def test_results_come_in_order_where_acceptance_is_waited_for(server: Server) -> None:
    with Client(server.address) as client:
        asked = requests(500, "order", WaitFor.WAIT_FOR_ACCEPTANCE)
        assert [one.index for one in client.dispatch_many(asked, frame_size=7)] == list(range(500))


def test_one_bad_request_is_told_and_ends_nothing(server: Server) -> None:
    asked = requests(3, "bad")
    asked[1].message.sms.to = "nobody"
    with Client(server.address) as client:
        results = {one.index: one for one in client.dispatch_many(asked)}
    error = results[1].error
    assert isinstance(error, InvalidRequest)
    assert (error.reason, [one.field for one in error.violations]) == ("INVALID_MESSAGE", ["message.sms.to"])
    assert [bool(results[n].message) for n in range(3)] == [True, False, True]


def test_no_more_is_taken_from_the_caller_than_the_window_while_nobody_reads(server: Server) -> None:
    taken = 0
    asked = requests(2_000, "window")

    def counted() -> Iterator[DispatchRequest]:
        nonlocal taken
        for one in asked:
            taken += 1
            yield one

    with Client(server.address) as client:
        results = client.dispatch_many(counted(), frame_size=50, window=200)
        for read, _ in enumerate(results, 1):
            assert taken - read <= 200
            if read == 400:
                break
        results.close()
    assert taken <= 600


def test_what_the_callers_own_iterable_raises_is_raised(server: Server) -> None:
    def failing() -> Iterator[DispatchRequest]:
        yield from requests(3, "failing")
        raise LookupError("mine")

    with Client(server.address) as client, pytest.raises(LookupError, match="mine"):
        list(client.dispatch_many(failing(), frame_size=1))


def test_a_stream_goes_on_over_a_restart_and_sends_nothing_twice(serve: Serve) -> None:
    server = serve(server__listen="127.0.0.1:0")
    asked = requests(1_000, "restart")
    half = threading.Event()

    def slow() -> Iterator[DispatchRequest]:
        for n, one in enumerate(asked):
            if n == 500:
                half.set()
            yield one

    def restart() -> None:
        half.wait()
        address = server.address
        server.stop()
        server.start(server__listen=address)

    restarting = threading.Thread(target=restart)
    restarting.start()
    with Client(server.address) as client:
        results = list(client.dispatch_many(slow(), frame_size=20, window=100))
        restarting.join()
        assert sorted(one.index for one in results) == list(range(1_000))
        assert {one.message.state for one in results if one.message} == {SENT}
        assert sum(1 for _ in client.list_messages(page_size=500)) == 1_000


def test_without_retries_a_server_that_is_not_there_is_an_error() -> None:
    with Client("127.0.0.1:1", retry=False) as client, pytest.raises(TryAgain):
        list(client.dispatch_many(requests(1)))


@pytest.mark.parametrize("frame_size", [0, 1_001])
def test_a_frame_that_no_server_takes_is_refused_at_once(frame_size: int) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(ValueError, match="frame_size"):
        client.dispatch_many([], frame_size=frame_size)


def test_a_watch_goes_on_over_a_restart(serve: Serve) -> None:
    server = serve(server__listen="127.0.0.1:0")
    with Client(server.address) as client:
        first = client.dispatch(OutboundMessage(sms=Sms(to=TO, body="one")))
        watched = client.watch_messages([first.message_id])
        message, token = next(watched)
        assert (message.message_id, message.state) == (first.message_id, SENT)
        every = client.watch_messages(resume_token=token)
        address = server.address
        server.stop()
        server.start(server__listen=address)
        second = client.dispatch(OutboundMessage(sms=Sms(to=TO, body="two")))
        seen, _ = next(every)
        assert seen.message_id == second.message_id
        watched.close()
        every.close()


# The commands.


@pytest.mark.parametrize("arguments", [["--file", "there-is-none"], ["--no-wait"]])
def test_what_cannot_be_sent_is_told(server: Server, tmp_path: Path, arguments: list[str]) -> None:
    done = command(server, "send", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr


def test_a_message_is_cancelled_and_again(server: Server) -> None:
    sent = command(server, "send", "sms", "--to", TO, "--body", "later", "--send-in", "1h", "--json")
    message_id = json.loads(sent.stdout)["message_id"]
    for _ in range(2):
        done = command(server, "messages", "cancel", message_id, "--json")
        assert json.loads(done.stdout)["state"] == "MESSAGE_STATE_CANCELLED"
    done = command(server, "messages", "resolve", "sent", message_id)
    assert done.returncode == 1
    assert "MESSAGE_NOT_UNCERTAIN" in done.stderr


@pytest.mark.parametrize(("found", "state"), [("sent", "SENT"), ("failed", "FAILED")])
def test_an_uncertain_message_is_resolved(server: Server, found: str, state: str) -> None:
    with Client(server.address) as client:
        message = client.dispatch(
            OutboundMessage(sms=Sms(to="+15005550004", body="x")),
            options=DispatchOptions(delivery_guarantee=DeliveryGuarantee.DELIVERY_GUARANTEE_AT_MOST_ONCE),
        )
    assert message.state == MessageState.MESSAGE_STATE_UNCERTAIN
    done = command(server, "messages", "resolve", found, message.message_id, "--json")
    assert json.loads(done.stdout)["state"] == f"MESSAGE_STATE_{state}"


def test_watching_shows_changes_until_it_is_interrupted(server: Server) -> None:
    process = forking.child(
        *("messages", "watch", "--json", "--server", server.address), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout
        stop = threading.Event()

        def keep_sending() -> None:  # since nothing tells when the watch has begun
            with Client(server.address) as client:
                while not stop.is_set():
                    client.dispatch(OutboundMessage(sms=Sms(to=TO, body="watched")))

        sending = threading.Thread(target=keep_sending)
        sending.start()
        reported = json.loads(process.stdout.readline())
        stop.set()
        sending.join()
        assert reported["message"]["channel"] == "CHANNEL_SMS"
        assert reported["resume_token"]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert "Traceback" not in (process.stderr.read() if process.stderr else "")
    finally:
        process.terminate()
        process.communicate()


def test_a_store_is_checked_and_copied_while_it_is_served(server: Server, tmp_path: Path) -> None:
    def local(*arguments: str) -> subprocess.CompletedProcess[str]:
        return forking.run("store", *arguments, cwd=tmp_path)

    checked = local("check", str(server.store), "--json")
    assert checked.returncode == 0
    assert json.loads(checked.stdout)["sound"] is True
    copy = tmp_path / "copy.db"
    assert local("backup", str(copy), "--from", str(server.store)).returncode == 0
    assert check(copy).faults == ()
    assert sum(check(copy).messages.values()) > 0
    again = local("backup", str(copy), "--from", str(server.store))
    assert (again.returncode, again.stderr) == (1, f"postwire: {copy}: is there already, give the path of a new file\n")
    copy.write_bytes(copy.read_bytes()[:5_000])
    torn = local("check", str(copy))
    assert torn.returncode == 1
    assert local("check", str(tmp_path / "none.db")).returncode == 1
