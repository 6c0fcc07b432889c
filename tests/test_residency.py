"""Models in a worker's memory: who stays, who goes, who is told; commands between jobs; warm starts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.harness import Stack, running, wait_for

TABLE = """
[{name}]
source = "{source}"
kinds = ["text2img", "img2img"]
pipelines = {{ img2img = "StableDiffusionImg2ImgPipeline" }}
defaults = {{ steps = 2, width = 32, height = 32 }}
limits = {{ steps = [1, 100000], width = [16, 128], height = [16, 128] }}
"""

Start = Callable[..., Stack]


@pytest.fixture
def start(models_file: Path, short_folder: Path) -> Iterator[Start]:
    """``start({"a": "keep = true"}, SETTING=value)``: a stack with models of one size and these options."""
    from contextlib import ExitStack

    with ExitStack() as stacks:

        def begin(models: dict[str, str], **environment: Any) -> Stack:
            file = short_folder / "models.toml"
            source = models_file.parent / "tiny-image"
            file.write_text("".join(TABLE.format(name=name, source=source) + more for name, more in models.items()))
            return stacks.enter_context(running(short_folder, file, "gpu0", "io", **environment))

        yield begin


@pytest.fixture(scope="module")
def model_bytes(stack: Stack) -> int:
    """Measured size of the tiny image model."""
    stack.wait(stack.submit(model="tiny-image", steps=1))
    return next(held["bytes"] for held in slot(stack)["held"] if held["model"] == "tiny-image")


def slot(stack: Stack) -> dict[str, Any]:
    return dict(stack.get("/v1/service/status").json()["slots"][0])


def places(stack: Stack) -> dict[str, str]:
    return {held["model"]: held["place"] for held in slot(stack)["held"]}


def order(stack: Stack, model: str, what: str, **body: Any) -> requests.Response:
    return requests.post(stack.url(f"/v1/models/{model}/{what}"), json=body, timeout=10)


def carried_out(stack: Stack, model: str, what: str, **body: Any) -> dict[str, Any]:
    """Give an order that needs a job, and see the job through."""
    answer = order(stack, model, what, **body)
    assert answer.status_code == 202, answer.text
    return stack.wait(answer.json()["slots"][0]["task_id"])


def use(stack: Stack, model: str) -> None:
    view = stack.wait(stack.submit(model=model))
    assert view["state"] == "succeeded", view


def test_the_measured_size_is_that_of_the_weights(model_bytes: int, models_file: Path) -> None:
    files = sum(path.stat().st_size for path in (models_file.parent / "tiny-image").glob("*/*.safetensors"))
    assert 0.8 * files < model_bytes < 1.2 * files


def test_the_least_recently_used_goes_first_and_everybody_is_told(start: Start, model_bytes: int) -> None:
    stack = start({"a": "", "b": "", "c": ""}, MODEL_MEMORY_BYTES=int(2.5 * model_bytes))
    for model in ("a", "b", "a", "c"):
        use(stack, model)
    assert places(stack) == {"a": "device", "c": "device"}
    assert sorted(slot(stack)["resident"]) == ["a", "c"]
    assert slot(stack)["loads"] == 3
    use(stack, "b")
    assert places(stack) == {"c": "device", "b": "device"}


def test_what_has_to_go_is_parked_in_ram_first(start: Start, model_bytes: int) -> None:
    stack = start(
        {"a": "", "b": "", "c": ""},
        MODEL_MEMORY_BYTES=int(1.5 * model_bytes), PARKING_BYTES=int(1.5 * model_bytes),
    )  # fmt: skip
    use(stack, "a")
    use(stack, "b")
    assert places(stack) == {"a": "parked", "b": "device"}
    assert slot(stack)["resident"] == ["b"]
    use(stack, "a")
    assert places(stack) == {"a": "device", "b": "parked"}
    assert slot(stack)["loads"] == 2  # came back without the disk
    use(stack, "c")
    assert places(stack) == {"a": "parked", "c": "device"}  # b was parked the longest, there is room for one


def test_both_kinds_of_a_model_come_back_from_ram(start: Start, model_bytes: int) -> None:
    stack = start({"a": "", "b": ""}, MODEL_MEMORY_BYTES=int(1.5 * model_bytes), PARKING_BYTES=4 * model_bytes)
    picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"

    def variation() -> None:
        view = stack.wait(stack.submit(model="a", kind="img2img", image=picture, strength=1.0))
        assert view["state"] == "succeeded", view

    variation()
    use(stack, "b")
    variation()
    assert slot(stack)["loads"] == 2


def test_a_model_that_is_kept_is_passed_over(start: Start, model_bytes: int) -> None:
    stack = start({"a": "keep = true", "b": "", "c": ""}, MODEL_MEMORY_BYTES=int(2.5 * model_bytes))
    for model in ("a", "b", "c"):
        use(stack, model)
    assert places(stack) == {"a": "device", "c": "device"}
    assert {held["model"]: held["pinned"] for held in slot(stack)["held"]} == {"a": True, "c": False}


def test_a_load_that_pinned_models_leave_no_room_for_says_so_and_a_job_gets_through(
    start: Start, model_bytes: int
) -> None:
    stack = start({"a": "keep = true\nwarm = true", "b": ""}, MODEL_MEMORY_BYTES=int(1.5 * model_bytes))
    wait_for(lambda: places(stack) == {"a": "device"}, "the warm model")
    view = carried_out(stack, "b", "load")
    assert (view["state"], view["error"]["code"]) == ("failed", "out_of_memory")
    assert "unpin one of a" in view["error"]["message"]
    assert places(stack) == {"a": "device"}
    use(stack, "b")  # once more alone: nothing else helps


def test_load_unload_and_check_through_the_api(start: Start, model_bytes: int) -> None:
    stack = start({"a": "", "b": ""})
    view = carried_out(stack, "a", "load")
    assert (view["state"], view["command"], view["outputs"], view["slot"]) == ("succeeded", "load", [], "gpu0")
    assert (view["report"]["bytes"], view["report"]["read_from_disk"]) == (model_bytes, True)
    assert places(stack) == {"a": "device"}

    again = order(stack, "a", "load")
    assert (again.status_code, again.json()["slots"]) == (200, [{"slot": "gpu0", "will": "nothing: it is in memory"}])

    view = carried_out(stack, "b", "check", slot="gpu0")
    assert (view["state"], view["report"]["width"], view["report"]["steps"]) == ("succeeded", 32, 1), view

    assert carried_out(stack, "a", "unload")["report"] == {"unloaded": True}
    assert places(stack) == {"b": "device"}
    models = {model["name"]: model for model in stack.get("/v1/models").json()["models"]}
    assert models["a"]["memory"] == []
    assert models["b"]["memory"] == [{"slot": "gpu0", "place": "device", "bytes": model_bytes}]
    # A command teaches nothing about how long jobs of the model take.
    assert stack.status(stack.submit(model="a"))["eta_s"] is None


def test_a_command_waits_for_the_running_job_and_goes_before_the_waiting(start: Start) -> None:
    stack = start({"a": "", "b": ""})
    running_job = stack.endless(model="a")
    waiting = stack.submit(model="a")
    answer = order(stack, "b", "load").json()["slots"][0]
    assert (answer["position"], stack.status(answer["task_id"])["state"]) == (1, "queued")
    unload = order(stack, "a", "unload").json()["slots"][0]["task_id"]
    assert requests.delete(stack.url(f"/v1/tasks/{unload}"), timeout=10).json()["state"] == "cancelled"
    stack.delete(f"/v1/tasks/{running_job}")
    last = stack.wait(waiting)
    done = stack.status(answer["task_id"])
    assert done["state"] == "succeeded"
    assert done["finished_at"] <= last["started_at"]
    assert sorted(places(stack)) == ["a", "b"]  # the cancelled unload did nothing


def test_a_command_survives_the_worker_that_dies_of_it(start: Start) -> None:
    stack = start({"a": ""})
    blocked = stack.endless(model="a")
    load = order(stack, "a", "check").json()["slots"][0]["task_id"]
    os.kill(stack.child("gpu0"), signal.SIGKILL)
    stack.delete(f"/v1/tasks/{blocked}")
    assert stack.wait(load)["state"] == "succeeded"


def test_wrong_orders_are_refused(start: Start) -> None:
    stack = start({"a": "", "n": 'executor = "noop"', "elsewhere": 'slots = ["gpu7"]'})
    for model, what, body, status, code in (
        ("x", "load", {}, 404, "model_not_found"),
        ("a", "load", {"slot": "gpu9"}, 422, "invalid_request"),
        ("a", "load", {"slots": "gpu0"}, 422, "invalid_request"),
        ("n", "load", {}, 409, "conflict"),
        ("elsewhere", "check", {}, 409, "conflict"),
    ):
        answer = order(stack, model, what, **body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert stack.get("/v1/tasks/").json()["total"] == 0


def test_a_pin_holds_through_a_restart_and_until_it_is_unsaid(start: Start, model_bytes: int) -> None:
    stack = start({"a": "", "b": "", "c": ""}, MODEL_MEMORY_BYTES=int(2.5 * model_bytes))
    carried_out(stack, "a", "pin")
    for model in ("b", "c"):
        use(stack, model)
    assert sorted(places(stack)) == ["a", "c"]
    refused = order(stack, "a", "unload")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")

    os.kill(stack.child("gpu0"), signal.SIGKILL)
    wait_for(lambda: places(stack) == {"a": "device"}, "the pinned model to be loaded by the new process")

    assert order(stack, "a", "unpin").json()["slots"][0]["will"] == "stay until room is needed"
    assert slot(stack)["held"][0]["pinned"] is False
    for model in ("b", "c"):
        use(stack, model)
    assert sorted(places(stack)) == ["b", "c"]


def test_a_warm_model_is_loaded_at_the_start_and_by_a_new_process(start: Start) -> None:
    stack = start({"a": "", "w": "warm = true"})
    wait_for(lambda: places(stack) == {"w": "device"}, "the warm model")
    os.kill(stack.child("gpu0"), signal.SIGKILL)
    wait_for(lambda: places(stack) == {}, "the memory of the dead process to be forgotten")
    wait_for(lambda: places(stack) == {"w": "device"}, "the warm model once more")


def test_a_warm_model_that_cannot_be_loaded_is_tried_once(start: Start) -> None:
    stack = start({"a": "", "w": "warm = true\nattention = '_native_cudnn'\nstep_cache = { method = 'first_block' }"})
    view = wait_for(lambda: stack.get("/v1/tasks/?state=failed").json()["tasks"], "its failure")[0]
    assert (view["command"], view["error"]["code"]) == ("load", "model_load_failed")
    use(stack, "a")
    use(stack, "a")
    assert stack.get("/v1/tasks/").json()["total"] == 3


def test_loading_shows_how_far_it_is(start: Start) -> None:
    stack = start({"a": ""}, PROGRESS_INTERVAL_MS=1)
    job_id = stack.submit(model="a")
    stack.wait(job_id)
    import json

    from jobs import keys

    events = [json.loads(fields["event"]) for _, fields in stack.store.client.xrange(keys.EVENTS)]
    seen = [int(event["stage_percent"]) for event in events if event.get("stage_percent")]
    assert seen == sorted(seen)
    assert any(0 < percent <= 100 for percent in seen)
    assert stack.status(job_id)["stage_percent"] is None
