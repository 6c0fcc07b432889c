"""Record which lines of a checkout run in which phase, in every process that is started with this file on its path.

:mod:`bench.job_path` copies this file as ``sitecustomize.py``, which Python imports at start. It needs nothing but
coverage and the standard library. A process is told its phase by the file that ``FRAMEMILL_PATH_PHASE`` names, and
confirms each phase by a file ``<pid>.<phase>`` beside it.
"""

from __future__ import annotations

import os
import time
from _thread import start_new_thread as _start_native_thread
from pathlib import Path

import coverage

#: The phase that makes a process write what it has recorded.
SAVE = "save"
PHASE_VARIABLE = "FRAMEMILL_PATH_PHASE"
ROOT_VARIABLE = "FRAMEMILL_PATH_ROOT"

# gevent replaces these later; the thread below must stay a native one that never waits for a greenlet.
_sleep = time.sleep
_POLL_S = 0.01


def _start() -> None:
    phase_file = Path(os.environ[PHASE_VARIABLE])
    root = os.environ[ROOT_VARIABLE]
    recorder = coverage.Coverage(
        data_file=str(phase_file.parent / "coverage"),
        data_suffix=True,
        config_file=False,
        include=[f"{root}/*"],
        omit=[f"{root}/.venv/*", f"{root}/tests/*", f"{root}/bench/*"],
        # Both are needed: gunicorn's workers switch greenlets, Celery's parent starts threads.
        concurrency=["thread", "gevent"],
        messages=False,
    )
    recorder.set_option("run:core", "ctrace")
    recorder.start()

    def follow() -> None:
        phase = ""
        while phase != SAVE:
            _sleep(_POLL_S)
            asked = phase_file.read_text()
            if asked == phase:
                continue
            phase = asked
            if phase == SAVE:
                recorder.save()
            else:
                recorder.switch_context(phase)
            (phase_file.parent / f"{os.getpid()}.{phase}").touch()

    def follow_in_thread() -> None:
        (phase_file.parent / f"{os.getpid()}.started").touch()
        _start_native_thread(follow, ())

    # A forked child keeps recording, to a data file of its own; the thread is all that it lacks.
    os.register_at_fork(after_in_child=follow_in_thread)
    follow_in_thread()


if PHASE_VARIABLE in os.environ:
    _start()
