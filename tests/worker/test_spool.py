"""The spool: the place of computed frames, its limit, and a full disk."""

from __future__ import annotations

import errno
import shutil
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from jobs.errors import ObjectNotFound
from jobs.files import spool
from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings
from tests.support.harness import in_spool
from tests.support.pictures import chunk, png
from workers.spool import encoded_files
from workers.spool import frames as spooled_frames

FRAMES = np.zeros((1, 1, 64, 64, 3), np.uint8)


@pytest.fixture
def here(short_folder: Path) -> Any:
    """Return settings with private folders, in shared memory as well."""
    settings = Settings.of(data_dir=short_folder)
    yield settings
    assert settings.spool_memory
    shutil.rmtree(settings.spool_memory, ignore_errors=True)


def never() -> None:
    raise AssertionError("there is room")


def test_shared_memory_is_used_where_deliveries_read_from_it(here: Settings) -> None:
    assert spool.root_for(here, 1000) == here.spool_disk  # no delivery worker reads there
    spool.offer_memory(here)
    assert spool.root_for(here, 1000) == here.spool_memory
    spooled_frames.write(here, "a", 1, FRAMES, never)
    assert in_spool(here, here.spool_memory) == ["a.1"]
    assert (spooled_frames.load(here, "a", 1) == FRAMES).all()
    assert here.spool_memory
    assert here.spool_memory.stat().st_mode & 0o777 == 0o700
    spool.withdraw_memory(here)  # the delivery worker stops; waiting frames stay
    assert spool.root_for(here, 1000) == here.spool_disk
    assert (spooled_frames.load(here, "a", 1) == FRAMES).all()
    spool.remove(here, "a", 1)
    with pytest.raises(ObjectNotFound):
        spooled_frames.load(here, "a", 1)
    spool.withdraw_memory(here)
    assert not here.spool_memory.exists()


def test_shared_memory_holds_no_more_than_it_may(here: Settings) -> None:
    small = here.replace(spool_memory_bytes=2 * FRAMES.nbytes)  # the header of the file takes some bytes as well
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

    def full(file: BinaryIO, *_: Any, **__: Any) -> None:
        file.write(b"a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    def wait() -> None:
        waits.append(sorted(path.name for path in here.spool_disk.iterdir()))
        monkeypatch.setattr(np, "save", save if len(waits) == 3 else full)

    monkeypatch.setattr(np, "save", full)
    spooled_frames.write(here, "a", 1, FRAMES, wait)
    assert waits == [[], [], []]  # meanwhile, no partial file is left behind
    assert (spooled_frames.load(here, "a", 1) == FRAMES).all()


def test_a_spool_is_full_by_its_bytes_or_by_its_disk(here: Settings) -> None:
    bound = here.replace(spool_max_bytes=2 * FRAMES.nbytes)
    spooled_frames.write(bound, "a", 1, FRAMES, never)
    assert spool.full(bound) == ""
    spool.offer_memory(bound)
    spooled_frames.write(bound, "a", 2, FRAMES, never)  # in shared memory: both count
    assert spool.full(bound).startswith("delivery of computed frames")
    assert spool.full(bound.replace(spool_max_bytes=0)) == ""
    assert spool.full(here.replace(spool_reserve_bytes=2**60)).startswith("room on the disk")


def test_pictures_of_back_ends_may_have_texts_of_any_size(tmp_path: Path) -> None:
    text = chunk(b"zTXt", b"parameters\0\0" + zlib.compress(bytes(5_000_000)))
    path, plain = tmp_path / "0.png", tmp_path / "1.png"
    path.write_bytes(png(8, 1, bytes(9), extra=text))
    plain.write_bytes(png(8, 1, bytes(9)))
    file = encoded_files.inspect(path, "image/png")
    assert (file.width, file.height) == (8, 1)
    assert encoded_files.decode(file, whole=True).shape == (1, 1, 8, 3)
    request = GenerationRequest(
        model="a", kind=Kind.TEXT2IMG, prompt="", negative_prompt="", seed=1, steps=1, guidance_scale=1, width=8,
        height=8, output_format="png", embed_metadata=False,
    )  # fmt: skip
    assert not encoded_files.is_publishable(file, request)  # the text may be the request
    assert encoded_files.is_publishable(encoded_files.inspect(plain, "image/png"), request)
