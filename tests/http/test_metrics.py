"""``/metrics``: valid for Prometheus, complete, with few labels, and right about the queue."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from app.extensions import of
from jobs.store import keys
from jobs.store.measuring.families import COUNTERS, HISTOGRAMS
from tests.support.prometheus import labelled, promtool, samples
from tests.support.service import Service


def shown(service: Service) -> str:
    """Return the metrics after everything that this process measured was sent."""
    for store in (service.store, of(service.app).store):
        while store.measures.publish():
            pass
    return service.get("/metrics").text


def test_promtool_finds_nothing_to_complain_about(service: Service) -> None:
    service.open()
    service.store.set_facts("gpu0", "host:1:1", {"device_facts": '{"memory_used_bytes":1,"utilization_percent":3}'})
    for _ in range(2):
        service.submit()
        service.finish()
    service.store.measures.observe(HISTOGRAMS[0], 'a "quoted" \\ name\nof two lines', seconds=1)
    text = shown(service)
    assert "framemill_run_seconds_bucket" in text
    assert promtool("check", "metrics", stdin=text) == ""


def test_every_family_has_one_type_and_one_help_before_its_samples(service: Service) -> None:
    text = shown(service)
    names = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    assert len(dict(names)) == len(names)
    assert [name for name, _ in names] == re.findall(r"^# HELP (\w+) \S", text, re.MULTILINE)
    assert all(name.startswith("framemill_") for name, _ in names)
    assert [name for name, kind in names if (kind == "counter") != name.endswith("_total")] == []
    assert [name for name, kind in names if kind == "histogram" and not name.endswith("_seconds")] == []
    for family in (*HISTOGRAMS, *COUNTERS):
        assert f"framemill_{family.name}" in dict(names)


def test_a_histogram_counts_up_to_its_count(service: Service) -> None:
    for seconds in (0.2, 0.2, 40.0, 1e6):
        service.store.measures.observe(HISTOGRAMS[0], "tiny-image", seconds=seconds)
    found = samples(shown(service))
    buckets = {dict(labels)["le"]: value for labels, value in found["framemill_wait_seconds_bucket"].items()}
    assert list(buckets) == sorted(buckets, key=float)
    assert list(buckets.values()) == sorted(buckets.values())
    assert (buckets["0.1"], buckets["0.25"], buckets["60"], buckets["+Inf"]) == (0, 2, 3, 4)
    of_model = labelled(model="tiny-image")
    assert found["framemill_wait_seconds_count"][of_model] == 4
    assert found["framemill_wait_seconds_sum"][of_model] == pytest.approx(1_000_040.4)


def test_requests_are_counted_by_the_rule_of_their_route(service: Service) -> None:
    job_id = service.submit()
    for path in (f"/v1/jobs/{job_id}", "/v1/jobs/unknown-1", "/v1/jobs/unknown-2", "/nowhere/a", "/nowhere/b"):
        service.get(path)
    service.client.open("/healthz", method="BREW")
    text = shown(service)
    found = samples(text)["framemill_http_request_seconds_count"]
    rule = "/v1/jobs/<job_id>"
    assert found[labelled(method="GET", route=rule, status="2xx")] == 1
    assert found[labelled(method="GET", route=rule, status="4xx")] == 2
    assert found[labelled(method="POST", route="/v1/jobs", status="2xx")] == 1
    assert found[labelled(method="", route="", status="4xx")] == 3
    assert "unknown-1" not in text
    assert "BREW" not in text
    assert job_id not in text


def test_the_backlog_is_that_of_each_slot_that_can_run_the_model(services: Callable[..., Service]) -> None:
    service = services()
    for slot in ("gpu0", "gpu1", "gpu2"):
        service.open(slot, "tiny-image")
    service.store.pause_slots("gpu2")
    service.redis.hset(keys.RATES, mapping={"tiny-image": 10.0, "tiny-video": 2.0})
    for _ in range(5):  # two of them start
        service.submit()
    service.submit(model="tiny-video", frames=9)
    work = {name: float(text) for name, text in service.redis.hgetall(keys.WORK).items()}
    backlog = samples(shown(service))["framemill_backlog_seconds"]
    assert backlog[labelled(model="tiny-image")] == pytest.approx(work["tiny-image"] * 10.0 / 2, abs=0.001)
    assert backlog[labelled(model="tiny-video")] == pytest.approx(work["tiny-video"] * 2.0, abs=0.001)


def test_the_backlog_of_an_idle_service_is_nought_for_every_model(service: Service) -> None:
    backlog = samples(shown(service))["framemill_backlog_seconds"]
    assert backlog == dict.fromkeys((labelled(model=name) for name in of(service.app).models.names()), 0)


def test_a_job_of_an_unmeasured_model_counts_a_second(service: Service) -> None:
    for _ in range(4):
        service.submit()
    found, model = samples(shown(service)), labelled(model="tiny-image")
    assert found["framemill_backlog_seconds"][model] == found["framemill_waiting_jobs"][model] >= 3


def test_labels_contain_no_prompt_and_no_key(service: Service) -> None:
    service.open()
    service.submit(prompt="a very secret prompt")
    service.finish()
    text = shown(service)
    labels = {name for labels in re.findall(r"\{(.*)\}", text) for name in re.findall(r'(\w+)="', labels)}
    assert labels == {"holds", "le", "method", "model", "operation", "outcome", "route", "slot", "state", "status"} | (
        labels & {"place"}
    )
    assert "secret" not in text


def test_measurements_cost_a_request_no_call_of_redis(service: Service) -> None:
    service.get("/healthz")
    before = _commands(service)
    for _ in range(20):
        service.get("/healthz")
    assert _commands(service) - before <= 1  # the look at the statistics


def _commands(service: Service) -> int:
    stats: dict[str, Any] = service.redis.info("stats")
    return int(stats["total_commands_processed"])
