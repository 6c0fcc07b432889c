"""The services of ``compose.yaml``, with their commands and variables, from the files and packages of their images.

No container engine runs here. So the addresses of the network become ports of this machine, and the volumes folders.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from PIL import Image

from jobs.settings import Settings
from stack import ports
from stack.embedded_redis.binary import find_binary
from stack.parent import terminate_with_parent
from tests.support import deployment, image_tree
from tests.support.api import PATIENCE_S, wait_for
from tests.support.deployment import Process
from tests.support.harness import BIN, files_below

#: Service → the extra of setup.cfg that its image installs.
EXTRAS = {"web": "server", "flower": "server", "io": "delivery", "worker-cpu": "worker"}
#: In the order in which compose starts them: each depends on some before it.
SERVICES = ("redis", "s3", "web", "io", "worker-cpu", "flower")
KEY = {"Authorization": "Bearer 0123456789abcdef-ops"}


class Services:
    """Processes in place of the containers of the compose file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = deployment.filled_example(CPU_THREADS="1", DRAIN_GRACE_S="1", LOG_LEVEL="INFO")
        first = 20_000 + 53 * os.getpid() % 9_000
        self.ports: dict[str, int] = {}
        for service in ("redis", "s3", "web", "flower"):
            self.ports[service] = first = ports.next_free("127.0.0.1", first + 1)
        self.code = deployment.copy_image(folder / "code")
        self.before = files_below(self.code)
        (folder / "s3" / "media").mkdir(parents=True)
        self.paths = {
            extra: f"{image_tree.hide_others(folder / extra, extra)}{os.pathsep}{self.code / 'src'}"
            for extra in set(EXTRAS.values())
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def local(self, text: str) -> str:
        """Replace the addresses and folders of containers by those of this test."""
        for service, its_port in (("redis", 6379), ("s3", 9000)):
            text = text.replace(f"{service}:{its_port}", f"127.0.0.1:{self.ports[service]}")
        text = text.replace("0.0.0.0", "127.0.0.1")
        text = re.sub(r"^--addr=:9000$", f"--addr=127.0.0.1:{self.ports['s3']}", text)
        text = re.sub(r"^(--port=)?5555$", rf"\g<1>{self.ports['flower']}", text)
        text = re.sub(r"^8000$", str(self.ports["web"]), text)
        text = re.sub(r"^/data$", str(self.folder / "s3"), text)
        return re.sub(r"^/(var/lib/framemill|models)", rf"{self.folder}/\g<1>", text)

    def environment(self, service: str) -> dict[str, str]:
        """Return the variables of a service, and nothing of this process."""
        described = deployment.compose_process(service, self.environ).environment
        found = {name: self.local(value) for name, value in described.items()}
        path = {"PYTHONPATH": self.paths[EXTRAS[service]]} if service in EXTRAS else {}
        return {
            **found, **path, "PATH": f"{BIN}{os.pathsep}{os.defpath}", "HOME": str(self.folder / "home"),
            "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip

    def argv(self, process: Process, service: str) -> list[str]:
        argv = [self.local(part) for part in process.argv]
        if service == "redis":
            folder = self.folder / "redis"
            folder.mkdir()
            return [str(find_binary().path), *argv[1:], "--port", str(self.ports["redis"]), "--bind", "127.0.0.1",
                    "--dir", str(folder)]  # fmt: skip
        return ["rclone", *argv] if service == "s3" else argv

    def start(self, service: str) -> None:
        process = deployment.compose_process(service, self.environ)
        with (self.folder / f"{service}.log").open("ab") as log:
            self.processes[service] = subprocess.Popen(
                self.argv(process, service), cwd=self.code, env=self.environment(service), stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=terminate_with_parent,
            )  # fmt: skip
        wait_for(lambda: self._is_healthy(service), f"the health check of {service}")

    def check(self, service: str) -> subprocess.CompletedProcess[str]:
        """Run the health check of a service with the variables of its container."""
        command = deployment.compose_check(service, self.environ)
        return subprocess.run(
            [sys.executable if part == "python" else part for part in command], cwd=self.code,
            env=self.environment(service), capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text(errors="replace")

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.ports['web']}{path}"

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _is_healthy(self, service: str) -> bool:
        process = self.processes[service]
        assert process.poll() is None, f"{service} ended:\n{self.log(service)[-3000:]}"
        if service in EXTRAS:
            return self.check(service).returncode == 0
        # The checks of the other images need their programs: redis-cli, nc.
        return ports.refusal("127.0.0.1", self.ports[service]) is not None


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    """Yield all services of the profiles ``cpu`` and ``ops`` but Prometheus and Grafana."""
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    services = Services(folder)
    try:
        for service in SERVICES:
            services.start(service)
        yield services
    finally:
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_job_is_computed_and_stored(services: Services, tmp_path: Path) -> None:
    wait_for(lambda: requests.get(services.url("/readyz"), timeout=60).ok, "the server to be ready")
    fields = {"model": "demo-image", "prompt": "a red circle", "steps": 1, "seed": 3}
    assert requests.post(services.url("/v1/jobs"), json=fields, timeout=90).status_code == 401
    submitted = requests.post(services.url("/v1/jobs"), json=fields, headers=KEY, timeout=90).json()

    def ended() -> dict[str, object] | None:
        view = requests.get(services.url(f"/v1/jobs/{submitted['id']}"), headers=KEY, timeout=90).json()
        return view if view["state"] not in ("queued", "running", "delivering") else None

    view = wait_for(ended, "the end of the job")
    assert view["state"] == "succeeded", (view, services.log("worker-cpu")[-3000:])
    response = requests.get(services.url(f"/v1/jobs/{submitted['id']}/result"), headers=KEY, timeout=90)
    assert response.url.startswith(services.url("/")), "callers cannot reach the S3 server of the file"
    image = tmp_path / "image.png"
    image.write_bytes(response.content)
    with Image.open(image) as opened:
        opened.load()
    stored = [path for path in files_below(services.folder / "s3" / "media") if submitted["id"] in str(path)]
    assert image.read_bytes() in [path.read_bytes() for path in stored]


def test_redis_has_its_options(services: Services) -> None:
    from jobs.store.jobs import JobStore

    settings = Settings.from_env(services.environment("web"))
    options = {"appendonly": "yes", "save": "", "maxmemory": str(2**30), "maxmemory-policy": "noeviction",
               "hash-max-ziplist-value": "2048"}  # fmt: skip
    for name, value in options.items():
        assert JobStore(settings).call(lambda client, name=name: client.config_get(name)) == {name: value}


def test_flower_asks_for_its_login(services: Services) -> None:
    url = f"http://127.0.0.1:{services.ports['flower']}/workers?json=1"
    assert requests.get(url, timeout=90).status_code == 401
    workers = wait_for(lambda: requests.get(url, auth=("me", "pw"), timeout=90).json()["data"], "workers in Flower")
    assert {worker["hostname"].partition("@")[0] for worker in workers} <= {"gpu0", "io"}


def test_prometheus_may_read_the_metrics(services: Services) -> None:
    config = deployment.compose(services.environ)["configs"]["prometheus"]["content"]
    secret = re.search(r'credentials: "(.+)"', config)
    assert secret
    headers = {"Authorization": f"Bearer {secret[1]}"}
    paths = ("/metrics", "/v1/jobs")
    statuses = [requests.get(services.url(path), headers=headers, timeout=90).status_code for path in paths]
    assert statuses == [200, 403]


def test_nothing_was_written_beside_the_code(services: Services) -> None:
    """The containers are read-only."""
    assert files_below(services.code) == services.before


def test_a_killed_worker_is_unhealthy(services: Services) -> None:
    worker = services.processes["worker-cpu"]
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(PATIENCE_S)
    wait_for(lambda: services.check("worker-cpu").returncode == 1, "the health check to fail")
    assert services.check("web").returncode == services.check("io").returncode == 0
    assert "gpu0" not in requests.get(services.url("/readyz"), timeout=60).json()["slots"]
