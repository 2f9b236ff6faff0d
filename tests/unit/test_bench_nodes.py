"""What the bench works out of nodes and their database for itself, and what it does without one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.bench import databases
from tests.bench.figures import Case, Measurement
from tests.bench.groups.nodes import BESIDE, against, table
from tests.bench.jobs import Calls, Round
from tests.bench.processes import Server
from tests.bench.rounds import Run

from postwire.cli.demo.local_postgres import BIN


def test_nodes_are_left_out_where_there_is_no_postgres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BIN, str(tmp_path))
    with pytest.raises(databases.NoDatabase, match="there is no initdb"), databases.database_server():
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="of another process it is read in Linux's way")
def test_a_process_is_known_by_its_parent() -> None:
    fields = databases.process_fields(os.getpid())
    assert fields[1] == os.getppid()
    assert sum(fields[11:13]) <= sum(os.times()[:2]) * os.sysconf("SC_CLK_TCK") + 2


def measured(case: str, cpu: float, beside: float, number: int = 1) -> Measurement:
    return Measurement(case, number, 100, cpu, Round(1.0, None, None, {}), beside)


def test_what_a_message_takes_is_compared_with_the_database_s_share_of_it() -> None:
    rounds = [measured("empty", 1.0, 1.0), measured("full", 1.0, 2.0), measured("full", 3.0, 1.0, 2)]
    rounds.append(measured("empty", 1.0, 3.0, 2))
    assert against(rounds, "full", "empty") == [1.5, 1.0]


def test_the_table_has_a_line_for_the_nodes_and_one_for_their_database() -> None:
    server = Server("node", 1, "")
    job = Calls("", 100, 1, 1)
    runs = [
        Run(Case("file", "A file"), server, job),
        Run(Case("nodes", "Nodes", "file"), server, job, beside=lambda: 0.0),
    ]
    shown = table(runs, [measured("file", 1.0, 0.0), measured("nodes", 2.0, 3.0)])
    assert [case.name for case in shown.cases] == ["file", "nodes", f"nodes{BESIDE}"]
    assert {one.case: one.cpu for one in shown.measurements} == {"file": 1.0, "nodes": 2.0, f"nodes{BESIDE}": 3.0}
