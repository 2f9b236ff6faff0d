"""`postwire audit list`, against a server in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner, Result
from tests.support.scripted_server import ScriptedServer, serving

from postwire.cli.root import root
from postwire.v1.admin_service_pb2 import AuditEvent, ListAuditEventsRequest, ListAuditEventsResponse

DRAINED = AuditEvent(
    principal="acme/ops",
    method="postwire.v1.ProviderService/DrainProvider",
    target="email",
    result="OK",
    reason="ticket 7",
)
DRAINED.time.FromMilliseconds(1_500)
REFUSED = AuditEvent(
    tenant="acme", principal="x", method="postwire.v1.DispatchService/EraseMessages", result="ROLE_REQUIRED"
)


@pytest.fixture
def scripted() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def target(scripted: ScriptedServer) -> Iterator[str]:
    with serving(scripted) as address:
        yield address


def run(target: str, *args: str) -> Result:
    return CliRunner().invoke(root, ["audit", "list", "--server", target, *args])


def test_events_are_a_table(target: str, scripted: ScriptedServer) -> None:
    scripted.answer = ListAuditEventsResponse(events=[DRAINED, REFUSED])
    done = run(target)
    assert (done.exit_code, done.stderr) == (0, "")
    heading, first, second = done.stdout.splitlines()
    assert heading.split() == ["TIME", "PRINCIPAL", "TENANT", "METHOD", "TARGET", "RESULT", "REASON"]
    assert first.split() == ["1970-01-01T00:00:01.500Z", "acme/ops", "-", "DrainProvider", "email", "OK", "ticket", "7"]
    assert second.split() == ["-", "x", "acme", "EraseMessages", "-", "ROLE_REQUIRED", "-"]


def test_as_json_they_are_whole(target: str, scripted: ScriptedServer) -> None:
    scripted.answer = ListAuditEventsResponse(events=[DRAINED])
    printed = json.loads(run(target, "--json").stdout)
    assert printed["more"] is False
    (event,) = printed["events"]
    assert (event["method"], event["principal"]) == (DRAINED.method, "acme/ops")


def test_more_than_were_asked_for_are_announced(target: str, scripted: ScriptedServer) -> None:
    scripted.answer = ListAuditEventsResponse(events=[DRAINED, REFUSED])
    done = run(target, "--limit", "1")
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == "There are more: these are the newest 1 (--limit).\n"
    assert json.loads(run(target, "--limit", "1", "--json").stdout)["more"] is True


def test_options_narrow_the_choice(target: str, scripted: ScriptedServer) -> None:
    scripted.answer = ListAuditEventsResponse()
    choice = (
        "--of-tenant",
        "acme",
        "--method",
        "DrainProvider",
        "--from",
        "2030-01-31",
        "--to",
        "2030-02-01T00:00:00Z",
    )
    assert run(target, *choice).exit_code == 0
    expected = ListAuditEventsRequest(tenant="acme", method=DRAINED.method, page_size=51)
    expected.time_from.FromDatetime(datetime(2030, 1, 31, tzinfo=UTC))
    expected.time_to.FromDatetime(datetime(2030, 2, 1, tzinfo=UTC))
    assert scripted.asked == [expected]


def test_a_method_that_changes_nothing_is_refused(target: str) -> None:
    done = run(target, "--method", "GetMessage")
    assert done.exit_code == 2
    assert "'drainprovider'" in done.stderr
