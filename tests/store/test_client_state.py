"""State kept for clients of other protocols: logins, request counts, session variables, options."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.callers import Caller, digest_of
from jobs.store import keys
from jobs.store.client_state import (
    SESSION_TTL_S,
    ClientOptions,
    LoginSessions,
    RequestCounters,
    SessionVariables,
    WorkerFacts,
)
from jobs.store.credentials.api_keys import KeyRing
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]


@pytest.fixture
def here(driver: Open) -> StoreDriver:
    return driver()


def test_a_login_is_known_by_digests_and_renewed_by_use(here: StoreDriver) -> None:
    logins = LoginSessions(here.store)
    assert logins.key_digest("session") is None
    logins.open("session", "secret")
    (name,) = here.redis.keys(keys.SESSION + "*")
    here.redis.expire(name, 60)
    assert logins.key_digest("session") == digest_of("secret")
    assert here.redis.ttl(name) > SESSION_TTL_S - 60
    assert not any(text in str(here.redis.get(name)) + name for text in ("secret", '"session"'))
    here.redis.delete(name)
    assert logins.key_digest("session") is None


def test_requests_are_counted_for_each_endpoint_and_client(here: StoreDriver) -> None:
    counters = RequestCounters(here.store)
    assert [counters.increment("flux", "key:a") for _ in range(3)] == [1, 2, 3]
    assert counters.increment("flux", "key:b") == 1
    assert counters.increment("wan", "key:a") == 1
    counters.decrement("flux", "key:a")
    assert counters.increment("flux", "key:a") == 3
    counters.decrement("flux", "key:late")  # its number has expired meanwhile
    for client in ("key:a", "key:late"):
        assert 0 < here.redis.ttl(f"{keys.REQUESTS}flux:{client}") <= SESSION_TTL_S


def test_session_variables_are_kept_by_cookie(here: StoreDriver) -> None:
    variables = SessionVariables(here.store, "cookie")
    assert variables.read() == {}
    variables.update({"history": ["a", 1], "n": None}, "first", 60)
    variables.update({"n": 2}, "second", 60)
    assert variables.read() == {"history": ["a", 1], "n": 2}
    variables.update({"n": None}, "first", 60)  # its result is read once more
    assert variables.read()["n"] == 2
    added = [key for key in here.redis.keys(keys.SESSION_VARS + "*") if key.endswith(":first")]
    assert [0 < here.redis.ttl(key) <= 60 for key in added] == [True]
    assert SessionVariables(here.store, "other").read() == {}
    assert here.redis.keys("*cookie*") == []


def test_how_a_worker_described_itself_is_kept(here: StoreDriver) -> None:
    facts = WorkerFacts(here.store, "http.draw.w")
    assert facts.read() is None
    facts.write({"name": "w", "num_gpus": 2})
    here.redis.expire(keys.WORKER + "http.draw.w", 5)
    assert facts.read() == {"name": "w", "num_gpus": 2}
    assert here.redis.ttl(keys.WORKER + "http.draw.w") > 5  # renewed by its use
    assert WorkerFacts(here.store, "http.draw.x").read() is None


def test_options_of_a_client_leave_with_its_key(here: StoreDriver) -> None:
    ring = KeyRing(here.store)
    ring.create(Caller(key_id="ops", role="admin"))  # type: ignore[arg-type]
    ring.create(Caller(key_id="bot"))
    options = ClientOptions(here.store, "bot")
    assert (options.all(), options.get("samples_format")) == ({}, None)
    options.update({"samples_format": "webp", "grid_save": False})
    assert options.all() == {"samples_format": "webp", "grid_save": False}
    assert options.get("samples_format") == "webp"
    assert ClientOptions(here.store, "ops").all() == {}
    ring.revoke("bot")
    assert options.all() == {}
