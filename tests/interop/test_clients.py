"""Every client in `clients/` is built and run as its README says, and what it reports is true."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.e2e.server import eventually
from tests.interop.account import CALLS, RUN, Account, ids_in, kinds, stored
from tests.interop.readers import Call, ClientReader, calls
from tests.interop.table import Row
from tests.support.docs import Step
from tests.support.needed import Need
from tests.support.reader import METRICS, ROOT

CLIENTS = ROOT / "clients"
PROGRAMS = {
    "go": ["go"],
    "java": ["java", "mvn"],
    "node": ["node", "npm"],
    "python": [],
    "rust": ["cargo"],
}
"""What each folder needs beside the checkout's own environment."""

TRACE = re.compile(r"^\s+at |Traceback|goroutine \d|panicked at|^Exception ", re.MULTILINE)
"""How languages begin to tell a person what only its programmer wants to know."""

MORE_OR_FEWER = {("Dispatch", status) for status in ("OK", "CANCELLED", "DEADLINE_EXCEEDED")}
"""What depends on how often the call with too little time was repeated, and on how it ended."""

FIRST = Counter({("sms", "sent"): 1})
"""What the first call leaves."""


def folders() -> list[str]:
    return sorted(page.parent.name for page in CLIENTS.glob("*/README.md"))


@pytest.mark.parametrize("client", folders())
def test_a_client_does_what_its_readme_says(client: str, row: Row, need: Need, tmp_path: Path) -> None:
    need(*PROGRAMS[client])
    with ClientReader(CLIENTS / client, tmp_path) as reader:
        # Programs that a page shows beside its commands are followed with the other docs.
        done = list(reader.follow(CLIENTS / client / "README.md", lambda step: step.kind == "python"))
        plain = [printed for _, printed in done if is_of_the_example(printed)]
        [(last, printed)] = [(step, printed) for step, printed in done if "--json" in step.text]
        account = Account(printed)
        row.errors = account.errors()
        expected = {call: count * (1 + len(plain)) for call, count in CALLS.items()}
        # A watch that its caller has left ends at the server a moment later.
        eventually(lambda: watches(calls(reader.addresses[METRICS])) >= watches(expected))
        ended = calls(reader.addresses[METRICS])
        row.calls = ended.total()
        assert {call: count for call, count in ended.items() if call not in MORE_OR_FEWER} == expected
        reader.stop()
        report_that_nobody_is_there(reader, last)

    account.agrees_with_the_contract()
    store = stored(reader.server)
    row.messages = len(store)
    account.agrees_with(store)
    rest = account.rest_of(store)
    assert kinds(rest) == Counter({kind: count * len(plain) for kind, count in RUN.items()}) + FIRST
    for text in plain:
        assert len(ids_in(text)) >= 4, "one a dispatch, and that of the retry"
        assert ids_in(text) <= {message.message_id for message in rest}


def watches(ended: Mapping[Call, int]) -> int:
    return sum(count for (method, _), count in ended.items() if method == "WatchMessages")


def is_of_the_example(printed: str) -> bool:
    """Whether this is what an example prints for people."""
    return "\nstream" in printed


def report_that_nobody_is_there(reader: ClientReader, step: Step) -> None:
    """Run the example without a server: it has to end, and to say so to a person."""
    done = reader.attempt(step)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.strip()
    assert not TRACE.search(done.stderr), done.stderr
