"""Who is not written to, through a real server: added, looked up and removed by each tenant, and in clear nowhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from tests.e2e.calls import (
    FAILED,
    SENT,
    TIMEOUT,
    dispatch,
    email,
    get,
    refused,
    request,
    sms,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, environment
from tests.e2e.streams import sent_through
from tests.support import forking
from tests.support.access import bearer, declared, made_key
from tests.support.encryption import found_in, write_keys
from tests.support.outboxes import KEYS

from postwire.core.suppression import fingerprint
from postwire.outbox.sqlite.maintenance import backup
from postwire.v1 import admin_service_pb2, message_pb2
from postwire.v1 import suppression_service_pb2 as pb

NUMBER = "+19876543210"
ADDRESS = "zqcanary@b\u00fccher.example"
MARKS = [b"9876543210", b"zqcanary", b"b\xc3\xbccher", b"xn--bcher-kva"]
"""What of them is to be found nowhere."""


def add(server: Server, *addresses: str, metadata: Any = None, **fields: Any) -> int:
    asked = pb.AddSuppressionsRequest(suppressions=[pb.Suppression(address=one, **fields) for one in addresses])
    return server.suppressions.AddSuppressions(asked, timeout=TIMEOUT, metadata=metadata).added


def remove(server: Server, *addresses: str, metadata: Any = None) -> int:
    asked = pb.RemoveSuppressionsRequest(addresses=addresses)
    return server.suppressions.RemoveSuppressions(asked, timeout=TIMEOUT, metadata=metadata).removed


def check(server: Server, *addresses: str, metadata: Any = None) -> list[str]:
    asked = pb.CheckSuppressionsRequest(addresses=addresses)
    found = server.suppressions.CheckSuppressions(asked, timeout=TIMEOUT, metadata=metadata).suppressions
    return [one.address for one in found]


def listed(server: Server, metadata: Any = None) -> list[pb.Suppression]:
    found: list[pb.Suppression] = []
    asked = pb.ListSuppressionsRequest(page_size=2)
    while True:
        page = server.suppressions.ListSuppressions(asked, timeout=TIMEOUT, metadata=metadata)
        found += page.suppressions
        if not page.next_page_token:
            return found
        asked.page_token = page.next_page_token


def in_time(seconds: float) -> Timestamp:
    made = Timestamp()
    made.FromMicroseconds(int((time.time() + seconds) * 1e6))
    return made


def test_nothing_is_sent_to_somebody_suppressed_until_he_is_removed(serve: Serve) -> None:
    server = serve()
    assert add(server, NUMBER, ADDRESS, source="list 7") == 2
    assert add(server, NUMBER.replace("0", "0"), ADDRESS.upper().replace("ZQ", "zq")) == 0, "they are the same"
    for message in (sms(NUMBER), email(ADDRESS)):
        record = dispatch(server, message)
        assert (record.state, record.outcome, record.error_code) == (FAILED, message_pb2.OUTCOME_REJECTED, "suppressed")
        assert not record.attempts
        assert get(server, record) == record
    (answered,) = sent_through(server, [request(sms(NUMBER))])
    assert (answered.message.state, answered.message.error_code) == (FAILED, "suppressed")
    record = dispatch(server, email("ada@example.com", cc=[ADDRESS]))
    assert [one.state for one in record.recipients] == [SENT, FAILED]
    assert (record.state, record.error_code, record.recipients[1].error_code) == (FAILED, "suppressed", "suppressed")
    server.restart()
    assert check(server, "+15005550006", NUMBER, ADDRESS) == [NUMBER, ADDRESS]
    assert dispatch(server, sms(NUMBER)).error_code == "suppressed"
    assert remove(server, NUMBER, ADDRESS, "+15005550006") == 2
    assert remove(server, NUMBER) == 0
    assert dispatch(server, sms(NUMBER)).state == SENT


def test_each_has_a_reason_a_source_and_an_end_and_is_listed_without_its_address(serve: Serve) -> None:
    server = serve()
    until = in_time(3600)
    add(server, NUMBER, reason=pb.SUPPRESSION_REASON_OPT_OUT, source="import", sender="sms-mms")
    add(server, ADDRESS, "b@example.com", "c@example.com", expire_time=until)
    (found,) = server.suppressions.CheckSuppressions(
        pb.CheckSuppressionsRequest(addresses=[NUMBER]), timeout=TIMEOUT
    ).suppressions
    assert (found.address, found.reason, found.source, found.sender) == (
        NUMBER,
        pb.SUPPRESSION_REASON_OPT_OUT,
        "import",
        "sms-mms",
    )
    assert found.HasField("create_time")
    assert not found.HasField("expire_time")
    *temporary, first = listed(server)
    assert [one.reason for one in temporary] == [pb.SUPPRESSION_REASON_MANUAL] * 3
    assert [one.expire_time for one in temporary] == [until] * 3
    assert (first.source, {one.address for one in (*temporary, first)}) == ("import", {""})


def test_tenants_are_apart(serve: Serve) -> None:
    acme, globex, root = made_key(), made_key(), made_key()
    roles = ("send", "read", "operate")
    toml = "\n".join((declared(acme, "acme", *roles), declared(globex, "globex", *roles), declared(root, "")))
    server = serve(toml=toml)
    one, other = bearer(acme), bearer(globex)
    assert add(server, NUMBER, ADDRESS, "c@example.com", metadata=one) == 3
    assert check(server, NUMBER, metadata=other) == []
    assert listed(server, other) == []
    assert len(listed(server, one)) == 3
    assert remove(server, NUMBER, metadata=other) == 0
    states = [
        server.dispatch.Dispatch(request(sms(NUMBER)), timeout=TIMEOUT, metadata=metadata).message.state
        for metadata in (one, other)
    ]
    assert states == [FAILED, SENT]
    page = server.suppressions.ListSuppressions(pb.ListSuppressionsRequest(page_size=1), timeout=TIMEOUT, metadata=one)
    again = pb.ListSuppressionsRequest(page_size=1, page_token=page.next_page_token)
    found = refused(lambda: server.suppressions.ListSuppressions(again, timeout=TIMEOUT, metadata=other))
    assert (found.reason, found.fields) == ("INVALID_PAGE", ["page_token"])


def test_what_is_wrong_is_named_and_then_nothing_is_done(serve: Serve) -> None:
    server = serve()
    fine = pb.Suppression(address=NUMBER)
    bad = [
        fine,
        pb.Suppression(address="zqcanary"),
        pb.Suppression(address=NUMBER, reason=99),  # type: ignore[arg-type]  # one that only a newer client knows
        pb.Suppression(address=NUMBER, source="x" * 65, expire_time=in_time(-5)),
        pb.Suppression(address=NUMBER, source="a\nb", sender="nobody at all"),
    ]
    asked = pb.AddSuppressionsRequest(suppressions=bad)
    found = refused(lambda: server.suppressions.AddSuppressions(asked, timeout=TIMEOUT))
    assert (found.code, found.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_MESSAGE")
    assert sorted(found.fields) == [
        "suppressions[1].address",
        "suppressions[2].reason",
        "suppressions[3].expire_time",
        "suppressions[3].source",
        "suppressions[4].sender",
        "suppressions[4].source",
    ]
    assert "zqcanary" not in str(found)
    assert check(server, NUMBER) == []
    for count in (0, 1_001):
        found = refused(lambda count=count: add(server, *[NUMBER] * count))  # type: ignore[misc]
        assert (found.reason, found.fields) == ("INVALID_MESSAGE", ["suppressions"])
        found = refused(lambda count=count: check(server, *[NUMBER] * count))  # type: ignore[misc]
        assert (found.reason, found.fields) == ("INVALID_MESSAGE", ["addresses"])
    found = refused(lambda: remove(server, NUMBER, "x"))
    assert (found.reason, found.fields) == ("INVALID_MESSAGE", ["addresses[1]"])
    for field in ({"page_size": -1}, {"page_token": "x"}):
        page = pb.ListSuppressionsRequest(**field)
        found = refused(lambda page=page: server.suppressions.ListSuppressions(page, timeout=TIMEOUT))  # type: ignore[misc]
        assert (found.reason, found.fields) == ("INVALID_PAGE", [*field])
    found = refused(lambda: dispatch(server, ignore_suppression=True))
    assert (found.reason, found.fields) == ("INVALID_MESSAGE", ["options.ignore_suppression"])


def test_it_is_ignored_where_that_is_allowed(serve: Serve) -> None:
    server = serve(suppression__allow_ignore="true")
    add(server, NUMBER)
    assert dispatch(server, sms(NUMBER), ignore_suppression=True).state == SENT
    assert dispatch(server, sms(NUMBER)).state == FAILED


def test_who_has_changed_it_is_kept_without_an_address(serve: Serve) -> None:
    server = serve()
    add(server, NUMBER, ADDRESS)
    remove(server, NUMBER)
    refused(lambda: remove(server, "zqcanary"))
    events = server.admin.ListAuditEvents(admin_service_pb2.ListAuditEventsRequest(), timeout=TIMEOUT).events
    assert [(one.method.rpartition("/")[2], one.target, one.result) for one in events] == [
        ("RemoveSuppressions", "", "INVALID_MESSAGE"),
        ("RemoveSuppressions", "1 address", "OK"),
        ("AddSuppressions", "2 addresses", "OK"),
    ]
    assert not any(mark.decode() in str(events) for mark in MARKS[:2])


@pytest.mark.parametrize("encrypted", [False, True])
def test_no_address_is_in_the_store_or_the_log(serve: Serve, tmp_path: Path, encrypted: bool) -> None:
    keys = tmp_path / "keys"
    write_keys(keys, KEYS[:1])
    server = serve(**({"store__encryption_keys_file": str(keys)} if encrypted else {}))
    add(server, NUMBER, ADDRESS, source="canary")
    dispatch(server, sms(NUMBER))
    dispatch(server, email(ADDRESS))
    copy = tmp_path / "copy.db"
    backup(server.store, copy)
    files = [*tmp_path.glob("postwire.db*"), copy]
    assert len(files) > 3, "the log of the store is among them"
    assert found_in(files, MARKS) == {}
    server.restart()
    assert check(server, NUMBER) == [NUMBER]
    assert found_in(tmp_path.glob("postwire.db*"), MARKS) == {}
    assert not any(mark.decode() in server.log_text() for mark in MARKS)


def test_they_are_in_a_backup_and_nobody_who_is_in_it_is_written_to(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    add(server, NUMBER)
    copy = tmp_path / "copy.db"
    backup(server.store, copy)
    remove(server, NUMBER)
    assert server.terminate() == 0
    arguments = ("store", "restore", str(copy), "--store", str(server.store))
    done = forking.run(*arguments, cwd=tmp_path, env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    server.start()
    assert check(server, NUMBER) == [NUMBER]
    assert dispatch(server, sms(NUMBER)).state == FAILED


def test_another_key_would_free_everybody_so_the_boot_ends(serve: Serve, tmp_path: Path) -> None:
    one, other = "k" * 32, "l" * 32
    server = serve(suppression__key=one)
    server.restart(suppression__key=other)  # as long as there are none, any will do
    add(server, NUMBER)
    assert server.terminate() == 0
    for settings in ({"suppression__key": one}, {}):
        done = forking.run("serve", cwd=tmp_path, env=environment(tmp_path, **settings))
        assert done.returncode != 0
        assert "suppression.key: is not the one that the store's suppressions were made with" in done.stderr
        assert not any(key in done.stderr for key in (one, other))
        assert f"put back the one with the fingerprint {fingerprint(other.encode())}" in done.stderr
    server.start(suppression__key=other)
    assert check(server, NUMBER) == [NUMBER]


def test_lists_made_without_a_key_ask_for_none(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    add(server, NUMBER)
    assert server.terminate() == 0
    done = forking.run("serve", cwd=tmp_path, env=environment(tmp_path, suppression__key="k" * 32))
    assert done.returncode != 0
    assert "would all be lost: leave it out, they were made without one" in done.stderr
    server.start()
    assert check(server, NUMBER) == [NUMBER]
