"""What health says: of readiness, as the store and the life of the server go; of liveness, that it lives."""

from __future__ import annotations

from postwire.api.health import LIVENESS, NOT_SERVING, SERVING, Health

SERVICE = "postwire.v1.DispatchService"


def is_ready(health: Health) -> bool:
    """Whether all say that it is; they say the same."""
    found = {health.statuses()[service] for service in ("", SERVICE)}
    assert found == ({NOT_SERVING} if health.unready_reason else {SERVING})
    return not health.unready_reason


async def test_readiness_follows_the_store_and_liveness_does_not() -> None:
    health = Health((SERVICE,))
    health.start(ready=True)
    assert is_ready(health)
    for _ in range(2):
        health.set_ready(False)
        assert not is_ready(health)
        assert health.unready_reason == "the store cannot commit"
        assert health.statuses()[LIVENESS] == SERVING
        health.set_ready(True)
        assert is_ready(health)


async def test_it_may_start_without_its_store() -> None:
    health = Health((SERVICE,))
    health.start(ready=False)
    assert not is_ready(health)
    assert health.statuses()[LIVENESS] == SERVING


async def test_it_is_not_ready_while_it_starts_whatever_the_store_does() -> None:
    health = Health((SERVICE,))
    health.set_ready(False)
    health.set_ready(True)
    assert health.unready_reason == "starting"


async def test_once_it_shuts_down_it_is_alive_and_never_ready_again() -> None:
    health = Health((SERVICE,))
    health.start(ready=True)
    health.shut_down()
    health.set_ready(True)
    assert not is_ready(health)
    assert health.unready_reason == "shutting down"
    assert health.statuses()[LIVENESS] == SERVING
