"""The supervisor with small shell commands: order of the stop, forced stop, output, and no process left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from jobs.settings import PROJECT_ROOT
from stack.logs import follow
from stack.logs.lines import Tidy, for_people
from stack.procfile import programs
from tests.support.harness import wait_for

CODE = """
import os, sys
from pathlib import Path
from stack import supervisor
from stack.logs.output import LogFolder, Terminal
from stack.procfile import programs

procfile, kill_after_s, log_folder = sys.argv[1:]
supervisor.KILL_AFTER_S = float(kill_after_s)
processes = programs(procfile, 1)
names = [program.name for program in processes]
output = LogFolder(Path(log_folder), names) if log_folder else Terminal(names)
run = supervisor.Supervisor(output, {})
sys.exit(run.run(processes, os.environ, Path.cwd(), on_started=lambda: output.say("started")))
"""
#: A line of a log with LOG_FORMAT=json.
JSON_LINE = (
    '{"time":"2026-11-30T00:53:20.178Z","level":"WARNING","logger":"workers.parent.lease","message":"slot taken",'
    '"pid":7,"slot":"gpu0","note":"a b"}'
)
#: Ends only when it is killed.
STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.1; done"
#: Takes a moment to end. Its child reports a signal that it should not receive.
DRAINING = """
(trap 'echo child hit' TERM; while :; do sleep 0.1; done) &
trap 'echo draining; sleep 0.3; echo drained; exit 0' TERM
echo up
while :; do sleep 0.1; done
"""


class Run:
    """One run of the supervisor. Its processes are recognized by a variable in their environment."""

    def __init__(self, log: Path, procfile: str, kill_after_s: float, log_folder: str = "") -> None:
        self._log = log
        self.mark = f"{log}-{os.getpid()}"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CODE, procfile, str(kill_after_s), log_folder],
                cwd=PROJECT_ROOT,
                env={**os.environ, "SUPERVISOR_TEST": self.mark},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def await_line(self, text: str) -> None:
        wait_for(lambda: text in self.log, f"{text!r} in the output", 30)

    def living(self) -> list[int]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("SUPERVISOR_TEST") == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    def await_end(self) -> float:
        """Wait until no process is left; returns the seconds that this took."""
        started = time.monotonic()
        self.process.wait(60)
        wait_for(lambda: not self.living(), "the end of all processes", 30)
        return time.monotonic() - started


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """``supervise(name=script, …)``: run these shell scripts as entries of a Procfile."""
    runs: list[Run] = []

    def start(kill_after_s: float = 30, log_folder: str = "", **scripts: str) -> Run:
        for name, script in scripts.items():
            (tmp_path / name).write_text(script)
        procfile = "".join(f"{name}: sh {tmp_path / name}\n" for name in scripts)
        runs.append(Run(tmp_path / f"{len(runs)}.log", procfile, kill_after_s, log_folder))
        return runs[-1]

    yield start
    for run in runs:
        for pid in run.living():
            os.kill(pid, signal.SIGKILL)
        run.process.wait()


def test_a_signal_reaches_the_main_processes_only(supervise: Callable[..., Run]) -> None:
    run = supervise(worker=DRAINING)
    run.await_line("| up")
    run.process.send_signal(signal.SIGTERM)
    run.await_end()
    assert run.process.returncode == 0
    assert "child hit" not in run.log
    assert [line.rpartition("| ")[2] for line in run.log.splitlines()][-3:] == ["stopping", "draining", "drained"]


def test_a_process_that_does_not_stop_is_killed_with_its_group(supervise: Callable[..., Run]) -> None:
    run = supervise(web=STUBBORN, io="echo ready; exec sleep 1000", kill_after_s=3)
    run.await_line("| up")
    run.await_line("| ready")
    run.process.send_signal(signal.SIGINT)
    run.await_end()
    assert run.process.returncode == 0
    assert re.findall(r"(\w+) did not stop in time", run.log) == ["web"]


def test_a_second_signal_kills_at_once(supervise: Callable[..., Run]) -> None:
    run = supervise(web=STUBBORN)
    run.await_line("| up")
    run.process.send_signal(signal.SIGINT)
    run.process.send_signal(signal.SIGINT)  # make passes on the same Ctrl-C
    run.await_line("stopping")
    time.sleep(1.1)
    assert run.process.poll() is None
    run.process.send_signal(signal.SIGINT)
    assert run.await_end() < 15
    assert "web did not stop in time; killing it" in run.log


@pytest.mark.parametrize(("command", "how"), [("exit 3", "exit status 3"), ("kill -9 $$", "killed by SIGKILL")])
def test_the_end_of_one_ends_all(supervise: Callable[..., Run], command: str, how: str) -> None:
    run = supervise(io="exec sleep 1000", web=f"sleep 1000 &\nsleep 0.3\n{command}")
    run.await_end()
    assert run.process.returncode == 1
    assert f"web ended by itself ({how}); stopping the rest" in run.log


def test_nothing_is_left_behind_when_the_supervisor_is_killed(supervise: Callable[..., Run]) -> None:
    run = supervise(io="exec sleep 1000", web="echo up; exec sleep 1000")
    run.await_line("| up")
    run.process.kill()
    run.await_end()


def test_lines_name_their_process(supervise: Callable[..., Run]) -> None:
    run = supervise(a="echo out; echo err >&2; printf unfinished; exec sleep 1000", flower="exec sleep 1000")
    run.await_line("| err")
    run.await_line("started")
    run.process.terminate()
    run.await_end()
    lines = run.log.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d (a|flower|system) +\| ", line) for line in lines), lines
    assert {"a      | out", "a      | err", "a      | unfinished"} <= {line[9:] for line in lines}


def test_output_goes_to_log_files(supervise: Callable[..., Run], tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a.log"
    run = supervise(a="echo out; exec sleep 1000", log_folder=str(log.parent))
    wait_for(lambda: log.exists() and log.read_text(), "a line")
    run.await_line("started")
    run.process.terminate()
    run.await_end()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +out\n", log.read_text())
    assert run.log.splitlines() == ["started", "stopping"]


def test_the_terminal_shows_errors_and_the_last_lines_of_what_ended(
    supervise: Callable[..., Run], tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    script = "echo '12:00:00.000 ERROR   jobs it broke job=1'; echo '12:00:01.000 INFO    jobs one more'; exit 3"
    for _ in range(2):
        run = supervise(a=script, log_folder=str(folder))
        run.await_end()
    assert re.search(r"^[\d:]+ a +\| ERROR +jobs it broke job=1$", run.log, re.MULTILINE), run.log
    tail = run.log.partition("its last lines:\n")[2].splitlines()
    assert [line.split(maxsplit=2)[2] for line in tail] == ["ERROR   jobs it broke job=1", "INFO    jobs one more"]
    assert sorted(path.name for path in folder.iterdir()) == ["a.log", "a.log.1"]


def test_json_lines_are_text_where_people_read_them() -> None:
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1796000000))
    text = f"{clock}.178 WARNING workers.parent.lease slot taken slot=gpu0 note=\"a b\""
    assert for_people(JSON_LINE) == text
    assert for_people(JSON_LINE, colours=True) == text.replace("WARNING", "\x1b[33mWARNING\x1b[0m")
    assert for_people(JSON_LINE[:-1] + ',"exception":"Traceback:\\n  x"}') == f"{text}\nTraceback:\n  x"
    for other in ("{not json}", '{"message": "of something else"}', "plain"):
        assert for_people(other, colours=True) == other


def test_json_lines_of_a_stack_stay_json_in_the_files(supervise: Callable[..., Run], tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    error = JSON_LINE.replace("WARNING", "ERROR")
    run = supervise(a=f"echo '{JSON_LINE}'; echo '{error}'; exit 3", log_folder=str(folder))
    run.await_end()
    assert (folder / "a.log").read_text().splitlines() == [JSON_LINE, error]
    assert re.search(r"^[\d:]+ a +\| ERROR +workers.parent.lease slot taken slot=gpu0", run.log, re.MULTILINE), run.log
    assert "{" not in run.log


def test_lines_of_all_processes_get_one_form() -> None:
    tidy = Tidy(now=lambda: 0.0)
    today = time.strftime("%Y-%m-%d", time.localtime(0))
    given = [
        JSON_LINE,
        "01:11:54.178 INFO    workers.parent.lease slot taken slot=gpu0",
        "", "Traceback (most recent call last):", "  File x", "ValueError: y", "01:11:55.000 ERROR   jobs z",
    ]  # fmt: skip
    assert [tidy.line(line) for line in given] == [
        JSON_LINE,
        f"{today} 01:11:54.178 INFO    workers.parent.lease slot taken slot=gpu0",
        None, "Traceback (most recent call last):", "  File x", "ValueError: y", f"{today} 01:11:55.000 ERROR   jobs z",
    ]  # fmt: skip
    assert tidy.level == "ERROR"


def test_logs_are_shown_in_order_and_followed(tmp_path: Path) -> None:
    web, gpu = tmp_path / "web.log", tmp_path / "gpu0.log"
    web.write_text("2026-01-01 10:00:00.000 INFO    a\n2026-01-01 10:00:02.000 INFO    c\n")
    gpu.write_text("2026-01-01 10:00:01.000 INFO    b\nTraceback\n")
    files = follow.files_of(tmp_path, [])
    shown = follow.lines_of(files, 10, follows=True)
    assert [next(shown)[1][-1] for _ in range(4)] == ["a", "b", "k", "c"]
    with web.open("a") as file:
        file.write("2026-01-01 10:00:03.000 INFO    d\nhalf")
    assert next(shown) == ("web", "2026-01-01 10:00:03.000 INFO    d")
    web.replace(tmp_path / "web.log.1")
    web.write_text("e\n")
    assert next(shown) == ("web", "e")
    with pytest.raises(OSError, match="there are: gpu0, web"):
        follow.files_of(tmp_path, ["io"])


def test_entries_are_repeated_for_devices_services_and_back_ends() -> None:
    procfile = "# comment\nweb: serve\ngpu0: work -Q gpu0 -n gpu0@%h\nio: deliver\n"
    plain = [(program.name, program.command) for program in programs(procfile, 2, backends=["a1111"])]
    assert plain == [
        ("web", "serve"), ("gpu0", "work -Q gpu0 -n gpu0@%h"), ("gpu1", "work -Q gpu1 -n gpu1@%h"),
        ("a1111", "work -Q a1111 -n a1111@%h"), ("io", "deliver"),
    ]  # fmt: skip
    services = programs(procfile, 2, services=(8000, 8001))
    assert [program.environment for program in services if program.command == "serve"] == [
        {"PORT": "8000", "SERVICE_SLOT": "gpu0"},
        {"PORT": "8001", "SERVICE_SLOT": "gpu1"},
    ]
