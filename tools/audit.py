"""`make audit`: asks an index whether anything that is locked has known faults. Says so where none can be asked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / "requirements" / "runtime.txt"
SKIPPED: Final = "NOT AUDITED: no index with known faults can be reached from here. Run `make audit` where one can."


def verdict(output: str, complaint: str) -> tuple[int, Iterable[str]]:
    """What pip-audit's answer and complaint mean: the exit status, and what to say."""
    try:
        audited: list[Mapping[str, Any]] = json.loads(output)["dependencies"]
    except ValueError:
        reason = complaint.strip().splitlines()[-1:] or ["it said nothing"]
        return (0, [SKIPPED]) if "ConnectionError" in complaint else (1, ["pip-audit failed: " + reason[0]])
    skipped = [one["name"] for one in audited if "skip_reason" in one]
    if len(skipped) == len(audited):
        return 0, [SKIPPED]
    faults = [
        f"{one['name']} {one['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no version'}"
        for one in audited
        for fault in one.get("vulns", ())
    ]
    known = len(audited) - len(skipped)
    unknown = [f"NOT AUDITED, unknown to the index: {', '.join(skipped)}"] if skipped else []
    return bool(faults), [*faults, *unknown, f"{known} distributions audited, {len(faults)} known faults"]


def main() -> None:
    command = ["-m", "pip_audit", "--requirement", str(LOCK), "--require-hashes", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off"]
    done = subprocess.run([sys.executable, *command], check=False, capture_output=True, text=True)
    status, lines = verdict(done.stdout, done.stderr)
    for line in lines:
        print(line)
    sys.exit(status)


if __name__ == "__main__":
    main()
