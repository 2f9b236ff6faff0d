"""docs/sandbox.md: its commands print what it says, and its test passes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.e2e.test_http_page import lacks_curl
from tests.support.docs import Step
from tests.support.reader import ROOT, Reader, checkout

PAGE: Final = ROOT / "docs/sandbox.md"


def test_the_page_can_be_followed(tmp_path: Path) -> None:
    has_curl = not lacks_curl()
    examples: list[Step] = []

    def is_left_out(step: Step) -> bool:
        if step.kind == "python":
            examples.append(step)
        return step.kind == "python" or ("curl" in step.text and not has_curl)

    with Reader(checkout(tmp_path)) as reader:
        done = list(reader.follow(PAGE, is_left_out))
        (example,) = examples
        (tmp_path / "test_sign_up.py").write_text(example.text, encoding="utf-8")
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_sign_up.py"],
            cwd=tmp_path,
            env=reader.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout
    assert len(done) >= 9
