"""`make sbom`: what a release runs with, from the lock, as CycloneDX 1.6 in JSON. Works without an index."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import postwire

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / "requirements" / "runtime.txt"
OUTPUT: Final = ROOT / "build" / "postwire.cdx.json"


def sbom() -> dict[str, Any]:
    """The bill of materials: every locked distribution, with the hashes that an install takes."""
    command = ["requirements", str(LOCK), "--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "application"]
    command += ["--spec-version", "1.6", "--output-format", "JSON", "--output-reproducible"]
    # It warns of a root without dependencies, which are added below.
    quiet = [sys.executable, "-W", "ignore::UserWarning", "-m", "cyclonedx_py"]
    done = subprocess.run([*quiet, *command], check=True, capture_output=True, text=True)
    bill: dict[str, Any] = json.loads(done.stdout)
    root = bill["metadata"]["component"]
    root["version"] = postwire.__version__
    root["purl"] = f"pkg:pypi/{root['name']}@{root['version']}"
    others = [one["bom-ref"] for one in bill["components"]]
    bill["dependencies"] = [
        {"ref": root["bom-ref"], "dependsOn": sorted(others)},
        *({"ref": one} for one in sorted(others)),
    ]
    return bill


def fault_in(text: str) -> str:
    """What CycloneDX's own schema has against a bill of materials; empty: nothing."""
    # These take two seconds to import, and the tests import this module.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return "" if wrong is None else str(wrong)


def main() -> None:
    text = json.dumps(sbom(), indent=2, sort_keys=True) + "\n"
    if wrong := fault_in(text):
        sys.exit(f"the bill of materials is not as its schema asks: {wrong}")
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(text, encoding="utf-8")
    print(OUTPUT.relative_to(ROOT))


if __name__ == "__main__":
    main()
