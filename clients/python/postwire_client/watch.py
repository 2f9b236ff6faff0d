"""Watching messages over a stream that is opened again where it breaks."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

import grpc

from postwire.v1.dispatch_service_pb2 import MessageFilter, WatchMessagesRequest
from postwire.v1.message_pb2 import Message
from postwire_client.errors import TryAgain, from_rpc_error

MAX_TRIES: Final = 8
"""How often a stream is opened without anything to hear, before that is an error."""

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0

OpenWatch = Callable[[WatchMessagesRequest], Any]


def watch_messages(
    open_watch: OpenWatch,
    message_ids: Sequence[str],
    chosen: MessageFilter | None,
    resume_token: str,
    *,
    retry: bool,
) -> Generator[tuple[Message, str], None, None]:
    """See `Client.watch_messages`."""
    tries = 0
    while True:
        request = WatchMessagesRequest(message_ids=message_ids, filter=chosen, resume_token=resume_token)
        call = open_watch(request)
        pause = _FIRST_PAUSE
        try:
            for response in call:
                resume_token, tries = response.resume_token, 0
                if response.HasField("message"):
                    yield response.message, resume_token
            return
        except grpc.RpcError as caught:
            error = from_rpc_error(caught)
            # Before the first response there is no token: a new call would begin anew, which is the same.
            if not (retry and isinstance(error, TryAgain) and tries < MAX_TRIES):
                raise error from caught
            pause = error.retry_delay or _FIRST_PAUSE
        finally:
            call.cancel()
        tries += 1
        time.sleep(min(_LONGEST_PAUSE, pause * 2 ** (tries - 1)) * random.uniform(0.5, 1.0))
