"""What the files of ``deploy/`` say: the processes that they start, with arguments and environment."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

from jobs.settings import PROJECT_ROOT

DEPLOY = PROJECT_ROOT / "deploy"
CHART = DEPLOY / "helm" / "framemill"
TARGETS = ("web", "io", "worker-cpu", "worker-cuda")
#: Values for the required lines of ``.env.example``.
FILLED = {
    "REDIS_PASSWORD": "a-password-of-redis", "API_KEYS": "ops:0123456789abcdef-ops:admin", "FLOWER_BASIC_AUTH": "me:pw",
    "AWS_ACCESS_KEY_ID": "framemill", "AWS_SECRET_ACCESS_KEY": "a-secret-of-s3",
    "METRICS_KEY": "0123456789abcdef-metrics", "AWS_DEFAULT_REGION": "us-east-1", "GRAFANA_PASSWORD": "pw",
}  # fmt: skip


@dataclass(frozen=True)
class Process:
    """A process that a file starts."""

    where: str
    argv: list[str]
    environment: dict[str, str] = field(default_factory=dict)


# ---- Dockerfile


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile in upper case, with their arguments on one line."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(name.upper(), rest.strip()) for name, _, rest in (line.partition(" ") for line in lines) if name]


def stage(name: str) -> dict[str, str]:
    """Return the instructions of a stage and of those it is made from; the last one with a name counts."""
    found: dict[str, str] = {}
    stages: dict[str, dict[str, str]] = {}
    for instruction, rest in instructions():
        if instruction == "FROM":
            parent, _, own = rest.partition(" AS ")
            found = stages[own] = dict(stages.get(parent, {}))
        elif instruction == "ENV":
            found[instruction] = f"{found.get(instruction, '')} {rest}"
        else:
            found[instruction] = rest
    return stages[name]


def image_process(target: str) -> Process:
    """Return what an image starts."""
    made = stage(target)
    environment = dict(assignment.split("=", 1) for assignment in shlex.split(made["ENV"]))
    return Process(f"Dockerfile, {target}", json.loads(made["CMD"]), environment)


def image_check(target: str) -> list[str]:
    """Return the command of the health check of an image."""
    return list(json.loads(stage(target)["HEALTHCHECK"].partition("CMD ")[2]))


def build_context() -> list[Path]:
    """Return the files that ``.dockerignore`` lets into an image, relative to the checkout."""
    rules = [line for line in (PROJECT_ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    included = {rule[1:] for rule in rules if rule.startswith("!")}
    excluded = [rule.removeprefix("**/") for rule in rules if rule.startswith("**/")]
    assert len(included) + len(excluded) + 1 == len(rules), "a rule that this function does not know"
    files = (path.relative_to(PROJECT_ROOT) for name in included for path in _files(PROJECT_ROOT / name))
    return sorted(path for path in files if not any(part.match(rule) for rule in excluded for part in _parents(path)))


def _files(path: Path) -> Iterator[Path]:
    yield from (path for path in path.rglob("*") if path.is_file()) if path.is_dir() else [path]


def _parents(path: Path) -> Iterator[Path]:
    return (Path(part) for part in path.parts)


def copy_image(folder: Path) -> Path:
    """Copy what ``COPY . .`` copies into a folder, and return it."""
    for path in build_context():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT_ROOT / path, folder / path)
    return folder


# ---- compose.yaml and .env.example


def compose(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the compose file with its variables replaced."""
    return dict(yaml.safe_load(interpolated((DEPLOY / "compose.yaml").read_text(), environ)))


def compose_variables() -> dict[str, str | None]:
    """Return the variables of the compose file with their defaults as they are written; None without a default."""
    found: dict[str, str | None] = {}
    for content in _variables((DEPLOY / "compose.yaml").read_text()):
        name, operator, default = _split(content)
        found[name] = default if operator in (":-", "-") else found.get(name)
        nested = list(_variables(default))
        found |= {name: found.get(name) for name in nested}
    return found


def required_variables() -> set[str]:
    """Return the variables without which the compose file is refused."""
    return {
        name for name, operator, _ in map(_split, _variables((DEPLOY / "compose.yaml").read_text())) if operator == ":?"
    }


def interpolated(text: str, environ: Mapping[str, str]) -> str:
    """Replace ``${NAME}``, ``${NAME:-default}``, ``${NAME-default}`` and ``${NAME:?reason}``."""
    for content in _variables(text):
        name, operator, default = _split(content)
        value = environ.get(name, "")
        if operator == ":?":
            assert value, f"{name}: {default}"
        elif (operator == ":-" and not value) or (operator == "-" and name not in environ):
            value = interpolated(default, environ)
        text = text.replace(f"${{{content}}}", value)
    return text


