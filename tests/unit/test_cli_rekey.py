"""`postwire store rekey`, against a server in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from tests.support.scripted_server import ScriptedServer, serving

from postwire.cli import rekey
from postwire.cli.root import root
from postwire.v1 import admin_service_pb2 as pb

RUNNING = pb.Rekey(state=pb.REKEY_STATE_RUNNING, key_id="2026-11", rekeyed=1_200)
RUNNING.start_time.FromMilliseconds(1_500)
DONE = pb.Rekey(state=pb.REKEY_STATE_DONE, key_id="2026-11", rekeyed=3_400)
DONE.start_time.FromMilliseconds(1_500)
DONE.end_time.FromMilliseconds(2_500)


@pytest.fixture
def scripted() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def target(scripted: ScriptedServer) -> Iterator[str]:
    with serving(scripted) as address:
        yield address


def run(target: str, *args: str) -> Result:
    return CliRunner().invoke(root, ["store", "rekey", "--server", target, *args])


def answers(*looks: pb.Rekey) -> object:
    """It is begun, and then has come so far at each look."""
    left = list(looks)

    def answer(request: object, context: object) -> object:
        if isinstance(request, pb.StartRekeyRequest):
            return pb.StartRekeyResponse(rekey=RUNNING)
        return pb.GetRekeyResponse(rekey=left.pop(0))

    return answer


def test_it_is_begun_and_waited_for(target: str, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rekey, "BETWEEN_LOOKS", 0.0)
    scripted.answer = answers(RUNNING, RUNNING, DONE)
    done = run(target, "--reason", "a new year")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["WHAT", "VALUE"],
        ["state", "done"],
        ["key", "2026-11"],
        ["begun", "1970-01-01T00:00:01.500Z"],
        ["done", "1970-01-01T00:00:02.500Z"],
        ["contents", "encrypted", "anew", "3,400"],
    ]
    assert scripted.asked[0] == pb.StartRekeyRequest(reason="a new year")
    assert scripted.asked[1:] == [pb.GetRekeyRequest()] * 3


def test_as_json_it_is_the_last_look(target: str, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rekey, "BETWEEN_LOOKS", 0.0)
    scripted.answer = answers(DONE)
    printed = json.loads(run(target, "--json").stdout)
    assert (printed["state"], printed["key_id"], printed["rekeyed"]) == ("REKEY_STATE_DONE", "2026-11", "3400")


def test_it_need_not_be_waited_for(target: str, scripted: ScriptedServer) -> None:
    scripted.answer = answers()
    done = run(target, "--no-wait")
    assert done.exit_code == 0
    assert ["state", "running"] in [line.split() for line in done.stdout.splitlines()]
    assert ["done", "-"] in [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("last", [DONE, RUNNING], ids=["done", "running"])
def test_how_far_it_has_come_is_shown_without_beginning_it(
    target: str, scripted: ScriptedServer, last: pb.Rekey
) -> None:
    scripted.answer = answers(last)
    assert "2026-11" in run(target, "--status").stdout
    assert scripted.asked == [pb.GetRekeyRequest()]


def test_that_there_was_none_is_said(target: str, scripted: ScriptedServer) -> None:
    scripted.answer = answers(pb.Rekey())
    assert run(target, "--status").stdout == "Nothing was encrypted anew so far.\n"


def test_who_only_looks_gives_no_reason_and_waits_for_nothing(target: str, scripted: ScriptedServer) -> None:
    for option in (["--reason", "x"], ["--no-wait"]):
        done = run(target, "--status", *option)
        assert done.exit_code == 2
        assert f"{option[0]} does not go with --status" in done.stderr
    assert scripted.asked == []
