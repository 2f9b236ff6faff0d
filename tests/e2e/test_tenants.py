"""Three tenants on one server, over a real socket: nobody ever sees, changes or goes on with anything of another's."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from typing import Any, Final

import grpc
import pytest
from tests.e2e.calls import ACCEPTANCE, SENT, TIMEOUT, Refused, refusal_of, refused, sms
from tests.e2e.conftest import Serve
from tests.e2e.metrics import METRICS, fetch, values
from tests.e2e.server import Server, eventually
from tests.e2e.streams import in_time
from tests.support.access import bearer, declared, made_key

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import DispatchOptions, Message
from postwire_client import Client, Credentials, TryAgain

TENANTS: Final = ("acme", "globex", "initech")
KEYS: Final = {tenant: made_key() for tenant in TENANTS}
ROLES: Final = ("send", "read", "operate")
TOML: Final = """
[telemetry]
tenant_label = true
[providers.shared]
kind = "mock"
channels = ["sms"]
[providers.own]
kind = "mock"
channels = ["sms"]
[[routes.sms]]
match = { tenants = ["acme"] }
tiers = ["own"]
[[routes.sms]]
tiers = ["shared"]
"""


def toml_of(**quotas: str) -> str:
    tables = "".join(f"[tenants.{tenant}]\n{quotas.get(tenant, '')}\n" for tenant in TENANTS)
    return TOML + tables + "".join(declared(KEYS[tenant], tenant, *ROLES) for tenant in TENANTS)


class Caller:
    """One tenant's, with what it owns: the ids of its messages by their request ids."""

    def __init__(self, server: Server, tenant: str) -> None:
        self.server = server
        self.tenant = tenant
        self.metadata = bearer(KEYS[tenant])
        self.owned: dict[str, str] = {}
        self.cancelled: set[str] = set()

    def call(self, method: str, asked: Any) -> Any:
        return getattr(self.server.dispatch, method)(asked, timeout=TIMEOUT, metadata=self.metadata)

    def refused(self, method: str, asked: Any) -> Refused:
        return refused(lambda: self.call(method, asked))

    def request(self, request_id: str) -> pb.DispatchRequest:
        """The same payload for a request id, whoever uses it; half of them are for later."""
        later = request_id.endswith(("1", "3", "5", "7", "9"))
        options = DispatchOptions(wait_for=ACCEPTANCE)
        message = sms(body=f"of {request_id}")
        message.labels["kind"] = "later" if later else "now"
        if later:
            options.send_time.CopyFrom(SEND_TIME)
        return pb.DispatchRequest(message=message, request_id=request_id, options=options)

    def dispatch(self, request_id: str) -> Message:
        message = self.call("Dispatch", self.request(request_id)).message
        assert self.owned.setdefault(request_id, message.message_id) == message.message_id
        assert message.request_id == request_id
        return message  # type: ignore[no-any-return]  # the stub is untyped here

    def listed(self, page_size: int = 4, **chosen: Any) -> tuple[list[str], list[str]]:
        """The ids of all pages, and the tokens between them."""
        found: list[str] = []
        tokens: list[str] = []
        asked = pb.ListMessagesRequest(filter=pb.MessageFilter(**chosen), page_size=page_size)
        while True:
            page = self.call("ListMessages", asked)
            found += [one.message_id for one in page.messages]
            if not page.next_page_token:
                return found, tokens
            tokens.append(page.next_page_token)
            asked.page_token = page.next_page_token

    def watch(self, **asked: Any) -> Any:
        return self.server.dispatch.WatchMessages(
            pb.WatchMessagesRequest(**asked), timeout=TIMEOUT, metadata=self.metadata
        )

    def first_of_watch(self, **asked: Any) -> Any:
        call = self.watch(**asked)
        try:
            return next(call)
        finally:
            call.cancel()


SEND_TIME: Final = in_time(hours=1)