def compose_process(service: str, environ: Mapping[str, str]) -> Process:
    """Return what a service starts, with the environment of image, ``.env`` and service, as the engine makes it."""
    described = compose(environ)["services"][service]
    target = described["image"].rpartition("/")[2].partition(":")[0]
    image = image_process(target) if target in TARGETS else Process("", [])
    own = {name: str(value) for name, value in described["environment"].items()}
    environment = {**image.environment, **(environ if "env_file" in described else {}), **own}
    return Process(f"compose.yaml, {service}", described.get("command", image.argv), environment)


def compose_check(service: str, environ: Mapping[str, str]) -> list[str]:
    """Return the command of the health check of a service: its own or that of its image."""
    described = compose(environ)["services"][service]
    if "healthcheck" not in described:
        return image_check(described["image"].rpartition("/")[2].partition(":")[0])
    kind, *command = described["healthcheck"]["test"]
    return command if kind == "CMD" else ["sh", "-c", *command]


def filled_example(**changes: str) -> dict[str, str]:
    """Return the variables of ``.env.example`` with values for those that are required."""
    lines = dotenv_values(DEPLOY / ".env.example", interpolate=False)
    return {**{name: FILLED.get(name, value or "") for name, value in lines.items()}, **changes}


def _variables(text: str) -> Iterator[str]:
    """Yield what is between ``${`` and its closing brace."""
    position = 0
    while (start := text.find("${", position)) >= 0:
        depth, end = 1, start + 2
        while depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        yield text[start + 2 : end - 1]
        position = end


def _split(content: str) -> tuple[str, str, str]:
    match = re.fullmatch(r"(\w+)(:-|-|:\?|)(.*)", content, re.DOTALL)
    assert match, content
    return match[1], match[2], match[3]


# ---- systemd


def units() -> list[Path]:
    """Return the unit files."""
    return sorted((DEPLOY / "systemd").glob("*.*"))


def unit_settings(unit: Path) -> dict[str, list[str]]:
    """Return the settings of a unit, each with all its values."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def unit_process(unit: Path, instance: str = "0", **environ: str) -> Process:
    """Return what a unit starts. ``environ``: the variables of ``framemill.env``."""
    settings = unit_settings(unit)
    assignments = [item for line in settings["Environment"] for item in shlex.split(line)]
    environment = {**dict(item.split("=", 1) for item in assignments), **environ}
    command = settings["ExecStart"][0].replace("%i", instance).replace("%%", "%")
    argv = [re.sub(r"\$\{(\w+)\}", lambda found: environment[found[1]], part) for part in shlex.split(command)]
    return Process(f"systemd, {unit.name}", argv, environment)


# ---- the chart


def rendered(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the objects that the chart makes of these values, for the release ``mill``."""
    import helm_python

    with helm_python.Chart.load(CHART) as chart:
        texts = chart.render(dict(values), name="mill", namespace="media")
    documents = (one for name, text in texts.items() if name.endswith(".yaml") for one in yaml.safe_load_all(text))
    return [one for one in documents if one]


def containers(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield every container with the name of its object and its pod."""
    for one in objects:
        pod = one.get("spec", {}).get("template", {}).get("spec")
        for container in pod["containers"] if pod else ():
            yield one["metadata"]["name"], pod, container


def chart_processes(values: Mapping[str, Any]) -> Iterator[tuple[Process, list[list[str]]]]:
    """Yield what each container starts, with the commands of its probes and hooks."""
    objects = rendered(values)
    [settings] = [one["data"] for one in objects if one["metadata"]["name"] == "mill-settings"]
    for owner, _, container in containers(objects):
        environment = dict(settings)
        for variable in container.get("env", ()):
            # The name of the first pod; other references are to the Secret.
            environment[variable["name"]] = variable.get("value", f"{owner}-0" if "valueFrom" in variable else "")
        argv = [_expanded(part, environment) for part in container["command"]]
        hooks = [container.get(name, {}) for name in ("startupProbe", "livenessProbe", "readinessProbe")]
        hooks += container.get("lifecycle", {}).values()
        commands = [list(hook["exec"]["command"]) for hook in hooks if "exec" in hook]
        yield Process(f"chart, {owner}/{container['name']}", argv, environment), commands


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    """Replace ``$(NAME)``, as Kubernetes does in commands."""
    return re.sub(r"\$\((\w+)\)", lambda found: environment[found[1]], text)


def linted(*command: str | Path) -> str:
    """Run a linter, and return what it says; '' if it is content."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def output_of(*command: str | Path) -> str:
    """Return everything that a command writes, whether it succeeds or not."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr
