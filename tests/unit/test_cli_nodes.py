"""`postwire nodes list`, against a server in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator

import grpc
import pytest
from click.testing import CliRunner, Result
from tests.support.scripted_server import ScriptedServer, serving

from postwire.cli.root import root
from postwire.v1.admin_service_pb2 import ListNodesRequest, ListNodesResponse, Node, NodeShare

SHARE = NodeShare(provider_name="relay", max_concurrent=32, rate=2.5)
LEADER = Node(
    number=7,
    name="east",
    version="1.2.3",
    rank=0,
    leader=True,
    queue_keys=["sms:0011223344556677", "@relay"],
    config_digest="0123456789abcdef",
    shares=[SHARE, NodeShare(provider_name="email", max_concurrent=0)],
)
LEADER.start_time.FromMilliseconds(1_500)
LEADER.lease_until_time.FromMilliseconds(16_500)
LEADER.clock_offset.FromMilliseconds(-20)
OTHER = Node(number=12, name="west", version="1.2.4", config_digest="fedcba", shares=[SHARE])


@pytest.fixture
def scripted() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def target(scripted: ScriptedServer) -> Iterator[str]:
    with serving(scripted) as address:
        yield address


def run(target: str, *args: str) -> Result:
    return CliRunner().invoke(root, ["nodes", "list", "--server", target, *args])


def test_nodes_are_a_table_and_their_shares_another(target: str, scripted: ScriptedServer) -> None:
    scripted.answer = ListNodesResponse(nodes=[LEADER, OTHER])
    done = run(target)
    assert done.exit_code == 0
    assert scripted.asked == [ListNodesRequest()]
    nodes, _, shares = done.stdout.partition("\n\n")
    started, until = "1970-01-01T00:00:01.500Z", "1970-01-01T00:00:16.500Z"
    assert [line.split() for line in nodes.splitlines()] == [
        ["NODE", "NAME", "VERSION", "STARTED", "LEASE_UNTIL", "RANK", "LEADER", "QUEUES", "CONFIG", "CLOCK"],
        ["7", "east", "1.2.3", started, until, "0", "yes", "2", "0123456789ab", "-0.020s"],
        ["12", "west", "1.2.4", "-", "-", "-", "no", "0", "fedcba", "+0.000s"],
    ]
    assert [line.split() for line in shares.splitlines()] == [
        ["PROVIDER", "NODE", "MAX_CONCURRENT", "RATE"],
        ["email", "7", "0", "-"],
        ["relay", "7", "32", "2.5/s"],
        ["relay", "12", "32", "2.5/s"],
    ]


@pytest.mark.parametrize(
    ("digests", "said"),
    [
        (("a", "a", "a"), ""),
        (("a", "b", "a"), "postwire: configured otherwise than the leader: 2\n"),
        (("b", "a", "a"), "postwire: configured otherwise than the leader: 2, 3\n"),
    ],
)
def test_whose_configuration_is_another_is_said(
    target: str, scripted: ScriptedServer, digests: tuple[str, ...], said: str
) -> None:
    scripted.answer = ListNodesResponse(
        nodes=[
            Node(number=number, leader=number == 1, config_digest=digest) for number, digest in enumerate(digests, 1)
        ]
    )
    assert run(target).stderr == said


def test_as_json_they_are_whole(target: str, scripted: ScriptedServer) -> None:
    scripted.answer = ListNodesResponse(nodes=[LEADER])
    done = run(target, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    (node,) = json.loads(done.stdout)["nodes"]
    assert (node["number"], node["leader"], node["clock_offset"]) == ("7", True, "-0.020s")
    assert node["shares"][1] == {"provider_name": "email", "max_concurrent": 0}


def test_a_server_that_does_not_know_the_call_is_too_old(target: str, scripted: ScriptedServer) -> None:
    scripted.refuse(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
    done = run(target)
    assert done.exit_code != 0
    assert "Method not found!" in done.stderr
