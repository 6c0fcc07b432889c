"""Measure delivery: encoding and storing by format, memory, and the time from the last step to ``succeeded``.

``python -m bench.delivery [--rounds 5 | --choices]``. Images are clouds of colour with a little noise, like
photos; the S3 server is rclone's, on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.common import clean_environment, machine, noop_stack, short_folder, table
from jobs.formats import FORMATS, IMAGE_FORMATS, VIDEO_FORMATS
from jobs.models.spec import Kind
from jobs.objects.local import LocalStore
from jobs.requests.generation import GenerationRequest
from jobs.settings import PROJECT_ROOT
from jobs.slots.slot import Redelivery
from jobs.states import JobState
from jobs.submission import Submission
from tests.support.harness import Stack, wait_for
from tests.support.s3_server import S3Server

FPS = 16
#: frames, height, width
IMAGE, VIDEO = (1, 1024, 1024), (80, 480, 832)
QUALITIES = {"image": 90, "video": 80}
OWNER = "bench:1:1"


def pictures(frames: int, height: int, width: int) -> np.ndarray:
    """Return drifting clouds with noise: (frames, height, width, 3) uint8."""
    dice = np.random.default_rng(0)
    clouds = np.zeros((height, width, 3), np.float32)
    for octave in range(1, 7):
        cells = dice.integers(0, 256, (2**octave + 1, 2**octave + 1, 3), dtype=np.uint8)
        grown = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
        clouds += np.asarray(grown, np.float32) / 2**octave
    clip = np.empty((frames, height, width, 3), np.uint8)
    for number in range(frames):
        noise = dice.normal(0, 2, (height, width, 1))
        clip[number] = np.clip(np.roll(clouds, 2 * number, axis=1) + noise, 0, 255)
    return clip


def request(name: str, *, is_video: bool) -> GenerationRequest:
    frames, height, width = VIDEO if is_video else IMAGE
    return GenerationRequest(
        model="noop", kind=Kind.TEXT2VIDEO if is_video else Kind.TEXT2IMG, prompt="clouds", negative_prompt="", seed=1,
        steps=1, guidance_scale=5, width=width, height=height, frames=frames, fps=FPS if is_video else 0,
        output_format=name, output_quality=QUALITIES["video" if is_video else "image"] if FORMATS[name].lossy else None,
    )  # fmt: skip


def median_s(call: Callable[[], object], rounds: int, clock: Callable[[], float] = time.perf_counter) -> float:
    def once() -> float:
        begun = clock()
        call()
        return clock() - begun

    return statistics.median(once() for _ in range(rounds))


def formats(s3: S3Server, rounds: int) -> str:
    """Measure encoding and storing by format."""
    from workers.delivery import encode

    rows = []
    for names, is_video in ((IMAGE_FORMATS, False), (VIDEO_FORMATS, True)):
        clip = pictures(*(VIDEO if is_video else IMAGE))
        unit = len(clip) / FPS if is_video else clip[0].size / 3e6
        repeats = max(1, rounds // 3) if is_video else rounds
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                path, requested = Path(folder) / "file", request(name, is_video=is_video)
                write = partial(encode.write, clip, path, requested, {})
                encode_s, cpu_s = median_s(write, repeats), median_s(write, repeats, time.process_time)
                local, media_type = LocalStore(Path(folder) / "objects"), FORMATS[name].media_type
                local_s = median_s(partial(local.put_file, "a/b", path, media_type), rounds)
                s3_s = median_s(partial(s3.store.put_file, "a/b", path, media_type), rounds)
                size = path.stat().st_size / 1e6
            per = "s of video" if is_video else "megapixel"
            row = (name, per, *(1000 * seconds / unit for seconds in (encode_s, cpu_s, local_s, s3_s)), size / unit)
            rows.append(row)
    return table(("format", "per", "encode ms", "CPU ms", "store in a folder ms", "store in S3 ms", "MB"), rows)


def choices() -> str:
    """Compare the options of the encoders: CPU time and size."""
    from workers.delivery.encode import images, video

    rows: list[tuple[Any, ...]] = []
    picture, clip = pictures(*IMAGE)[0], pictures(*VIDEO)[: 2 * FPS]
    pixels, seconds = picture.size / 3e6, len(clip) / FPS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"

        def measure(what: str, write: Callable[[], object], unit: float) -> None:
            cpu_s = median_s(write, 1, time.process_time)
            rows.append((what, 1000 * cpu_s / unit, path.stat().st_size / 1e6 / unit))
            print(what, flush=True, file=sys.stderr)

        for name, option, levels in (("png", "compress_level", (1, 3, 6)), ("webp", "method", (0, 2, 4, 6))):
            for level in levels:
                images.OPTIONS[name] = {option: level}
                write_image = partial(images.write, picture, path, name, quality=90, metadata=None)
                measure(f"{name} {option} {level}, a megapixel", write_image, pixels)
        for name, option, values in (
            ("mp4", "preset", ("ultrafast", "superfast", "veryfast", "faster", "medium")),
            ("webm", "cpu-used", ("8", "7", "6", "5")),
        ):
            for value in values:
                video.CODECS[name].options[option] = value
                measure(
                    f"{name} {option} {value}, a second",
                    partial(video.write, clip, path, name, fps=FPS, quality=80, metadata=None), seconds,
                )  # fmt: skip
        video.CODECS["webm"].options.update({"deadline": "good", "cpu-used": "5"})
        write_video = partial(video.write, clip, path, "webm", fps=FPS, quality=80, metadata=None)
        measure("webm deadline good, cpu-used 5, a second", write_video, seconds)
    return table(("choice", "CPU ms", "MB"), rows)


def memory() -> str:
    """Measure the memory that delivery needs, each format in a separate process."""
    rows = []
    for is_video, names in ((False, IMAGE_FORMATS), (True, VIDEO_FORMATS)):
        for name in names:
            command = [sys.executable, "-m", "bench.delivery", "--memory-of", name, *(["--video"] if is_video else [])]
            measured = json.loads(subprocess.run(command, cwd=PROJECT_ROOT, check=True, capture_output=True).stdout)
            rows.append((name, "5 s of 480p" if is_video else "1024²", measured["base_mb"], measured["more_mb"]))
    return table(("format", "of", "process before MB", "more at its peak MB"), rows)


def memory_of(name: str, *, is_video: bool) -> None:
    """In a new process: print how much anonymous memory encoding adds; mapped frames do not count."""
    from workers.delivery import encode

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.npy"
        # Made in another process, so that making them is not measured.
        shape = VIDEO if is_video else IMAGE
        code = f"import numpy, bench.delivery; numpy.save({str(path)!r}, bench.delivery.pictures(*{shape}))"
        subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, check=True)
        frames, done, peak = np.load(path, mmap_mode="r"), threading.Event(), [own_mb()]
        base = peak[0]

        def watch() -> None:
            while not done.wait(0.005):
                peak.append(own_mb())

        thread = threading.Thread(target=watch)
        thread.start()
        encode.write(frames, Path(folder) / "file", request(name, is_video=is_video), {})
        done.set()
        thread.join()
    print(json.dumps({"base_mb": base, "more_mb": max(peak) - base}))


def own_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) / 1024


class Line:
    """A stack whose GPU worker is simulated here: the frames are ready, the delivery is real."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        stack.store.register("gpu0", OWNER, {"models": '["noop"]', "node": stack.settings.node})

    def delivery_ms(self, frames: np.ndarray, requested: GenerationRequest, number: int) -> tuple[float, float]:
        """Return the milliseconds from ``computed_at`` to ``finished_at``, and those for writing to the spool."""
        from tasks.runtime import dispatcher
        from workers.spool import frames as spool

        store, job_id = self.stack.store, f"j{os.getpid()}-{number}"
        store.heartbeat("gpu0", OWNER, {})
        store.submit(job_id, Submission(request=requested))
        attempt = int(store.read(job_id)["attempt"])
        assert store.start(job_id, attempt, slot="gpu0", owner=OWNER, device="cpu", run=job_id)
        begun = time.perf_counter()
        spool.write(self.stack.settings, job_id, attempt, frames, lambda: None)
        spool_ms = 1000 * (time.perf_counter() - begun)
        store.finish_run(job_id, attempt, slot="gpu0", node=self.stack.settings.node, run_s=1)
        dispatcher().send_delivery(Redelivery(job_id, attempt, self.stack.settings.node))
        job = wait_for(lambda: (job := store.get(job_id)).state is JobState.SUCCEEDED and job, "the delivery")
        return job.finished_at_ms - job.computed_at_ms, spool_ms


