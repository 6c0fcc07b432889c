"""The commands and variables of ``deploy/`` are those of Framemill, and its files agree with each other."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import click
import pytest
import yaml
from celery.bin.celery import celery
from flower.options import options as flower_options

from jobs.settings import PROJECT_ROOT, Settings
from jobs.settings.settings import defaults
from jobs.slots.slot import is_gpu
from stack import health, procfile
from tests.deploy.conftest import FULL
from tests.support import deployment
from tests.support.deployment import CHART, DEPLOY, TARGETS, Process
from tests.unit.test_docs import DOCS, first_cells, section, shown

SERVICES = ("web", "io", "worker-cpu", "gpu0", "flower")
#: Variables that neither Framemill nor its documentation knows: of the interpreter, the shell and the driver's tools.
OTHERS = {"PATH", "PYTHONUNBUFFERED", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"}


def processes() -> Iterator[Process]:
    """Yield every process of Framemill that a file starts."""
    yield from map(deployment.image_process, TARGETS)
    yield from (deployment.compose_process(service, deployment.filled_example()) for service in SERVICES)
    yield from map(deployment.unit_process, (unit for unit in deployment.units() if unit.suffix == ".service"))
    for values in ({}, FULL):
        yield from (process for process, _ in deployment.chart_processes(values))


def checks() -> Iterator[tuple[str, list[str]]]:
    """Yield the command of every health check, probe and hook of Framemill's processes."""
    yield from ((f"Dockerfile, {target}", deployment.image_check(target)) for target in TARGETS)
    environ = deployment.filled_example()
    yield from ((f"compose.yaml, {service}", deployment.compose_check(service, environ)) for service in SERVICES)
    for process, commands in deployment.chart_processes(FULL):
        yield from ((process.where, command) for command in commands)


def normal(argv: list[str]) -> list[str]:
    """Return a command with the program's name alone, and without what differs between hosts."""
    text = " ".join([argv[0].rpartition("/")[2], *argv[1:]])
    text = re.sub(r"-Q (?:[\w-]+\.)?gpu\d", "-Q gpu0", text)
    text = re.sub(r"-n (io|gpu)\d*@(%h|[\w-]+)", r"-n \g<1>@%h", text)
    return re.sub(r"--address=[\d.]+", "--address=127.0.0.1", text).split()


def test_every_process_is_one_of_the_procfile() -> None:
    programs = procfile.programs((PROJECT_ROOT / "Procfile").read_text(), 1)
    known = [normal(shlex.split(program.command.replace("${FLOWER_PORT:-5555}", "5555"))) for program in programs]
    found = list(processes())
    assert len(found) > 15
    for process in found:
        assert normal(process.argv) in known, process.where


def celery_command(argv: list[str]) -> tuple[str, list[str]]:
    """Return the subcommand and what is left when Celery's own parser has taken its options."""
    context = click.Context(celery)
    _, arguments, _ = celery.make_parser(context).parse_args(list(argv))
    name, command, rest = celery.resolve_command(context, arguments)
    assert name, argv
    context = click.Context(command, **command.context_settings)
    _, left, _ = command.make_parser(context).parse_args(rest)
    return name, left


def test_every_command_has_known_options() -> None:
    for process in processes():
        program, *arguments = process.argv
        match program.rpartition("/")[2]:
            case "celery":
                name, left = celery_command(arguments)
                known = {option.replace("_", "-") for option in flower_options}
                unknown = [one for one in left if one.lstrip("-").partition("=")[0] not in known]
                assert (unknown if name == "flower" else left) == [], process.where
            case "gunicorn":
                assert arguments == ["app:create_app()"], process.where
            case other:
                pytest.fail(f"{process.where} starts {other}")


def test_workers_serve_a_slot_and_have_the_name_of_their_host() -> None:
    for process in processes():
        if "worker" not in process.argv:
            continue
        queue = process.argv[process.argv.index("-Q") + 1]
        assert queue == "io" or is_gpu(queue), process.where
        if process.where.startswith("chart") and queue != "io":
            assert queue == f"{process.environment['NODE_NAME']}.gpu0"


def test_every_check_is_one_of_ours() -> None:
    seen = set()
    for where, command in checks():
        if command[0] == "sh":
            assert command[:2] == ["sh", "-c"]
            command = shlex.split(command[2].removeprefix("exec ").replace("$NODE_NAME", "mill-gpu-0"))
        if command[0] == "sleep":
            continue
        assert command[:3] == ["python", "-m", "stack.health"], where
        name, *arguments = command[3:]
        seen.add(name)
        health.health.commands[name].make_context(name, arguments, parent=click.Context(health.health))
        assert all(is_gpu(argument) for argument in arguments), where
    assert seen == set(health.health.commands)


def test_the_check_of_a_service_asks_for_the_slot_that_it_serves() -> None:
    environ = deployment.filled_example(SLOT_PREFIX="nodeb.", NODE_NAME="nodeb")
    for service in ("worker-cpu", "gpu0"):
        argv = deployment.compose_process(service, environ).argv
        assert argv[argv.index("-Q") + 1] == deployment.compose_check(service, environ)[-1] == "nodeb.gpu0"


