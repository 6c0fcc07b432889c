"""What a process says about a Redis that would lose jobs, or cannot run the scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import BadSetting
from jobs.settings import Settings
from jobs.store.connecting.checks import check_connection
from stack import checks
from tests.support.redis_servers import RedisServer, free_port, serving

Serve = Callable[..., Settings]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """``serve(OPTIONS)``: start a server with these options; return settings with its address."""
    servers: list[RedisServer] = []

    def started(options: dict[str, Any], **kind: Any) -> Settings:
        server = RedisServer(tmp_path / str(len(servers)), options, **kind).start()
        servers.append(server)
        return Settings.of(redis_url=f"redis://127.0.0.1:{server.port}/0", data_dir=tmp_path)

    yield started
    for server in servers:
        server.kill()


def refused(settings: Settings) -> str:
    with pytest.raises(BadSetting) as caught:
        check_connection(settings)
    return caught.value.message


def test_a_server_as_it_should_be_needs_no_words(serve: Serve) -> None:
    assert check_connection(serve({"appendonly": "yes", "maxmemory": "100mb"})) == []


def test_a_server_that_keeps_nothing_is_warned_of(serve: Serve) -> None:
    settings = serve({})
    assert check_connection(settings) == ["Redis loses jobs when it is restarted: set appendonly to yes"]
    found = [finding for finding in checks.findings(settings) if finding.name == "data"]
    assert [(finding.state, finding.text) for finding in found] == [("note", check_connection(settings)[0])]


def test_a_server_that_evicts_is_refused_if_its_memory_has_a_limit(serve: Serve) -> None:
    policy = {"appendonly": "yes", "maxmemory-policy": "volatile-lru"}
    sentence = "Redis removes jobs when its memory is full: set maxmemory-policy to noeviction (it is volatile-lru)"
    assert check_connection(serve(policy)) == [sentence]
    assert refused(serve({**policy, "maxmemory": "100mb"})) == f"REDIS_URL: {sentence}"


def test_a_replica_is_warned_of(serve: Serve) -> None:
    settings = serve({"appendonly": "yes", "replicaof": f"127.0.0.1 {free_port()}", "replica-serve-stale-data": "yes"})
    [note] = check_connection(settings)
    assert note == "REDIS_URL names a replica, which refuses writes until it is the primary"


def test_a_cluster_and_a_sentinel_are_refused(serve: Serve) -> None:
    assert "runs as a cluster" in refused(serve({"cluster-enabled": "yes"}))
    settings = serve({"sentinel monitor jobs": f"127.0.0.1 {free_port()} 1"}, sentinel=True)
    assert refused(settings) == "REDIS_URL names a Sentinel as if it were the server: begin it with sentinel://"
    with_service = settings.redis.url.replace("redis://", "sentinel://")
    check_connection(settings.replace(redis_url=f"{with_service}?service=jobs"))  # its primary may be starting
    assert refused(settings.replace(redis_url=f"{with_service}?service=mymaster")) == (
        "REDIS_URL: the Sentinels know no service mymaster, but jobs"
    )


def test_a_sentinel_that_refuses_the_password_is_named(serve: Serve) -> None:
    options = {"sentinel monitor jobs": f"127.0.0.1 {free_port()} 1", "requirepass": "right"}
    url = serve(options, sentinel=True, client={"password": "right"}).redis.url.replace("redis://", "sentinel://")
    for password in ("", "&sentinel_password=wrong"):
        message = refused(Settings.of(redis_url=f"{url}?service=jobs{password}"))
        assert message.startswith("REDIS_URL: a Sentinel refuses sentinel_password: ")


def test_a_user_that_may_not_ask_is_no_obstacle(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, {"user anna on >right ~* &*": "+@all -info"})
    with serving(server):
        settings = Settings.of(redis_url=f"redis://anna:right@127.0.0.1:{server.port}/0")
        assert check_connection(settings) == ["Redis cannot be checked, because the user of REDIS_URL may not use INFO"]
