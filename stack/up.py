"""``python -m stack up``: everything on this machine, until Ctrl-C.

Exit codes: 0 stopped by Ctrl-C or SIGTERM, 1 a process ended by itself, 2 it could not start.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import http.client
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from honcho.printer import Printer

from jobs.errors import BadSetting
from jobs.models.backends import read_backends
from jobs.settings import PROJECT_ROOT, Settings
from stack import devices, ports
from stack.entries import Entry, entries
from stack.manager import LogFiles, StackManager
from stack.redis_binary import RedisStartError
from stack.redis_server import EmbeddedRedis

#: What the Procfile binds Flower to.
FLOWER_HOST = "127.0.0.1"
#: A server that is not ready says what it waits for this often, seconds.
NOT_READY_NOTE_S = 15.0


class CannotStart(Exception):
    """The stack cannot start; the message says why and what to change."""


def main(argv: list[str] | None = None) -> int:
    """Run the stack; returns the exit code."""
    options = argparse.ArgumentParser(prog="python -m stack up", description="Start everything on this machine.")
    options.add_argument("--procfile", type=Path, default=PROJECT_ROOT / "Procfile", help="default: %(default)s")
    options.add_argument("--log-dir", type=Path, help="write NAME.log files there instead of to the terminal")
    options.add_argument(
        "--services", type=int, default=1, metavar="N",
        help="start N web servers on consecutive ports, each for one GPU; one alone (the default) uses all GPUs",
    )  # fmt: skip
    options.add_argument("--start-port", type=int, metavar="PORT", help="of the first web server (default: PORT)")
    arguments = options.parse_args(argv)
    # Until the manager takes over, SIGTERM ends the start as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = Settings.from_env()
        if arguments.start_port is not None:
            settings = settings.replace(port=arguments.start_port)
        return _run(settings, arguments.procfile, arguments.log_dir, arguments.services)
    except KeyboardInterrupt:
        return 0
    except (CannotStart, BadSetting, RedisStartError, OSError) as exc:
        print(f"cannot start: {exc}", file=sys.stderr)
        return 2


def environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """What the processes get: this interpreter's programs first, and the ports as the stack understood them."""
    return {
        **environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "PORT": str(settings.web.port),
        "FLOWER_PORT": str(settings.web.flower_port),
    }


@contextlib.contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold the data folder's lock.

    Raises:
        CannotStart: another stack holds it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "stack.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise CannotStart(
                f"a stack (pid {pid}) already runs with {data_dir}. Stop it first, or set DATA_DIR, PORT "
                "and FLOWER_PORT to run a second one"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def planned(settings: Settings, procfile: str, services: int, gpus: int) -> list[Entry]:
    """What to start for so many services on so many GPUs.

    Raises:
        CannotStart: several services, and fewer GPUs.
        BadSetting: the back ends file is wrong.
    """
    if services < 1:
        raise CannotStart("--services must be at least 1")
    if services > 1 and gpus and services > gpus:
        raise CannotStart(f"--services {services}: each needs a GPU of its own, and there are {gpus}")
    own = range(settings.web.port, settings.web.port + services) if services > 1 else ()
    slots = services if services > 1 else gpus
    return entries(procfile, slots, own, read_backends(settings.paths.backends_file))


def _run(settings: Settings, procfile: Path, log_dir: Path | None, services: int) -> int:
    companions = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(only_one(settings.paths.data_dir))
        plan = planned(settings, procfile.read_text(encoding="utf-8"), services, devices.cuda_devices(os.environ))
        web = settings.web
        wanted = [
            ports.Wanted(f"PORT+{number}" if number else "PORT", web.host, web.port + number, "the web server")
            for number in range(services)
        ]
        wanted.append(ports.Wanted("FLOWER_PORT", FLOWER_HOST, settings.web.flower_port, "Flower"))
        if problems := ports.problems(wanted):
            raise CannotStart("\n  ".join(problems))
        if settings.embedded_redis:
            # Leaving the block stops it: after everything that writes to it.
            server = stack.enter_context(EmbeddedRedis(settings, reuse=True))
            if server.pid is None:
                print(f"using the Redis that already serves {server.socket}; it will be left running", flush=True)
            else:
                companions["redis"] = server.exit_status
        manager = StackManager(LogFiles(log_dir) if log_dir else Printer(sys.stdout))
        manager.companions.update(companions)
        manager.on_started = lambda: _announce(manager, settings, plan, services)
        for entry in plan:
            env = environment(settings, os.environ) | entry.environment
            manager.add_process(entry.name, entry.command, env=env, cwd=str(PROJECT_ROOT))
        manager.loop()
        return int(manager.returncode or 0)


def local_url(host: str, port: int) -> str:
    """An address this machine can reach a server bound to ``host`` under."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104, nothing is bound here
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announce(manager: StackManager, settings: Settings, plan: list[Entry], services: int) -> None:
    """Wait until the servers are ready, then print where everything is. Runs in a thread."""
    urls = [local_url(settings.web.host, settings.web.port + number) for number in range(services)]
    url, noted = urls[0], time.monotonic()
    while not manager.stopping:
        why = next(filter(None, map(readiness, urls)), None)
        if why is None:
            manager.say(f"Framemill is ready. API {url}/v1  docs {url}/docs")
            for number, further in enumerate(urls[1:], 1):
                manager.say(f"gpu{number} alone: API {further}/v1")
            if any(entry.name == "flower" for entry in plan):
                manager.say(f"Flower {local_url(FLOWER_HOST, settings.web.flower_port)}")
            manager.say("Ctrl-C stops everything")
            return
        if time.monotonic() - noted > NOT_READY_NOTE_S:
            noted = time.monotonic()
            manager.say(f"not ready yet: {why}")
        time.sleep(0.2)


def readiness(url: str) -> str | None:
    """None when the server at ``url`` is ready, else what it says."""
    # No proxy of the environment: the server is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/readyz", timeout=2):
            return None
    except urllib.error.HTTPError as exc:
        with exc:
            return f"/readyz answers {exc.code} {_detail(exc.read(5000))}"
    except (OSError, http.client.HTTPException) as exc:
        return f"{url} does not answer ({exc})"


def _detail(body: bytes) -> str:
    try:
        answer = json.loads(body)
        return "; ".join(answer["missing"]) if "missing" in answer else str(answer["detail"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")
