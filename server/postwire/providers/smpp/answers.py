"""What comes of a submission."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Answer:
    """The message centre's status and what goes with it, or `lack`."""

    status: int = 0
    body: bytes = field(default=b"", repr=False)
    lack: str = ""
    """Why there is no answer, as a code; empty where there is one."""


EXPIRED: Final = Answer(lack="no_answer")
LOST: Final = Answer(lack="disconnected")
NOT_SUBMITTED: Final = Answer(lack="not_submitted")
"""Of a part that was not handed over, since no bind was there in time."""
