"""Which messages, attempts and recipients receipts are about: found out for many at once, in the transaction that keeps
them, with the messages locked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self
from uuid import UUID

from postwire.core.message import Attempt
from postwire.outbox import texts
from postwire.outbox.base import ReceiptReport
from postwire.outbox.base import receipts as seam
from postwire.outbox.matching import meant_by
from postwire.outbox.postgres import rows
from postwire.outbox.postgres.queries import QUERIES, Connection
from postwire.outbox.texts import ALL


@dataclass(frozen=True, slots=True)
class Resolved:
    """The attempt and the recipients that a receipt is about."""

    message_id: UUID
    attempt: int
    recipients: Sequence[int]


@dataclass(slots=True)
class _Message:
    """A message that may be meant. `count` is how many receipts of it are kept."""

    attempts: Mapping[int, Attempt]
    recipients: int
    hashes: Sequence[bytes] = ()
    count: int = 0


class Resolving:
    """What is known of the messages that some receipts may be about. Made by `look_up`."""

    def __init__(self, ids: Mapping[tuple[str, str], tuple[UUID, int, int]], messages: Mapping[UUID, _Message]) -> None:
        self._ids: Final = ids
        self._messages: Final = messages

    @classmethod
    async def look_up(cls, connection: Connection, reports: Sequence[ReceiptReport]) -> Self:
        """Lock the messages that are meant, as long as the transaction lasts, and read what is needed of them."""
        asked = {(one.provider_name, rows.plain(one.provider_message_id)) for one in reports if one.provider_message_id}
        ids = {
            (one["provider_name"], one["provider_message_id"]): (one["message_id"], one["attempt"], one["recipient"])
            for one in (await connection.fetch(QUERIES["provider_ids"], *rows.columns(list(asked), 2)) if asked else ())
        }
        named = {UUID(one.message_id) for one in reports if one.message_id}
        meant = [*named, *(message_id for message_id, _, _ in ids.values() if message_id not in named)]
        messages: dict[UUID, _Message] = {}
        if meant:
            for one in await connection.fetch(QUERIES["lock_reported"], meant):
                attempts = {attempt.number: attempt for attempt in rows.attempts_from(one["attempts"])}
                recipients = len(json.loads(one["recipients"])) if one["recipients"] else 0
                messages[one["message_id"]] = _Message(attempts, recipients)
        if messages:
            for one in await connection.fetch(QUERIES["kept_of_reported"], list(messages), seam.MAX_PER_MESSAGE):
                message = messages[one["message_id"]]
                message.hashes, message.count = texts.hashes_from(one["hashes"]), one["count"]
        return cls(ids, messages)

    def resolve(self, report: ReceiptReport) -> Resolved | None:
        """What a receipt is about; None where that is not known."""
        for message_id, number, recipient in self._candidates(report):
            message = self._messages.get(message_id)
            attempt = message.attempts.get(number) if message else None
            if message and attempt and attempt.provider_name == report.provider_name:
                of_attempt = range(message.recipients) if attempt.positions is None else attempt.positions
                meant = meant_by(report, of_attempt, message.recipients, recipient, message.hashes)
                return Resolved(message_id, number, meant)
        return None

    def is_elsewhere(self, report: ReceiptReport) -> bool:
        """Whether the attempt that its reference names is there, and was at another provider."""
        if not report.message_id or report.provider_message_id:
            return False
        message = self._messages.get(UUID(report.message_id))
        return message is not None and report.attempt_number in message.attempts

    def has_room(self, message_id: UUID) -> bool:
        """Whether one more receipt of a message is kept."""
        return self._messages[message_id].count < seam.MAX_PER_MESSAGE

    def note_kept(self, message_id: UUID, count: int) -> None:
        """So many more are kept of a message."""
        self._messages[message_id].count += count

    def _candidates(self, report: ReceiptReport) -> Iterator[tuple[UUID, int, int]]:
        by_id = self._ids.get((report.provider_name, rows.plain(report.provider_message_id)))
        if report.message_id:
            # Its reference may be that of the first of several attempts that are the same to the vendor: the id is more
            # exact. But an id alone does not lead to another message than the one that the reference names.
            named = UUID(report.message_id)
            yield by_id if by_id and by_id[0] == named else (named, report.attempt_number, ALL)
            if by_id and by_id[0] != named:
                yield by_id
        elif by_id:
            yield by_id
