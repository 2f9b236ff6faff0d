"""Copying a store while a real server writes to it: the copy is whole, and has all that callers were told before."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.e2e.calls import SENT, TIMEOUT, get, request
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, environment, eventually
from tests.e2e.streams import later, sent_through
from tests.support import forking

from postwire.outbox.sqlite import maintenance
from postwire.outbox.sqlite.maintenance import backup, check
from postwire.v1.message_pb2 import OUTCOME_UNCERTAIN, Message


class Load:
    """Messages that are sent without a pause: `told` are those that their callers were answered about."""

    def __init__(self, server: Server) -> None:
        self.reported: list[Message] = []
        self.failed = 0
        self._server = server
        self._is_over = threading.Event()

    def end(self) -> None:
        """Send nothing more; what is on its way may be answered still."""
        self._is_over.set()

    def _run(self) -> None:
        while not self._is_over.is_set():
            try:
                calls = [self._server.dispatch.Dispatch.future(request(), timeout=TIMEOUT) for _ in range(8)]
                for call in calls:
                    self.reported.append(call.result().message)
            except (grpc.RpcError, grpc.FutureCancelledError, ValueError):  # the last: the channel is closed
                self.failed += 1

    @contextmanager
    def going_on(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._run) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.end()
            for thread in threads:
                thread.join()

    def goes_on(self) -> None:
        """Return once more has been told."""
        before = len(self.reported)
        eventually(lambda: len(self.reported) > before)


def test_a_copy_made_while_a_server_writes_is_whole_and_can_be_served(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "PAGES_AT_ONCE", 20)
    server = serve()
    waiting = [one.message for one in sent_through(server, later(300))]
    load = Load(server)
    steps: list[int] = []
    target = tmp_path / "copy.db"

    def progress(done: int, total: int) -> None:
        load.goes_on()
        steps.append(len(load.reported))

    with load.going_on():
        eventually(lambda: len(load.reported) > 50)
        before = list(load.reported)
        backup(server.store, target, progress)
        load.goes_on()
    assert load.failed == 0
    assert len(steps) > 2
    assert steps == sorted(set(steps)), "messages were answered between any two steps"
    live = check(server.store)
    assert live.faults == ()
    assert live.messages == {"queued": 300, "sent": len(load.reported)}
    assert server.terminate() == 0

    copied = check(target)
    assert copied.faults == ()
    assert copied.messages["queued"] == 300
    assert len(before) <= copied.messages["sent"] < len(load.reported)
    with Server(tmp_path, store__path=str(target)) as other:
        for message in (*before, *waiting[::30]):
            assert get(other, message) == message
        assert other.dispatch.Dispatch(request(request_id=before[0].request_id), timeout=TIMEOUT).message == before[0]
        assert other.dispatch.Dispatch(request(), timeout=TIMEOUT).message.state == SENT


def test_a_server_that_was_killed_leaves_a_store_that_can_be_checked_and_copied(serve: Serve, tmp_path: Path) -> None:
    server = serve(providers__sms_mms__latency="50ms")
    load = Load(server)
    with load.going_on():
        eventually(lambda: len(load.reported) > 50)
        reported = list(load.reported)
        load.end()
        server.kill()
    target = tmp_path / "copy.db"
    report = check(server.store)
    assert report.faults == ()
    backup(server.store, target)
    assert check(target).messages == report.messages
    assert report.messages["sent"] >= len(reported)


def postwire(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the command line says."""
    return forking.run(*arguments, cwd=server.folder, env=environment(server.folder))


def test_a_copy_that_was_put_beside_the_log_of_a_crash_is_restored_by_the_command_that_the_refusal_names(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve()
    waiting = [one.message for one in sent_through(server, later(5))]
    copy = tmp_path / "copy.db"
    backup(server.store, copy)
    late = server.dispatch.Dispatch(request(), timeout=TIMEOUT).message
    assert "in use by another postwire process" in postwire(server, "store", "restore", str(copy)).stderr
    server.kill()
    shutil.copy(copy, server.store)
    refusal = postwire(server, "serve")
    assert refusal.returncode != 0
    (command,) = re.findall(r"`postwire (.*?)`", refusal.stderr.replace("\n", " "))
    done = postwire(server, *command.split(), "--json")
    assert done.returncode == 0, done.stderr
    reported = json.loads(done.stdout)
    assert {key: reported[key] for key in ("unsettled", "continued", "uncertain")} == {
        "unsettled": 5,
        "continued": 5,
        "uncertain": 0,
    }
    server.start()
    for message in waiting:
        (attempt,) = get(server, message).attempts
        assert (attempt.outcome, attempt.error_code) == (OUTCOME_UNCERTAIN, "restored")
    with pytest.raises(grpc.RpcError) as caught:
        get(server, late)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert check(server.store).faults == ()


def test_a_server_whose_store_is_replaced_says_so_and_takes_nothing_more(serve: Serve) -> None:
    server = serve()
    server.dispatch.Dispatch(request(), timeout=TIMEOUT)
    shutil.copy(server.store, server.folder / "another.db")
    (server.folder / "another.db").replace(server.store)
    assert server.wait_for_event("store_gone")["store"] == str(server.store)
    with pytest.raises(grpc.RpcError) as caught:
        server.dispatch.Dispatch(request(), timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    health = server.health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert server.terminate() == 0
