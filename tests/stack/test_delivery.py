"""Between the GPU and the caller: the spool, its bound, an object store that is away, hosts that die with frames."""

from __future__ import annotations

import errno
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.errors import ObjectNotFound
from jobs.files import spool
from jobs.settings import Settings
from tests.support.harness import Stack, wait_for
from tests.support.s3_server import S3Server
from workers.spool import frames as spooled_frames

Start = Callable[..., Stack]

FRAMES = np.zeros((1, 1, 64, 64, 3), np.uint8)


@pytest.fixture
def here(short_folder: Path) -> Any:
    """Settings with a folder of their own, in shared memory too."""
    settings = Settings.of(data_dir=short_folder)
    yield settings
    assert settings.spool_memory
    shutil.rmtree(settings.spool_memory, ignore_errors=True)


def in_spool(settings: Settings, root: Path | None) -> list[str]:
    assert root is not None
    return sorted(path.parent.name for path in root.glob(f"*/{spool.FRAMES}"))


def never() -> None:
    raise AssertionError("there is room")


# ---- where frames lie


def test_shared_memory_is_used_where_deliveries_read_from_it(here: Settings) -> None:
    assert spool.root_for(here, 1000) == here.spool_disk  # nobody reads there
    spool.offer_memory(here)
    assert spool.root_for(here, 1000) == here.spool_memory
    spooled_frames.write(here, "a", 1, FRAMES, never)
    assert in_spool(here, here.spool_memory) == ["a.1"]
    assert (spooled_frames.load(here, "a", 1) == FRAMES).all()
    assert here.spool_memory
    assert here.spool_memory.stat().st_mode & 0o777 == 0o700
    spool.withdraw_memory(here)  # the delivery worker stops; what waits, waits
    assert spool.root_for(here, 1000) == here.spool_disk
    assert (spooled_frames.load(here, "a", 1) == FRAMES).all()
    spool.remove(here, "a", 1)
    with pytest.raises(ObjectNotFound):
        spooled_frames.load(here, "a", 1)
    spool.withdraw_memory(here)
    assert not here.spool_memory.exists()


def test_shared_memory_holds_no_more_than_it_may(here: Settings) -> None:
    small = here.replace(spool_memory_bytes=2 * FRAMES.nbytes)  # the file's head is larger than nothing
    spool.offer_memory(small)
    for number in (1, 2, 3):
        spooled_frames.write(small, "a", number, FRAMES, never)
    assert in_spool(small, small.spool_memory) == ["a.1"]
    assert in_spool(small, small.spool_disk) == ["a.2", "a.3"]
    assert spool.root_for(here, 2**50) == here.spool_disk  # more than the machine has


def test_one_folder_can_be_named_instead(here: Settings, tmp_path: Path) -> None:
    named = here.replace(spool_dir=tmp_path / "fast")
    spool.offer_memory(named)
    spooled_frames.write(named, "a", 1, FRAMES, never)
    assert in_spool(named, tmp_path / "fast") == ["a.1"]
    assert here.replace(spool_memory_bytes=0).spool_memory is None


def test_a_folder_of_somebody_else_in_shared_memory_is_not_used(here: Settings, tmp_path: Path) -> None:
    assert here.spool_memory
    here.spool_memory.symlink_to(tmp_path)
    spool.offer_memory(here)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "delivered-from-here").touch()
    assert spool.root_for(here, 1000) == here.spool_disk
    here.spool_memory.unlink()


def test_a_full_disk_is_waited_for_with_the_frames_in_hand(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled_frames, "FULL_PAUSE_S", 0)
    save, waits = np.save, []

    def full(path: Path, *_: Any, **__: Any) -> None:
        path.write_bytes(b"a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    def wait() -> None:
        waits.append(sorted(path.name for path in here.spool_disk.iterdir()))
        monkeypatch.setattr(np, "save", save if len(waits) == 3 else full)

    monkeypatch.setattr(np, "save", full)
    spooled_frames.write(here, "a", 1, FRAMES, wait)
    assert waits == [[], [], []]  # no part is left behind meanwhile
    assert (spooled_frames.load(here, "a", 1) == FRAMES).all()


def test_a_spool_is_full_by_its_bytes_or_by_its_disk(here: Settings) -> None:
    bound = here.replace(spool_max_bytes=2 * FRAMES.nbytes)
    spooled_frames.write(bound, "a", 1, FRAMES, never)
    assert spool.full(bound) == ""
    spool.offer_memory(bound)
    spooled_frames.write(bound, "a", 2, FRAMES, never)  # in memory: both count
    assert spool.full(bound).startswith("delivery of computed frames")
    assert spool.full(bound.replace(spool_max_bytes=0)) == ""
    assert spool.full(here.replace(spool_reserve_bytes=2**60)).startswith("room on the disk")


# ---- an object store that is away


@pytest.mark.timeout(400)  # it waits for several things in turn
def test_deliveries_of_a_store_that_is_back_begin_within_seconds(start: Start, s3: S3Server) -> None:
    """Bound, back-pressure and return: nothing is computed twice, everything arrives once."""
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
        assert states == ["delivering"] * 3 + ["queued"] * 3  # the third went over the bound
        assert stack.status(ids[3])["waiting_for"] == "room in the spool of slot gpu0"
        wait_for(lambda: stack.fleet()["object_store_away"], "the outage to be noticed")
        tried = stack.log("io").count("delivery failed")
        wait_for(lambda: stack.log("io").count("delivery failed") >= tried + 2, "further tries")
        stack.kill("io")  # a restart in the middle of it
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


# ---- what dies


@pytest.mark.timeout(400)
def test_frames_in_shared_memory_outlive_the_workers(start: Start) -> None:
    stack = start("gpu0", "io", SLOT_LEASE_S=600)
    stack.processes["io"].send_signal(signal.SIGSTOP)  # it has offered its memory, and delivers nothing
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
    """It had a GPU worker and no delivery worker; another host has both."""
    stack = start("io", NODE_GRACE_S=1)
    stack.worker("nodeb.gpu0", NODE_NAME="nodeb", SPOOL_DIR=str(stack.folder / "nodeb"))
    job_id = stack.submit(steps=1)
    stack.wait_until(job_id, lambda view: view["state"] == "delivering", "its computation")
    stack.kill("nodeb.gpu0")
    shutil.rmtree(stack.folder / "nodeb")
    stack.worker("gpu0")
    view = stack.wait(job_id)
    assert (view["state"], view["attempt"], view["slot"]) == ("succeeded", 2, "gpu0"), view
