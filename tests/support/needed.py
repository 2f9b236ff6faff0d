"""What a test needs of the machine, and this one may not have: toolchains of other languages, a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

Need = Callable[..., None]


def add_option(parser: pytest.Parser) -> None:
    """`--complete`, for `make interop` and `make browser`."""
    parser.addoption("--complete", action="store_true", help="fail where something is missing, instead of skipping")


@pytest.fixture(scope="session")
def need(pytestconfig: pytest.Config) -> Need:
    """Skips a test unless these programs are there, or says what else is `lacking`; with `--complete` it fails."""

    def need(*programs: str, lacking: str = "") -> None:
        missing = [f"no {program}" for program in programs if not shutil.which(program)]
        if lacking:
            missing.append(lacking)
        if missing:
            reason = " and ".join(missing)
            if pytestconfig.getoption("--complete"):
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)

    return need
