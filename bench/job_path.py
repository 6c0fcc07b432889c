"""Count the files that take part in one text2img job: ``python -m bench.job_path [CHECKOUT] [--lists]``.

Starts Redis, the web server and the workers ``gpu0`` and ``io`` from a checkout with its shipped models, runs one job
so that everything is imported and the model is loaded, waits until all is quiet, records an idle phase, then records a
second job from its POST to its ``succeeded`` event. A file counts if at least one of its lines ran in any process in
that phase; its import does not count, as it happened before. Lua scripts count if Redis was asked to run them.

The measured checkout may be another version than this one: only ``POST /v1/jobs`` (before 0.2.0: ``/v1/tasks/``) and
the events on Redis are relied on.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import coverage
import redis

from bench import path_recorder
from bench.common import table
from stack import ports
from stack.embedded_redis import binary as redis_binary
from stack.parent import terminate_with_parent

PATIENCE_S = 300.0
STEPS = 4
_PROCESSES = {
    "web": ("gunicorn", "app:create_app()"),
    "gpu0": ("celery", "-A", "tasks", "worker", "-Q", "gpu0", "-n", "gpu0@%h", "--without-gossip", "--without-mingle"),
    "io": ("celery", "-A", "tasks", "worker", "-Q", "io", "-n", "io@%h", "--without-gossip", "--without-mingle"),
}  # fmt: skip


@dataclass
class Phase:
    """What ran in one phase."""

    #: Path below the checkout → number of lines that ran, over all processes.
    lines: Counter[str] = field(default_factory=Counter)
    #: Path of a Lua script → number of calls.
    scripts: Counter[str] = field(default_factory=Counter)
    #: Paths of the Lua files that these scripts include; which of their functions were called is not known.
    includes: set[str] = field(default_factory=set)

    @property
    def files(self) -> set[str]:
        return {*self.lines, *self.scripts, *self.includes}

    def without(self, other: Phase) -> Phase:
        """Only the files that are not in the other phase."""
        return Phase(
            Counter({name: lines for name, lines in self.lines.items() if name not in other.lines}),
            Counter({name: calls for name, calls in self.scripts.items() if name not in other.scripts}),
            self.includes - other.includes,
        )

    def row(self, name: str) -> tuple[str, int, int, int, int, int]:
        """Cells of the table."""
        return name, len(self.lines), sum(self.lines.values()), len(self.scripts), len(self.includes), len(self.files)


class Recording:
    """A stack of the measured checkout whose processes record what they run."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        self._records = folder / "records"
        self._records.mkdir()
        self._phase_file = self._records / "phase"
        self._phase_file.write_text("started")
        shutil.copy(path_recorder.__file__, folder / "sitecustomize.py")
        self._redis_port, self._port = (ports.next_free("127.0.0.1", start) for start in (21_379, 28_000))
        # No timeout: MONITOR is silent while Redis is idle.
        self.redis = redis.Redis(port=self._redis_port, decode_responses=True, socket_timeout=None)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start everything and wait until it is ready."""
        server = redis_binary.find_binary().path
        command = [server, "--port", str(self._redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder]
        self._run("redis", command, os.environ)
        _wait(lambda: self._answers(self.redis.ping), "Redis")
        self._scripts = ScriptCalls(self.redis, self.root)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (self.folder, self.root / "src", self.root))),
            path_recorder.PHASE_VARIABLE: str(self._phase_file),
            path_recorder.ROOT_VARIABLE: str(self.root),
            "DATA_DIR": str(self.folder / "data"),
            "REDIS_URL": f"redis://127.0.0.1:{self._redis_port}/0",
            "PORT": str(self._port),
            "CPU_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        for name, (program, *arguments) in _PROCESSES.items():
            self._run(name, [Path(sys.executable).parent / program, *arguments], environment)
        _wait(lambda: self._answers(self._ready), "the stack")

    def _run(self, name: str, command: list[Any], environment: Any) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.root, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=terminate_with_parent,
            )  # fmt: skip
        self._processes.append(process)

    def _answers(self, ask: Callable[[], Any]) -> Any:
        for process in self._processes:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args!r} ended: {self._tail()}")
        with contextlib.suppress(OSError, redis.ConnectionError):
            return ask()
        return None

    def _tail(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-1500:] for path in sorted(self.folder.glob("*.log")))

    def _ready(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=10) as response:
            ready = json.load(response)
        return "gpu0" in ready["slots"] and bool(ready["delivery"])

    def phase(self, name: str) -> None:
        """Begin a phase in every process and for Redis, and wait until all have confirmed it."""
        self._scripts.phase(name)
        part = self._records / "phase.new"
        part.write_text(name)
        part.rename(self._phase_file)
        _wait(lambda: self._alive() <= self._confirmed(name), f"phase {name} in every process")

    def _alive(self) -> set[str]:
        started = self._confirmed("started")
        return {pid for pid in started if Path(f"/proc/{pid}/cmdline").exists() and not _is_zombie(pid)}

    def _confirmed(self, phase: str) -> set[str]:
        return {path.stem for path in self._records.glob(f"*.{phase}")}

    def job(self) -> None:
        """Submit one job and wait for the event of its success."""
        with self.redis.pubsub() as events:
            events.psubscribe("*")
            job_id = self._submit()
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline:
                message = events.get_message(timeout=1.0)
                data = str(message["data"]) if message else ""
                if job_id in data and '"succeeded"' in data:
                    return
                if job_id in data and '"failed"' in data:
                    raise RuntimeError(f"the job failed: {data}")
        raise TimeoutError(f"job {job_id} did not succeed: {self._tail()}")

    def _submit(self) -> str:
        body = {"model": "demo-image", "prompt": "a red circle", "steps": STEPS, "seed": 1}
        for path in ("/v1/jobs", "/v1/tasks/"):
            request = urllib.request.Request(
                f"http://127.0.0.1:{self._port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    job = json.load(response)
                return str(job.get("id") or job["task_id"])
            except urllib.error.HTTPError as exc:
                if exc.code not in (404, 405):
                    raise RuntimeError(f"the job was refused: {exc.read().decode()}") from exc
        raise RuntimeError("this checkout has neither POST /v1/jobs nor POST /v1/tasks/")

    def result(self, phase: str) -> Phase:
        """What ran in a phase. Only after the phase ``save``."""
        lines: Counter[str] = Counter()
        for path in self._records.glob("coverage.*"):
            data = coverage.CoverageData(str(path))
            data.read()
            data.set_query_context(phase)
            for name in data.measured_files():
                if count := len(data.lines(name) or ()):
                    lines[str(Path(name).relative_to(self.root))] += count
        calls = self._scripts.calls[phase]
        return Phase(lines, calls, {name for script in calls for name in self._scripts.includes.get(script, ())})

    def close(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class ScriptCalls:
    """Scripts that Redis runs, seen by ``MONITOR`` and named by their files, counted by phase."""

    _MARK = "framemill phase "

    def __init__(self, server: redis.Redis, root: Path) -> None:
        self._server = server
        self._endings = {
            str(path.relative_to(root)): _ending(path.read_text(encoding="utf-8"))
            for path in root.glob("jobs/**/*.lua")
        }
        #: SHA-1 of a loaded script → its file; file → the included files that were loaded with it.
        self._files: dict[str, str] = {}
        self.includes: dict[str, set[str]] = {}
        self.calls: dict[str, Counter[str]] = defaultdict(Counter)
        self._phase = ""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def phase(self, name: str) -> None:
        """Count what Redis runs from now on under this phase."""
        deadline = time.monotonic() + PATIENCE_S
        with self._changed:
            while self._phase != name:  # the first mark is lost if it precedes MONITOR
                if time.monotonic() > deadline or not self._thread.is_alive():
                    raise RuntimeError("the calls of scripts are no longer seen")
                self._server.echo(self._MARK + name)
                self._changed.wait(0.2)

    def _listen(self) -> None:
        with contextlib.suppress(redis.ConnectionError), self._server.monitor() as monitor:
            for entry in monitor.listen():
                command, _, rest = entry["command"].partition(" ")
                if command.upper() == "ECHO" and rest.startswith(self._MARK):
                    with self._changed:
                        self._phase = rest.removeprefix(self._MARK)
                        self._changed.notify_all()
                elif command.upper() == "SCRIPT" and rest[:5].upper() == "LOAD ":
                    self._learn(rest[5:].encode("latin-1", "backslashreplace").decode("unicode_escape"))
                elif command.upper() == "EVALSHA":
                    digest = rest.partition(" ")[0]
                    self.calls[self._phase][self._files.get(digest, digest)] += 1

    def _learn(self, text: str) -> None:
        """Name a script by the end of its text: shared parts come before its own."""
        raw = text.encode("latin-1")
        loaded = "\n".join(_lines(raw.decode("utf-8")))
        found = {name: [match.end() for match in ending.finditer(loaded)] for name, ending in self._endings.items()}
        ends = {name: places[-1] for name, places in found.items() if places}
        scripts = [name for name, end in ends.items() if end == len(loaded)]
        if scripts:
            script = max(scripts, key=lambda name: len(self._endings[name].pattern))
            self._files[hashlib.sha1(raw, usedforsecurity=False).hexdigest()] = script
            self.includes[script] = ends.keys() - set(scripts)


#: A string, a comment, or a constant such as ``K.JOB``. Some versions replace constants when they load a script.
_LUA_TOKEN = re.compile(r"(?P<string>'(?:\\.|[^'\\\n])*')|(?P<comment>[ \t]*--[^\n]*)|(?P<constant>\b[A-Z]+\.\w+)")


def _lines(text: str) -> list[str]:
    """The lines of a script without comments and blank ones."""
    bare = _LUA_TOKEN.sub(lambda match: "" if match["comment"] else match[0], text)
    return [line.strip() for line in bare.splitlines() if line.strip()]


def _ending(text: str) -> re.Pattern[str]:
    """What the loaded text of this script ends with; constants match their values too."""
    last = "\n".join(_lines(text)[-12:])
    parts, place = [], 0
    for match in _LUA_TOKEN.finditer(last):
        parts.append(re.escape(last[place : match.start()]))
        exact = re.escape(match[0])
        parts.append(rf"(?:{exact}|'[^'\n]*'|-?[\d.]+)" if match["constant"] else exact)
        place = match.end()
    return re.compile("".join(parts) + re.escape(last[place:]))


def _is_zombie(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def _wait(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise TimeoutError(f"waited {PATIENCE_S:g} s in vain for {what}")


def measure(root: Path, *, idle_s: float = 10.0, repeats: int = 5, lists: bool = False) -> str:
    """Record several equal jobs of a checkout, one after the other.

    Args:
        root: the checkout.
        idle_s: length of the idle phase, which shows what would have run without a job.
        repeats: number of jobs. Which background work falls into a job is chance, so the table has the median job.
        lists: also print the files with their number of lines.
    """
    phases = [f"job {number}" for number in range(repeats)]
    with tempfile.TemporaryDirectory(prefix="fmp-") as folder:
        recording = Recording(root.resolve(), Path(folder))
        try:
            recording.start()
            recording.job()
            time.sleep(idle_s)
            recording.phase("idle")
            time.sleep(idle_s)
            for phase in phases:
                recording.phase(f"before {phase}")
                recording.phase(phase)
                recording.job()
            recording.phase("after")
            recording.phase(path_recorder.SAVE)
            idle, jobs = recording.result("idle"), [recording.result(phase) for phase in phases]
        finally:
            recording.close()
    jobs.sort(key=lambda job: len(job.files))
    job = jobs[len(jobs) // 2]
    head = ("phase", "Python files", "lines", "Lua scripts", "Lua includes", "files in all")
    span = f"{len(jobs[0].files)} to {len(jobs[-1].files)}"
    rows = [
        job.row(f"POST to succeeded, median of {repeats} ({span})"),
        idle.row(f"idle for {idle_s:g} s"),
        job.without(idle).row("POST to succeeded, files that also run when idle left out"),
    ]
    parts = [table(head, rows)]
    if lists:
        both = {**dict.fromkeys(job.includes, 0), **job.lines, **job.scripts}
        parts += [f"{count:5d} {'i' if name in idle.files else ' '} {name}" for name, count in sorted(both.items())]
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.job_path", description="Count the files of one job's path.")
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(), help="root of the checkout; default: here")
    parser.add_argument("--idle", type=float, default=10.0, metavar="S", help="length of the idle phase, seconds")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="number of jobs; the median is shown")
    parser.add_argument("--lists", action="store_true", help="print the files; i: also run when idle")
    options = parser.parse_args()
    print(measure(options.checkout, idle_s=options.idle, repeats=options.repeats, lists=options.lists))
    return 0


if __name__ == "__main__":
    sys.exit(main())
