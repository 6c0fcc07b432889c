"""A Redis that asks for a certificate, a user and a password, and lets that user do only what the documents list."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from jobs.errors import BadSetting
from jobs.settings import PROJECT_ROOT, Settings
from jobs.store.connecting.checks import check_connection
from stack import ports
from tests.support.harness import BIN, Stack, wait_for
from tests.support.redis_servers import RedisServer, certificates, client_tls, server_tls, serving

#: With all characters that mean something in an address.
PASSWORD = "p:a/s?s#w[o]r@d%41+&=,;"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the certificates."""
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_redis(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Yield the server."""
    page = PROJECT_ROOT / "docs" / "operating" / "redis.md"
    [rule] = re.findall(r"^user framemill .*$", page.read_text(), re.MULTILINE)
    options = {**server_tls(files), "user default on >admin ~* &*": "+@all", "appendonly": "yes"}
    client = {"password": "admin", **client_tls(files)}
    server = RedisServer(tmp_path_factory.mktemp("redis"), options, client=client, tls=True)
    with serving(server):
        server.client.execute_command("ACL", "SETUSER", *rule.replace(">PASSWORD", f">{PASSWORD}").split()[1:])
        yield server


def address(server: RedisServer, files: dict[str, Path], **changes: Any) -> str:
    """Return the address with all that the server asks for; a change of '' leaves a part out."""
    parts = {"password": PASSWORD, "ssl_ca_certs": files["ca.crt"], "ssl_certfile": files["client.crt"],
             "ssl_keyfile": files["client.key"], "host": "127.0.0.1", **changes}  # fmt: skip
    query = "&".join(f"{name}={quote(str(parts[name]))}" for name in parts if name.startswith("ssl_") and parts[name])
    return f"rediss://framemill:{quote(parts['password'], safe='')}@{parts['host']}:{server.port}/0?{query}"


def test_jobs_run_stop_and_are_followed(
    start: Callable[..., Stack], tls_redis: RedisServer, files: dict[str, Path]
) -> None:
    stack = start("gpu0", "io", REDIS_URL=address(tls_redis, files))
    port = ports.next_free("127.0.0.1", 20_000 + 43 * os.getpid() % 4_000)
    stack.run("flower", "celery", "-A", "tasks", "flower", "--address=127.0.0.1", f"--port={port}",
              FLOWER_UNAUTHENTICATED_API="1")  # fmt: skip

    def flower(path: str) -> Any:
        try:
            response = requests.get(f"http://127.0.0.1:{port}{path}", timeout=60)
        except requests.ConnectionError:
            return None
        return response.json() if response.ok else None

    assert stack.wait(stack.submit(steps=2))["state"] == "succeeded"
    running = stack.endless()
    events = requests.get(stack.url(f"/v1/jobs/{running}/events"), stream=True, timeout=60)
    lines = events.iter_lines()
    assert b"running" in next(line for line in lines if line.startswith(b"data:"))
    assert stack.cancel(running).ok
    assert any(b"cancelled" in line for line in lines)
    assert stack.wait(running)["state"] == "cancelled"

    def seen() -> bool:
        job_id = stack.submit(steps=1)
        stack.wait(job_id)
        return bool((flower(f"/api/task/info/{job_id}") or {}).get("state"))

    wait_for(seen, "Flower to see jobs")

    def lists_the_slot() -> bool:  # once Flower has asked the workers
        queues = (flower("/api/queues/length") or {}).get("active_queues", [])
        return "gpu0" in {queue["name"] for queue in queues}

    wait_for(lists_the_slot, "Flower to list the queue of the slot")
    code = "import sys; from tasks import app; print(app.AsyncResult(sys.argv[1]).get(timeout=60)['attempt'])"
    waiting = stack.submit(steps=20)
    environment = {**os.environ, **stack.environment}
    for command, expected in (
        (("celery", "-A", "tasks", "inspect", "ping"), "2 nodes online"),
        (("python", "-c", code, waiting), "1"),
    ):
        done = subprocess.run([BIN / command[0], *command[1:]], cwd=PROJECT_ROOT, env=environment, capture_output=True,
                              text=True, timeout=120)  # fmt: skip
        assert expected in done.stdout, done.stdout + done.stderr
    revoked = stack.endless()
    subprocess.run([BIN / "celery", "-A", "tasks", "control", "revoke", revoked], cwd=PROJECT_ROOT, env=environment,
                   capture_output=True, timeout=120)  # fmt: skip
    assert stack.wait(revoked)["state"] == "cancelled"
    for name in ("web", "gpu0", "io", "flower"):
        assert "insecure" not in stack.log(name)
        assert PASSWORD not in stack.log(name)
        assert quote(PASSWORD, safe="") not in stack.log(name)


def test_nothing_was_denied(tls_redis: RedisServer) -> None:
    denied = tls_redis.client.execute_command("ACL", "LOG")
    assert not denied, [(one["reason"], one["object"], one["client-info"]) for one in denied]


def test_what_is_wrong_with_tls_is_said_at_the_start(tls_redis: RedisServer, files: dict[str, Path]) -> None:
    def refused(**changes: Any) -> str:
        with pytest.raises(BadSetting) as caught:
            check_connection(Settings.of(redis_url=address(tls_redis, files, **changes)))
        return caught.value.message

    check_connection(Settings.of(redis_url=address(tls_redis, files)))
    check_connection(Settings.of(redis_url=address(tls_redis, files, ssl_ca_certs="", ssl_cert_reqs="none")))
    assert refused(ssl_ca_certs="").startswith("REDIS_URL: TLS fails: the certificate of the server is not valid: ")
    assert refused(ssl_ca_certs="/none.pem") == (
        "REDIS_URL: ssl_ca_certs /none.pem cannot be read: No such file or directory"
    )
    assert "certificate required" in refused(ssl_certfile="", ssl_keyfile="")
    assert "refused by Redis" in refused(password="wrong")
    plain = address(tls_redis, files).replace("rediss://", "redis://").partition("?")[0]
    check_connection(Settings.of(redis_url=plain))  # not an answer of Redis: it is waited for
