"""`postwire.v1.DispatchService`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final, Protocol

from postwire.api import convert, listing
from postwire.api.call import CallContext
from postwire.api.stream import Stream
from postwire.api.tokens import Tokens
from postwire.core.ids import is_message_id
from postwire.core.listing import page_token, resume_token
from postwire.core.validation import Violations, check_reason, check_request_id
from postwire.delivery import Delivery
from postwire.telemetry.base import CallObserver
from postwire.v1 import dispatch_service_pb2 as pb

MAX_PAGE_BYTES: Final = 2 * 1024 * 1024
"""From how many bytes on a page of a list ends early: gRPC's clients take 4 MiB by default."""


class DispatchServicer:
    """Converts and calls.

    `max_message_bytes` is how large a call of `Dispatch` may be, and `max_wait` how long (s) an outcome is waited for.
    """

    def __init__(
        self,
        delivery: Delivery,
        tokens: Tokens,
        max_message_bytes: int,
        max_wait: float,
        observers: Sequence[CallObserver] = (),
    ) -> None:
        self._delivery = delivery
        self._tokens = tokens
        self._max_message_bytes = max_message_bytes
        self._max_wait = max_wait
        self._observers = observers

    async def Dispatch(self, request: pb.DispatchRequest, call: CallContext) -> pb.DispatchResponse:
        """See the contract."""
        command = await convert.read_command(request, self._max_message_bytes, call.tenant)
        record = await self._delivery.dispatch(command, time_left=call.time_remaining())
        response = pb.DispatchResponse()
        convert.fill_message(response.message, record)
        return response

    async def DispatchStream(
        self, request_iterator: AsyncIterator[pb.DispatchStreamRequest], call: CallContext
    ) -> AsyncIterator[pb.DispatchStreamResponse]:
        """See the contract."""
        stream = Stream(
            self._delivery,
            call.tenant,
            max_message_bytes=self._max_message_bytes,
            max_wait=self._max_wait,
            observers=self._observers,
        )
        async with aclosing(stream.run(request_iterator)) as responses:
            async for response in responses:
                yield response

    async def GetMessage(self, request: pb.GetMessageRequest, call: CallContext) -> pb.GetMessageResponse:
        """See the contract."""
        found = Violations()
        if bool(request.message_id) == bool(request.request_id):
            for field in ("message_id", "request_id"):
                found.malformed(field, "must be given where the other is not: exactly one of message_id and request_id")
        else:
            check_request_id(request.request_id, found)
        found.raise_any()
        if request.request_id:
            record = await self._delivery.get_by_request_id(request.request_id, call.tenant)
        else:
            record = await self._delivery.get(_message_id(request), call.tenant)
        return pb.GetMessageResponse(message=convert.message_to(record))

    async def ListMessages(self, request: pb.ListMessagesRequest, call: CallContext) -> pb.ListMessagesResponse:
        """See the contract."""
        chosen, size, after = listing.page_from(request, self._tokens, call.tenant)
        page = await self._delivery.list(chosen, size, after, call.tenant)
        response = pb.ListMessagesResponse()
        next_after, filled = page.next_after, 0
        for record in page.records:
            message = convert.message_to(record)
            response.messages.append(message)
            filled += message.ByteSize()
            if filled > MAX_PAGE_BYTES and record is not page.records[-1]:
                next_after = record.message_id
                break
        if next_after:
            token, bound_to = page_token(next_after, chosen), listing.page_bound_to(chosen, call.tenant)
            response.next_page_token = self._tokens.wrap(token, bound_to)
        return response

    async def WatchMessages(
        self, request: pb.WatchMessagesRequest, call: CallContext
    ) -> AsyncIterator[pb.WatchMessagesResponse]:
        """See the contract."""
        message_ids, chosen, after = listing.watch_from(request, self._tokens, call.tenant)
        bound_to = listing.watch_bound_to(message_ids, chosen, call.tenant)
        async with aclosing(self._delivery.watchers.watch(message_ids, chosen, after, call.tenant)) as batches:
            async for batch in batches:
                for event in batch:
                    message = convert.message_to(event.record) if event.record else None
                    token = self._tokens.wrap(resume_token(event.point), bound_to)
                    yield pb.WatchMessagesResponse(message=message, resume_token=token)

    async def CancelMessage(self, request: pb.CancelMessageRequest, call: CallContext) -> pb.CancelMessageResponse:
        """See the contract."""
        found = Violations()
        check_reason(request.reason, found)
        record = await self._delivery.cancel(_message_id(request, found), request.reason, by=call.principal)
        return pb.CancelMessageResponse(message=convert.message_to(record))

    async def ResolveMessage(self, request: pb.ResolveMessageRequest, call: CallContext) -> pb.ResolveMessageResponse:
        """See the contract."""
        found = Violations()
        if request.resolution not in (pb.RESOLUTION_SENT, pb.RESOLUTION_FAILED):
            found.malformed("resolution", "must be RESOLUTION_SENT or RESOLUTION_FAILED")
        check_reason(request.reason, found)
        message_id, is_sent = _message_id(request, found), request.resolution == pb.RESOLUTION_SENT
        record = await self._delivery.resolve(message_id, sent=is_sent, reason=request.reason, by=call.principal)
        return pb.ResolveMessageResponse(message=convert.message_to(record))

    async def ExplainRoute(self, request: pb.ExplainRouteRequest, call: CallContext) -> pb.ExplainRouteResponse:
        """See the contract."""
        as_dispatched = pb.DispatchRequest(message=request.message)
        if request.HasField("options"):
            as_dispatched.options.CopyFrom(request.options)
        command = await convert.read_command(as_dispatched, self._max_message_bytes, call.tenant)
        return convert.explanation_to(self._delivery.explain(command))

    async def EraseMessages(self, request: pb.EraseMessagesRequest, call: CallContext) -> pb.EraseMessagesResponse:
        """See the contract."""
        eraser, by = self._delivery.eraser, call.principal
        message_ids, chosen, after = listing.erasure_from(request, self._tokens, call.tenant)
        if message_ids:
            done = await eraser.erase(message_ids, dry_run=request.dry_run, reason=request.reason, by=by)
        else:
            done = await eraser.erase_labelled(chosen, after, dry_run=request.dry_run, reason=request.reason, by=by)
        response = pb.EraseMessagesResponse(erased=done.erased, skipped_unsettled=done.skipped_unsettled)
        if done.next_after:
            token, bound_to = page_token(done.next_after, chosen), listing.erasure_bound_to(chosen, call.tenant)
            response.next_page_token = self._tokens.wrap(token, bound_to)
        return response


class _OfMessage(Protocol):
    message_id: str


def _message_id(request: _OfMessage, found: Violations | None = None) -> str:
    """The message that a request is about. Refuses whatever is wrong with the request's shape."""
    found = found or Violations()
    if not is_message_id(request.message_id):
        found.malformed("message_id", "must be the id of a message, as Dispatch gave it")
    found.raise_any()
    return request.message_id
