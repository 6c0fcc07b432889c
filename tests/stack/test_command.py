"""The command and the client against a complete stack: steps of a running job, and Ctrl-C."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys

import pytest

import framemill
from framemill.cli import main
from framemill.errors import JobCancelled
from framemill.records import Job
from tests.support.harness import ENDLESS_STEPS, PATIENCE_S, Stack


def test_follow_prints_steps_until_the_end(stack: Stack) -> None:
    job_id = stack.submit(steps=ENDLESS_STEPS)
    command = [sys.executable, "-m", "framemill", "--url", stack.url(""), "follow", job_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
        assert follower.stdout
        is_step = re.compile(rf"running  step \d+/{ENDLESS_STEPS}, \d+ %").match
        steps = list(itertools.islice(filter(is_step, follower.stdout), 2))
        stack.cancel(job_id)
        out, err = follower.communicate(timeout=PATIENCE_S)
    assert len(steps) == 2, err
    assert (follower.returncode, out.splitlines()[-1]) == (5, "cancelled"), err


def test_waiting_shows_every_part_of_a_job(stack: Stack) -> None:
    with framemill.Client(stack.url("")) as client:
        seen: list[Job] = []
        job = client.submit(model="tiny-image", prompt="x", steps=ENDLESS_STEPS)

        def watch(update: Job) -> None:
            seen.append(update)
            if len({update.step for update in seen}) == 3:
                client.cancel(job.id)

        with pytest.raises(JobCancelled):
            client.wait(job.id, on_update=watch)
        assert seen[-1].state == "cancelled"
        # An unwatched wait receives its response when the state changes.
        done = client.submit(model="tiny-image", prompt="x", steps=1, wait_s=30)
        assert (done.state, client.wait(done.id).state) == ("succeeded", "succeeded")


def test_every_kind_of_every_model_is_checked(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", stack.url(""), "models", "check"]) == 1
    out, err = capfd.readouterr()
    rows = {tuple(line.split()[:2]): line for line in out.splitlines()}
    checked = {("tiny-image", "text2img"), ("tiny-image", "img2img"), ("tiny-video", "text2video"),
               ("tiny-video", "img2video")}  # fmt: skip
    for row in checked:
        assert re.search(r"gpu0 \(cpu\) .* 1 step\(s\) .* 32 x 32 px", rows[row]), rows[row]
    assert "failed" in rows["broken", "text2img"]
    [cause] = [line for line in out.splitlines() if line.startswith("broken text2img: ")]
    assert re.search(r"could not be loaded: \w+ \(model_load_failed\): \w+: .*/broken", cause)
    assert "1 of 5 checks failed" in err
    assert main(["--url", stack.url(""), "models", "check", "tiny-image", "--kind", "img2img"]) == 0
    assert "in memory" in capfd.readouterr().out


@pytest.mark.parametrize("at_once", [False, True])
def test_ctrl_c_while_waiting_cancels_the_job(stack: Stack, at_once: bool) -> None:
    # A shell that starts programs in the background makes them ignore SIGINT.
    code = "import signal; signal.signal(2, signal.default_int_handler); from framemill.cli import main; exit(main())"
    words = ["submit", "--wait", "--model", "tiny-image", "--prompt", "x", "--steps", str(ENDLESS_STEPS)]
    arguments = [sys.executable, "-c", code, "--url", stack.url(""), *words]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        job_id = line.split()[1].rstrip(",")
        if not at_once:
            stack.wait_until(job_id, lambda view: view["progress"]["step"] > 0, "its first step")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(rf"job {job_id} (was cancelled on|is being cancelled by) the server", err), err
    assert stack.wait(job_id)["state"] == "cancelled"
