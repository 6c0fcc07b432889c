"""Traces of real jobs, as a collector receives them from a complete stack, and jobs whose collector is away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from opentelemetry.sdk.trace import TracerProvider

import framemill
from jobs.settings import PROJECT_ROOT
from tests.support import drawn_models
from tests.support.collector import Collector, Received, collecting
from tests.support.harness import Stack, wait_for

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
PROMPT = "a private wish"
#: Spans are sent at once; a worker over HTTP or a killed process leaves the rest to others soon.
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100", "MAX_ATTEMPTS": 2}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Stack]:
    models_file = drawn_models.write(tmp_path_factory.mktemp("models"))
    environment: dict[str, Any] = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **SOON}
    with drawn_models.stack_in_new_folder(models_file, "gpu0", "io", **environment) as stack:
        yield stack


def submit(stack: Stack, headers: dict[str, str] | None = None, **fields: Any) -> str:
    body = {"model": "tiny-image", "prompt": PROMPT, **fields}
    response = requests.post(stack.url("/v1/jobs"), json=body, headers=headers, timeout=90)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def spans_of(collector: Collector, job_id: str, *names: str) -> list[Received]:
    """Wait until the collector has the spans of a job, by their names, and return them in the order of their starts."""
    found: list[Received] = []

    def complete() -> bool:
        found[:] = collector.of_job(job_id)
        return sorted(span.name for span in found) == sorted(names)

    try:
        wait_for(complete, "the spans")
    except AssertionError:
        raise AssertionError([(span.name, span.attributes) for span in found]) from None
    return found


def test_a_job_is_one_trace_that_continues_its_callers(stack: Stack, collector: Collector) -> None:
    job_id = submit(stack, {"traceparent": TRACEPARENT}, steps=5)
    assert stack.wait(job_id)["state"] == "succeeded"
    spans = spans_of(collector, job_id, "POST /v1/jobs", "queued", "run", "deliver")
    request, queued, run, deliver = (
        next(span for span in spans if span.name == name) for name in ("POST /v1/jobs", "queued", "run", "deliver")
    )
    assert {span.trace_id for span in spans} == {TRACE}
    assert request.parent_id == CALLER
    assert {span.parent_id for span in (queued, run, deliver)} == {request.span_id}
    assert queued.start_ns <= queued.end_ns == run.start_ns <= run.end_ns <= deliver.end_ns
    assert request.attributes["http.response.status_code"] == 201
    assert request.attributes["http.route"] == "/v1/jobs"
    about = {"framemill.job_id": job_id, "framemill.model": "tiny-image", "framemill.attempt": 1, "framemill.key": "-"}
    for span in (queued, run, deliver):
        assert about.items() <= span.attributes.items()
    assert run.attributes["framemill.slot"] == "gpu0"
    assert run.attributes["framemill.outcome"] == "computed"
    assert run.events.count("step") == 5
    assert run.events.index("denoising") < run.events.index("step")
    assert (deliver.attributes["framemill.outcome"], deliver.attributes["framemill.outputs"]) == ("delivered", 1)
    assert deliver.attributes["framemill.bytes"] > 0
    assert {span.service for span in spans} == {"framemill"}
    assert not any(span.is_error for span in spans)
    assert PROMPT not in repr(spans)


def test_a_request_without_a_trace_begins_one_and_its_steps_are_bounded(stack: Stack, collector: Collector) -> None:
    job_id = submit(stack, {"traceparent": "00-malformed"}, steps=1000)
    assert stack.wait(job_id)["state"] == "succeeded"
    spans = spans_of(collector, job_id, "POST /v1/jobs", "queued", "run", "deliver")
    assert len({span.trace_id for span in spans}) == 1
    request, run = (next(span for span in spans if span.name == name) for name in ("POST /v1/jobs", "run"))
    assert request.parent_id == ""
    assert 30 < run.events.count("step") <= 64


def test_an_unsampled_trace_has_no_spans(stack: Stack, collector: Collector) -> None:
    unsampled = submit(stack, {"traceparent": TRACEPARENT.replace("-01", "-00")})
    stack.wait(unsampled)
    job_id = submit(stack)
    stack.wait(job_id)
    spans_of(collector, job_id, "POST /v1/jobs", "queued", "run", "deliver")
    assert not collector.of_job(unsampled)


def test_the_second_attempt_after_a_killed_worker_is_a_second_run(stack: Stack, collector: Collector) -> None:
    job_id = submit(stack, steps=400)
    stack.wait_until(job_id, lambda view: view["progress"]["step"] > 0, "its first step")
    os.kill(stack.child("gpu0"), signal.SIGKILL)
    assert stack.wait(job_id)["state"] == "succeeded"
    spans = spans_of(collector, job_id, "POST /v1/jobs", "queued", "run", "queued", "run", "deliver")
    request = spans[0]
    assert request.name == "POST /v1/jobs"
    assert {span.trace_id for span in spans} == {request.trace_id}
    assert {span.parent_id for span in spans[1:]} == {request.span_id}
    lost, second = (span for span in spans if span.name == "run")
    assert (lost.attributes["framemill.attempt"], lost.attributes["framemill.outcome"]) == (1, "lost")
    assert (lost.is_error, lost.message, lost.attributes["error.type"]) == (True, "worker_lost", "worker_lost")
    assert (second.attributes["framemill.attempt"], second.is_error) == (2, False)
    first_wait, second_wait = (span for span in spans if span.name == "queued")
    assert first_wait.end_ns == lost.start_ns < lost.end_ns <= second_wait.start_ns <= second_wait.end_ns
    assert second_wait.end_ns == second.start_ns


def test_a_job_whose_workers_all_died_has_the_runs_of_both(stack: Stack, collector: Collector) -> None:
    job_id = stack.endless()
    os.kill(stack.child("gpu0"), signal.SIGKILL)
    stack.wait_until(job_id, lambda view: view["attempt"] == 2 and view["progress"]["step"] > 0, "the second run")
    os.kill(stack.child("gpu0"), signal.SIGKILL)
    assert stack.wait(job_id)["state"] == "failed"
    spans = spans_of(collector, job_id, "POST /v1/jobs", "queued", "run", "queued", "run")
    runs = [span for span in spans if span.name == "run"]
    assert [(run.attributes["framemill.attempt"], run.message) for run in runs] == [
        (1, "worker_lost"), (2, "worker_lost"),
    ]  # fmt: skip


def test_stopped_and_failed_jobs_end_their_traces(stack: Stack, collector: Collector) -> None:
    running = stack.endless()
    waiting = submit(stack)
    stack.cancel(waiting)
    stack.cancel(running)
    spans = spans_of(collector, waiting, "POST /v1/jobs", "queued", "POST /v1/jobs/<job_id>/cancel")
    queued = next(span for span in spans if span.name == "queued")
    assert queued.attributes["framemill.outcome"] == "cancelled"
    spans = spans_of(collector, running, "POST /v1/jobs", "queued", "run", "POST /v1/jobs/<job_id>/cancel")
    run = next(span for span in spans if span.name == "run")
    assert run.attributes["framemill.outcome"] == "cancelled"
    failed = submit(stack, steps=100_000, max_run_s=0.3)
    assert stack.wait(failed)["state"] == "failed"
    code = stack.status(failed)["error"]["code"]
    run = next(span for span in spans_of(collector, failed, "POST /v1/jobs", "queued", "run") if span.name == "run")
    assert (run.is_error, run.message) == (True, code)


def test_the_client_continues_the_trace_of_its_program(stack: Stack, collector: Collector) -> None:
    tracer = TracerProvider().get_tracer("a program")
    with framemill.Client(stack.url("")) as client, tracer.start_as_current_span("work") as span:
        job = client.submit(model="tiny-image", prompt=PROMPT)
        context = span.get_span_context()
    request = spans_of(collector, job.id, "POST /v1/jobs", "queued", "run", "deliver")[0]
    assert (request.trace_id, request.parent_id) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")


def test_polls_are_no_traces(stack: Stack, collector: Collector) -> None:
    for path in ("/healthz", "/v1/queue"):
        assert stack.get(path).status_code == 200
    job_id = submit(stack)
    stack.wait(job_id)
    spans_of(collector, job_id, "POST /v1/jobs", "queued", "run", "deliver")
    assert not [span for span in collector.spans if span.name.startswith("GET ")]


@pytest.mark.parametrize("is_down", [True, False], ids=["down", "hanging"])
def test_an_endpoint_that_is_away_costs_spans_only(start: Callable[..., Stack], is_down: bool) -> None:
    with collecting() as collector:
        collector.goes_on.clear()
        endpoint = "http://127.0.0.1:9" if is_down else collector.url
        stack = start("gpu0", "io", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="100")
        for _ in range(5):
            assert stack.wait(submit(stack))["state"] == "succeeded"
        if is_down:
            wait_for(lambda: "traces cannot be sent" in stack.log("web"), "a warning")
            assert stack.log("web").count("traces cannot be sent") == 1
        else:
            wait_for(lambda: collector.requests, "a request of spans")
            process = stack.processes["io"]
            process.terminate()
            assert process.wait(150) == 0
            collector.goes_on.set()
        assert "Traceback" not in stack.log("web") + stack.log("gpu0") + stack.log("io")


def test_no_sdk_or_exporter_of_traces_is_imported_without_an_endpoint() -> None:
    program = """
import sys
from app.factory import create_app
from jobs.process import tracing
from jobs.settings import Settings
import app.server.worker, framemill, tasks.dispatch, workers.delivery.task, workers.gpu.run, workers.parent.boot

assert not tracing.is_on()
tracing.flush()
# redis-py imports what it needs for its own metrics where it is installed.
ours = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.proto")
assert not [name for name in sys.modules if name.startswith(ours)]
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment["PYTHONPATH"] = f"{PROJECT_ROOT / 'src'}:{PROJECT_ROOT}"
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=PROJECT_ROOT, check=True, timeout=120)