def test_every_variable_of_a_process_is_documented() -> None:
    text = section(DOCS / "configuration.md", "Variables of other programs")
    documented = {name for cell in re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE) for name in cell.split("`")}
    of_compose = set(deployment.compose_variables())
    for process in processes():
        allowed = {*defaults(), *documented, *OTHERS}
        if process.where.startswith("compose"):
            allowed |= of_compose
        if process.where.startswith("systemd"):
            allowed.add("SLOT_PREFIX")
        assert set(process.environment) - allowed == set(), process.where


def test_the_settings_of_every_process_are_valid() -> None:
    for process in processes():
        Settings.from_env({name: value for name, value in process.environment.items() if value})


def test_the_example_has_what_is_required_and_true_defaults() -> None:
    text = (DEPLOY / ".env.example").read_text()
    given = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    commented = dict(re.findall(r"^#(\w+)=(.*)$", text, re.MULTILINE))
    variables = deployment.compose_variables()
    assert deployment.required_variables() <= set(given)
    assert set(variables) <= set(given) | set(commented), "a variable of compose.yaml is not in the example"
    for name, value in commented.items():
        in_compose = variables.get(name)
        expected = in_compose if in_compose is not None else shown(defaults()[name]).strip("`").replace("empty", "")
        assert value == expected, name


def test_a_file_without_a_required_variable_is_refused() -> None:
    for name in deployment.required_variables():
        with pytest.raises(AssertionError, match=name):
            deployment.compose({**deployment.filled_example(), name: ""})


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def least_stop_s(environment: dict[str, str]) -> float:
    """Return how long a worker with these settings may take to stop."""
    settings = Settings.from_env({name: value for name, value in environment.items() if value})
    return settings.leases.drain_grace_s + settings.leases.cancel_grace_s + 10


def test_a_worker_has_the_time_that_it_needs_to_stop() -> None:
    environ = deployment.filled_example()
    for service in ("worker-cpu", "gpu0"):
        grace_s = seconds(deployment.compose(environ)["services"][service]["stop_grace_period"])
        assert grace_s > least_stop_s(deployment.compose_process(service, environ).environment)
    unit = DEPLOY / "systemd" / "framemill-worker@.service"
    assert seconds(deployment.unit_settings(unit)["TimeoutStopSec"][0]) > least_stop_s(
        deployment.unit_process(unit).environment
    )
    for longest_job_s in (60, 7200):
        values = {**FULL, "longestJobS": longest_job_s}
        for _, pod, container in deployment.containers(deployment.rendered(values)):
            if container["name"] == "worker":
                environment = {"DRAIN_GRACE_S": str(longest_job_s)}
                assert pod["terminationGracePeriodSeconds"] >= least_stop_s(environment) + 300


def test_no_pod_is_removed_before_a_job_could_end() -> None:
    for longest_job_s, window_s in ((600, 660), (7200, 3600)):
        values = {**FULL, "longestJobS": longest_job_s}
        [scaled] = [one["spec"] for one in deployment.rendered(values) if one["kind"] == "ScaledObject"]
        behaviour = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        assert behaviour["scaleDown"]["stabilizationWindowSeconds"] == window_s
        assert scaled["cooldownPeriod"] > longest_job_s
        # A regular expression in a string of PromQL, which needs its backslash twice.
        assert r'model=~"flux\\.1|wan"' in scaled["triggers"][0]["metadata"]["query"]


def test_a_signal_reaches_the_main_process_only() -> None:
    for unit in deployment.units():
        if unit.suffix == ".service":
            assert deployment.unit_settings(unit)["KillMode"] == ["mixed"]
    for target in TARGETS:
        made = deployment.stage(target)
        assert made["STOPSIGNAL"] == "SIGTERM"
        assert made["CMD"].startswith("["), "the shell form would start a shell, which keeps SIGTERM to itself"
        assert "ENTRYPOINT" not in made
    for process in processes():
        assert process.argv[0].rpartition("/")[2] != "sh"


def test_the_containers_of_a_host_share_its_spool() -> None:
    services = deployment.compose(deployment.filled_example())["services"]
    for path in ("/var/lib/framemill", "/dev/shm"):
        mounts = {
            next(volume for volume in services[name]["volumes"] if volume.endswith(f":{path}"))
            for name in ("io", "worker-cpu", "gpu0")
        }
        assert len(mounts) == 1
    for owner, pod, container in deployment.containers(deployment.rendered(FULL)):
        if container["name"] in ("worker", "io"):
            places = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert (places["/var/lib/framemill"], places["/dev/shm"]) == ("data", "shm"), owner
            assert {"data", "shm"} <= {volume["name"] for volume in pod["volumes"]}


