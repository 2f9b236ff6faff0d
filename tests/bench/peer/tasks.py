"""The task that sends an SMS, and the settings of Celery. Run as `celery --app tests.bench.peer.tasks worker`."""

from __future__ import annotations

import json
import os
import time
from typing import Any, Final

from celery import Celery
from redis import Redis
from tests.bench.jobs import SENDING, SENT

SOCKET: Final = os.environ["PEER_REDIS"]
"""Where Redis listens."""

FAILED: Final = "MESSAGE_STATE_FAILED"
PROVIDER: Final = "sms-mms"
RETENTION: Final = 7 * 24 * 3600
OUTCOMES: Final = "outcomes"
"""The channel on which outcomes are published, as `[request id, state]`."""

app = Celery("peer", broker=f"redis+socket://{SOCKET}")
app.conf.update(
    accept_content=["json"],
    broker_transport_options={"priority_steps": [0]},
    task_acks_late=True,
    task_ignore_result=True,
    task_reject_on_worker_lost=True,
    task_serializer="json",
    worker_disable_rate_limits=True,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_send_task_events=False,
)
store = Redis(unix_socket_path=SOCKET)


class ProviderError(Exception):
    """The provider has failed, and may do better in a while."""


def _send(task: Any, to: str, body: str) -> None:
    request_id = task.request.id
    key = f"message:{request_id}"
    attempt = {"state": SENDING, "attempt": task.request.retries + 1, "provider": PROVIDER, "start_time": time.time()}
    record = json.dumps(attempt)
    if earlier := store.set(key, record, nx=True, get=True, ex=RETENTION):
        if (state := json.loads(earlier)["state"]) != SENDING:  # somebody has repeated a call
            store.publish(OUTCOMES, json.dumps([request_id, state]))
            return
        store.set(key, record, ex=RETENTION)  # a retry, or what a crash has left behind
    try:
        attempt |= {"state": SENT, "provider_message_id": _provider(to, body)}
    except ProviderError as error:
        if task.request.retries < task.max_retries:
            raise task.retry(exc=error, countdown=2**task.request.retries) from error
        attempt |= {"state": FAILED}
    attempt |= {"end_time": time.time()}
    commands = store.pipeline(transaction=False)
    commands.set(key, json.dumps(attempt), ex=RETENTION)
    commands.publish(OUTCOMES, json.dumps([request_id, attempt["state"]]))
    commands.execute()


def _provider(to: str, body: str) -> str:
    """A mock that takes everything at once, as that of the server does."""
    if not (to and body):
        raise ProviderError
    return f"mock-{time.time_ns()}"


send = app.task(name="send", bind=True, max_retries=4)(_send)
