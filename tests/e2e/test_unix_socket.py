"""A server at a unix socket: one at a time, and the path is nobody else's to take or to remove."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.calls import SENT, dispatch
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, environment
from tests.support import forking


@pytest.fixture
def path() -> Iterator[Path]:
    """Where a socket may be: its name has to be short."""
    with tempfile.TemporaryDirectory(prefix="pw-") as folder:
        yield Path(folder) / "s"


def refused(path: Path, folder: Path) -> str:
    """What a server says that cannot start there."""
    folder.mkdir(exist_ok=True)
    done = forking.run("serve", cwd=folder, env=environment(folder, server__listen=f"unix:{path}"))
    assert done.returncode == 4, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"postwire: server.listen: cannot listen on unix:{path}: ")
    return line


def here(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


def sends(server: Server) -> bool:
    return dispatch(server).state == SENT


def test_a_server_listens_at_a_path_and_leaves_it_as_it_was(serve: Serve, path: Path) -> None:
    server = serve(server__listen=f"unix:{path}")
    assert server.address == f"unix:{path}"
    assert here(path) == ["s", "s.lock"]
    assert sends(server)
    assert server.terminate() == 0
    assert here(path) == ["s.lock"]


def test_a_second_server_is_refused_and_harms_nothing(serve: Serve, path: Path, tmp_path: Path) -> None:
    server = serve(server__listen=f"unix:{path}")
    for lock in ("there", "deleted"):
        if lock == "deleted":
            path.with_name("s.lock").unlink()
        assert "it is in use" in refused(path, tmp_path / "second")
        assert stat.S_ISSOCK(path.stat().st_mode)
        server.channel()
        assert sends(server)


def test_what_a_killed_server_has_left_behind_is_replaced(serve: Serve, path: Path) -> None:
    server = serve(server__listen=f"unix:{path}")
    server.kill()
    assert here(path) == ["s", "s.lock"]
    server.start()
    assert sends(server)
    assert server.terminate() == 0
    assert here(path) == ["s.lock"]


def test_only_ones_own_is_removed(serve: Serve, path: Path) -> None:
    server = serve(server__listen=f"unix:{path}")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert server.terminate() == 0
        assert stat.S_ISSOCK(path.stat().st_mode)


def test_a_boot_that_fails_later_leaves_no_socket(path: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"server__listen": f"unix:{path}", "telemetry__metrics_listen": f"127.0.0.1:{port}"}
        done = forking.run("serve", cwd=tmp_path, env=environment(tmp_path, **settings))
    assert done.returncode == 4
    assert here(path) == ["s.lock"]


def test_the_socket_of_another_program_is_left_alone(path: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(1)
        assert "it is in use" in refused(path, tmp_path)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))


def test_what_is_no_socket_is_left_alone(path: Path, tmp_path: Path) -> None:
    path.write_text("a letter", encoding="utf-8")
    assert "no socket" in refused(path, tmp_path)
    assert path.read_text(encoding="utf-8") == "a letter"


def test_a_path_that_cannot_be_is_refused(path: Path, tmp_path: Path) -> None:
    assert "No such file or directory" in refused(path / "missing", tmp_path)
    assert "too long" in refused(path.with_name("s" * 200), tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_lock_of_somebody_else_is_named(path: Path, tmp_path: Path) -> None:
    lock = path.with_name("s.lock")
    lock.touch(mode=0)
    assert str(lock) in refused(path, tmp_path)
