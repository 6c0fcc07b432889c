"""The lean client: what it sends, and what happens to a connection that breaks."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import pytest
import redis

from jobs.errors import Unavailable
from jobs.store.connecting.client import connect
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]


def connections(here: StoreDriver, other: Any) -> list[dict[str, str]]:
    """Return the connections of other clients than ``other``."""
    mine = str(other.client_id())
    return [one for one in here.redis.client_list() if one["id"] != mine]


def break_all(here: StoreDriver) -> None:
    """Have Redis close every connection of the store, as it does when it is restarted."""
    operator = connect(here.store.settings)
    for one in connections(here, operator):
        operator.execute_command("CLIENT", "KILL", "ID", one["id"])
    operator.close()


def test_a_connection_that_broke_while_it_was_idle_is_replaced_within_the_call(driver: Open) -> None:
    here = driver()
    job_id = here.submit()
    for call in (lambda: here.store.get(job_id).job_id, lambda: here.store.forecast(job_id)[0].position):
        break_all(here)
        assert call() in (job_id, 1)


def test_many_hashes_are_read_together(driver: Open) -> None:
    here = driver()
    for number in range(3):
        here.redis.hset(f"hash:{number}", mapping={"a": f"ä{number}", "b": "x" * 100_000})
    read = lambda *names: here.store.client.hmgets(names, ("a", "b"))  # type: ignore[attr-defined]  # noqa: E731
    assert read("hash:0", "none", "hash:2") == [["ä0", "x" * 100_000], [None, None], ["ä2", "x" * 100_000]]
    assert read() == []
    break_all(here)
    assert read("hash:1") == [["ä1", "x" * 100_000]]
    here.redis.set("text", "no hash")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        read("hash:0", "text", "hash:1")
    assert read("hash:2")[0][0] == "ä2"  # no reply of the failed call is left


def test_a_script_that_redis_has_forgotten_is_loaded_again(driver: Open) -> None:
    here = driver()
    job_id = here.submit()
    here.redis.script_flush()
    assert here.store.forecast(job_id)[0].position == 1


def test_a_command_is_the_only_thing_that_is_sent(driver: Open) -> None:
    here = driver()
    job_id = here.submit()
    here.store.get(job_id)
    here.redis.config_resetstat()
    for _ in range(10):
        here.store.get(job_id)
    stats = here.redis.info("commandstats")
    calls = {name: one["calls"] for name, one in stats.items() if not name.startswith("cmdstat_config")}
    assert calls == {"cmdstat_hgetall": 10}


def test_a_call_that_finds_all_connections_in_use_says_so(driver: Open) -> None:
    here = driver(REDIS_CONNECTIONS=1, REDIS_CONNECTION_WAIT_S=0.01)
    job_id = here.submit()
    pool = here.redis.connection_pool
    taken = pool.get_connection()
    with pytest.raises(Unavailable, match="too many requests at once"):
        here.store.get(job_id)
    pool.release(taken)
    assert here.store.get(job_id).job_id == job_id


def test_an_interrupted_call_leaves_no_reply_to_the_next_one(driver: Open) -> None:
    here = driver(REDIS_CONNECTIONS=1)
    here.redis.set("a", "one")
    here.redis.set("b", "two")
    connection = here.redis.connection_pool.get_connection()
    here.redis.connection_pool.release(connection)

    class Interrupted(BaseException):
        """As GreenletExit and KeyboardInterrupt."""

    read = connection._parser.read_response

    def interrupted(*_: Any, **__: Any) -> Any:
        connection._parser.read_response = read
        raise Interrupted

    connection._parser.read_response = interrupted
    with pytest.raises(Interrupted):
        here.redis.get("a")
    assert here.redis.get("b") == "two"


def test_a_forked_process_has_connections_of_its_own(driver: Open) -> None:
    here = driver()
    here.redis.set("a", "one")
    ids = multiprocessing.get_context("fork").Queue()
    child = multiprocessing.get_context("fork").Process(target=lambda: ids.put(here.redis.client_id()))
    child.start()
    assert ids.get(timeout=60) != here.redis.client_id()
    child.join()