class Watching:
    """A watch of all that a tenant has, while a test goes on; `seen` are the ids of it."""

    def __init__(self, caller: Caller) -> None:
        self.seen: set[str] = set()
        self.tokens: list[str] = []
        self.ended: grpc.StatusCode | None = None
        self._call = caller.watch()
        self.began = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for response in self._call:
                self.tokens.append(response.resume_token)
                if response.HasField("message"):
                    self.seen.add(response.message.message_id)
                self.began.set()
        except grpc.RpcError as error:
            self.ended = refusal_of(error).code

    def stop(self) -> None:
        self._call.cancel()
        self._thread.join()
        assert self.ended is grpc.StatusCode.CANCELLED


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "postwire.toml").write_text(toml_of(), encoding="utf-8")
    with Server(folder) as running:
        yield running


NOT_FOUND: Final = (grpc.StatusCode.NOT_FOUND, "MESSAGE_NOT_FOUND")


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_whatever_tenants_do_each_is_alone(serve: Serve, seed: int) -> None:
    server = serve(toml=toml_of(), **METRICS)
    draws = random.Random(seed)
    callers = [Caller(server, tenant) for tenant in TENANTS]
    watches = [Watching(caller) for caller in callers]
    for watching in watches:
        assert watching.began.wait(TIMEOUT)

    def dispatch(caller: Caller, other: Caller) -> None:
        caller.dispatch(f"r{draws.randrange(30)}")

    def stream(caller: Caller, other: Caller) -> None:
        ids = [f"r{number}" for number in draws.sample(range(30), 4)]
        frame = pb.DispatchStreamRequest(requests=map(caller.request, ids))
        call = server.dispatch.DispatchStream(iter([frame]), timeout=TIMEOUT, metadata=caller.metadata)
        for result in (one for response in call for one in response.results):
            request_id = ids[result.sequence]
            assert caller.owned.setdefault(request_id, result.message.message_id) == result.message.message_id

    def look(caller: Caller, other: Caller) -> None:
        for request_id, message_id in draws.sample(sorted(caller.owned.items()), min(3, len(caller.owned))):
            for asked in ({"message_id": message_id}, {"request_id": request_id}):
                assert caller.call("GetMessage", pb.GetMessageRequest(**asked)).message.message_id == message_id
        for request_id in set(other.owned) - set(caller.owned):
            found = caller.refused("GetMessage", pb.GetMessageRequest(request_id=request_id))
            assert (found.code, found.reason) == NOT_FOUND

    def reach_for(caller: Caller, other: Caller) -> None:
        """By the ids of what another has, which are as if they had never been."""
        if not other.owned:
            return
        message_id = draws.choice(sorted(other.owned.values()))
        before = other.call("GetMessage", pb.GetMessageRequest(message_id=message_id)).message
        never = "00000000-0000-7000-8000-000000000000"
        for method, make in (
            ("GetMessage", lambda one: pb.GetMessageRequest(message_id=one)),
            ("CancelMessage", lambda one: pb.CancelMessageRequest(message_id=one)),
            (
                "ResolveMessage",
                lambda one: pb.ResolveMessageRequest(message_id=one, resolution=pb.RESOLUTION_SENT),
            ),
        ):
            found, there_is_none = caller.refused(method, make(message_id)), caller.refused(method, make(never))
            assert (found.code, found.reason, found.text) == (*NOT_FOUND, there_is_none.text)
        after = other.call("GetMessage", pb.GetMessageRequest(message_id=message_id)).message
        assert after.note == before.note
        with pytest.raises(grpc.RpcError) as raised:
            caller.first_of_watch(message_ids=[message_id])
        assert (refusal_of(raised.value).code, refusal_of(raised.value).reason) == NOT_FOUND

    def cancel(caller: Caller, other: Caller) -> None:
        later = [one for name, one in caller.owned.items() if name.endswith(("1", "3", "5", "7", "9"))]
        if later:
            message_id = draws.choice(sorted(later))
            caller.call("CancelMessage", pb.CancelMessageRequest(message_id=message_id))
            caller.cancelled.add(message_id)

    def page(caller: Caller, other: Caller) -> None:
        found, tokens = caller.listed()
        assert sorted(found) == sorted(caller.owned.values())
        kind = draws.choice(["now", "later"])
        narrowed, _ = caller.listed(labels={"kind": kind})
        assert set(narrowed) <= set(found)
        by_request_id, _ = caller.listed(request_ids=sorted(other.owned))
        assert set(by_request_id) == {one for name, one in caller.owned.items() if name in other.owned}
        if tokens:
            token = draws.choice(tokens)
            foreign = pb.ListMessagesRequest(page_token=token, page_size=4)
            assert other.refused("ListMessages", foreign).reason == "INVALID_PAGE"
            filtered = pb.ListMessagesRequest(page_token=token, filter=pb.MessageFilter(labels={"kind": kind}))
            assert caller.refused("ListMessages", filtered).reason == "INVALID_PAGE"
            forged = token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]
            assert caller.refused("ListMessages", pb.ListMessagesRequest(page_token=forged)).reason == "INVALID_PAGE"

    def resume(caller: Caller, other: Caller) -> None:
        token = draws.choice(watches[callers.index(caller)].tokens)
        with pytest.raises(grpc.RpcError) as raised:
            other.first_of_watch(resume_token=token)
        assert refusal_of(raised.value).reason == "INVALID_PAGE"

    actions = (dispatch, dispatch, stream, look, reach_for, cancel, page, resume)
    for _ in range(120):
        caller, other = draws.sample(callers, 2)
        draws.choice(actions)(caller, other)

    everybody = [set(caller.owned.values()) for caller in callers]
    assert sum(map(len, everybody)) == len(set.union(*everybody)), "one request id of two tenants is two messages"
    for caller, watching, own in zip(callers, watches, everybody, strict=True):
        eventually(lambda watching=watching, own=own: watching.seen == own)  # type: ignore[misc]  # bound at once
        watching.stop()
        providers = {
            attempt.provider_name
            for message_id in own
            for attempt in caller.call("GetMessage", pb.GetMessageRequest(message_id=message_id)).message.attempts
        }
        assert providers <= ({"own"} if caller.tenant == "acme" else {"shared"})
    by_tenant = values(server, "postwire_messages_total")
    for caller in callers:
        cancelled = sum(count for key, count in by_tenant.items() if caller.tenant in key and "cancelled" in key)
        assert cancelled == len(caller.cancelled)
    text = fetch(server) + server.log_text()
    assert not any(one in fetch(server) for one in set.union(*everybody))
    assert not any(key.text in text for key in KEYS.values())


