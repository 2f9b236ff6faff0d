"""What somebody finds who looks whether a store is sound. For whatever store there is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Report:
    """What a store holds. `faults` is empty where it is sound; `messages` counts by state, and `contents` by the id of
    the key that they are encrypted with, which is empty for those in clear.

    `size` is in bytes, `oldest_unsettled` in µs since the epoch.
    """

    version: int
    size: int
    faults: tuple[str, ...]
    messages: dict[str, int]
    attempts: int
    contents: dict[str, int]
    oldest_unsettled: int | None
    drained: tuple[str, ...]
