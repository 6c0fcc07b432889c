"""``REDIS_WAIT_REPLICAS``: a job is accepted when replicas have it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import Unavailable
from jobs.settings import Settings
from tests.support.api import wait_for
from tests.support.redis_servers import RedisServer, serving
from tests.support.store_driver import StoreDriver


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[RedisServer]:
    """Yield a server to which a replica can be added."""
    server = RedisServer(tmp_path / "primary", {"repl-diskless-sync-delay": 0})
    with serving(server):
        yield server


def test_a_job_that_no_replica_has_is_not_accepted_yet(primary: RedisServer, tmp_path: Path) -> None:
    settings = Settings.of(redis_url=f"redis://127.0.0.1:{primary.port}/0", redis_timeout_s=2)
    here = StoreDriver(settings, redis_wait_replicas=1)
    with pytest.raises(Unavailable, match="only 0 of 1 replicas of the job store have it"):
        here.accept(idempotency_key="k")
    [job_id] = here.redis.zrange("framemill:jobs", 0, -1)
    replica = RedisServer(tmp_path / "replica", {"replicaof": f"127.0.0.1 {primary.port}"})
    with serving(replica):
        wait_for(lambda: replica.client.info("replication")["master_link_status"] == "up", "the replica")
        here.redis.script_flush()  # as on a server that became the primary
        assert here.accept(idempotency_key="k").job_id == job_id
        assert replica.client.exists(f"framemill:job:{here.submit()}")
    assert StoreDriver(settings).submit()
