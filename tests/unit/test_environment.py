"""``make setup`` says what it does, and which torch it installs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.settings import PROJECT_ROOT
from stack import environment

#: As pip writes it to a pipe.
OUTPUT = """\
Collecting numpy==2.4.6
  Downloading numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.whl.metadata (6.6 kB)
  Downloading numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.whl (16.9 MB)
Collecting flask
  Using cached flask-3.1.3-py3-none-any.whl (103 kB)
Processing /wheels/torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl
"""


def test_the_progress_names_packages_and_sizes() -> None:
    progress = environment.Progress()
    assert str(progress) == "0 packages: looking for packages"
    seen = []
    for line in OUTPUT.splitlines():
        progress.read(line)
        seen.append(str(progress))
    assert seen[2] == "1 package, 17 MB: downloading numpy (16.9 MB)"
    assert seen[-1] == "3 packages, 17 MB: reading torch"
    progress.read("Installing collected packages: flask, numpy, torch")
    assert str(progress) == "3 packages, 17 MB: unpacking 3 packages"


def test_a_failure_shows_the_words_of_pip(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT_ROOT)
    with pytest.raises(SystemExit) as failure:
        environment.pip_install("--no-index", "--find-links", "nowhere", "no-such-package-of-framemill")
    assert failure.value.code == 1
    assert "No matching distribution found for no-such-package-of-framemill" in capsys.readouterr().err


def test_only_a_machine_with_a_gpu_gets_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.torch_source({"CUDA_VISIBLE_DEVICES": "0"}) == ([], "with CUDA, about 3 GB")
    monkeypatch.setattr(environment, "CPU_BUILDS", (PROJECT_ROOT / "setup.cfg").as_uri())
    source, description = environment.torch_source({"CUDA_VISIBLE_DEVICES": ""})
    assert (source, description.split(",")[0]) == (["--find-links", environment.CPU_BUILDS], "for CPUs")
    monkeypatch.setattr(environment, "CPU_BUILDS", "http://127.0.0.1:9/")
    source, description = environment.torch_source({"CUDA_VISIBLE_DEVICES": ""})
    assert (source, "does not respond" in description) == ([], True)


def test_it_runs_before_anything_is_installed(tmp_path: Path) -> None:
    code = "import stack.environment, sys; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(PROJECT_ROOT)!r}); {code}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert "click" not in done.stdout
    assert "urllib" in done.stdout
