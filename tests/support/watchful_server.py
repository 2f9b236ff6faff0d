"""A server that looks every moment whether whoever has begun a stream may still go on with it."""

from __future__ import annotations

from postwire.api import rechecks
from postwire.cli import main


def run() -> None:
    """`postwire`, but for that."""
    vars(rechecks)["INTERVAL"] = 0.02
    main()
