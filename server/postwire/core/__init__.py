"""The decisions: plain values and functions. Standard library only, no I/O, no clock and no randomness of its own.

What a provider of one's own is written in can be imported from here: see docs/providers.md. It is looked up when it is
asked for, since nobody else should pay for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from postwire.core.message import Attachment, Channel, Email, Media, Mms, OutboundMessage, Sms
    from postwire.core.outcome import DispatchResult, Outcome, RecipientResult

__all__ = (
    "Attachment",
    "Channel",
    "DispatchResult",
    "Email",
    "Media",
    "Mms",
    "OutboundMessage",
    "Outcome",
    "RecipientResult",
    "Sms",
)

_OF_OUTCOME: Final = ("DispatchResult", "Outcome", "RecipientResult")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "outcome" if name in _OF_OUTCOME else "message"
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
