"""`postwire serve` whose connections are old at once, and which waits for nothing that a connection owes it."""

from __future__ import annotations

from postwire.api import transport
from postwire.cli import main


def run() -> None:
    for name in ("MAX_AGE", "MAX_AGE_GRACE", "HANDSHAKE_TIMEOUT", "SETTINGS_TIMEOUT"):
        setattr(transport, name, 0.2)
    main()


if __name__ == "__main__":
    run()
