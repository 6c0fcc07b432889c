"""Two slots compute long general videos; a premium image takes one of them at once, and both videos end as if alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.harness import Stack, running, wait_for

Start = Callable[..., Stack]

STEP_MS = 250
STEPS = 40
#: Of a tiny pipeline, some seconds.
VIDEO_STEPS = 600
#: From the submission of an image to its start: a step, and 250 ms.
START_S = STEP_MS / 1000 + 0.25


def pixels(view: dict[str, Any]) -> list[str]:
    return [output["sha256"] for output in view["outputs"]]


def waited_s(view: dict[str, Any]) -> float:
    created, started = (datetime.fromisoformat(view[name]) for name in ("created_at", "started_at"))
    return (started - created).total_seconds()


def running_step(stack: Stack, job_id: str) -> int:
    """Return the step of a job that runs; 0 while it does not."""
    view = stack.status(job_id)
    return int(view["progress"]["step"]) if view["state"] == "running" else 0


def test_a_premium_image_starts_within_a_step_while_two_videos_run(start: Start) -> None:
    stack = start("gpu0", "gpu1", "io", NOOP_STEP_MS=STEP_MS, PREEMPT_AFTER_S=1, EMBED_METADATA=0)
    videos = [stack.submit(model="tiny-video", steps=STEPS, seed=seed) for seed in (1, 2)]
    for video in videos:
        stack.wait_until(video, lambda view: view["progress"]["step"] > 1, "its second step")
    image = stack.submit(steps=2, seed=3, **{"class": "premium"})
    done = stack.wait(image)
    assert waited_s(done) <= START_S
    [preempted] = [video for video in videos if stack.status(video)["preemptions"]]
    [other] = [video for video in videos if video != preempted]
    ended = {video: stack.wait(video) for video in videos}
    assert {view["state"] for view in ended.values()} == {"succeeded"}
    assert (ended[preempted]["preemptions"], ended[other]["preemptions"]) == (1, 0)
    assert ended[preempted]["resumed_from_step"] > 0
    assert [ended[video]["attempt"] for video in videos] == [1, 1]  # interrupted runs are not counted
    calm = [stack.wait(stack.submit(model="tiny-video", steps=STEPS, seed=seed)) for seed in (1, 2)]
    assert [pixels(ended[video]) for video in videos] == [pixels(view) for view in calm]


def preempted_twice(stack: Stack, steps: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a video alone, then the same one with two premium images during it; return both jobs."""
    calm = stack.wait(stack.submit(model="tiny-video", steps=steps, seed=1))
    video = stack.submit(model="tiny-video", steps=steps, seed=1)
    for _ in range(2):
        before = stack.status(video)["progress"]["step"]
        wait_for(lambda before=before: running_step(stack, video) > before, "a step")
        stack.wait(stack.submit(steps=1, **{"class": "premium"}))
    return calm, stack.wait(video)


def test_the_outputs_of_a_preempted_video_are_those_of_a_calm_run(start: Start) -> None:
    stack = start("gpu0", "io", NOOP_STEP_MS=60, PREEMPT_AFTER_S=0.5, EMBED_METADATA=0)
    calm, ended = preempted_twice(stack, STEPS)
    assert ended["preemptions"] == 2
    assert pixels(ended) == pixels(calm)


def test_a_preempted_job_says_why_it_waits(start: Start) -> None:
    stack = start("gpu0", "io", NOOP_STEP_MS=60, PREEMPT_AFTER_S=0.5)
    video = stack.submit(model="tiny-video", steps=STEPS * 3)
    stack.wait_until(video, lambda view: view["progress"]["step"] > 1, "its second step")
    image = stack.submit(steps=STEPS, **{"class": "premium"})
    stack.wait_until(image, lambda view: view["state"] == "running", "its start")
    waiting = stack.status(video)
    assert (waiting["state"], waiting["position"], waiting["preemptions"]) == ("queued", 1, 1)
    assert waiting["waiting_for"] == "a slot, since a job of a higher class took its own"
    wait_for(lambda: stack.status(video)["state"] == "running", "the video to go on")
    assert stack.status(video)["waiting_for"] is None
    stack.cancel(video)


def test_a_video_of_a_pipeline_is_the_same_to_the_bit_after_two_preemptions(
    models_file: Path, short_folder: Path
) -> None:
    options = {"PREEMPT_AFTER_S": 0.5, "EMBED_METADATA": 0}
    with running(short_folder, models_file, "gpu0", "io", **options) as stack:
        calm, ended = preempted_twice(stack, VIDEO_STEPS)
    assert ended["preemptions"] == 2
    assert ended["resumed_from_step"] > 0
    assert pixels(ended) == pixels(calm)
