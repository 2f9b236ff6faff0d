from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import KINDS
from tests.support.new_stores import new_stores  # noqa: F401  # a fixture

from postwire.config.schema import Config, load
from postwire.outbox.sqlite import SqliteOutbox


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read(toml: str = "", **environ: str) -> Config:
        (tmp_path / "postwire.toml").write_text(toml, encoding="utf-8")
        ours = {f"POSTWIRE_{name}": text for name, text in environ.items()}
        return load(path=None, environ=ours, kinds=KINDS, cwd=tmp_path)

    return read


@pytest.fixture
async def outbox() -> AsyncIterator[SqliteOutbox]:
    opened = await SqliteOutbox.open(":memory:")
    yield opened
    await opened.close()


@pytest.fixture
def unconfigured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No postwire.toml, and no settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("POSTWIRE_", "OTEL_")):
            monkeypatch.delenv(name)
