"""Model commands, models loaded at start, pins, too little memory and a lost device, on a running service."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from framemill.cli import main
from jobs.store import keys
from tests.support.harness import Stack, running, wait_for

TABLE = """
[{name}]
source = "{source}"
kinds = ["text2img"]
defaults = {{ steps = 2, width = 32, height = 32 }}
limits = {{ steps = [1, 100000], width = [16, 10000000], height = [16, 10000000] }}
{more}
"""


def stack_of(models: dict[str, str], models_file: Path, **environment: Any) -> Any:
    """Yield a stack with models of one size, each with further keys of the models file."""
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    file, source = folder / "models.toml", models_file.parent / "tiny-image"
    tables = (TABLE.format(name=n, source=source, more=more) for n, more in models.items())
    file.write_text("".join(tables))
    environment["FAULTS_FILE"] = folder / "faults.json"
    return running(folder, file, "gpu0", "io", **environment)


@pytest.fixture(scope="module")
def size(models_file: Path) -> int:
    """Return the approximate bytes of one model's weights."""
    return sum(path.stat().st_size for path in (models_file.parent / "tiny-image").glob("*/*.safetensors"))


@pytest.fixture(scope="module")
def roomy(models_file: Path) -> Iterator[Stack]:
    """A stack with memory for both models a and b; n has no weights, and no worker runs elsewhere."""
    models = {"a": "", "b": "", "n": 'executor = "noop"', "elsewhere": 'slots = ["gpu7"]'}
    with stack_of(models, models_file, PROGRESS_INTERVAL_MS=1, MAX_ATTEMPTS=2) as stack:
        yield stack
    shutil.rmtree(stack.folder, ignore_errors=True)


def slot(stack: Stack) -> dict[str, Any]:
    return dict(stack.fleet()["slots"][0])


def places(stack: Stack) -> dict[str, str]:
    return {held["model"]: held["place"] for held in slot(stack)["held"]}


def order(stack: Stack, model: str, what: str, **body: Any) -> requests.Response:
    return requests.post(stack.url(f"/v1/models/{model}/{what}"), json=body, timeout=10)


def carried_out(stack: Stack, model: str, what: str, **body: Any) -> dict[str, Any]:
    """Send a model command that needs a job; return the job when it has finished."""
    answer = order(stack, model, what, **body)
    assert answer.status_code == 202, answer.text
    return stack.wait(answer.json()["slots"][0]["job_id"])


def have(stack: Stack, *models: str) -> None:
    """Make exactly these models resident."""
    for model in {"a", "b"} - set(models):
        if order(stack, model, "unload").status_code == 202:
            wait_for(lambda gone=model: gone not in places(stack), f"{model} to go")
    for model in models:
        use(stack, model)


def use(stack: Stack, model: str) -> None:
    view = stack.wait(stack.submit(model=model))
    assert view["state"] == "succeeded", view


def arm(stack: Stack, model: str, fault: str, times: int) -> Path:
    """Inject a fault into the model's second step, this many times."""
    path = stack.folder / "faults.json"
    path.write_text(json.dumps({"model": model, "fault": fault, "step": 2, "times": times}))
    return path


def left(path: Path) -> int:
    return int(json.loads(path.read_text())["times"])


# ---- commands


def test_load_check_and_unload(roomy: Stack, size: int) -> None:
    have(roomy)
    view = carried_out(roomy, "a", "load")
    assert (view["state"], view["command"], view["outputs"], view["slot"]) == ("succeeded", "load", [], "gpu0")
    assert view["report"]["read_from_disk"] is True
    assert view["report"]["bytes"] == pytest.approx(size, rel=0.2)  # the files contain headers as well
    assert (places(roomy), slot(roomy)["resident"]) == ({"a": "device"}, ["a"])

    again = order(roomy, "a", "load")
    assert (again.status_code, again.json()["slots"]) == (200, [{"slot": "gpu0", "will": "nothing: it is in memory"}])

    view = carried_out(roomy, "b", "check", slot="gpu0")
    report = view["report"]
    assert (view["state"], report["width"], report["steps"], report["kind"]) == ("succeeded", 32, 1, "text2img"), view

    models = {model["name"]: model for model in roomy.get("/v1/models").json()["models"]}
    assert models["b"]["memory"] == [{"slot": "gpu0", "place": "device", "bytes": report["bytes"]}]
    assert carried_out(roomy, "a", "unload")["report"] == {"unloaded": True}
    assert (places(roomy), slot(roomy)["resident"]) == ({"b": "device"}, ["b"])
    # Commands do not change the measured speed of the model.
    assert not [name for name in roomy.store.client.hkeys(keys.RATES) if name.startswith("b")]


