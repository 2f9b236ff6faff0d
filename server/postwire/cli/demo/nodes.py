"""`postwire demo nodes`: two nodes share a database, one of them is killed, and nothing that they accepted is lost."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import click

from postwire.cli.command import Command
from postwire.cli.demo.progress import Progress
from postwire.cli.failure import ExitCode, Failed, from_client_error

if TYPE_CHECKING:
    from postwire.cli.demo.local_postgres import LocalPostgres
    from postwire.cli.demo.server import Event, Server
    from postwire_client import Client, Message, OutboundMessage

KILLED: Final = "node-1"
LEFT: Final = "node-2"
NODES: Final = (KILLED, LEFT)

MESSAGES: Final = 500
KILL_AFTER: Final = 200
"""How many are answered when one of the nodes is killed."""

CALLERS: Final = 16
"""Calls that are under way at once. One caller begins at the one node, the next at the other."""

CONFIG: Final = """\
[server]
listen = "127.0.0.1:0"
max_wait = "5s"

[store]
url = "{url}"

[nodes]
name = "{name}"
lease = "3s"
beat = "500ms"

[delivery]
backoff_base = "100ms"
backoff_max = "1s"

[telemetry]
metrics_listen = ""
log_format = "json"

[providers.sms-mms]
kind = "mock"
channels = ["sms", "mms"]
latency = "150ms"
"""
"""Of each node. A lease is 15 s elsewhere: here nobody is to wait for so long."""

_TIMEOUT: Final = 10.0
_PATIENCE: Final = 30.0
"""Seconds that all have to be settled once the last call was answered."""

_LOOK: Final = 0.1
_REPEAT: Final = 0.2
"""Seconds between one try and the next of a call that had no answer."""


@click.command(cls=Command)
def nodes() -> None:
    """Show that a node can be lost, and nothing with it.

    A PostgreSQL server of its own is shared by two nodes, which get 500 messages. In the middle of it one node is
    killed. Callers that had no answer repeat their calls at the other; what the one was sending is on record, and is
    sent again. PostgreSQL comes with the development environment (make demo ARGS=nodes), or from the PATH.
    """
    from postwire.cli.demo.local_postgres import NoPostgres, PostgresFailed
    from postwire.cli.demo.server import ServerFailed

    try:
        with ExitStack() as running:
            _play(running)
    except (ServerFailed, NoPostgres, PostgresFailed) as failed:
        raise Failed(str(failed), ExitCode.BAD_CONFIG) from None


def _play(running: ExitStack) -> None:
    from postwire.cli.demo.server import serving

    database = running.enter_context(_database())
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    url = database.url()
    servers = {
        name: running.enter_context(serving(CONFIG.format(url=url, name=name), events.put, has_store=True))
        for name in NODES
    }
    from postwire_client import Client, PostwireError  # loads gRPC, while the nodes boot

    addresses = {name: server.wait_until_serving() for name, server in servers.items()}
    places = " and ".join(f"{name} on {address}" for name, address in addresses.items())
    click.echo(f"PostgreSQL on 127.0.0.1:{database.port}, and two nodes that share it: {places}.\n")
    clients = {
        name: running.enter_context(Client(address, timeout=_TIMEOUT, retry=False))
        for name, address in addresses.items()
    }
    try:
        story = _Story(clients, servers[KILLED], events)
        with Progress(MESSAGES) as progress:
            story.play(progress)
        story.summarise()
    except PostwireError as error:
        raise from_client_error(error, server=addresses[LEFT], timeout=_TIMEOUT, as_json=False) from None
    servers[LEFT].stop()
    click.echo(f"{LEFT} stopped by SIGTERM, with exit code 0.")


@contextmanager
def _database() -> Iterator[LocalPostgres]:
    """A server of PostgreSQL, which is gone afterwards, whatever happens."""
    from postwire.cli.demo.local_postgres import LocalPostgres
    from postwire.cli.demo.server import Interrupts

    with Interrupts() as interrupts:
        interrupts.let_raise()
        made = LocalPostgres.make()
        try:
            yield made
        finally:
            interrupts.hold()
            made.remove()


class _Calls:
    """What the callers do, each on a thread of its own, and how it went."""

    def __init__(self, clients: Mapping[str, Client]) -> None:
        self._clients = clients
        self._numbers = iter(range(1, MESSAGES + 1))
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self.answered: Counter[str] = Counter()
        """Calls, by node."""
        self.settled = 0
        """Messages of which a caller was told that they are."""
        self.repeated = 0
        """Calls that had no answer at one node, and were repeated at the other."""

    def run(self, caller: int) -> None:
        """Send messages until there are none left. One that has no answer is sent again, with its request id."""
        name = NODES[caller % len(NODES)]
        while (number := self._next()) and not self._is_over.is_set():
            name = self._send(number, name)

    def give_up(self) -> None:
        """Have no caller send or repeat any more."""
        self._is_over.set()

    def _next(self) -> int | None:
        with self._lock:
            return next(self._numbers, None)

    def _send(self, number: int, name: str) -> str:
        """Send one message; returns the node that has answered."""
        from postwire_client import MessageState, TryAgain

        for tries in itertools.count(1):
            try:
                message = self._clients[name].dispatch(_message(number), request_id=f"demo-{number:03}")
            except TryAgain:
                if self._is_over.wait(0 if tries == 1 else _REPEAT):
                    raise
                name = NODES[1 - NODES.index(name)]
            else:
                break
        with self._lock:
            self.answered[name] += 1
            self.settled += message.state == MessageState.MESSAGE_STATE_SENT
            self.repeated += tries > 1
        return name


def _message(number: int) -> OutboundMessage:
    from postwire_client import OutboundMessage, Sms

    return OutboundMessage(sms=Sms(to="+12025550101", body=f"Parcel {number} is at the door."))


class _Story:
    """See the module."""

    def __init__(self, clients: Mapping[str, Client], first: Server, events: queue.SimpleQueue[Event]) -> None:
        self._left = clients[LEFT]
        self._first = first
        self._events = events
        self._calls = _Calls(clients)
        self._began = time.monotonic()
        self._killed = False

    def play(self, progress: Progress) -> None:
        """Send the messages, kill a node in the middle of it, and wait until all is settled."""
        self._report(progress, f"{CALLERS} callers send to both nodes")
        callers = ThreadPoolExecutor(CALLERS)
        try:
            calling = [callers.submit(self._calls.run, caller) for caller in range(CALLERS)]
            while not all(one.done() for one in calling):
                time.sleep(_LOOK)
                self._look(progress)
            for one in calling:
                one.result()  # has what went wrong with it raised here
        finally:
            self._calls.give_up()
            callers.shutdown(cancel_futures=True)
        self._report(
            progress, f"every call is answered; {self._calls.repeated} of them at the second node that was asked"
        )
        end = time.monotonic() + _PATIENCE
        while (waiting := self._unsettled()) and time.monotonic() < end:
            progress.show(MESSAGES - waiting, self._passed())
            time.sleep(_LOOK)
            self._look(progress)
        self._look(progress)
        progress.show(MESSAGES - waiting, self._passed())

    def summarise(self) -> None:
        """Say what became of every message."""
        from postwire.cli.show import print_table, word
        from postwire_client import MessageState, Outcome

        every = list(self._left.list_messages(page_size=1000))
        states = Counter(word(MessageState, message.state) for message in every)
        again = [message for message in every if len(message.attempts) > 1]
        uncertain = sum(_was(message, Outcome.OUTCOME_UNCERTAIN) for message in every)
        answered = self._calls.answered
        print_table(
            ("node", "calls_answered", "end"),
            [(KILLED, str(answered[KILLED]), "killed"), (LEFT, str(answered[LEFT]), "goes on")],
        )
        click.echo(
            f"\n{uncertain} messages were in the hands of {KILLED}. Each has that attempt on record, as uncertain,"
        )
        click.echo(
            f"and {len(again)} were sent once more by {LEFT}: they may have arrived twice, and their records say so."
        )
        if len(every) != MESSAGES or states["sent"] != MESSAGES:
            found = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            raise Failed(f"of {MESSAGES} messages there are {len(every)}: {found}", ExitCode.REFUSED)
        click.echo(
            f"Nothing was lost, and nothing is there twice: {MESSAGES} request ids, {MESSAGES} messages, all sent."
        )

    def _look(self, progress: Progress) -> None:
        """See how far it is, what the node that is left has to say, and whether it is time to kill the other."""
        progress.show(max(progress.done, self._calls.settled), self._passed())
        if self._calls.answered.total() >= KILL_AFTER and not self._killed:
            self._killed = True
            self._first.kill()
            self._report(progress, f"{KILLED} is killed (kill -9)")
        while not self._events.empty():
            event = self._events.get()
            if event.get("event") == "orphaned":
                self._report(progress, f"{LEFT} has ended {event['messages']} attempts of {KILLED} as uncertain")

    def _unsettled(self) -> int:
        from postwire_client import MessageFilter, MessageState

        waiting = MessageFilter(states=[MessageState.MESSAGE_STATE_QUEUED, MessageState.MESSAGE_STATE_SENDING])
        return sum(1 for _ in self._left.list_messages(waiting, page_size=1000))

    def _report(self, progress: Progress, what: str) -> None:
        progress.report(self._passed(), what)

    def _passed(self) -> float:
        return time.monotonic() - self._began


def _was(message: Message, outcome: object) -> bool:
    """Whether an attempt at a message had that outcome."""
    return any(attempt.outcome == outcome for attempt in message.attempts)
