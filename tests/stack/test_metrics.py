"""The metrics of a running stack: everything that the alerts and the dashboard ask for is there."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from jobs.callers import Caller, Role
from jobs.store import keys
from jobs.store.credentials.api_keys import KeyRing
from jobs.store.monitoring import figures
from tests.support.harness import Stack, running, wait_for
from tests.support.prometheus import (
    Prometheus,
    Samples,
    alerts,
    board_expressions,
    labelled,
    metrics_of,
    program,
    promtool,
    samples,
)
from tests.support.receiver import receiving
from tests.support.webhook_calls import OPTIONS, settled

#: Facts that a GPU reports, for a slot without a worker: there may be no GPU here.
GPU = {"name": "NVIDIA H200", "memory_total_bytes": 2**37, "memory_used_bytes": 2**36, "utilization_percent": 40,
       "temperature_c": 50}  # fmt: skip


@pytest.fixture(scope="module")
def monitored(models_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, str]]:
    """A stack that has had jobs of every kind, and the secret of a key for its metrics."""
    folder = tmp_path_factory.mktemp("m")
    with running(folder, models_file, "gpu0", "io", **OPTIONS) as stack, receiving() as receiver:
        receiver.answers[:] = [500]
        told = stack.submit(steps=2, webhook_url=receiver.url)
        assert stack.wait(told)["state"] == "succeeded"
        settled(stack, told, "delivered", tries=2)
        assert stack.wait(stack.submit(model="broken"))["state"] == "failed"
        stack.cancel(stack.endless())
        lost = stack.endless()
        wait_for(lambda: _waits(stack.get("/metrics").text) == 3, "what a process has measured that is killed next")
        os.kill(stack.child("gpu0"), signal.SIGKILL)
        stack.wait_until(lost, lambda view: view["attempt"] == 2 and view["progress"]["step"] > 0, "its second run")
        stack.cancel(lost)
        assert stack.wait(stack.submit(steps=2))["state"] == "succeeded"
        facts = {"models": json.dumps(["tiny-image"]), "node": "other", "device": "cuda:0",
                 "blocked": "a test", "device_facts": json.dumps(GPU)}  # fmt: skip
        assert stack.store.register("other.gpu0", "other:1:1", facts) is None
        stack.store.client.zadd(keys.LEASES, {"other.gpu0": 10**15})  # its worker does not exist
        ring = KeyRing(stack.store)
        ring.create(Caller(key_id="ops", role=Role.ADMIN))
        yield stack, ring.create(Caller(key_id="prometheus", role=Role.METRICS))


def _waits(text: str) -> float:
    """Return how many waits were measured for the model."""
    return samples(text)["framemill_wait_seconds_count"].get(labelled(model="tiny-image"), 0)


def text_of(stack: Stack, secret: str) -> str:
    response = stack.get("/metrics", headers={"Authorization": f"Bearer {secret}"})
    assert response.status_code == 200, response.text
    return response.text


def test_what_happened_is_counted(monitored: tuple[Stack, str]) -> None:
    stack, secret = monitored
    model = labelled(model="tiny-image")
    ends = {"computed": 2, "cancelled": 2, "failed": 1, "lost": 1, "handed_back": 0, "interrupted": 0}
    expected = {
        "attempts_total": {labelled(outcome=outcome): number for outcome, number in ends.items()},
        "run_seconds_count": {model: 2},
        "delivery_seconds_count": {model: 2},
        "model_load_seconds_count": {model: 2},  # again after the child was killed
        "cancel_seconds_count": {frozenset(): 2},
        "webhook_seconds_count": {labelled(outcome="delivered"): 1, labelled(outcome="retried"): 1},
    }
    found: dict[str, Samples] = {}

    def counted() -> bool:
        found.update(samples(text_of(stack, secret)))
        return all(found.get(f"framemill_{name}") == values for name, values in expected.items())

    try:
        wait_for(counted, "the measurements of all processes")
    except AssertionError as exc:
        raise AssertionError(f"{exc}: {[found.get(f'framemill_{name}') for name in expected]}") from None
    assert found["framemill_wait_seconds_count"] == {model: 4, labelled(model="broken"): 1}
    assert found["framemill_step_seconds_count"][model] > 4
    assert found["framemill_object_store_seconds_count"][labelled(operation="put", outcome="ok")] >= 4
    submitted = labelled(method="POST", route="/v1/jobs", status="2xx")
    assert found["framemill_http_request_seconds_count"][submitted] == 5
    assert promtool("check", "metrics", stdin=text_of(stack, secret)) == ""


def test_every_metric_of_alerts_and_board_is_exported(monitored: tuple[Stack, str]) -> None:
    expressions = [*board_expressions(), *(alert["expr"] for alert in alerts())]
    wanted = set().union(*map(metrics_of, expressions))
    assert len(wanted) > 25

    def missing() -> set[str]:
        return wanted - samples(text_of(*monitored)).keys()

    try:
        wait_for(lambda: not missing(), "the measurements of all processes", 60)
    except AssertionError as exc:
        raise AssertionError(f"{exc}: {missing()}") from None


def test_a_real_prometheus_shows_every_panel(monitored: tuple[Stack, str], tmp_path: Path) -> None:
    stack, secret = monitored
    program("prometheus")
    with Prometheus(tmp_path, f"127.0.0.1:{stack.port}", secret) as prometheus:
        wait_for(lambda: prometheus.query('up{job="framemill"} == 1'), "the first scrape")
        stack.kill("io", signal.SIGTERM)
        wait_for(lambda: stack.get("/readyz").status_code == 503, "an error of the server")
        for expression in board_expressions():
            wait_for(partial(prometheus.query, expression), f"data of {expression}")
        wait_for(lambda: "FramemillSlotWaits" in prometheus.alerts(), "an alert of the blocked slot")
        assert "FramemillDown" not in prometheus.alerts()


def test_a_process_that_ends_sends_what_it_has_measured(start: Callable[..., Stack]) -> None:
    stack = start("gpu0", "io")
    assert stack.wait(stack.submit(steps=1))["state"] == "succeeded"
    for name in ("gpu0", "io", "web"):
        stack.kill(name, signal.SIGTERM)
    sent = {(one.family, *one.labels) for one in figures.read(stack.store).series}
    assert ("run_seconds", "tiny-image") in sent  # of the child of gpu0
    assert ("delivery_seconds", "tiny-image") in sent  # of the child of io
    assert ("http_request_seconds", "POST", "/v1/jobs", "2xx") in sent
