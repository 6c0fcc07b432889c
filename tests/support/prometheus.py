"""Prometheus' own tools, from Debian's package ``prometheus``, and what is read of its text format."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from jobs.settings import PROJECT_ROOT

#: Configuration, alerts and dashboard.
FOLDER = PROJECT_ROOT / "deploy" / "monitoring"
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

#: Values of a metric by its labels.
Samples = dict[frozenset[tuple[str, str]], float]


def program(name: str) -> str:
    """Return the path of a program; without it the test is skipped, or fails in CI."""
    path = shutil.which(name)
    if path is None:
        message = f"{name} is missing: apt-get install prometheus"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


def promtool(*arguments: str | Path, stdin: str = "") -> str:
    """Run promtool and return its output. Fails unless it succeeds."""
    command = [program("promtool"), *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def samples(text: str) -> dict[str, Samples]:
    """Return the samples of a response of ``/metrics`` by the names of their metrics."""
    found: dict[str, Samples] = defaultdict(dict)
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = _SAMPLE.match(line)
        assert match, line
        found[match[1]][frozenset(_LABEL.findall(match[2] or ""))] = float(match[3])
    return found


def labelled(**labels: str) -> frozenset[tuple[str, str]]:
    """Return labels as :func:`samples` has them."""
    return frozenset(labels.items())
