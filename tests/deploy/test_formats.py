"""Each file of ``deploy/`` is valid in its format, as the tools of that format see it."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate
import pytest
import yaml

from tests.deploy.conftest import FULL
from tests.support import deployment
from tests.support.deployment import CHART, DEPLOY, linted
from tests.support.harness import BIN

#: Versions of Kubernetes whose schemas the objects must match: the oldest that Chart.yaml allows, and the newest known.
VERSIONS = ("1.29.0", "1.37.0")
#: Fields of a trigger of KEDA.
QUERY = ("serverAddress", "query", "threshold")
#: What the chart uses of kinds that Kubernetes itself does not define.
CUSTOM = {
    "ScaledObject": {
        "type": "object", "additionalProperties": False,
        "required": ["scaleTargetRef", "triggers"],
        "properties": {
            "scaleTargetRef": {
                "type": "object", "additionalProperties": False, "required": ["name"],
                "properties": {name: {"type": "string"} for name in ("apiVersion", "kind", "name")},
            },
            "minReplicaCount": {"type": "integer", "minimum": 0},
            "maxReplicaCount": {"type": "integer", "minimum": 1},
            "cooldownPeriod": {"type": "integer", "minimum": 1},
            "advanced": {
                "type": "object", "additionalProperties": False,
                "properties": {
                    "horizontalPodAutoscalerConfig": {
                        "type": "object", "additionalProperties": False,
                        "properties": {"behavior": {"type": "object"}},
                    }
                },
            },
            "triggers": {
                "type": "array", "minItems": 1,
                "items": {
                    "type": "object", "additionalProperties": False, "required": ["type", "metadata"],
                    "properties": {
                        "type": {"const": "prometheus"},
                        "metricType": {"enum": ["Value", "AverageValue"]},
                        "metadata": {
                            "type": "object", "additionalProperties": False,
                            "required": [*QUERY],
                            "properties": {name: {"type": "string"} for name in QUERY},
                        },
                    },
                },
            },
        },
    },
    "ServiceMonitor": {
        "type": "object", "additionalProperties": False, "required": ["selector", "endpoints"],
        "properties": {
            "jobLabel": {"type": "string"},
            "selector": {"type": "object", "required": ["matchLabels"]},
            "endpoints": {
                "type": "array",
                "items": {
                    "type": "object", "additionalProperties": False,
                    "properties": {
                        "port": {"type": "string"}, "path": {"type": "string"},
                        "authorization": {
                            "type": "object", "additionalProperties": False, "required": ["credentials"],
                            "properties": {
                                "credentials": {
                                    "type": "object", "additionalProperties": False, "required": ["name", "key"],
                                    "properties": {"name": {"type": "string"}, "key": {"type": "string"}},
                                }
                            },
                        },
                    },
                },
            },
        },
    },
}  # fmt: skip


def test_the_dockerfile_passes_hadolint() -> None:
    assert linted(BIN / "hadolint", DEPLOY / "Dockerfile") == ""


def test_the_compose_file_matches_the_specification() -> None:
    command = (BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec")
    assert linted(*command, DEPLOY / "compose.yaml") == ""


def test_the_compose_file_matches_the_specification_with_its_variables(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(json.dumps(deployment.compose(deployment.filled_example())))
    assert linted(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", file) == ""


@pytest.fixture
def installed_units(tmp_path: Path) -> list[Path]:
    """Return the units with the paths of an installation that exists, one instance of the worker among them."""
    root = tmp_path / "framemill"
    (root / ".venv" / "bin").mkdir(parents=True)
    for name in ("celery", "gunicorn"):
        (root / ".venv" / "bin" / name).symlink_to(BIN / name)
    folder = tmp_path / "units"
    folder.mkdir()
    for unit in deployment.units():
        name = unit.name.replace("@.", "@0.")
        (folder / name).write_text(unit.read_text().replace("/opt/framemill", str(root)))
    return sorted(folder.iterdir())


def _program(name: str, package: str) -> str:
    """Return the path of a program of Debian; without it the test is skipped, in CI it fails."""
    found = shutil.which(name)
    if not found:
        assert not os.environ.get("CI"), f"{name} is missing: apt-get install {package}"
        pytest.skip(f"{name} is missing")
    return found


def test_systemd_accepts_the_units(installed_units: list[Path]) -> None:
    assert len(installed_units) == 5
    # It also writes warnings to standard error, such as of unknown settings, and exits with 0.
    report = deployment.output_of(_program("systemd-analyze", "systemd"), "verify", "--man=no", *installed_units)
    assert [line for line in report.splitlines() if "framemill" in line] == []


def test_the_units_are_confined(installed_units: list[Path]) -> None:
    """The exposure that systemd computes, in tenths: 96 for a unit without any restriction."""
    for unit in installed_units:
        if unit.suffix == ".service":
            most = 35 if "worker" in unit.name else 20  # a worker opens the devices of the GPU
            command = (
                _program("systemd-analyze", "systemd"),
                "security",
                "--offline=true",
                "--no-pager",
                f"--threshold={most}",
                unit,
            )
            assert linted(*command) == ""


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    configuration = deployment.compose(deployment.filled_example())["configs"]["prometheus"]["content"]
    file = tmp_path / "prometheus.yml"
    file.write_text(configuration.replace("/etc/prometheus/monitoring", str(DEPLOY / "monitoring")))
    assert linted(_program("promtool", "prometheus"), "check", "config", file) == ""
    other = yaml.safe_load((DEPLOY / "monitoring" / "prometheus.yml").read_text())
    [job], [of_compose] = other["scrape_configs"], yaml.safe_load(configuration)["scrape_configs"]
    assert set(job) == set(of_compose)
    assert other["global"] == yaml.safe_load(configuration)["global"]


def test_the_data_source_of_grafana_is_that_of_its_board() -> None:
    content = deployment.compose(deployment.filled_example())["configs"]["grafana-datasource"]["content"]
    [of_compose] = yaml.safe_load(content)["datasources"]
    folder = DEPLOY / "monitoring" / "grafana" / "provisioning" / "datasources"
    [other] = yaml.safe_load((folder / "framemill.yml").read_text())["datasources"]
    assert {**of_compose, "url": ""} == {**other, "url": ""}


def test_prometheus_accepts_the_queries_of_the_chart(tmp_path: Path) -> None:
    [scaled] = [one["spec"] for one in deployment.rendered(FULL) if one["kind"] == "ScaledObject"]
    rules = [{"record": "query", "expr": trigger["metadata"]["query"], "labels": {"number": str(number)}}
             for number, trigger in enumerate(scaled["triggers"])]  # fmt: skip
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert linted(_program("promtool", "prometheus"), "check", "rules", file) == ""


def test_the_chart_passes_the_linter_of_helm(values: dict[str, Any]) -> None:
    import helm_python

    report = helm_python.lint(CHART, values, strict=True, namespace="media")
    assert report["errors"] == []
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_objects_of_the_chart_match_their_schemas(values: dict[str, Any], version: str) -> None:
    kinds = set()
    for one in deployment.rendered(values):
        kinds.add(one["kind"])
        if one["kind"] in CUSTOM:
            jsonschema_rs.validate(CUSTOM[one["kind"]], one["spec"])
        else:
            kubernetes_validate.validate(one, version, strict=True)
    expected = {"ConfigMap", "Deployment", "PodDisruptionBudget", "Service", "StatefulSet"}
    if values:
        expected |= {"HorizontalPodAutoscaler", "Ingress", "ScaledObject", "ServiceMonitor"}
    assert kinds == expected


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("secret", ""),
        ("longestJobS", 0),
        ("longestJob", 900),
        ("web.ingress.host", ""),
        ("settings.max_run_s", 900),
        ("settings.DRAIN_GRACE_S", 5),
        ("settings.REDIS_URL", "redis://:secret@host"),
        ("pools.web", FULL["pools"]["cpu"]),
        ("pools.gpu.gpus", 2),
        ("pools.gpu.image", "web"),
        ("pools.gpu.keda.models", ["a|b"]),
        ("prometheus.address", "prometheus:9090"),
    ],
)
def test_wrong_values_are_refused(path: str, wrong: Any) -> None:
    import helm_python

    values = copy.deepcopy(FULL)
    *parents, last = path.split(".")
    place = values
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = wrong
    with pytest.raises(helm_python.HelmError, match=last):
        deployment.rendered(values)


def test_the_values_that_are_documented_are_those_of_the_schema() -> None:
    """A value without a place in the schema would be refused, one without a default would be missing."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(schema["properties"]) - {"global"} == set(values)
    for name in ("image", "models", "web", "io", "flower", "prometheus", "serviceMonitor"):
        assert set(schema["properties"][name]["properties"]) == set(values[name]), name
    assert set(schema["properties"]["pools"]["additionalProperties"]["properties"]) == set(values["pools"]["gpu"])
