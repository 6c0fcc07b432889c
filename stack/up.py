"""``python -m stack up``: run everything on this machine until Ctrl-C.

Exit codes: 0 stopped by Ctrl-C or SIGTERM, 1 a process ended by itself, 2 the stack could not start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from framemill.cli.display.findings import PROBLEM, line
from jobs.errors import BadSetting
from jobs.models.backends import read_backends
from jobs.settings import PROJECT_ROOT, Settings
from jobs.startup import check_open_address
from stack import devices
from stack.checks import findings
from stack.embedded_redis.binary import RedisStartError
from stack.embedded_redis.server import EmbeddedRedis
from stack.logs.output import LogFolder, Terminal
from stack.procfile import Program, programs
from stack.readiness import local_url, readiness
from stack.summary import summary
from stack.supervisor import Supervisor

#: Interval at which a stack that is not ready says what it waits for, in seconds.
NOT_READY_NOTE_S = 15.0


#: Variables that keep progress bars, and what libraries say about themselves, out of the logs. Those that are set stay.
_QUIET = {
    "PYTHONWARNINGS": "ignore",
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}


class CannotStart(Exception):
    """The stack cannot start; the message says why and what to change."""


@click.command()
@click.option(
    "--procfile",
    type=click.Path(path_type=Path),
    default=PROJECT_ROOT / "Procfile",
    help="Processes to start. Default: the Procfile of the checkout.",
)
@click.option(
    "--log-dir",
    type=click.Path(path_type=Path),
    help="Folder of the log files NAME.log. Default: DATA_DIR/logs.",
)
@click.option("-v", "--verbose", is_flag=True, help="Write all lines to the terminal, instead of to log files.")
@click.option(
    "--services",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Start N web servers on consecutive ports, each for one GPU. A single one uses all GPUs.",
)
@click.option("--start-port", type=int, metavar="PORT", help="Port of the first web server. Default: PORT.")
def up(procfile: Path, log_dir: Path | None, verbose: bool, services: int, start_port: int | None) -> int:
    """Check this machine, then start Redis, web server, workers and Flower; Ctrl-C stops them.

    Exit codes: 0 stopped by Ctrl-C or SIGTERM, 1 a process ended by itself, 2 something was wrong at the start.
    """
    # Until the supervisor takes over, SIGTERM ends the start like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = Settings.from_env()
        if start_port is not None:
            settings = settings.replace(port=start_port)
        folder = None if verbose else log_dir or settings.paths.data_dir / "logs"
        return _run(settings, procfile, folder, services)
    except KeyboardInterrupt:
        return 0
    except (CannotStart, BadSetting, RedisStartError, OSError) as exc:
        print(f"cannot start: {exc}", file=sys.stderr)
        return 2


def environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the processes: this interpreter's programs come first on PATH, the ports are set."""
    return {
        **environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        **{name: environ.get(name, value) for name, value in _QUIET.items()},
        # The launcher writes the files for `framemill logs`, which people read.
        "LOG_FORMAT": settings.process.log_format.replace("auto", "text"),
        "PORT": str(settings.web.port),
        "FLOWER_PORT": str(settings.web.flower_port),
    }


@contextlib.contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Lock the data folder.

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


def planned(settings: Settings, procfile: str, services: int, gpus: int) -> list[Program]:
    """Return the processes to start for ``services`` web servers on ``gpus`` GPUs.

    Raises:
        CannotStart: there are fewer GPUs than services.
        BadSetting: the file of back ends is invalid.
    """
    if services < 1:
        raise CannotStart("--services must be at least 1")
    if services > 1 and gpus and services > gpus:
        raise CannotStart(f"--services {services}: each service needs its own GPU, and there are {gpus}")
    service_ports = range(settings.web.port, settings.web.port + services) if services > 1 else ()
    slots = services if services > 1 else gpus
    return programs(procfile, slots, service_ports, read_backends(settings.paths.backends_file))


def _run(settings: Settings, procfile: Path, log_dir: Path | None, services: int) -> int:
    companions = {}
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        # Checked first: a second stack would find the ports taken, which is not what is wrong.
        stack.enter_context(only_one(settings.paths.data_dir))
        plan = planned(settings, procfile.read_text(encoding="utf-8"), services, devices.cuda_devices(os.environ))
        _check(settings, services)
        if settings.embedded_redis:
            # Leaving the block stops Redis, after all processes that write to it.
            server = stack.enter_context(EmbeddedRedis(settings, reuse=True))
            if server.pid is None:
                print(f"using the Redis that already serves {server.socket}; it will be left running", flush=True)
            else:
                companions["redis"] = server.exit_status
        check_open_address(settings)
        names = [program.name for program in plan]
        print(f"starting {', '.join((*companions, *names))}", flush=True)
        output = LogFolder(log_dir, names) if log_dir else Terminal(names)
        supervisor = Supervisor(output, companions)
        urls = [local_url(settings.web.host, settings.web.port + number) for number in range(services)]

        def announce() -> None:
            if _await_ready(supervisor, output, urls):
                took_s = time.monotonic() - started
                output.say(summary(settings, urls, has_flower="flower" in names, logs=log_dir, took_s=took_s))

        return supervisor.run(plan, environment(settings, os.environ), PROJECT_ROOT, on_started=announce)


def _check(settings: Settings, services: int) -> None:
    """Print what is found on this machine. Raises: CannotStart: something is wrong."""
    for finding in findings(settings, services):
        if finding.state == PROBLEM:
            raise CannotStart(f"{finding.text}{f'; {finding.remedy}' if finding.remedy else ''}")
        print(line(finding), flush=True)


def _await_ready(supervisor: Supervisor, output: Terminal, urls: list[str]) -> bool:
    """Wait until the servers are ready; say what they wait for. Returns False if the stack stops before."""
    noted = time.monotonic()
    while not supervisor.stopping:
        why = next(filter(None, map(readiness, urls)), None)
        if why is None:
            return True
        if time.monotonic() - noted > NOT_READY_NOTE_S:
            noted = time.monotonic()
            output.say(f"not ready yet: {why}")
        time.sleep(0.2)
    return False
