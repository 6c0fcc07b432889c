"""Makes a real Redis refuse writes, as it does when its memory or its disk is full, and accept them again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

#: Longest wait for a failed or successful snapshot, seconds.
PATIENCE_S = 30.0


@contextmanager
def memory_full(redis: Any) -> Iterator[None]:
    """OOM: the memory in use is above ``maxmemory``, and nothing may be evicted."""
    redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        redis.config_set("maxmemory", 0)


@contextmanager
def unsaved(redis: Any) -> Iterator[None]:
    """MISCONF: a snapshot could not be written, and Redis must not accept what it cannot save."""
    names = redis.config_get("d*")
    snapshot = Path(names["dir"], names["dbfilename"])
    snapshot.unlink(missing_ok=True)
    snapshot.mkdir()  # no file can be put there
    try:
        redis.config_set("save", "3600 1000000")
        redis.bgsave()
        _await_snapshot(redis, "err")
        yield
    finally:
        snapshot.rmdir()
        redis.config_set("save", "")


@contextmanager
def read_only(redis: Any) -> Iterator[None]:
    """READONLY: this server is a replica, as after a failover."""
    redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        yield
    finally:
        redis.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def too_few_replicas(redis: Any) -> Iterator[None]:
    """NOREPLICAS: every write must reach a replica, and there is none."""
    redis.config_set("min-replicas-to-write", 1)
    try:
        yield
    finally:
        redis.config_set("min-replicas-to-write", 0)


#: Kind of refusal → part of the reason that callers receive.
REFUSALS: dict[Callable[[Any], AbstractContextManager[None]], str] = {
    memory_full: "its memory is full",
    unsaved: "it cannot save its data to its disk",
    read_only: "it is a read-only replica",
}


def _await_snapshot(redis: Any, status: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while redis.info("persistence")["rdb_last_bgsave_status"] != status:
        assert time.monotonic() < deadline, "the snapshot did not end"
        time.sleep(0.02)
