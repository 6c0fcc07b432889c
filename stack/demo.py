"""``python -m stack demo``: start everything, make an image and a video, check the files, stop everything.

Exit codes: 0 both files exist and decode, 1 something failed, 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

import framemill
from framemill.cli.display.output import duration
from framemill.cli.display.progress import ProgressBar
from framemill.errors import ClientError
from jobs.errors import BadSetting
from jobs.settings import PROJECT_ROOT, Settings
from stack import check, ports
from stack.checks import FLOWER_HOST
from stack.parent import terminate_with_parent
from stack.process import kill_group
from stack.readiness import local_url, readiness

OUTPUT_DIR = PROJECT_ROOT / "outputs" / "demo"
#: Maximum time for the start, in seconds. The first start imports torch in two workers, slowly on a slow disk.
START_TIMEOUT_S = 180.0
#: Maximum time for the stop, in seconds. ``up`` stops within 10 s.
STOP_TIMEOUT_S = 12.0
#: Number of lines shown of each log after a failure.
LOG_TAIL_LINES = 25


@dataclass(frozen=True)
class DemoJob:
    """A job of the demo."""

    model: str
    kind: str
    prompt: str


JOBS = (
    DemoJob("demo-image", "text2img", "a red circle on a blue background"),
    DemoJob("demo-video", "text2video", "a yellow star moving left to right on a blue background"),
)


class DemoFailed(Exception):
    """The demo could not be completed. ``logs`` names the processes whose logs may show the reason."""

    def __init__(self, message: str, *logs: str) -> None:
        super().__init__(message)
        self.logs = logs


@click.command()
def demo() -> int:
    """Start everything, make an image and a video, stop everything."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = Settings.from_env()
    except BadSetting as exc:
        print(f"demo: {exc}", file=sys.stderr)
        return 1
    logs = settings.paths.data_dir / "logs"
    started = time.monotonic()
    try:
        port, flower_port = _ports(settings)
        with _running_stack(logs, port, flower_port) as stack:
            url = local_url(settings.web.host, port)
            _await_ready(stack, url)
            print(f"started in {duration(time.monotonic() - started)}: {url}", flush=True)
            files = _make(url)
            print("stopping", flush=True)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except (DemoFailed, ClientError, OSError) as exc:
        print(f"demo failed: {exc}", file=sys.stderr)
        _show_logs(logs, exc.logs if isinstance(exc, DemoFailed) else ("web", "gpu0", "io"))
        return 1
    print(f"demo complete in {duration(time.monotonic() - started)}")
    _say_what_is_next(files, local_url(settings.web.host, settings.web.port))
    return 0


def _ports(settings: Settings) -> tuple[int, int]:
    """Return the configured ports or the next free ones, so that the demo runs beside other servers."""
    chosen: list[int] = []
    for variable, host, configured in (
        ("PORT", settings.web.host, settings.web.port),
        ("FLOWER_PORT", FLOWER_HOST, settings.web.flower_port),
    ):
        port = ports.next_free(host, configured, avoid=chosen)
        if port != configured:
            who = ports.owner(configured) or "another process"
            print(f"port {configured} ({variable}) is taken by {who}; using {port}", flush=True)
        chosen.append(port)
    return chosen[0], chosen[1]


@contextmanager
def _running_stack(logs: Path, port: int, flower_port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the stack as a separate process, with its output in ``logs``."""
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / "stack.log").open("wb") as output:
        stack = subprocess.Popen(
            [sys.executable, "-m", "stack", "up", "--log-dir", logs],
            cwd=PROJECT_ROOT,
            env={**os.environ, "PORT": str(port), "FLOWER_PORT": str(flower_port), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C must reach only the demo, which then stops the stack in order.
            start_new_session=True,
            preexec_fn=terminate_with_parent,
        )
    try:
        yield stack
    finally:
        stack.terminate()
        try:
            stack.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            kill_group(stack.pid, signal.SIGKILL)
            stack.wait()


def _await_ready(stack: subprocess.Popen[bytes], url: str) -> None:
    print("starting Redis, web server, workers and Flower", flush=True)
    deadline = time.monotonic() + START_TIMEOUT_S
    while (why := readiness(url)) is not None:
        if stack.poll() is not None:
            raise DemoFailed("the stack did not start", "stack", "web", "gpu0", "io", "flower")
        if time.monotonic() > deadline:
            raise DemoFailed(f"not ready after {duration(START_TIMEOUT_S)}: {why}", "stack", "web", "gpu0", "io")
        time.sleep(0.2)


def _make(url: str) -> list[Path]:
    """Make an image and a video, check them, and return the files."""
    files = []
    OUTPUT_DIR.mkdir(parents=True, exist_ok=True)
    with framemill.Client(url, api_key=os.environ.get("FRAMEMILL_API_KEY")) as client:
        submitted = [client.submit(model=job.model, kind=job.kind, prompt=job.prompt) for job in JOBS]
        for demo_job, job in zip(JOBS, submitted, strict=True):
            seed = job.request.get("seed", "unknown")
            print(f'{demo_job.kind}: "{demo_job.prompt}", {demo_job.model}, seed {seed}', flush=True)
            started = time.monotonic()
            with ProgressBar(demo_job.kind) as bar:
                job = client.wait(job.id, on_update=bar.update)
            took = duration(time.monotonic() - started)
            for output in job.outputs:
                extension = {"image/png": ".png", "video/mp4": ".mp4"}.get(output.media_type)
                if extension is None:
                    raise DemoFailed(f"the output of {demo_job.kind} is {output.media_type}", "io")
                path = client.result(job.id, OUTPUT_DIR / f"{demo_job.kind}-seed{seed}{extension}", output.index)
                files.append(path)
                print(f"  {path}: {check.summary_of(path)}, in {took}", flush=True)
            if not job.outputs:
                raise DemoFailed(f"{demo_job.kind} succeeded without an output", "io", "gpu0")
    return files


def _say_what_is_next(files: list[Path], url: str) -> None:
    print("\nWhat to open next:")
    for path in files:
        print(f"  {path}")
    print(f"  {url}  after 'make up', which keeps the server running\n"
          '  framemill submit "a green square" -o square.png  in another terminal, with .venv/bin on PATH')  # fmt: skip


def _show_logs(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        try:
            lines = (folder / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        if lines:
            print(f"\n--- {folder / name}.log", *lines[-LOG_TAIL_LINES:], sep="\n", file=sys.stderr)
