"""``python -m stack up`` with the project's own Procfile, as an operator runs it: started, stopped, restarted."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from jobs.settings import PROJECT_ROOT, Settings
from jobs.store import keys
from jobs.store.jobs import JobStore
from stack import ports
from stack.supervisor import KILL_AFTER_S
from tests.stack.test_lightx2v_single import COUNTING
from tests.support import drawn_models
from tests.support.harness import ENDLESS_STEPS, PATIENCE_S, wait_for

HOST = "127.0.0.1"
#: Longest time from Ctrl-C to the end of the last process, seconds.
STOP_LIMIT_S = 10.0
#: A job that takes seconds: on any machine, longer than it takes to see its first step and to press Ctrl-C.
SOME_STEPS = 1000


class Up:
    """One run of the launcher. Its processes are recognised by their ``DATA_DIR``."""

    def __init__(self, data_dir: Path, models_file: Path, *command: str, **environment: str) -> None:
        self.command = command or ("stack", "up")
        self.port = ports.next_free(HOST, 11_000 + 101 * os.getpid() % 8_000)
        self.flower_port = ports.next_free(HOST, self.port + 1)
        own = {"DATA_DIR": data_dir, "MODELS_FILE": models_file, "CPU_THREADS": "1", "PORT": self.port,
               "FLOWER_PORT": self.flower_port, "NOOP_STEP_MS": drawn_models.STEP_MS}  # fmt: skip
        environ = {**os.environ, **{name: str(value) for name, value in own.items()}, **environment}
        # Python must not buffer its output when it is written to a file.
        environ.pop("PYTHONUNBUFFERED", None)
        self.environ = environ
        self.settings = Settings.from_env(environ)
        self._log = data_dir.with_name(data_dir.name + ".log")
        with self._log.open("w") as log:
            self.process = self._start(log)

    def _start(self, output: Any) -> subprocess.Popen[bytes]:
        # Its own group, as a shell gives to each command: Ctrl-C reaches all processes of a group.
        return subprocess.Popen(
            [sys.executable, "-m", *self.command], cwd=PROJECT_ROOT, env=self.environ, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def log_of(self, name: str) -> str:
        """Return what a process has written."""
        return (self.settings.paths.data_dir / "logs" / f"{name}.log").read_text(errors="replace")

    def second(self) -> tuple[int, str]:
        """Return exit code and output of another start in the same environment."""
        other = self._start(subprocess.PIPE)
        output, _ = other.communicate(timeout=150)
        return other.returncode, output.decode(errors="replace")

    def await_ready(self, *slots: str) -> None:
        """Wait until the launcher reports that it is ready, with these slots."""

        def said() -> bool:
            assert self.process.poll() is None, f"exit {self.process.returncode}:\n{self.log}"
            return "Framemill is ready" in self.log

        wait_for(said, "the launcher to say that it is ready")
        wait_for(lambda: self.get("/readyz").json()["slots"] == list(slots), f"the slots {slots}")
        assert self.get("/readyz").status_code == 200

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://{HOST}:{self.port}{path}", timeout=60)

    def submit(self, **fields: Any) -> str:
        response = requests.post(f"http://{HOST}:{self.port}/v1/jobs", json=fields, timeout=60)
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    def await_job(self, job_id: str, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        def look() -> Any:
            view = self.get(f"/v1/jobs/{job_id}").json()
            return view if condition(view) else None

        return dict(wait_for(look, f"job {job_id}"))

    def living(self) -> dict[int, str]:
        """Return every process of this run by its id."""
        folder = os.fsencode(self.settings.paths.data_dir)
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environ, command = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
            except OSError:
                continue  # it has ended meanwhile, or belongs to another user
            # redis-server writes its title, with the socket's path, over its environment.
            if b"\0DATA_DIR=%s\0" % folder in b"\0" + environ or folder in command:
                found[int(process.name)] = command.replace(b"\0", b" ").decode()
        return found

    def ended(self) -> float:
        """Wait until the launcher and everything that it started have ended; return the seconds that this took."""
        begun = time.monotonic()
        self.process.wait(PATIENCE_S)
        left = self.living()
        assert left == {}, f"left behind: {left}\n{self.log}"
        return time.monotonic() - begun

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(2 * STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in self.living():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def up(short_folder: Path, drawn_models_file: Path) -> Iterator[Callable[..., Up]]:
    """``up(SETTING=value)``: start the launcher; every call of one test uses the same data folder."""
    runs: list[Up] = []

    def start(**environment: str) -> Up:
        runs.append(Up(short_folder / "var", drawn_models_file, **environment))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def test_jobs_outlive_a_stop_and_each_device_is_a_slot(up: Callable[..., Up]) -> None:
    first = up(DRAIN_GRACE_S="0")
    first.await_ready("gpu0")
    url = f"http://{HOST}:{first.port}"
    summary = dict(line.split(maxsplit=1) for line in first.log.splitlines() if line.startswith("  "))
    assert [summary[name] for name in ("console", "API", "docs")] == [url, f"{url}/v1", f"{url}/docs"]
    assert summary["Flower"] == f"http://{HOST}:{first.flower_port}"
    assert {"tiny-image", "tiny-video"} <= set(summary["models"].split(", "))
    assert summary["slots"].startswith("gpu0 (cpu")
    found = [line.split()[1] for line in first.log.splitlines() if line.startswith("✓ ")]
    assert found == ["settings", "models", "keys", "disk", "redis", "store", "devices", "ports"]
    assert requests.get(f"http://{HOST}:{first.flower_port}/", timeout=60).status_code == 200
    # So that no process is missed when all must have ended.
    commands = " ".join(first.living().values())
    for part in ("stack up", "redis-server", "gunicorn", "worker -Q gpu0", "worker -Q io", "flower"):
        assert part in commands
    job_id = first.submit(model="tiny-image", prompt="x", steps=SOME_STEPS)
    first.await_job(job_id, lambda view: view["progress"]["step"] > 0)
    first.process.terminate()
    assert first.ended() < STOP_LIMIT_S
    assert first.process.returncode == 0, first.log
    assert f"job handed back job_id={job_id}" in first.log_of("gpu0")
    assert not re.search(r"\[queues\]|SecurityWarning|it/s", "".join(map(first.log_of, ("gpu0", "io"))))
    for name in ("web", "gpu0", "io", "flower"):
        for line in first.log_of(name).splitlines():
            assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line), (name, line)

    second = up(CUDA_VISIBLE_DEVICES="0,1")
    second.await_ready("gpu0", "gpu1")
    code, output = second.second()
    assert (code, f"a stack (pid {second.process.pid}) already runs with" in output) == (2, True), output
    view = second.await_job(job_id, lambda view: view["state"] not in ("queued", "running", "delivering"))
    assert (view["state"], view["progress"]["step"], view["attempt"]) == ("succeeded", SOME_STEPS, 1)
    assert second.get(view["links"]["result"]).content.startswith(b"\x89PNG")

    # The job runs where the model is already loaded.
    endless = second.submit(model="tiny-image", prompt="x", steps=ENDLESS_STEPS, slot=view["slot"])
    second.await_job(endless, lambda view: view["progress"]["step"] > 0)
    os.killpg(second.process.pid, signal.SIGINT)
    assert second.ended() < STOP_LIMIT_S
    assert second.process.returncode == 0, second.log
    assert re.search(f"run ended job_id={endless} .*ended=interrupted", second.log_of(view["slot"]))
    # Another run has the whole DRAIN_GRACE_S, which leaves a worker time to end before it is killed.
    assert 2 * Settings().leases.drain_grace_s + 1 <= KILL_AFTER_S


def test_a_lost_worker_ends_all_of_it(up: Callable[..., Up]) -> None:
    run = up()
    run.await_ready("gpu0")
    store = JobStore(run.settings)
    worker = int(store.call(lambda client: client.hget(keys.SLOT + "gpu0", "pid")))
    os.kill(worker, signal.SIGKILL)
    assert run.ended() < STOP_LIMIT_S
    assert run.process.returncode == 1
    assert "gpu0 ended by itself (killed by SIGKILL); stopping the rest\nits last lines:\n" in run.log


def test_a_taken_port_is_named_with_the_process_that_has_it(up: Callable[..., Up]) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        run = up(PORT=str(port))
        run.ended()
    assert run.process.returncode == 2
    assert f"the web server cannot use port {port}: it is taken by" in run.log
    assert f"(pid {os.getpid()}). Set PORT to another port" in run.log


def test_several_services_have_a_slot_each(short_folder: Path) -> None:
    models = short_folder / "models.toml"
    models.write_text(COUNTING)
    # Below the ports that the system assigns to other programs.
    port = ports.next_free(HOST, 10_000 + os.getpid() % 9_000)
    while ports.refusal(HOST, port + 1):
        port = ports.next_free(HOST, port + 2)
    options = {"LIGHTX2V_PROFILE": "single", "NOOP_STEP_MS": "5"}
    command = ("framemill", "up", "--services", "2", "--start-port", str(port))
    with contextlib.closing(Up(short_folder / "var", models, *command, **options)) as run:
        run.port = port
        run.await_ready("gpu0", "gpu1")
        urls = [f"http://{HOST}:{port + number}" for number in range(2)]
        assert re.search(rf"^  gpu1 +{urls[1]}/v1, for this GPU alone$", run.log, re.MULTILINE)
        for number, url in enumerate(urls):
            answer = requests.post(f"{url}/v1/tasks/", json={"prompt": "x", "infer_steps": ENDLESS_STEPS}, timeout=90)
            assert answer.status_code == 200, answer.text
            status = requests.get(f"{url}/v1/service/status", timeout=90).json()
            assert (status["service_status"], status["task_id"]) == ("busy", answer.json()["task_id"])
            fleet = requests.get(f"{url}/v1/fleet", timeout=90).json()
            assert [slot["name"] for slot in fleet["slots"]] == [f"gpu{number}"]
        run.process.terminate()
        run.ended()
        assert run.process.returncode == 0, run.log