def test_a_command_waits_for_the_running_job_and_goes_before_the_waiting(roomy: Stack) -> None:
    have(roomy, "a")
    running_job = roomy.endless(model="a")
    waiting = roomy.submit(model="a")
    load = order(roomy, "b", "load").json()["slots"][0]
    unload = order(roomy, "a", "unload").json()["slots"][0]["job_id"]
    assert (load["position"], roomy.status(load["job_id"])["state"]) == (1, "queued")
    assert roomy.cancel(unload).json()["state"] == "cancelled"
    roomy.cancel(running_job)
    last, done = roomy.wait(waiting), roomy.status(load["job_id"])
    assert done["state"] == "succeeded"
    assert done["computed_at"] <= last["started_at"]
    assert sorted(places(roomy)) == ["a", "b"]  # the cancelled unload did nothing


def test_a_command_outlives_the_process_that_was_to_do_it(roomy: Stack) -> None:
    blocker = roomy.endless(model="a")
    check = order(roomy, "a", "check").json()["slots"][0]["job_id"]
    os.kill(roomy.child("gpu0"), signal.SIGKILL)
    assert roomy.wait(check)["state"] == "succeeded"  # before the requeued job, because it is pinned to this slot
    roomy.cancel(blocker)


def test_wrong_orders_are_refused(roomy: Stack) -> None:
    before = roomy.get("/v1/jobs?limit=1").json()["total"]
    for model, what, body, status, code in (
        ("x", "load", {}, 404, "model_not_found"),
        ("a", "load", {"slot": "gpu9"}, 422, "invalid_request"),
        ("a", "load", {"slots": "gpu0"}, 422, "invalid_request"),
        ("n", "load", {}, 409, "conflict"),
        ("elsewhere", "check", {}, 409, "conflict"),
    ):
        answer = order(roomy, model, what, **body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert roomy.get("/v1/jobs?limit=1").json()["total"] == before


def test_loading_shows_how_far_it_is(roomy: Stack) -> None:
    have(roomy)
    job_id = roomy.submit(model="a")
    roomy.wait(job_id)
    log = (json.loads(fields["event"]) for _, fields in roomy.store.client.xrange(keys.EVENTS))
    seen = [int(event["stage_percent"]) for event in log if event["task_id"] == job_id and "stage_percent" in event]
    assert seen == sorted(seen)
    assert any(0 < percent < 100 for percent in seen)
    assert roomy.status(job_id)["progress"]["stage_percent"] is None


def test_the_command_line(roomy: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    def framemill(*words: str) -> str:
        assert main(["--url", roomy.url(""), "models", *words]) == 0
        return capsys.readouterr().out

    have(roomy, "b")
    assert "load it" in framemill("load", "a", "--wait")
    assert "nothing: it is in memory" in framemill("load", "a", "--slot", "gpu0")
    listed = {line.split()[0]: line for line in framemill().splitlines()}
    assert "gpu0 0.4 MiB" in listed["a"]
    assert "gpu0" not in listed["n"]
    checked = framemill("check", "a")
    assert "already in memory" in checked
    assert "32 x 32 px" in checked
    framemill("pin", "a")
    assert "pinned" in framemill()
    assert main(["--url", roomy.url(""), "models", "unload", "a"]) == 3
    assert "unpin it first" in capsys.readouterr().err
    assert "nothing: it is in memory" in framemill("warm")
    framemill("unpin", "a")
    framemill("unload", "a", "--wait")
    assert "gpu0" not in next(line for line in framemill().splitlines() if line.startswith("a "))


# ---- facts


def test_the_device_and_what_lies_in_it_are_shown(roomy: Stack) -> None:
    have(roomy, "a")
    facts = slot(roomy)["device_facts"]
    assert facts["memory_used_bytes"] + facts["memory_free_bytes"] == facts["memory_total_bytes"] > 2**30
    assert facts["name"]
    assert facts["load_1min"] >= 0
    text = roomy.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    held = slot(roomy)["held"][0]
    assert float(lines['framemill_model_bytes{model="a",place="device",slot="gpu0"}']) == held["bytes"]
    assert float(lines['framemill_device_memory_total_bytes{slot="gpu0"}']) == facts["memory_total_bytes"]
    assert float(lines['framemill_slot{slot="gpu0",state="idle"}']) == 1
    assert float(lines['framemill_jobs{state="queued"}']) == 0
    assert float(lines["framemill_submitted_jobs_total"]) >= float(
        lines['framemill_ended_jobs_total{state="succeeded"}']
    )


# ---- too little memory, and a lost device


def test_out_of_memory_is_tried_once_more_alone(roomy: Stack) -> None:
    have(roomy, "a", "b")
    before = slot(roomy)["out_of_memory"]
    faults = arm(roomy, "a", "oom", times=1)
    view = roomy.wait(roomy.submit(model="a", steps=4))
    assert (view["state"], view["attempt"], view["progress"]["step"]) == ("succeeded", 1, 4), view
    assert (left(faults), slot(roomy)["out_of_memory"]) == (0, before + 1)
    assert places(roomy) == {"a": "device"}  # b was evicted


def test_out_of_memory_twice_fails_with_advice_and_the_next_job_runs(roomy: Stack) -> None:
    have(roomy, "a")
    child = roomy.child("gpu0")
    faults = arm(roomy, "a", "oom", times=2)
    view = roomy.wait(roomy.submit(model="a", steps=4))
    assert (view["state"], view["error"]["code"], left(faults)) == ("failed", "out_of_memory", 0)
    assert "32 x 32 px" in view["error"]["message"]
    assert "smaller size" in view["error"]["message"]
    assert 'offload = "model"' in view["error"]["message"]
    use(roomy, "a")
    assert (roomy.child("gpu0"), places(roomy)) == (child, {"a": "device"})


def test_a_size_for_which_no_machine_has_the_memory(roomy: Stack) -> None:
    view = roomy.wait(roomy.submit(model="a", width=8_000_000, height=8_000_000))
    assert (view["state"], view["error"]["code"]) == ("failed", "out_of_memory"), view
    use(roomy, "a")


def test_a_lost_device_ends_the_process_and_the_job_runs_again(roomy: Stack) -> None:
    have(roomy, "a")
    child = roomy.child("gpu0")
    faults = arm(roomy, "a", "poison", times=1)
    view = roomy.wait(roomy.submit(model="a", steps=4))
    assert (view["state"], view["attempt"], left(faults)) == ("succeeded", 2, 0), view
    assert roomy.child("gpu0") != child


# ---- loaded and pinned models


@pytest.mark.timeout(600)  # three processes import torch, one after the other
def test_warm_and_pinned_models(models_file: Path, size: int) -> None:
    models = {"w": "warm = true\nkeep = true", "b": "", "x": "warm = true"}
    with stack_of(models, models_file, MODEL_MEMORY_BYTES=int(1.5 * size)) as stack:
        wait_for(lambda: places(stack) == {"w": "device"}, "the warm model", 200)
        broken = wait_for(lambda: stack.get("/v1/jobs?state=failed").json()["jobs"], "the one without room", 200)[0]
        assert (broken["model"], broken["command"], broken["error"]["code"]) == ("x", "load", "out_of_memory")

        refused = carried_out(stack, "b", "load")
        assert (refused["state"], refused["error"]["code"]) == ("failed", "out_of_memory")
        assert "unpin one of w" in refused["error"]["message"]
        assert places(stack) == {"w": "device"}
        use(stack, "b")  # nothing else helps: a job may evict it, a load may not
        assert places(stack) == {"b": "device"}

        os.kill(stack.child("gpu0"), signal.SIGKILL)
        wait_for(lambda: places(stack) == {"w": "device"}, "the warm model in the new process", 200)
        assert order(stack, "w", "unpin").json()["slots"][0]["will"] == "stay until the space is needed"
        assert slot(stack)["held"][0]["pinned"] is False
        assert carried_out(stack, "b", "pin")["state"] == "succeeded"
        assert places(stack) == {"b": "device"}
        unload = order(stack, "b", "unload")
        assert (unload.status_code, unload.json()["error"]["code"]) == (409, "conflict")
        assert len(stack.get("/v1/jobs?state=failed").json()["jobs"]) == 2  # x was tried once
    shutil.rmtree(stack.folder, ignore_errors=True)
