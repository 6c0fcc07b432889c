"""The form of log lines: text with colours on a terminal only, and JSON, one line for each record."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Mapping

import pytest

from jobs.process.log_lines import JsonFormatter, SafeRecord
from jobs.settings import PROJECT_ROOT
from tests.support.pseudo_terminal import PseudoTerminal

PROGRAM = """
import logging, sys, threading, warnings
from jobs.process.log import configure, take_over

configure("INFO", sys.argv[1])
take_over()
logger = logging.getLogger("workers.test")
logger.debug("not shown")
logger.warning("asked %s", "http://x/?key=secret", extra={"job_id": "a1", "run_s": 1.5, "why": "two words", "no": None})
silent = logging.getLogger("silent")
silent.propagate = False
silent.info("not shown")
silent.warning("has no handler")
warnings.warn("an old function")
thread = threading.Thread(target=lambda: int("of a thread"), name="worker")
thread.start()
thread.join()
raise ValueError("at the end")
"""


def written(form: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the lines of a program whose standard error is a pipe."""
    environment = {"PYTHONPATH": str(PROJECT_ROOT), **(environ or {})}
    command = [sys.executable, "-c", PROGRAM, form]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60).stderr.splitlines()


@pytest.mark.parametrize("form", ["json", "auto"])
def test_every_record_warning_and_exception_is_one_line_of_json(form: str) -> None:
    lines = [json.loads(line) for line in written(form)]
    assert [(line["level"], line["logger"]) for line in lines] == [
        ("WARNING", "workers.test"), ("WARNING", "silent"), ("WARNING", "py.warnings"),
        ("CRITICAL", "jobs.process.log"), ("CRITICAL", "jobs.process.log"),
    ]  # fmt: skip
    first, _, warning, in_thread, last = lines
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first.pop("pid") > 0
    assert first == {
        "level": "WARNING", "logger": "workers.test", "message": "asked http://x/?…", "job_id": "a1", "run_s": 1.5,
        "why": "two words",
    }  # fmt: skip
    assert warning["message"].startswith("UserWarning: an old function (")
    assert (in_thread["thread_name"], "of a thread" in in_thread["exception"]) == ("worker", True)
    assert last["exception"].splitlines()[-1] == "ValueError: at the end"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_without_a_record_is_that_of_a_record(form: str) -> None:
    program = """
import json, logging, sys
from jobs.process.frequent_lines import FrequentLines
from jobs.process.log import configure

configure("INFO", sys.argv[1])
logger = logging.getLogger("tasks.test")
fields = {
    "job_id": "a1", "run_s": 1.25, "no": None, "flag": True, "level": "hidden", "empty": "", "link": "http://x/?key=secret",
    "two": "a \\n b\\x1b", "more": ["x"], "number": float("nan"),
}
logger.info("done", extra=fields)
FrequentLines(logger, "done").log(logging.INFO, fields)
other = logging.StreamHandler(sys.stderr)
logger.addHandler(other)
FrequentLines(logger, "done").log(logging.INFO, fields)
logger.removeHandler(other)
logger.setLevel("WARNING")
assert not FrequentLines(logger, "done").is_shown(logging.INFO)
"""
    command, environment = [sys.executable, "-c", program, form], {"PYTHONPATH": str(PROJECT_ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    of_record, without, with_other, *others = map(_without_time, done.stderr.splitlines())
    assert of_record == without
    assert [of_record, "done"] in ([with_other, *others], [*others, with_other])
    assert "secret" not in done.stderr
    assert "a1" in of_record


def _without_time(line: str) -> str:
    return re.sub(r"[\d:.T-]{12,}Z?", "", line, count=1)


def test_a_greenlet_that_fails_is_one_line() -> None:
    program = """
import gevent
from app.server.worker import log_failed_greenlets
from jobs.process.log import configure

configure("INFO", "json")
log_failed_greenlets()
gevent.spawn(int, "of a greenlet").join()
"""
    command, environment = [sys.executable, "-c", program], {"PYTHONPATH": str(PROJECT_ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    line = json.loads(done.stderr)
    assert (line["level"], line["message"]) == ("ERROR", "a greenlet failed")
    assert "of a greenlet" in line["exception"]


def test_text_has_no_colours_in_a_pipe() -> None:
    lines = written("text", {"TERM": "xterm-256color"})
    assert re.fullmatch(
        r'\d\d:\d\d:\d\d\.\d{3} WARNING workers.test asked http://x/\?… job_id=a1 run_s=1.5 why="two words"', lines[0]
    )
    assert not any("\x1b" in line for line in lines)
    assert lines[-1] == "ValueError: at the end"


@pytest.mark.parametrize(("environ", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_shows_text_with_colours(environ: Mapping[str, str], is_coloured: bool) -> None:
    with PseudoTerminal(
        [sys.executable, "-c", PROGRAM, "auto"], environ={"PYTHONPATH": str(PROJECT_ROOT), **environ}
    ) as terminal:
        terminal.await_text("ValueError: at the end")
    assert ("\x1b[33mWARNING" in terminal.raw) == is_coloured
    assert "asked http://x/?…" in terminal.text


@pytest.mark.parametrize("text", ["a\nb", "\u2028", '"quoted"', "\udc80", "http://x/?a=\\", "\x1b[31m"])
def test_no_text_breaks_a_json_line(text: str) -> None:
    record = SafeRecord("name", logging.INFO, "file", 1, text, (), None)
    record.value, record.level = text, "hidden"
    line = JsonFormatter().format(record).encode(errors="backslashreplace")
    assert b"\n" not in line
    assert b"\x1b" not in line
    assert json.loads(line)["level"] == "INFO"
