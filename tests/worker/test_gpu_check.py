"""``make gpu-check`` runs completely on a CPU as well; checks that need CUDA are reported as skipped."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from jobs.settings import PROJECT_ROOT


@pytest.mark.timeout(1200)
def test_on_a_cpu_with_small_shapes() -> None:
    command = [sys.executable, "-m", "bench.gpu_check", "--device", "cpu", "--tiny"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = dict(re.findall(r"^\| ([^|]+) \| ([a-zA-Z]+) \|", done.stdout, re.MULTILINE))
    assert verdicts.pop("check") == "verdict"
    skipped = {what for what, verdict in verdicts.items() if verdict == "skipped"}
    assert {what for what in skipped if not what.startswith(("wan: attention", "wan: quantization"))} == {
        "the process of a slot sees one device", "a device-side fault is recognised", "wan: compiled blocks",
        "job: compiled blocks, again after a warm-up",
    }  # fmt: skip
    for what in (
        "wan: attention native", "wan: attention _native_math", "wan: layerwise casting",
        "wan: group offload of the transformer", "modular blocks", "sound", "modular blocks with sound",
    ):  # fmt: skip
        assert verdicts[what] == "ok"
    jobs = {what for what in verdicts if what.startswith("job: ")}
    assert len(jobs) >= 24
    assert {verdicts[what] for what in jobs - skipped} == {"ok"}
    for shape in ("sdxl", "wan"):
        for what in ("load", "to RAM, back", "step, batch 2", "stop", "out of memory, then a job"):
            assert verdicts[f"{shape}: {what}"] == "ok"
