"""The watch of held requests: one call for all, answers to pings, lost clients, nothing while none is held."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from app.events import held_watch
from app.events.held_watch import HeldWatch
from jobs.store import keys
from jobs.store.held_requests import Claim, HeldRequest, HeldRequests
from tests.support.api import wait_for
from tests.support.service import Service

NUMBER = 50


class Held:
    """A connection that waits, and whether its client is gone."""

    def __init__(self, service: Service, number: int) -> None:
        request = HeldRequest("a", f"task({number})", ("job",), 1, holder=f"holder {number}")
        HeldRequests(service.store, "a").open(request, f"digest {number}", forced=False, random=False)
        self.claim, self.is_gone, self.is_lost = Claim(request), False, False

    def has_hung_up(self) -> bool:
        return self.is_gone

    def lose(self) -> None:
        self.is_lost = True


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_watch, "CHECK_INTERVAL_S", 0.01)


def calls(service: Service) -> tuple[int, int]:
    """Return the numbers of script calls, and of writes of hashes within them."""
    stats: Any = service.redis.info("commandstats")
    return stats["cmdstat_evalsha"]["calls"], stats["cmdstat_hset"]["calls"]


def test_all_claims_are_renewed_by_one_call(service: Service) -> None:
    watch, connections = HeldWatch(service.store), [Held(service, number) for number in range(NUMBER)]
    with ExitStack() as stack:
        for one in connections:
            stack.enter_context(watch.watching(one))
        first = calls(service)
        wait_for(lambda: calls(service)[1] >= first[1] + 10 * NUMBER, "ten renewals of each claim")
        scripts, writes = (b - a for a, b in zip(first, calls(service), strict=True))
        # The app calls a few scripts of its own.
        assert scripts <= 2 * writes / NUMBER + 5
    wait_for(lambda: not watch._is_running, "the thread to end")
    before = calls(service)
    with watch.watching(connections[0]):  # it begins again
        wait_for(lambda: calls(service)[1] > before[1], "a renewal")


def test_pings_are_answered_after_another_look(service: Service) -> None:
    held = Held(service, 1)
    with HeldWatch(service.store).watching(held):
        name = f"{keys.HELD_REQUEST}a:task(1)"
        ping = service.redis.hincrby(name, "asked", 1)
        wait_for(lambda: service.redis.hget(name, "answered") == str(ping), "the answer")
    assert not held.is_lost


def test_only_a_client_that_is_gone_is_lost(service: Service) -> None:
    gone, here = Held(service, 1), Held(service, 2)
    watch = HeldWatch(service.store)
    with watch.watching(gone), watch.watching(here):
        gone.is_gone = True
        wait_for(lambda: gone.is_lost, "the loss to be noticed")
        until = service.redis.hget(f"{keys.HELD_REQUEST}a:task(1)", "until")
        before = calls(service)
        wait_for(lambda: calls(service)[1] > before[1] + 2, "renewals")
        assert service.redis.hget(f"{keys.HELD_REQUEST}a:task(1)", "until") == until
    assert not here.is_lost