def test_a_rule_for_a_tenant_says_so_to_it_alone(server: Server) -> None:
    for tenant, matched_on, provider in (("acme", ['tenants = "acme"'], "own"), ("globex", [], "shared")):
        explained = Caller(server, tenant).call("ExplainRoute", pb.ExplainRouteRequest(message=sms()))
        assert list(explained.matched_on) == matched_on
        assert [one.provider_name for one in explained.candidates] == [provider]


def test_over_a_quota_a_tenant_is_told_which_and_when_to_come_back(serve: Serve) -> None:
    server = serve(toml=toml_of(acme="rate = 0.001\nburst = 2", globex="max_unsettled = 1"), **METRICS)
    acme, globex, initech = (Caller(server, tenant) for tenant in TENANTS)
    for caller, key, most in ((acme, "tenants.acme.rate", 2), (globex, "tenants.globex.max_unsettled", 1)):
        for number in range(most):
            caller.dispatch(f"r{2 * number + 1}")
        found = caller.refused("Dispatch", caller.request("r9"))
        assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
        assert key in found.text
        assert found.retry_delay is not None
        assert found.retry_delay >= 0.5
        has_time = found.retry_delay < TIMEOUT
        assert int(found.trailers["grpc-retry-pushback-ms"]) == (round(found.retry_delay * 1000) if has_time else -1)
        caller.dispatch("r1")  # a repeat
        frame = pb.DispatchStreamRequest(requests=[caller.request("r1"), caller.request("r9")])
        call = server.dispatch.DispatchStream(iter([frame]), timeout=TIMEOUT, metadata=caller.metadata)
        repeat, rejected = (one for response in call for one in response.results)
        assert repeat.message.message_id == caller.owned["r1"]
        assert pb.DispatchStreamResult.WhichOneof(rejected, "result") == "rejection"
        assert key in rejected.rejection.message
        assert rejected.rejection.HasField("retry_delay")
    # Our client repeats calls, and would otherwise wait until its own time is over and hear of nothing else.
    with Client(server.address, credentials=Credentials(token=KEYS["acme"].text), timeout=TIMEOUT) as client:
        with pytest.raises(TryAgain) as raised:
            client.dispatch(sms())
        assert raised.value.reason == "QUOTA_EXCEEDED"
    assert initech.dispatch("r2").request_id == "r2"
    refusals = values(server, "postwire_refused_total")
    assert {key: count for key, count in refusals.items() if count} == {
        ("acme", "QUOTA_EXCEEDED"): 3,
        ("globex", "QUOTA_EXCEEDED"): 2,
    }


