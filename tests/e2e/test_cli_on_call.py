"""What the commands do for who is on call: finding, waiting, following, and steering many messages at once."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.e2e.calls import ACCEPTANCE, AT_MOST_ONCE, SENT, TIMEOUT, get, provider, request, sms
from tests.e2e.server import Server
from tests.e2e.streams import in_time
from tests.support import forking
from tests.support.waiting import PATIENCE

from postwire.cli.root import root
from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import MESSAGE_STATE_CANCELLED, MESSAGE_STATE_FAILED, Message, OutboundMessage

REJECTED, MAYBE = "+15005550001", "+15005550004"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all of these tests; each has a label of its own."""
    with Server(tmp_path_factory.mktemp("on_call")) as running:
        yield running


def run(server: Server, *args: str) -> Result:
    return CliRunner().invoke(root, [*args, "--server", server.address])


def labelled(team: str, message: OutboundMessage | None = None) -> OutboundMessage:
    message = message or sms()
    message.labels["team"] = team
    return message


def send(server: Server, team: str, message: OutboundMessage | None = None, **options: Any) -> Message:
    asked = request(labelled(team, message), **options)
    return server.dispatch.Dispatch(asked, timeout=TIMEOUT).message


def waiting(server: Server, team: str, count: int = 1) -> list[Message]:
    options: dict[str, Any] = {"send_time": in_time(hours=1), "wait_for": ACCEPTANCE}
    return [send(server, team, **options) for _ in range(count)]


def cancel(server: Server, message: Message) -> None:
    server.dispatch.CancelMessage(pb.CancelMessageRequest(message_id=message.message_id), timeout=TIMEOUT)


# One message, by either id.


def test_a_message_is_shown_by_its_request_id(shared: Server) -> None:
    sent = send(shared, "get")
    for args in ([sent.message_id], ["--request-id", sent.request_id]):
        done = run(shared, "messages", "get", *args, "--json")
        assert (done.exit_code, json.loads(done.stdout)["message_id"]) == (0, sent.message_id)


@pytest.mark.parametrize("command", ["get", "wait"])
@pytest.mark.parametrize("args", [[], ["a", "--request-id", "b"]])
def test_it_takes_one_id_and_no_more(shared: Server, command: str, args: list[str]) -> None:
    done = run(shared, "messages", command, *args)
    assert done.exit_code == 2
    assert "give one of ID and --request-id" in done.stderr


def test_a_list_takes_request_ids(shared: Server) -> None:
    sent = [send(shared, "list") for _ in range(3)]
    options = [option for one in sent[1:] for option in ("--request-id", one.request_id)]
    done = run(shared, "messages", "list", *options, "--json")
    listed = [one["message_id"] for one in json.loads(done.stdout)["messages"]]
    assert listed == [one.message_id for one in sent[:0:-1]]


# Waiting.


@pytest.mark.parametrize(
    ("message", "exit_code", "state"),
    [(sms(), 0, "sent"), (sms(REJECTED), 1, "failed"), (sms(MAYBE), 5, "uncertain")],
    ids=["sent", "failed", "uncertain"],
)
def test_waiting_says_by_its_exit_code_how_it_ended(
    shared: Server, message: OutboundMessage, exit_code: int, state: str
) -> None:
    sent = send(shared, "wait", message, delivery_guarantee=AT_MOST_ONCE)
    for args in ([sent.message_id], ["--request-id", sent.request_id]):
        done = run(shared, "messages", "wait", *args)
        assert done.exit_code == exit_code
        assert f"state                {state}\n" in done.stdout or f"state        {state}\n" in done.stdout


def test_waiting_ends_when_the_message_is_settled(shared: Server) -> None:
    (message,) = waiting(shared, "wait")
    timer = threading.Timer(0.1, cancel, (shared, message))  # whether before or after the wait has begun
    timer.start()
    done = run(shared, "messages", "wait", message.message_id, "--json")
    timer.join()
    assert (done.exit_code, json.loads(done.stdout)["state"]) == (1, "MESSAGE_STATE_CANCELLED")


def test_waiting_ends_when_the_time_has_run_out(shared: Server) -> None:
    (message,) = waiting(shared, "wait")
    done = run(shared, "messages", "wait", "--request-id", message.request_id, "--for", "1s")
    assert done.exit_code == 6
    assert "--for" in done.stderr
    if done.stdout:  # else not even the first answer came in time
        assert "it is still queued" in done.stderr
        assert message.message_id in done.stdout


def test_waiting_for_nobodys_message_is_refused(shared: Server) -> None:
    done = run(shared, "messages", "wait", "--request-id", "nobody's")
    assert (done.exit_code, done.stderr) == (
        1,
        "postwire: NOT_FOUND MESSAGE_NOT_FOUND: request_id: there is no such message\n",
    )


# Following.


def test_a_watch_of_ids_ends_once_all_are_settled(shared: Server) -> None:
    sent, (queued,) = send(shared, "watch"), waiting(shared, "watch")
    timer = threading.Timer(0.1, cancel, (shared, queued))
    timer.start()
    done = run(shared, "messages", "watch", sent.message_id, queued.message_id, sent.message_id)
    timer.join()
    assert done.exit_code == 0
    header, *lines = [line.split() for line in done.stdout.splitlines()]
    assert header == ["TIME", "MESSAGE_ID", "STATE", "PROVIDER", "NEXT_ATTEMPT_TIME"]
    states = [(message_id, state) for _, message_id, state, *_ in lines]
    assert states.count((sent.message_id, "sent")) == 1
    assert states[-1] in ((queued.message_id, "cancelled"), (sent.message_id, "sent"))
    assert len(set(states)) == len(states), "each revision once"