def latency(s3: S3Server, rounds: int) -> str:
    """Measure the time from ``computed_at`` to ``succeeded`` on a real delivery worker."""
    rows: list[tuple[Any, ...]] = []
    with noop_stack("io", SLOT_LEASE_S=600) as stack:
        os.environ.update(stack.environment)  # before the Celery app is made in this process
        line, numbers = Line(stack), iter(range(1_000_000))
        for place, environment in (("folder", {}), ("S3", s3.environment)):
            stack.kill("io", 15)
            stack.worker("io", **environment)
            for what, is_video, name in (("1024² PNG", False, "png"), ("5 s of 480p, 16 fps, MP4", True, "mp4")):
                frames, requested = pictures(*(VIDEO if is_video else IMAGE))[None], request(name, is_video=is_video)
                for _ in range(2):  # imports, connections
                    line.delivery_ms(frames, requested, next(numbers))
                durations = [line.delivery_ms(frames, requested, next(numbers)) for _ in range(rounds)]
                totals, spools = zip(*durations, strict=True)
                rows.append((what, place, statistics.median(spools), statistics.median(totals), max(totals)))
    head = ("job", "store", "GPU worker: frames to the spool ms", "computed → succeeded, median ms", "longest ms")
    return table(head, rows)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    with short_folder() as folder:
        server = S3Server(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def report(rounds: int) -> str:
    clean_environment()
    with s3_server() as s3:
        return "\n\n".join((formats(s3, rounds), memory(), latency(s3, rounds)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--choices", action="store_true", help="compare options of the encoders instead")
    parser.add_argument("--memory-of", metavar="FORMAT", help=argparse.SUPPRESS)
    parser.add_argument("--video", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        memory_of(options.memory_of, is_video=options.video)
        return
    print(machine())
    if options.choices:
        print(choices())
        return
    print(report(options.rounds))


if __name__ == "__main__":
    main()