def test_new_quotas_are_taken_over_without_a_restart(serve: Serve) -> None:
    server = serve(toml=toml_of(acme="max_unsettled = 1"), **METRICS)
    acme = Caller(server, "acme")
    acme.dispatch("r1")
    assert acme.refused("Dispatch", acme.request("r3")).reason == "QUOTA_EXCEEDED"
    (server.folder / "postwire.toml").write_text(toml_of(acme="max_unsettled = 2"), encoding="utf-8")
    server.send_signal(signal.SIGHUP)
    assert server.wait_for_event("reloaded")["changed"] == ["tenants.acme.max_unsettled"]
    acme.dispatch("r3")
    assert acme.refused("Dispatch", acme.request("r5")).reason == "QUOTA_EXCEEDED"


def test_what_one_that_has_very_much_waits_for_another_does_not(serve: Serve) -> None:
    toml = (
        toml_of()
        .replace('["shared"]', '["own"]')
        .replace("[providers.own]\n", "[providers.own]\nrate = 100\nburst = 1\n")
    )
    server = serve(toml=toml, server__grace="0s")
    bulk, small = Caller(server, "acme"), Caller(server, "globex")
    options = DispatchOptions(wait_for=ACCEPTANCE)
    count = 1_000
    frames = [
        pb.DispatchStreamRequest(
            requests=[
                pb.DispatchRequest(message=sms(), request_id=f"b{first + number}", options=options)
                for number in range(250)
            ]
        )
        for first in range(0, count, 250)
    ]
    call = server.dispatch.DispatchStream(iter(frames), timeout=TIMEOUT, metadata=bulk.metadata)
    assert sum(len(response.results) for response in call) == count
    frame = pb.DispatchStreamRequest(
        requests=[pb.DispatchRequest(message=sms(), request_id=f"s{number}", options=options) for number in range(10)]
    )
    call = server.dispatch.DispatchStream(iter([frame]), timeout=TIMEOUT, metadata=small.metadata)
    own = [one.message.message_id for response in call for one in response.results]

    def all_sent() -> bool:
        found = small.call("ListMessages", pb.ListMessagesRequest(filter=pb.MessageFilter(states=[SENT])))
        return {one.message_id for one in found.messages} == set(own)

    eventually(all_sent)
    assert server.terminate() == 0
    rows = server.rows("SELECT tenant FROM attempts JOIN messages USING (message_id) ORDER BY start_time")
    order = [tenant for (tenant,) in rows]
    first = order.index("globex")
    of_turns = order[first : first + 25]
    assert of_turns.count("globex") == 10, of_turns
    assert server.rows("SELECT count(*) FROM messages WHERE tenant = 'acme' AND state = 'queued'")[0][0] > 0
