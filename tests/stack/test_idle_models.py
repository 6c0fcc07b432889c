"""Memory that is given back: models that nobody uses, and slots whose memory somebody else needs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from framemill.cli import main
from tests.support.harness import Stack, running, wait_for
from tests.support.model_memory import order, places, slot, use, write_models

#: A process imports torch for its first job.
TORCH_S = 200


@pytest.fixture(scope="module")
def stack(models_file: Path) -> Iterator[Stack]:
    """A worker whose model ``brief`` is unloaded after two seconds; ``lasting`` and ``warm`` stay."""
    models = {"brief": "unload_after_s = 2", "lasting": "", "warm": "warm = true"}
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    file, settings = write_models(folder, models, models_file)
    with running(folder, file, "gpu0", "io", **settings) as stack:
        yield stack
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(600)
def test_a_model_that_nobody_uses_is_unloaded(stack: Stack) -> None:
    wait_for(lambda: "warm" in places(stack), "the warm model", TORCH_S)
    use(stack, "lasting")
    use(stack, "brief")
    wait_for(lambda: set(places(stack)) == {"lasting", "warm"}, "the model to be unloaded", 60)
    [unload] = [job for job in stack.get("/v1/jobs?model=brief").json()["jobs"] if job["command"]]
    assert (unload["command"], unload["slot"]) == ("unload", "gpu0")
    use(stack, "brief")  # it is loaded again


@pytest.mark.timeout(600)
def test_a_pinned_model_stays(stack: Stack) -> None:
    order(stack, "brief", "pin")
    wait_for(lambda: any(held["pinned"] for held in slot(stack)["held"] if held["model"] == "brief"), "the pin", 60)
    use(stack, "lasting")
    use(stack, "lasting")
    assert "brief" in places(stack)
    order(stack, "brief", "unpin")
    wait_for(lambda: "brief" not in places(stack), "the model to be unloaded", 60)


@pytest.mark.timeout(600)
def test_a_slot_gives_up_its_memory_and_takes_it_back(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    use(stack, "lasting")
    child, long = stack.child("gpu0"), stack.endless(model="lasting")
    stack.wait_until(long, lambda view: view["progress"]["step"] > 0, "some steps")
    assert main(["--url", stack.url(""), "yield", "gpu0", "--no-wait"]) == 0
    assert capfd.readouterr().out == f"gpu0 gives up its memory after job {long}\n"
    assert places(stack)  # the job goes on
    stack.cancel(long)
    assert main(["--url", stack.url(""), "yield", "gpu0"]) == 0
    assert capfd.readouterr().out.startswith("gpu0 holds no GPU memory; ")
    assert stack.child("gpu0") != child
    assert (places(stack), slot(stack)["state"]) == ({}, "paused")
    waiting = stack.submit(model="lasting")
    assert stack.status(waiting)["state"] == "queued"
    assert "exited with" not in stack.log("gpu0")
    assert main(["--url", stack.url(""), "resume", "--slot", "gpu0"]) == 0
    assert stack.wait(waiting)["state"] == "succeeded"
    wait_for(lambda: "warm" in places(stack), "the warm model to come back", TORCH_S)


def test_only_slots_of_workers_yield(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", stack.url(""), "yield", "gpu7"]) != 0
    assert "there is no slot 'gpu7' with a worker" in capfd.readouterr().err
