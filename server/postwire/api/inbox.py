"""`postwire.v1.InboxService`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

from postwire.api import convert, listing
from postwire.api.call import CallContext
from postwire.api.tokens import Tokens
from postwire.core.errors import InboxDisabled
from postwire.core.inbox import InboxMessage, inbox_token
from postwire.core.message import Email, Mms, OutboundMessage, Sms
from postwire.delivery import InboxAccess
from postwire.v1 import inbox_service_pb2 as pb
from postwire.v1 import message_pb2

MAX_PAGE_BYTES: Final = 2 * 1024 * 1024
"""How many bytes of messages a page has, unless its first one alone has more: gRPC's clients take 4 MiB by default."""


class InboxServicer:
    """Converts and calls."""

    def __init__(self, inbox: InboxAccess | None, tokens: Tokens) -> None:
        """Without an `inbox`, every call is refused."""
        self._maybe_inbox = inbox
        self._tokens = tokens

    async def ListInbox(self, request: pb.ListInboxRequest, call: CallContext) -> pb.ListInboxResponse:
        """See the contract."""
        inbox = self._inbox
        chosen, size, before = listing.inbox_page_from(request, self._tokens, call.tenant, inbox.number_of)
        found = await inbox.find(chosen, size + 1, before, call.tenant)
        response, filled = pb.ListInboxResponse(), 0
        for one in found[:size]:
            message = self._message_to(one, call.tenant)
            filled += message.ByteSize()
            if filled > MAX_PAGE_BYTES and response.messages:
                break
            response.messages.append(message)
        if len(response.messages) < len(found):
            last = response.messages[-1].inbox_message_id
            bound_to = listing.inbox_bound_to(chosen, call.tenant)
            response.next_page_token = self._tokens.wrap(inbox_token(last, chosen), bound_to)
        return response

    async def WatchInbox(
        self, request: pb.WatchInboxRequest, call: CallContext
    ) -> AsyncIterator[pb.WatchInboxResponse]:
        """See the contract."""
        async with aclosing(self._inbox.watch(listing.watched_inbox_from(request), call.tenant)) as taken:
            async for one in taken:
                yield pb.WatchInboxResponse(message=None if one is None else self._message_to(one, call.tenant))

    async def WaitForMessage(self, request: pb.WaitForMessageRequest, call: CallContext) -> pb.WaitForMessageResponse:
        """See the contract."""
        inbox = self._inbox
        one = await inbox.wait(listing.awaited_from(request), call.tenant, call.time_remaining())
        return pb.WaitForMessageResponse(message=None if one is None else self._message_to(one, call.tenant))

    async def ClearInbox(self, request: pb.ClearInboxRequest, call: CallContext) -> pb.ClearInboxResponse:
        """See the contract."""
        return pb.ClearInboxResponse(removed=self._inbox.clear(call.tenant))

    @property
    def _inbox(self) -> InboxAccess:
        if self._maybe_inbox is None:
            raise InboxDisabled
        return self._maybe_inbox

    def _message_to(self, one: InboxMessage, tenant: str) -> pb.InboxMessage:
        wire = pb.InboxMessage(
            inbox_message_id=self._inbox.name_of(one),
            message_id=one.message_id,
            provider_name=one.provider_name,
            preview_path=self._inbox.preview_path(one, tenant),
            recipient_indices=one.positions,
            truncated=one.truncated,
        )
        convert.set_time(wire.receive_time, one.time)
        _fill_outbound(wire.message, one.message)
        for file in one.files:
            wire.files.add(file_name=file.file_name, content_type=file.content_type, size_bytes=file.size)
        return wire


def _fill_outbound(wire: message_pb2.OutboundMessage, message: OutboundMessage) -> None:
    content = message.content
    if message.labels:
        wire.labels.update(message.labels)
    match content:
        case Sms():
            wire.sms.to, wire.sms.body, wire.sms.sender = content.to, content.body, content.sender
        case Mms():
            wire.mms.to, wire.mms.body, wire.mms.sender = content.to, content.body, content.sender
            for medium in content.media:
                shown = wire.mms.media.add(content_type=medium.content_type, file_name=medium.file_name)
                if medium.url:
                    shown.url = medium.url
        case Email():
            email = wire.email
            email.to.extend(content.to)
            email.cc.extend(content.cc)
            email.bcc.extend(content.bcc)
            for name in ("subject", "text", "html", "sender", "reply_to"):
                setattr(email, name, getattr(content, name))
            email.headers.update(content.headers)
            for one in content.attachments:
                email.attachments.add(file_name=one.file_name, content_type=one.content_type)
