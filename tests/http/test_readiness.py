"""Readiness concerns this server: its store, its outputs, its workers. Clients cannot make it unready."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from typing import Any

import pytest

from app.extensions import of
from app.probes import readiness
from jobs.files.disks import DiskWatch
from jobs.store import keys
from tests.support.refusing_redis import REFUSALS
from tests.support.s3_server import S3Server
from tests.support.service import Service


@pytest.fixture(autouse=True)
def _fresh_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "RESULT_LASTS_S", 0.0)


def opened(service: Service) -> Service:
    """The service with a worker of each kind."""
    service.open()
    service.redis.zadd(keys.NODES, {"host": 2e9})
    return service


def state(service: Service) -> tuple[int, list[str]]:
    """Return status and reasons."""
    response = service.get("/readyz")
    return response.status_code, response.get_json()["missing"]


def test_workers_are_needed(services: Callable[..., Service]) -> None:
    service = services(MIN_FREE_DISK_BYTES=0)
    status, missing = state(service)
    assert status == 503
    assert [reason.partition(" is running")[0] for reason in missing] == ["no GPU worker", "no delivery worker"]
    opened(service)
    expected = {"status": "ready", "missing": [], "warnings": [], "slots": ["gpu0"], "delivery": ["host"]}
    assert service.json("/readyz") == expected


def test_a_service_of_one_slot_needs_that_slot(services: Callable[..., Service]) -> None:
    service = opened(services(SERVICE_SLOT="gpu1"))
    assert "celery -A tasks worker -Q gpu1" in state(service)[1][0]
    service.open("gpu1")
    assert state(service) == (200, [])


def test_a_job_for_a_model_without_a_worker_is_a_warning(services: Callable[..., Service]) -> None:
    service = services(MIN_FREE_DISK_BYTES=0)
    service.open("gpu0", "tiny-video")
    service.redis.zadd(keys.NODES, {"host": 2e9})
    service.submit()
    ready = service.json("/readyz")
    assert ready["status"] == "ready"
    assert ready["warnings"] == ["jobs wait for model tiny-image, which no running worker has"]


@pytest.mark.parametrize("refuse", REFUSALS, ids=lambda refuse: refuse.__name__)
def test_a_store_that_refuses_writes_is_not_ready(services: Callable[..., Service], refuse: Any) -> None:
    service = opened(services())
    with refuse(service.redis):
        status, (reason,) = state(service)
    assert (status, reason.partition(" (")[0]) == (503, f"the job store refuses writes: {REFUSALS[refuse]}")
    assert state(service) == (200, [])


def test_outputs_that_cannot_be_written_are_named_without_their_path(services: Callable[..., Service]) -> None:
    service = opened(services())
    folder = service.settings.paths.objects_dir
    shutil.rmtree(folder, ignore_errors=True)
    folder.touch()
    try:
        status, (reason,) = state(service)
    finally:
        folder.unlink()
    assert status == 503
    assert reason.startswith("the folder of outputs cannot be written: ")
    assert str(folder) not in reason
    assert state(service) == (200, [])
    assert list(folder.iterdir()) == []


def test_a_missing_bucket_and_a_dead_endpoint_are_named(
    services: Callable[..., Service], s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = lambda **options: s3.store_of(**options).check  # noqa: E731
    assert readiness.Check(store(), "it").problem() == ""
    missing = readiness.Check(store(S3_BUCKET="missing"), "it").problem()
    assert missing == "S3 refused: the bucket does not exist (NoSuchBucket)"
    dead = readiness.Check(store(S3_ENDPOINT_URL="http://127.0.0.1:9"), "it").problem()
    assert dead == "S3 cannot be used: EndpointConnectionError"


def test_deliveries_that_wait_for_the_object_store_are_named(services: Callable[..., Service]) -> None:
    service = opened(services())
    service.redis.hset(keys.AWAY, "host", int(service.redis.time()[0] * 1000))
    assert state(service) == (503, ["deliveries of host wait for the object store"])
    service.redis.hset(keys.AWAY_WHY, "host", "the object store: S3 refused: SlowDown")
    assert state(service) == (503, ["deliveries of host wait for the object store: S3 refused: SlowDown"])


def test_a_check_that_hangs_delays_nobody_and_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "PATIENCE_S", 0.01)
    go_on, runs = threading.Event(), []

    def hang() -> None:
        runs.append(1)
        go_on.wait(30)

    check = readiness.Check(hang, "the object store")
    assert [check.problem() for _ in range(3)] == ["the object store does not respond"] * 3
    assert len(runs) == 1
    go_on.set()
    monkeypatch.setattr(readiness, "PATIENCE_S", 30)
    assert check.problem() == ""


def test_a_check_that_is_slow_for_a_moment_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()
    may_end.set()
    check = readiness.Check(lambda: _wait(may_end), "the object store")
    monkeypatch.setattr(readiness, "PATIENCE_S", 30.0)
    assert check.problem() == ""
    may_end.clear()
    monkeypatch.setattr(readiness, "PATIENCE_S", 0.01)
    assert check.problem() == ""  # it succeeded a moment ago
    monkeypatch.setattr(readiness, "SLOW_S", 0.0)
    assert check.problem() == "the object store does not respond"
    may_end.set()


def _wait(event: threading.Event) -> None:
    event.wait(30)


def test_clients_that_use_every_connection_to_redis_are_a_warning(services: Callable[..., Service]) -> None:
    service = opened(services(REDIS_CONNECTIONS=1, REDIS_CONNECTION_WAIT_S=0.05))
    store = of(service.app).store
    assert state(service) == (200, [])
    taken = store.client.connection_pool.get_connection()
    try:
        assert state(service) == (200, [])
        busy = service.json("/readyz")
        assert any("too many requests at once" in warning for warning in busy["warnings"])
        assert (busy["slots"], busy["delivery"]) == (["gpu0"], ["host"])
        assert service.get("/v1/queue").status_code == 503
    finally:
        store.client.connection_pool.release(taken)
    assert state(service) == (200, [])


def test_no_request_of_a_client_makes_the_server_unready(services: Callable[..., Service]) -> None:
    """A full queue, a model without a worker, broken files, unknown routes: each is refused, and is no reason."""
    service = services(MAX_WAITING=3)
    service.open("gpu0", "tiny-image")
    service.redis.zadd(keys.NODES, {"host": 2e9})
    service.submit(model="tiny-video", frames=9)
    statuses = set()
    for _ in range(6):
        statuses.add(service.post("/v1/jobs", json={"model": "tiny-image", "prompt": "x"}).status_code)
        broken = {"model": "tiny-image", "prompt": "x", "kind": "img2img", "image": "data:image/png;base64,AAAA"}
        statuses.add(service.post("/v1/jobs", json=broken).status_code)
        statuses.add(service.post("/v1/jobs", data=b"{" * 5000, content_type="application/json").status_code)
        statuses.add(service.get("/nowhere").status_code)
        assert state(service) == (200, [])
    assert statuses >= {201, 404, 422}
    assert 503 in statuses or 429 in statuses
    service.start()
    service.fail()
    assert state(service) == (200, [])


def test_results_are_remembered_however_often_anybody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "RESULT_LASTS_S", 60.0)
    runs: list[int] = []
    check = readiness.Check(lambda: runs.append(1), "the object store")
    assert [check.problem() for _ in range(50)] == [""] * 50
    assert len(runs) == 1


def test_a_disk_that_is_almost_full_is_warned_of_and_measured(services: Callable[..., Service]) -> None:
    service = opened(services(MIN_FREE_DISK_BYTES=2**60))
    ready = service.json("/readyz")
    assert ready["status"] == "ready"
    assert any("MIN_FREE_DISK_BYTES is" in warning for warning in ready["warnings"])
    named = " ".join(ready["warnings"])
    assert all(name in named for name in ("outputs", "spool", "redis"))
    metrics = service.get("/metrics").text
    for name in ("outputs", "spool", "redis"):
        assert f'framemill_disk_free_bytes{{holds="{name}"}}' in metrics


def test_a_worker_logs_once_that_space_is_short(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    watch = DiskWatch(service.settings.replace(min_free_disk_bytes=2**60))
    watch.check()
    watch.check()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["little space is left"]
