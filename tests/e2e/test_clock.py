"""The time of day is set while messages wait in a real server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.calls import QUEUED, SENT, TIMEOUT, get, request, sms, until
from tests.e2e.server import Server

from postwire.v1 import provider_service_pb2 as ppb
from postwire.v1.message_pb2 import Message

HOUR = 3600


class Stepped(Server):
    main = "tests.support.stepped_server:run"

    def set_clock(self, seconds: int) -> None:
        """Have the time of day be so many seconds ahead of the machine's."""
        file = self.folder / "offset"
        file.with_suffix(".new").write_text(str(seconds))
        file.with_suffix(".new").replace(file)

    def drain(self) -> None:
        self.providers.DrainProvider(ppb.DrainProviderRequest(name="sms-mms"), timeout=TIMEOUT)

    def resume(self) -> None:
        self.providers.ResumeProvider(ppb.ResumeProviderRequest(name="sms-mms"), timeout=TIMEOUT)

    def send(self) -> Message:
        message: Message = self.dispatch.Dispatch(request(sms()), timeout=TIMEOUT).message
        return message

    def tried(self) -> list[str]:
        """The ids of the messages that were tried, in their order."""
        return [line["message_id"] for line in self.log("attempt")]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stepped]:
    monkeypatch.setitem(os.environ, "CLOCK_OFFSET", str(tmp_path / "offset"))
    running = Stepped(tmp_path, providers__sms_mms__max_concurrent="1")
    running.set_clock(0)
    with running:
        yield running


@pytest.mark.parametrize("restarted", [False, True])
def test_who_waits_when_the_clock_is_set_back_goes_before_who_comes_later(server: Stepped, restarted: bool) -> None:
    server.drain()
    first = server.send()
    server.set_clock(-HOUR)
    assert server.wait_for_event("clock_stepped")["seconds"] == pytest.approx(-HOUR, abs=2)
    if restarted:
        server.restart()
    later = [server.send() for _ in range(3)]
    assert later[0].create_time.seconds < first.create_time.seconds
    server.resume()
    for message in (first, *later):
        until(server, message, SENT)
    assert server.terminate() == 0
    assert server.tried() == [message.message_id for message in (first, *later)]


def test_who_waits_when_the_clock_is_set_forward_has_not_run_out_of_time(server: Stepped) -> None:
    server.drain()
    message = server.send()
    server.set_clock(5 * HOUR)  # the default expiry is four
    server.wait_for_event("clock_stepped")
    found = get(server, message.message_id)
    assert found.state == QUEUED
    assert found.expire_time.seconds - message.expire_time.seconds == pytest.approx(5 * HOUR, abs=2)
    server.resume()
    until(server, message, SENT)
