"""A primary, a replica and three Sentinels: jobs survive the loss of the primary, and its return."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import redis
import requests

from jobs.states import TERMINAL
from jobs.store.events import EventLog
from jobs.store.queries import counts
from tests.support.harness import Stack, wait_for
from tests.support.redis_servers import RedisServer, certificates, client_tls, server_tls, serving

JOBS = 200
#: Jobs that have ended when the primary goes.
ENDED_BEFORE = 40
PASSWORD, SENTINEL_PASSWORD = "of/the#server", "of+the&sentinels"
_URL = "sentinel://:of%2Fthe%23server@{hosts}/2?service=mymaster&sentinel_password=of%2Bthe%26sentinels"


@dataclass
class Group:
    """Two servers and their Sentinels."""

    url: str
    primary: RedisServer
    replica: RedisServer
    sentinels: list[RedisServer]

    def has_role(self, server: RedisServer, role: str) -> bool:
        try:
            return bool(server.client.execute_command("ROLE")[0] == role)
        except redis.ConnectionError:  # Sentinels close the connections of a server whose role they change
            return False

    def is_known(self) -> bool:
        """Return whether every Sentinel knows the replica and the other Sentinels."""
        states = [each.client.sentinel_master("mymaster") for each in self.sentinels]
        return all(state["num-slaves"] == 1 and state["num-other-sentinels"] == 2 for state in states)


@pytest.fixture
def grouped(tmp_path: Path) -> Iterator[Callable[..., Group]]:
    """``grouped(tls=False)``: return servers that know each other."""
    with ExitStack() as running:

        def made(*, tls: bool) -> Group:
            files = certificates(tmp_path) if tls else {}
            asked = {**server_tls(files), "tls-replication": "yes"} if tls else {}

            def server(name: str, password: str, options: dict[str, Any], *, sentinel: bool = False) -> RedisServer:
                client = {"password": password, **(client_tls(files) if tls else {})}
                options = {**asked, "requirepass": f'"{password}"', **options}
                return RedisServer(tmp_path / name, options, client=client, sentinel=sentinel, tls=tls)

            data = {"masterauth": PASSWORD, "appendonly": "yes", "repl-diskless-sync-delay": 0}
            primary = server("1", PASSWORD, data)
            replica = server("2", PASSWORD, {**data, "replicaof": f"127.0.0.1 {primary.port}"})
            watch = {
                "sentinel monitor mymaster": f"127.0.0.1 {primary.port} 2", "sentinel auth-pass mymaster": PASSWORD,
                "sentinel down-after-milliseconds mymaster": 1500, "sentinel failover-timeout mymaster": 5000,
                "sentinel sentinel-pass": SENTINEL_PASSWORD,
            }  # fmt: skip
            sentinels = [server(f"s{number}", SENTINEL_PASSWORD, watch, sentinel=True) for number in range(3)]
            url = _URL.format(hosts=",".join(f"localhost:{each.port}" for each in sentinels))
            if tls:
                query = urlencode({name: file for name, file in client_tls(files).items() if name != "ssl"})
                url = f"{url.replace('sentinel://', 'sentinels://')}&{query}"
            group = Group(url, primary, replica, sentinels)
            running.enter_context(serving(primary, replica, *sentinels))
            wait_for(group.is_known, "the Sentinels to know each other")
            wait_for(lambda: replica.client.info("replication")["master_link_status"] == "up", "the replica")
            return group

        yield made


def accepted(stack: Stack, number: int) -> str:
    """Submit a job until it is accepted, as a client does that repeats its requests; return its id."""

    def submit() -> str:
        fields = {"model": "tiny-image", "prompt": "a red circle", "steps": 4}
        headers = {"Idempotency-Key": f"job-{number}"}
        response = requests.post(stack.url("/v1/jobs"), json=fields, headers=headers, timeout=60)
        if response.status_code == 503:
            return ""
        assert response.ok, response.text
        return str(response.json()["id"])

    return str(wait_for(submit, f"job {number} to be accepted"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("loss", "tls"), [("killed", False), ("frozen", True)])
def test_accepted_jobs_end_once_when_the_primary_is_lost(
    start: Callable[..., Stack], grouped: Callable[..., Group], loss: str, tls: bool
) -> None:
    group = grouped(tls=tls)
    stack = start("gpu0", "gpu1", "io", REDIS_URL=group.url, REDIS_WAIT_REPLICAS=1, DELIVERY_LEASE_S=5)
    succeeded = lambda: counts(stack.store)["succeeded"]  # noqa: E731
    with ThreadPoolExecutor(4) as clients:
        first = list(clients.map(lambda number: accepted(stack, number), range(JOBS // 2)))
        wait_for(lambda: succeeded() >= ENDED_BEFORE, "the first jobs to end")
        if loss == "killed":
            group.primary.kill()
        else:
            group.primary.signal(signal.SIGSTOP)
        # A group that has lost a server has no replica: what waits for one is accepted when the lost server is back.
        later = clients.map(lambda number: accepted(stack, number), range(JOBS // 2, JOBS))
        wait_for(lambda: group.has_role(group.replica, "master"), "the failover")
        if loss == "killed":
            group.primary.start()
        else:
            group.primary.signal(signal.SIGCONT)
        wait_for(lambda: group.has_role(group.primary, "slave"), "the old primary to become a replica")
        ids = [*first, *later]
    assert len(set(ids)) == JOBS
    for job_id in ids:
        view = stack.wait(job_id)
        assert (view["state"], len(view["outputs"])) == ("succeeded", 1), view
    ends = [event.job_id for event in EventLog(stack.store).all() if event.fields["state"] in TERMINAL]
    assert sorted(ends) == sorted(ids)
    # The roles are changed once more, and everything goes on.
    group.replica.kill()
    wait_for(lambda: group.has_role(group.primary, "master"), "the second failover")
    group.replica.start()
    assert stack.wait(accepted(stack, JOBS))["state"] == "succeeded"
