"""Commands that go to a database themselves: what they say without a driver, and where they are interrupted."""

from __future__ import annotations

import asyncio
import signal

import pytest
from click.testing import CliRunner

from postwire.cli.database import run
from postwire.cli.failure import ExitCode
from postwire.cli.root import root
from postwire.config import database_url
from postwire.outbox.base import OutboxError


@pytest.mark.parametrize("command", ["check --url URL", "copy --from mail.db --to URL", "migrate --url URL"])
def test_without_a_driver_it_is_said_what_to_install(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_url, "find_spec", lambda name: None)
    arguments = command.replace("URL", "postgresql://127.0.0.1:1/mail").split()
    done = CliRunner().invoke(root, ["store", *arguments])
    assert (done.exit_code, done.stdout) == (ExitCode.BAD_CONFIG, "")
    assert done.stderr.strip().endswith("pip install 'postwire[postgres]'")


def test_an_interrupt_is_no_database_that_was_lost() -> None:
    async def work() -> None:
        signal.raise_signal(signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # the driver closes the socket, and says no more than that it is closed
            raise OutboxError("store.url: the database was lost") from None

    with pytest.raises(KeyboardInterrupt):
        run(work())


def test_what_is_wrong_with_a_database_is_told_as_it_is() -> None:
    async def work() -> None:
        raise OutboxError("store.url: is not empty")

    with pytest.raises(OutboxError, match="is not empty"):
        run(work())
