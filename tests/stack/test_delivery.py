"""Between the GPU and the caller: back-pressure, an object store that is away, hosts that die with frames."""

from __future__ import annotations

import hashlib
import shutil
import signal
from collections.abc import Callable

import pytest

from tests.support.harness import Stack, in_spool, wait_for
from tests.support.s3_server import S3Server

Start = Callable[..., Stack]

# ---- an object store that is away


@pytest.mark.timeout(400)  # it waits for several conditions in turn
def test_deliveries_of_a_store_that_is_back_begin_within_seconds(start: Start, s3: S3Server) -> None:
    """Limit, back-pressure and recovery: nothing is computed twice, and every output is stored once."""
    # A tiny image takes 3,200 bytes.
    stack = start("gpu0", "io", SPOOL_MAX_BYTES=8000, DELIVERY_LEASE_S=3, **s3.environment)
    assert stack.wait(stack.submit(steps=1))["state"] == "succeeded"
    s3.stop()
    try:
        ids = [stack.submit(steps=1) for _ in range(6)]
        [slot] = wait_for(
            lambda: [slot for slot in stack.fleet()["slots"] if slot["state"] == "waiting"],
            "the slot to wait for room",
        )
        assert slot["waiting_for"].startswith("delivery of computed frames")
        states = [stack.status(job_id)["state"] for job_id in ids]
        assert states == ["delivering"] * 3 + ["queued"] * 3  # the third exceeded the limit
        wait_for(lambda: stack.fleet()["object_store_away"], "the outage to be noticed")
        away = "for the object store: S3 cannot be used: EndpointConnectionError)"  # it is looked up once a second
        view = stack.wait_until(ids[3], lambda view: view["waiting_for"].endswith(away), "the reason of the outage")
        assert view["waiting_for"].startswith("room in the spool of slot gpu0 (delivery of computed frames: ")
        tried = stack.log("io").count("delivery failed")
        wait_for(lambda: stack.log("io").count("delivery failed") >= tried + 2, "further tries")
        stack.kill("io")  # a restart during the outage
        stack.worker("io")
        assert [stack.status(job_id)["state"] for job_id in ids] == states
    finally:
        s3.start()
    for job_id in ids:
        view = stack.wait(job_id)
        assert (view["state"], view["attempt"]) == ("succeeded", 1), view
        assert len(s3.files(f"{job_id}/")) == 2  # with its thumbnail
    wait_for(lambda: stack.fleet()["slots"][0]["state"] == "idle", "the slot to be free")
    assert in_spool(stack.settings, stack.settings.spool_disk) == []
    assert in_spool(stack.settings, stack.settings.spool_memory) == []


# ---- processes and hosts that die


@pytest.mark.timeout(400)
def test_frames_in_shared_memory_outlive_the_workers(start: Start) -> None:
    stack = start("gpu0", "io", SLOT_LEASE_S=600)
    stack.processes["io"].send_signal(signal.SIGSTOP)  # it has announced its shared memory, but delivers nothing
    job_id = stack.submit(steps=1)
    stack.wait_until(job_id, lambda view: view["state"] == "delivering", "its computation")
    assert in_spool(stack.settings, stack.settings.spool_memory) == [f"{job_id}.1"]
    stack.kill("gpu0")
    stack.kill("io")
    stack.worker("io")
    view = stack.wait(job_id)
    assert (view["state"], view["attempt"]) == ("succeeded", 1), view


@pytest.mark.timeout(400)
def test_frames_of_a_host_that_does_not_come_back_are_computed_elsewhere(start: Start) -> None:
    """That host had a GPU worker and no delivery worker; another host has both."""
    stack = start("io", NODE_GRACE_S=1)
    stack.worker("nodeb.gpu0", NODE_NAME="nodeb", SPOOL_DIR=str(stack.folder / "nodeb"))
    job_id = stack.submit(steps=1)
    stack.wait_until(job_id, lambda view: view["state"] == "delivering", "its computation")
    stack.kill("nodeb.gpu0")
    shutil.rmtree(stack.folder / "nodeb")
    stack.worker("gpu0")
    view = stack.wait(job_id)
    assert (view["state"], view["attempt"], view["slot"]) == ("succeeded", 2, "gpu0"), view


# ---- what files say


@pytest.mark.parametrize("embed", [1, 0])
def test_outputs_say_that_a_model_made_them(start: Start, embed: int) -> None:
    stack = start("gpu0", "io", EMBED_METADATA=0, EMBED_PROVENANCE=embed)
    job_id = stack.submit(steps=1)
    [output] = stack.wait(job_id)["outputs"]
    content = stack.get(output["url"]).content
    assert (b"digitalsourcetype/trainedAlgorithmicMedia" in content) == bool(embed)
    assert hashlib.sha256(content).hexdigest() == output["sha256"]
    assert b"DigitalSourceType" not in stack.get(output["thumbnail_url"]).content
