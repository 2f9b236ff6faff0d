"""`postwire serve` whose connections are old at once, and which waits for nothing that a connection owes it."""

from __future__ import annotations

from typing import Final

from postwire.api import transport
from postwire.cli import main

SECONDS: Final = {"MAX_AGE": 0.2, "MAX_AGE_GRACE": 0.5, "HANDSHAKE_TIMEOUT": 0.2, "SETTINGS_TIMEOUT": 0.2}


def run() -> None:
    for name, seconds in SECONDS.items():
        setattr(transport, name, seconds)
    main()


if __name__ == "__main__":
    run()
