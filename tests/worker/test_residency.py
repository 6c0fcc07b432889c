"""Model commands, memory of the device and out-of-memory errors, with real pipelines on a whole service."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from framemill.cli import main
from jobs.store import keys
from tests.support.harness import Stack, wait_for
from tests.support.in_process import in_process
from tests.support.model_memory import (
    arm,
    carried_out,
    have,
    left,
    order,
    places,
    slot,
    use,
    weights_bytes,
    write_models,
)


@pytest.fixture(scope="module")
def size(models_file: Path) -> int:
    return weights_bytes(models_file)


@pytest.fixture(scope="module")
def roomy(models_file: Path) -> Iterator[Stack]:
    """A stack with memory for both models a and b; n has no weights, and no worker runs elsewhere."""
    models = {"a": "", "b": "", "n": 'executor = "noop"', "elsewhere": 'slots = ["gpu7"]'}
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    file, settings = write_models(folder, models, models_file)
    with in_process(folder, file, PROGRESS_INTERVAL_MS=1, MAX_ATTEMPTS=2, **settings) as stack:
        yield stack
    shutil.rmtree(folder, ignore_errors=True)


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
    assert "in memory" in checked
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

    def is_shown() -> bool:
        text = roomy.get("/metrics").text
        return "framemill_model_bytes{" in text and 'framemill_slot{slot="gpu0",state="idle"} 1' in text

    wait_for(is_shown, "metrics, which may be a second old")
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
    loads = slot(roomy)["loads"]
    faults = arm(roomy, "a", "oom", times=2)
    view = roomy.wait(roomy.submit(model="a", steps=4))
    assert (view["state"], view["error"]["code"], left(faults)) == ("failed", "out_of_memory", 0)
    assert "32 x 32 px" in view["error"]["message"]
    assert "smaller size" in view["error"]["message"]
    assert 'offload = "model"' in view["error"]["message"]
    use(roomy, "a")
    assert (slot(roomy)["loads"], places(roomy)) == (loads, {"a": "device"})  # it was not loaded again


def test_a_size_for_which_no_machine_has_the_memory(roomy: Stack) -> None:
    view = roomy.wait(roomy.submit(model="a", width=8_000_000, height=8_000_000))
    assert (view["state"], view["error"]["code"]) == ("failed", "out_of_memory"), view
    use(roomy, "a")
