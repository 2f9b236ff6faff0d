"""How the tests are divided among processes."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from tests.support.side_by_side import import_share, in_turn


def test_files_that_wait_come_between_those_that_compute_and_none_is_lost() -> None:
    waiting = [Path("tests/e2e", f"test_{number}.py") for number in range(100)]
    computing = [Path("tests/unit", f"test_{number}.py") for number in range(300)]
    files = [*waiting, *computing]
    random.Random(1).shuffle(files)

    order = in_turn(files)

    assert sorted(order) == sorted(files)
    assert all(sum(path in waiting for path in order[first : first + 8]) == 2 for first in range(0, len(order), 8))


def test_what_takes_longest_comes_first() -> None:
    order = in_turn(Path("tests", folder, "test_it.py") for folder in ("conformance", "e2e", "faults", "nodes"))
    assert [path.parent.name for path in order] == ["conformance", "nodes", "faults", "e2e"]


def test_each_process_imports_its_share_and_nothing_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shared_among_processes"
    bodies = ["", "raise ValueError", "import pytest; pytest.skip('it is not for here', allow_module_level=True)", ""]
    (folder / "unit").mkdir(parents=True)
    for number, body in enumerate(bodies):
        (folder / "unit" / f"test_{number}.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        import_share(folder, 1, 2)
        assert _imported(folder.name) == {"test_3"}
        import_share(folder, 0, 2)
        assert _imported(folder.name) == {"test_0", "test_3"}
    finally:
        for name in [name for name in sys.modules if name.startswith(folder.name)]:
            del sys.modules[name]


def _imported(package: str) -> set[str]:
    return {name.rpartition(".")[2] for name in sys.modules if name.startswith(f"{package}.unit.")}
