"""``make gpu-check`` runs completely on a CPU as well; checks that need CUDA are reported as skipped."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from jobs.settings import PROJECT_ROOT


@pytest.mark.timeout(400)
def test_on_a_cpu_with_small_shapes() -> None:
    command = [sys.executable, "-m", "bench.gpu_check", "--device", "cpu", "--tiny"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = dict(re.findall(r"^\| ([^|]+) \| ([a-zA-Z]+) \|", done.stdout, re.MULTILINE))
    assert verdicts.pop("check") == "verdict"
    assert {what for what, verdict in verdicts.items() if verdict == "skipped"} == {
        "the process of a slot sees one device", "a device-side fault is recognised",
    }  # fmt: skip
    for shape in ("sdxl", "wan"):
        for what in ("load", "to RAM, back", "step, batch 2", "stop", "out of memory, then a job"):
            assert verdicts[f"{shape}: {what}"] == "ok"
