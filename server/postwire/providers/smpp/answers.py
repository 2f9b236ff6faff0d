"""What comes of a submission."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Answer:
    """The message centre's status, and the id that it gives to what it took; or `lack`."""

    status: int = 0
    message_id: str = ""
    lack: str = ""
    """Why there is no answer, as a code; empty where there is one."""

    @property
    def is_taken(self) -> bool:
        """Whether the message centre has it."""
        return not self.lack and not self.status


EXPIRED: Final = Answer(lack="no_answer")
LOST: Final = Answer(lack="disconnected")
NO_SMPP: Final = Answer(lack="no_smpp")
"""Of a request to be bound: what answers there speaks something else."""
NOT_SUBMITTED: Final = Answer(lack="not_submitted")
"""Of a part that was not handed over, since no bind was there in time, or it ended before the part was written."""
