"""`make fuzz`: changes the seeds of a target for as long as is said, and goes where its code has not been yet.

    make fuzz                              every target, a minute each
    make fuzz ARGS="--seconds 600 request" ten minutes of one

What it finds is written to build/fuzz/TARGET/. Put the bytes into tests/fuzz/corpus/TARGET/ with the fix, and every
test run tries them again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

BUILD: Final = Path("build/fuzz")
LARGEST: Final = 4096


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        fuzz(asked.targets[0], asked.seconds)
        return
    from tests.fuzz.targets import TARGETS  # not above: in the process that fuzzes, atheris instruments what it imports

    for name in asked.targets or TARGETS:
        command = [sys.executable, "-m", "tests.fuzz", "--inside", "--seconds", str(asked.seconds), name]
        done = subprocess.run(command, check=False)
        if done.returncode:
            sys.exit(f"{name}: a fault, see {BUILD / name}")
        print(f"{name}: none found in {asked.seconds} s", flush=True)


def fuzz(name: str, seconds: int) -> None:
    """Never returns: the fuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["postwire", "jwt"], enable_loader_override=False):
        from tests.fuzz.targets import SEEDS, TARGETS
    found, seeds = BUILD / name, BUILD / "seeds" / name
    for folder in (found, seeds):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (seeds / str(number)).write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LARGEST}",
        "-timeout=10",
        "-verbosity=0",
        "-print_final_stats=0",
    ]
    kept = Path(__file__).parent / "corpus" / name
    folders = [str(found / "corpus"), str(seeds), *([str(kept)] if kept.is_dir() else [])]
    (found / "corpus").mkdir(exist_ok=True)
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={found}/", *folders], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
