"""A delivery worker that cannot load its check of outputs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from jobs.settings import PROJECT_ROOT


def test_a_delivery_worker_without_its_check_does_not_start(models_file: Path, short_folder: Path) -> None:
    environment = {**os.environ, "MODERATION": "block", "MODERATION_OUTPUTS": "no:check", "DATA_DIR": str(short_folder)}
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-Q", "io"]
    ended = subprocess.run(command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert ended.returncode != 0
    assert "MODERATION_OUTPUTS" in ended.stderr + ended.stdout
