"""What the bench's groups work out for themselves, and what they do without."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from tests.bench.groups.cost import sizes_up_to
from tests.bench.groups.memory import quarters
from tests.bench.peer.processes import NoPeer, Peer, peer
from tests.bench.processes import BenchError, LoadGenerator, Server
from tests.bench.rounds import wait_until


@pytest.mark.parametrize(
    ("most", "sizes"),
    [
        (1_000_000, [0, 1_000, 10_000, 100_000, 1_000_000]),
        (10_000, [0, 1_000, 10_000]),
        (2_500, [0, 1_000, 2_500]),
        (300, [0, 300]),
    ],
)
def test_the_cost_is_measured_at_nothing_at_powers_of_ten_and_at_the_most(most: int, sizes: list[int]) -> None:
    assert sizes_up_to(most) == sizes


def test_the_peer_is_left_out_where_there_is_no_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoPeer, match="redis-server is not on PATH"), peer(tmp_path / "peer"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_redis_that_ends_in_mid_answer_is_not_waited_for(tmp_path: Path) -> None:
    address = str(tmp_path / "redis")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()

        def end() -> None:
            connection, _ = listening.accept()
            connection.recv(1 << 20)
            connection.close()

        thread = threading.Thread(target=end)
        thread.start()
        server = Server("redis", os.getpid(), address)
        with subprocess.Popen(["true"]) as process, pytest.raises(BenchError, match="Redis has ended"):
            Peer(server, LoadGenerator(process), server).count()
        thread.join()


def test_the_cpu_of_a_server_is_that_of_all_its_processes() -> None:
    ours = os.getpid()
    before = time.process_time()
    measured = Server("twice", ours, "", others=[ours]).cpu()
    assert 2 * before <= measured <= 2 * time.process_time()


def test_what_never_holds_is_waited_for_in_vain_and_not_for_ever() -> None:
    with pytest.raises(BenchError, match="in vain"):
        wait_until(lambda: False, 0.0)
    assert wait_until(lambda: True, 0.0) <= time.monotonic()


def test_the_quarters_of_a_run_show_whether_it_has_settled() -> None:
    assert quarters([5.0, 8.0, 8.0, 8.0, 9.0, 9.0, 9.0, 9.0]) == [6.5, 8.0, 9.0, 9.0]
    assert quarters([float(number) for number in range(81)]) == [9.5, 29.5, 49.5, 70.0]
