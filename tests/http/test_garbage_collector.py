"""The garbage collector of the web server: off while modules are imported, on while it serves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from jobs.settings import PROJECT_ROOT

#: Does what gunicorn does: reads its configuration, and loads the app in a worker. Prints whether the collector is on.
LOAD = """
import gc, runpy
from types import SimpleNamespace
runpy.run_path("gunicorn.conf.py")
states = [gc.isenabled()]
from app import create_app
from app.server.worker import Worker
from gunicorn.config import Config
worker = Worker.__new__(Worker)
worker.app, worker.cfg, worker.log = SimpleNamespace(wsgi=create_app), Config(), SimpleNamespace()
worker.load_wsgi()
states.append(gc.isenabled())
print(*states, gc.get_freeze_count() > 100_000)
"""


def test_a_worker_that_serves_collects_garbage_but_not_its_modules(short_folder: Path) -> None:
    environment = {**os.environ, "DATA_DIR": str(short_folder), "LOG_LEVEL": "ERROR"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False True True", done.stdout
