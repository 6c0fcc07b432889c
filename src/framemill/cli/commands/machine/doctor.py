"""``framemill doctor``: what keeps commands and, in a checkout, the server from working, and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import httpx2

from framemill.cli.commands.machine.checkout import find_checkout
from framemill.cli.context import servers
from framemill.cli.context.session import Session, pass_session
from framemill.cli.display.findings import NOTE, OK, PROBLEM, Finding, line
from framemill.cli.display.output import print_json
from framemill.client import Client
from framemill.errors import ApiError
from framemill.transport import wire

#: Longest time for the checks of the checkout, in seconds.
_HOST_TIMEOUT_S = 120.0


@click.command()
@pass_session
def doctor(session: Session) -> None:
    """Check the server that commands use. In a checkout, also check what a server here needs.

    These are the settings, models, keys, Redis, the store of outputs (a file is written and read), disks, devices and
    ports. The exit code is 1 if something does not work.
    """
    checkout = find_checkout()
    found = []
    for finding in (*of_server(session, checkout), *(of_checkout(checkout) if checkout else ())):
        found.append(finding)
        if not session.as_json:
            click.echo(line(finding))
    if session.as_json:
        print_json({"findings": [finding.to_dict() for finding in found]})
    if any(finding.state == PROBLEM for finding in found):
        raise click.exceptions.Exit(1)


def of_server(session: Session, checkout: Path | None) -> Iterator[Finding]:
    """Check the server over HTTP."""
    if not servers.is_private():
        yield Finding("login", PROBLEM, f"others can read {servers.file()}", f"chmod 600 {servers.file()}")
    try:
        with httpx2.Client(**wire.options(session.url, None, min(session.timeout_s, 10.0))) as http:
            response = http.get("/readyz")
        state = response.json()
        missing, warnings = list(state["missing"]), list(state["warnings"])
    except ValueError as exc:  # an invalid address, or not JSON
        yield Finding("server", PROBLEM, f"{session.url}: {exc}", "check --url, FRAMEMILL_URL or 'framemill login'")
        return
    except (KeyError, TypeError):
        yield Finding("server", PROBLEM, f"{session.url} is not a Framemill server", "check the address")
        return
    except httpx2.HTTPError as exc:
        local = checkout is not None and wire.is_loopback(httpx2.URL(session.url).host)
        remedy = "start it: framemill up" if local else "start it there, or name another one: framemill login"
        yield Finding("server", NOTE if local else PROBLEM, f"{session.url} does not answer ({exc})", remedy)
        return
    if missing:
        yield Finding("server", PROBLEM, f"{session.url} is not ready: {'; '.join(missing)}", "see its log")
    else:
        yield Finding("server", OK, f"{session.url} is ready; slots: {', '.join(state.get('slots') or ()) or 'none'}")
    for warning in warnings:
        yield Finding("server", NOTE, warning)
    yield _of_key(session)


def _of_key(session: Session) -> Finding:
    with Client(session.url, session.api_key, session.timeout_s) as client:
        try:
            client.queue()
        except ApiError as exc:
            if exc.status == 401:
                wrong = "the server does not accept the API key" if session.api_key else "the server needs an API key"
                return Finding("key", PROBLEM, wrong, "run 'framemill login'")
            return Finding("key", NOTE if exc.status == 403 else PROBLEM, str(exc))
    return Finding("key", OK, "is accepted" if session.api_key else "none is needed")


def of_checkout(checkout: Path) -> Iterator[Finding]:
    """Run the checks of the server's own code, in a process of its own: this package contains no server."""
    command = [sys.executable, "-m", "stack", "doctor", "--json"]
    try:
        done = subprocess.run(command, cwd=checkout, env=os.environ, capture_output=True, text=True,
                              timeout=_HOST_TIMEOUT_S, check=False)  # fmt: skip
        found = [Finding(**one) for one in json.loads(done.stdout)["findings"]]
    except (OSError, subprocess.TimeoutExpired) as exc:
        found = [Finding("checkout", PROBLEM, f"{checkout} could not be checked: {exc}")]
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        missing = Finding("checkout", PROBLEM, f"{checkout} cannot run here: {last}", "run 'make setup' there")
        found = [missing]
    yield from found
