"""`postwire.v1.DispatchService`."""

from __future__ import annotations

from typing import Final

from postwire.api import convert, listing
from postwire.api.guard import Context
from postwire.core.ids import is_message_id
from postwire.core.listing import page_token
from postwire.core.validation import Violations
from postwire.delivery import Delivery
from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import dispatch_service_pb2_grpc as rpc

MAX_PAGE_BYTES: Final = 2 * 1024 * 1024
"""From how many bytes on a page of a list ends early: gRPC's clients take 4 MiB unless they are told otherwise."""


class DispatchServicer(rpc.DispatchServiceServicer):
    """Converts and calls. `max_message_bytes` is how large a call of `Dispatch` may be."""

    def __init__(self, delivery: Delivery, max_message_bytes: int) -> None:
        self._delivery = delivery
        self._max_message_bytes = max_message_bytes

    async def Dispatch(self, request: pb.DispatchRequest, context: Context) -> pb.DispatchResponse:
        """See the contract."""
        command = convert.command_from(request, self._max_message_bytes)
        record = await self._delivery.dispatch(command, time_left=context.time_remaining())
        return pb.DispatchResponse(message=convert.message_to(record))

    async def GetMessage(self, request: pb.GetMessageRequest, context: Context) -> pb.GetMessageResponse:
        """See the contract."""
        if not is_message_id(request.message_id):
            found = Violations()
            found.malformed("message_id", "must be the id of a message, as Dispatch gave it")
            found.raise_any()
        return pb.GetMessageResponse(message=convert.message_to(await self._delivery.get(request.message_id)))

    async def ListMessages(self, request: pb.ListMessagesRequest, context: Context) -> pb.ListMessagesResponse:
        """See the contract."""
        chosen, size, after = listing.page_from(request)
        page = await self._delivery.list(chosen, size, after)
        response = pb.ListMessagesResponse()
        next_after, filled = page.next_after, 0
        for record in page.records:
            message = convert.message_to(record)
            response.messages.append(message)
            filled += message.ByteSize()
            if filled > MAX_PAGE_BYTES and record is not page.records[-1]:
                next_after = record.message_id
                break
        response.next_page_token = page_token(next_after, chosen) if next_after else ""
        return response
