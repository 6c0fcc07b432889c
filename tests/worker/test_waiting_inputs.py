"""A run whose input images cannot be read waits for the object store, says so, can be stopped, and then goes on."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.harness import Stack
from tests.support.pictures import encoded, picture

IMAGE = base64.b64encode(encoded(picture(size=(32, 32)), "PNG")).decode()


@contextmanager
def _no_objects(stack: Stack) -> Iterator[None]:
    """Replace the folder of objects by a file."""
    folder = stack.settings.paths.objects_dir
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


def test_a_run_waits_for_its_input_image(start: Callable[..., Stack]) -> None:
    stack = start("gpu0", "io")
    stack.store.pause_slots()
    ids = [stack.submit(kind="img2img", image=IMAGE, steps=2, strength=0.5) for _ in range(2)]
    with _no_objects(stack):
        stack.store.pause_slots(resume=True)
        for job_id in ids:
            stack.wait_until(
                job_id, lambda view: view["progress"]["stage"] == "waiting for the object store", "the reason"
            )
            if job_id == ids[0]:
                stack.cancel(job_id)
    assert [stack.wait(job_id)["state"] for job_id in ids] == ["cancelled", "succeeded"]