def test_containers_run_as_an_unprivileged_user() -> None:
    for target in TARGETS:
        assert deployment.stage(target)["USER"] == "10001:10001"
    for name, service in deployment.compose(deployment.filled_example())["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    for owner, pod, container in deployment.containers(deployment.rendered(FULL)):
        assert pod["securityContext"]["runAsUser"] == 10001, owner
        assert pod["securityContext"]["runAsNonRoot"], owner
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip


def test_no_file_contains_a_secret() -> None:
    """Secrets come from ``.env``, ``framemill.env`` or the Secret, and no image contains one."""
    names = ("REDIS_URL", "API_KEYS", "AWS_SECRET_ACCESS_KEY", "LINK_SECRET", "WEBHOOK_SECRET", "HF_TOKEN")
    for process in [*map(deployment.image_process, TARGETS), *(one for one, _ in deployment.chart_processes(FULL))]:
        assert set(process.environment).isdisjoint(names), process.where
    assert not [path for path in deployment.build_context() if path.name.startswith(".env")]


def test_versions_agree() -> None:
    setup = (PROJECT_ROOT / "setup.cfg").read_text()
    version = re.search(r"^version = (.+)$", setup, re.MULTILINE)[1]  # type: ignore[index]
    torch = re.search(r"^TORCH \?= (.+)$", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE)[1]  # type: ignore[index]
    arguments = [rest for name, rest in deployment.instructions() if name == "ARG"]
    assert f"VERSION={version}" in arguments
    assert arguments.count(f"TORCH={torch}") == 2
    chart: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == version


def test_every_image_is_pinned() -> None:
    bases = [rest for name, rest in deployment.instructions() if name == "ARG" and rest.startswith("PYTHON_IMAGE")]
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", bases[0])
    for name, service in deployment.compose(deployment.filled_example())["services"].items():
        if not service["image"].startswith("framemill/"):
            assert re.search(r":v?\d+\.\d+\.\d+(-\w+)?$", service["image"]), name


def test_every_mounted_file_exists() -> None:
    for name, service in deployment.compose(deployment.filled_example())["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert not source.startswith("./") or (DEPLOY / source).exists(), (name, source)


def test_the_settings_that_the_example_names_are_real() -> None:
    text = (DEPLOY / ".env.example").read_text()
    names = set(re.findall(r"^#?([A-Z0-9_]+)=", text, re.MULTILINE))
    of_others = {*first_cells(section(DOCS / "configuration.md", "Variables of other programs"))}
    assert names - set(defaults()) - set(deployment.compose_variables()) - of_others - {"AWS_DEFAULT_REGION"} == set()


def examples(language: str) -> list[Any]:
    """Return the examples in docs/deploy.md."""
    found = re.findall(rf"^```{language}\n(.*?)^```", (DOCS / "deploy.md").read_text(), re.MULTILINE | re.DOTALL)
    return [yaml.safe_load(text) for text in found]


def test_the_documented_service_of_another_gpu_is_that_of_the_first() -> None:
    override, _ = examples("yaml")
    [(name, service)] = override["services"].items()
    first = deployment.compose_process("gpu0", deployment.filled_example())
    assert service["extends"] == {"file": "compose.yaml", "service": "gpu0"}
    assert service["command"] == [part.replace("gpu0", name) for part in first.argv]
    assert service["healthcheck"]["test"][-1] == name


def test_the_documented_values_are_valid() -> None:
    _, values = examples("yaml")
    [pool] = [one for one in deployment.rendered(values) if one["kind"] == "StatefulSet"]
    assert pool["spec"]["replicas"] == values["pools"]["gpu"]["replicas"]
    assert pool["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > values["longestJobS"]


def test_the_documented_secret_has_what_the_chart_reads() -> None:
    text = (DOCS / "deploy.md").read_text()
    names = set(re.findall(r"--from-literal=(\w+)=", text))
    assert {"REDIS_URL", "API_KEYS", "METRICS_KEY", "FLOWER_BASIC_AUTH"} <= names
    values = (CHART / "values.yaml").read_text()
    assert [name for name in names if name not in values] == []


def test_the_metrics_that_the_chart_asks_for_exist() -> None:
    page, module = DOCS / "operating" / "monitoring.md", PROJECT_ROOT / "app" / "probes" / "metrics.py"
    documented = page.read_text() + module.read_text()
    [scaled] = [one["spec"] for one in deployment.rendered(FULL) if one["kind"] == "ScaledObject"]
    names = {
        name for trigger in scaled["triggers"] for name in re.findall(r"framemill_(\w+)", trigger["metadata"]["query"])
    }
    assert names == {"backlog_seconds", "slot"}
    for name in names:
        assert re.search(rf'`framemill_{name}[`{{]|"{name}"', documented), name


def test_what_prometheus_scrapes_has_the_job_of_the_alerts() -> None:
    jobs = set(re.findall(r'job="([^"]+)"', (DEPLOY / "monitoring" / "alerts.yml").read_text()))
    configuration = deployment.compose(deployment.filled_example())["configs"]["prometheus"]["content"]
    assert {one["job_name"] for one in yaml.safe_load(configuration)["scrape_configs"]} == jobs
    objects = deployment.rendered(FULL)
    [monitor] = [one["spec"] for one in objects if one["kind"] == "ServiceMonitor"]
    wanted = monitor["selector"]["matchLabels"].items()
    services = [one["metadata"]["labels"] for one in objects if one["kind"] == "Service"]
    assert {labels[monitor["jobLabel"]] for labels in services if wanted <= labels.items()} == jobs
