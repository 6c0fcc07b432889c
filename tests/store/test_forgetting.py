"""What is kept of keys, classes and offers for the sake of fair shares, and that it does not stay for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobs.store import keys
from tests.support.store_driver import StoreDriver
from tests.support.store_invariants import everything

Open = Callable[..., StoreDriver]

#: Fields of ``served`` that a part of a sweep looks at; a step of Redis' scan may return some more.
FIELDS = 100


def forget(here: StoreDriver) -> None:
    """Let sweeps look at everything twice: they forget what the first look has noted."""
    for _ in range(2):
        here.redis.delete(keys.SERVED_WALK)
        here.sweep()
        while here.redis.hexists(keys.SERVED_WALK, "cursor"):
            here.sweep()


def mentions(here: StoreDriver, word: str) -> list[str]:
    found: dict[str, Any] = everything(here.redis)
    return [name for name, value in found.items() if word in f"{name} {value}"]


def test_a_key_without_jobs_leaves_nothing_behind(driver: Open) -> None:
    here = driver(result_ttl_s=0, event_log_length=1, usage_days=0)
    here.open("gpu0", "m", "n")
    for model in ("m", "n"):
        here.submit_many(2, "customer", model=model)
    assert mentions(here, "customer")
    here.drain()
    here.finish(here.submit("other") and "gpu0")  # the newest event is not the customer's
    forget(here)
    assert mentions(here, "customer") == []
    assert not here.redis.exists(keys.UNUSED)


def test_a_key_whose_usage_has_expired_is_not_listed_for_ever(driver: Open) -> None:
    here = driver(usage_days=1)
    here.open()
    here.submit("a")
    here.submit("b")
    here.drain()
    here.redis.zadd(keys.USAGE_KEYS, {"a": 1})
    here.sweep()
    assert here.redis.zrange(keys.USAGE_KEYS, 0, -1) == ["b"]


def test_what_a_key_was_served_counts_until_it_is_forgotten(driver: Open) -> None:
    here = driver(result_ttl_s=3600)
    here.open()
    here.submit_many(4, "a")
    here.drain()
    served = here.redis.hget(keys.SERVED, "general|a|m")
    forget(here)
    assert here.redis.hget(keys.SERVED, "general|a|m") == served


def test_a_key_with_a_job_is_not_forgotten(driver: Open) -> None:
    here = driver(result_ttl_s=0)
    here.open()
    here.submit_many(3, "a")  # one is bound
    here.submit("b")
    before = here.redis.hgetall(keys.SERVED)
    forget(here)
    after = here.redis.hgetall(keys.SERVED)
    assert {name: value for name, value in before.items() if "|a|" in name or "|b|" in name}.items() <= after.items()
    assert [job[0] for job in here.drain()] == ["a", "b", "a", "a"]


def test_a_key_that_was_forgotten_starts_level_with_the_others(driver: Open) -> None:
    here = driver(result_ttl_s=0)
    here.open()
    here.submit_many(20, "a")
    here.drain()
    forget(here)
    here.submit_many(4, "b")
    here.submit_many(4, "a")
    assert "".join(job[0] for job in here.drain()) in ("babababa", "bbababaa", "baababab")


def test_what_was_noted_of_a_key_is_void_when_it_has_a_job_again(driver: Open) -> None:
    here = driver(result_ttl_s=3600)
    here.open()
    here.submit("a")
    here.drain()
    forget(here)
    assert "general|a|m" in here.redis.hkeys(keys.UNUSED)
    here.submit("a")
    forget(here)
    assert "general|a|m" not in here.redis.hkeys(keys.UNUSED)


def test_offers_without_slots_are_forgotten(driver: Open) -> None:
    here = driver(result_ttl_s=0)
    here.open("gpu0", "m")
    here.open("gpu1", "n")
    for model in ("m", "n"):
        here.submit("a", model=model)
    here.drain("gpu0")
    here.drain("gpu1")
    offer = str(here.redis.hget(keys.SLOT + "gpu1", "offer"))
    kept = str(here.redis.hget(keys.SLOT + "gpu0", "offer"))
    assert any(name.endswith(offer) for name in here.redis.hkeys(keys.SERVED))
    here.store.leave("gpu1", here.redis.hget(keys.SLOT + "gpu1", "owner"))
    forget(here)
    left = here.redis.hkeys(keys.SERVED)
    assert not any(name.endswith(offer) for name in left)
    assert any(name.endswith(kept) for name in left)


def test_many_keys_are_forgotten_in_slices(driver: Open) -> None:
    here = driver(result_ttl_s=0)
    here.redis.hset(keys.SERVED, mapping={f"general|key{number}|m": "1.000000" for number in range(8 * FIELDS)})
    here.sweep()
    assert 0 < here.redis.hlen(keys.UNUSED) < 3 * FIELDS
    forget(here)
    assert not here.redis.exists(keys.SERVED)
