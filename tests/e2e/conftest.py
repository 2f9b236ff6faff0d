"""Servers for the tests of this folder. Whoever starts one has it stopped at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.e2e.server import Server

Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the defaults, shared by the tests of a module: none of them may change it."""
    with Server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a server of the test's own, with settings: `serve(providers__email__seed="7")`; `toml` is its file.

    With `held`, attempts of mocks that have a latency end when the test says so: see `calls.release`.
    Where callers go on while it ends, it may not be one that `hurries`: see `tests.support.hurried`.
    """
    with ExitStack() as stack:

        def start(*, toml: str = "", held: bool = False, hurries: bool = True, **settings: str) -> Server:
            if toml:
                (tmp_path / "postwire.toml").write_text(toml, encoding="utf-8")
            server = (HeldServer if held else Server)(tmp_path, **settings)
            server.hurries = hurries
            return stack.enter_context(server)

        yield start


class HeldServer(Server):
    """One whose mocks answer when a test says so: see `calls.release`."""

    main = "tests.support.held_server:run"