def test_a_watch_of_a_label_shows_no_other(shared: Server) -> None:
    process = forking.child(
        *("messages", "watch", "--label", "team=mine", "--json", "--server", shared.address), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout
        stop = threading.Event()

        def keep_sending() -> None:  # since nothing says when the watch has begun
            while not stop.is_set():
                send(shared, "others")
                send(shared, "mine")

        sending = threading.Thread(target=keep_sending)
        sending.start()
        shown = [json.loads(process.stdout.readline())["message"]["labels"] for _ in range(4)]
        stop.set()
        sending.join()
        assert shown == [{"team": "mine"}] * 4
    finally:
        process.terminate()
        process.communicate()


# Many at once.


def test_all_that_a_filter_admits_are_cancelled_and_say_why(shared: Server) -> None:
    mine, others, gone = waiting(shared, "many", 40), waiting(shared, "others"), send(shared, "many")
    args = ["messages", "cancel", "--label", "team=many", "--channel", "sms", "--reason", "a typo", "--json"]
    refused = run(shared, *args)
    assert refused.exit_code == 2, "nobody is there to be asked"
    message = json.loads(refused.stderr)["error"]["message"]
    assert message.startswith("Cancel 40 messages that are queued?")
    assert get(shared, mine[0]) == mine[0]
    done = run(shared, *args, "--yes")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"matched": 40, "states": {"cancelled": 40}, "not_queued": 0}
    for one in mine:
        now = get(shared, one)
        assert (now.state, now.note.reason) == (MESSAGE_STATE_CANCELLED, "a typo")
    assert [get(shared, one) for one in (*others, gone)] == [*others, gone]
    again = run(shared, *args, "--yes")
    assert (again.exit_code, json.loads(again.stdout)["matched"]) == (0, 0)


def test_all_that_a_filter_admits_are_resolved(shared: Server) -> None:
    unknown = [send(shared, "unknown", sms(MAYBE), delivery_guarantee=AT_MOST_ONCE) for _ in range(3)]
    options = [option for one in unknown[:2] for option in ("--request-id", one.request_id)]
    done = run(shared, "messages", "resolve", "failed", *options, "--yes", "--reason", "not in their log")
    assert (done.exit_code, done.stdout) == (0, "matched  2\nfailed   2\n")
    assert [get(shared, one).state for one in unknown[:2]] == [MESSAGE_STATE_FAILED] * 2
    assert get(shared, unknown[2]) == unknown[2]
    done = run(shared, "messages", "resolve", "sent", unknown[2].message_id, "--reason", "in their log")
    assert (done.exit_code, get(shared, unknown[2]).state) == (0, SENT)
    assert get(shared, unknown[2]).note.reason == "in their log"


@pytest.mark.parametrize("command", [["cancel"], ["resolve", "sent"]])
def test_it_takes_an_id_or_a_filter(shared: Server, command: list[str]) -> None:
    for args, problem in (
        ([], "give an ID, or a filter"),
        (["--yes"], "give an ID, or a filter"),
        (["01890a5d-ac96-774b-bcce-b302099a8057", "--label", "a=b"], "and not both"),
    ):
        done = run(shared, "messages", *command, *args)
        assert done.exit_code == 2
        assert problem in done.stderr


@pytest.mark.parametrize(("answer", "exit_code"), [("y", 0), ("n", 1)])
def test_who_sits_at_a_terminal_is_asked(shared: Server, answer: str, exit_code: int) -> None:
    (message,) = waiting(shared, f"asked-{answer}")
    ours, theirs = pty.openpty()
    process = forking.child(
        *("messages", "cancel", "--label", f"team=asked-{answer}", "--server", shared.address),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        _, said = process.communicate(timeout=PATIENCE)
        assert "Cancel 1 message that is queued? [y/N]" in said
        assert process.returncode == exit_code
        assert (get(shared, message).state == MESSAGE_STATE_CANCELLED) is (answer == "y")
    finally:
        process.terminate()
        process.communicate()
        os.close(ours)


# Providers.


def test_draining_says_why_and_who_is_left_without_a_provider(server: Server) -> None:
    done = run(server, "providers", "drain", "sms-mms", "--reason", "incident 4711")
    assert done.exit_code == 0
    assert done.stderr == "postwire: every provider is drained now of: sms, mms; their messages wait\n"
    assert "incident 4711\n" in done.stdout
    assert "unserved_routes  sms,mms\n" in done.stdout
    assert run(server, "providers", "drain", "sms-mms", "--json").stderr == "", "it is in the record"
    done = run(server, "providers", "resume", "sms-mms", "--reason", "they are back")
    assert (done.exit_code, done.stderr) == (0, "")
    done = run(server, "providers", "reset", "sms-mms", "--reason", "once more")
    assert provider(server, "sms-mms").note.reason == "once more"


def test_a_route_is_explained_with_its_rule(shared: Server) -> None:
    done = run(shared, "route", "explain", "sms", "--to", "+15005550006", "--body", "x")
    assert [line.split() for line in done.stdout.splitlines()[:4]] == [
        ["route", "sms"],
        ["rule", "routes.sms"],
        ["segments", "1"],
        ["encoding", "gsm_7bit"],
    ]


def test_a_route_tells_how_many_segments_an_sms_takes(shared: Server) -> None:
    done = run(shared, "route", "explain", "sms", "--to", "+15005550006", "--body", "\u65e5" * 71, "--json")
    explained = json.loads(done.stdout)
    assert (explained["sms_segments"], explained["sms_encoding"]) == (2, "SMS_ENCODING_UCS2")
    email = run(shared, "route", "explain", "email", "--to", "ada@example.com", "--body", "x")
    assert [line.split() for line in email.stdout.splitlines()[:3]] == [
        ["route", "email"],
        ["rule", "routes.email"],
        [],
    ]
