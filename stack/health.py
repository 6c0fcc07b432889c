"""``python -m stack.health``: whether one process works, for a container engine or a service manager.

A worker counts as dead when its lease has lapsed. While Redis does not answer, no lease can be renewed, and a restart
would only end the jobs that still run: workers count as alive then.
"""

from __future__ import annotations

import os
import sys
import time

import click

from jobs.errors import BadSetting, Unavailable
from jobs.settings import Settings
from stack.readiness import local_url, unanswered

#: Pause between two looks whether everything is delivered, seconds.
LOOK_PAUSE_S = 1.0


class Unhealthy(click.ClickException):
    """The process does not work; the message says what is wrong."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def health(context: click.Context) -> None:
    """Check one process that runs with these settings.

    Exit codes: 0 it works, or Redis does not answer and nobody can tell; 1 it does not.
    """
    context.obj = Settings.from_env()


@health.command()
@click.pass_obj
def web(settings: Settings) -> None:
    """Check that the web server of this host answers."""
    _check(f"{local_url(settings.web.host, settings.web.port)}/healthz")


@health.command()
@click.pass_obj
def flower(settings: Settings) -> None:
    """Check that the Flower of this host answers."""
    # Flower's own variable: the path below which a proxy serves it.
    prefix = os.environ.get("FLOWER_URL_PREFIX", "").strip("/")
    path = f"/{prefix}/healthcheck" if prefix else "/healthcheck"
    _check(local_url("127.0.0.1", settings.web.flower_port) + path)


@health.command()
@click.argument("slot")
@click.pass_obj
def worker(settings: Settings, slot: str) -> None:
    """Check that a worker of this host holds the lease of SLOT."""
    # Imported here: the checks above need no Redis.
    from jobs.store import queries
    from jobs.store.jobs import JobStore

    holder = queries.lease_holder(JobStore(settings), slot)
    if holder != settings.node:
        raise Unhealthy(f"{slot} is served by host {holder}" if holder else f"no worker renews the lease of {slot}")


@health.command()
@click.pass_obj
def io(settings: Settings) -> None:
    """Check that a delivery worker of this host announces itself."""
    from jobs.store import queries
    from jobs.store.jobs import JobStore

    if not queries.delivers(JobStore(settings), settings.node):
        raise Unhealthy(f"no delivery worker of {settings.node} renews its announcement")


@health.command()
@click.argument("slots", metavar="SLOT...", nargs=-1, required=True)
@click.pass_obj
def delivered(settings: Settings, slots: tuple[str, ...]) -> None:
    """Wait until the workers of these slots have stopped and nothing of this host waits for delivery.

    For the end of a host whose spool goes with it: run it before the delivery worker is stopped.
    """
    from jobs.store import queries
    from jobs.store.jobs import JobStore

    store = JobStore(settings)

    def is_needed() -> bool:
        try:
            served = any(queries.lease_holder(store, slot) == settings.node for slot in slots)
            return served or bool(queries.undelivered(store, settings.node))
        except Unavailable:
            return True

    while is_needed():
        time.sleep(LOOK_PAUSE_S)


def _check(url: str) -> None:
    if problem := unanswered(url):
        raise Unhealthy(problem)


def main() -> int:
    """Run the command and return its exit code."""
    try:
        return int(health.main(prog_name="python -m stack.health", standalone_mode=False) or 0)
    except Unavailable as exc:
        print(f"unknown: {exc.message}")
        return 0
    except BadSetting as exc:
        print(f"Error: {exc.message}", file=sys.stderr)
        return 1
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code


if __name__ == "__main__":
    sys.exit(main())
