"""A vendor that never answers the check at boot: the server serves, and ends, as if it did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.calls import SENT, TIMEOUT, request
from tests.e2e.conftest import Serve
from tests.e2e.server import Server


class Unreachable(Server):
    main = "tests.support.unreachable_server:run"


@pytest.fixture
def unreachable(tmp_path: Path) -> Iterator[Unreachable]:
    with Unreachable(tmp_path) as running:
        yield running


def test_it_serves_before_any_vendor_has_answered(unreachable: Unreachable) -> None:
    assert not unreachable.log("provider_check")
    assert unreachable.dispatch.Dispatch(request(), timeout=TIMEOUT).message.state == SENT


def test_it_ends_in_good_order_while_a_check_is_under_way(unreachable: Unreachable) -> None:
    assert unreachable.terminate() == 0
    assert not unreachable.log("internal_error")
    assert not unreachable.log("library")
    assert unreachable.log("stopped")


@pytest.mark.parametrize("how", ["stubborn", "on_thread"])
def test_it_ends_though_a_check_never_does(tmp_path: Path, how: str) -> None:
    server = Unreachable(tmp_path)
    server.main = f"tests.support.unreachable_server:run_{how}"
    with server:
        assert server.terminate() == 0
        assert server.log("stopped")


def test_the_results_are_in_the_log(serve: Serve) -> None:
    server = serve()
    server.wait_for_event("provider_check")
    assert server.terminate() == 0
    checked = {line["provider_name"]: (line["level"], line["ok"]) for line in server.log("provider_check")}
    assert checked == {"sms-mms": ("info", True), "email": ("info", True)}
    events = [line["event"] for line in server.log()]
    assert events.index("serving") < events.index("provider_check")
