"""Prometheus' own tools, from Debian's package ``prometheus``, and what is read of its text format."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from jobs.settings import PROJECT_ROOT
from stack import ports
from stack.parent import terminate_with_parent

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


def alerts() -> list[dict[str, Any]]:
    """Return the alerts, in the order of their file."""
    [group] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return list(group["rules"])


def board_expressions(interval: str = "1m") -> list[str]:
    """Return the expressions of the dashboard; ``interval`` is what Grafana would put in."""
    board = json.loads((FOLDER / "grafana" / "framemill.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    return [expression.replace("$__rate_interval", interval) for expression in expressions]


def metrics_of(expression: str) -> set[str]:
    """Return the names of Framemill's metrics in an expression."""
    return set(re.findall(r"\bframemill_\w+", expression))


class Prometheus:
    """A Prometheus on loopback that scrapes one server; use it as a context manager.

    Args:
        folder: for its configuration and data.
        target: host and port of the server.
        secret: of a key with the role ``metrics``.
    """

    def __init__(self, folder: Path, target: str, secret: str) -> None:
        config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        [scrape] = config["scrape_configs"]
        scrape["static_configs"] = [{"targets": [target]}]
        (folder / scrape["authorization"]["credentials_file"]).write_text(secret)
        shutil.copy(FOLDER / "alerts.yml", folder)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._folder, self._port = folder, ports.next_free("127.0.0.1", 24_000 + 53 * os.getpid() % 6_000)

    def __enter__(self) -> Prometheus:
        command = [
            program("prometheus"), f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}", f"--web.listen-address=127.0.0.1:{self._port}",
        ]  # fmt: skip
        with (self._folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=terminate_with_parent)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an expression now; nothing while Prometheus starts. Fails if it is refused."""
        try:
            response = requests.get(
                f"http://127.0.0.1:{self._port}/api/v1/query", params={"query": expression}, timeout=30
            )
        except requests.ConnectionError:
            assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
            return []
        if response.status_code == 503:  # it is starting
            return []
        assert response.status_code == 200, f"{expression}: {response.text}"
        return list(response.json()["data"]["result"])

    def alerts(self) -> dict[str, str]:
        """Return the alerts that are pending or fire, with their states."""
        found = self.query("ALERTS")
        return {one["metric"]["alertname"]: one["metric"]["alertstate"] for one in found}
