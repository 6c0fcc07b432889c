"""What is checked before anything is started, and by ``python -m stack doctor``."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import click

from framemill.cli.display.findings import NOTE, OK, PROBLEM, Finding, line
from jobs.errors import BadSetting, FramemillError, Unavailable
from jobs.files import disks
from jobs.files.signing import check_signing
from jobs.files.spool import size_text
from jobs.models.backends import read_backends, registry_of
from jobs.objects.base import probe_key
from jobs.objects.factory import open_store
from jobs.settings import Settings, environment
from jobs.settings.dangerous import dangers
from jobs.settings.settings import defaults
from jobs.settings.without_effect import without_effect
from jobs.startup import check_bucket, check_folders, check_key_names, check_weights, has_keys
from jobs.store.connecting.checks import check_connection
from jobs.store.credentials.api_keys import callers_of
from jobs.store.jobs import JobStore
from stack import devices, ports
from stack.embedded_redis import binary, probe
from stack.embedded_redis.binary import RedisStartError
from stack.embedded_redis.probe import ServerState

#: Address that the Procfile binds Flower to.
FLOWER_HOST = "127.0.0.1"
#: Longest wait for the store, in seconds.
_PATIENCE_S = 5.0
#: Most names in one line.
_MOST_NAMES = 8
#: Libraries without which no worker computes.
_LIBRARIES = ("torch", "diffusers", "transformers")

Check = Callable[[Settings], Iterator[Finding]]


def findings(settings: Settings, services: int = 1, *, may_run: bool = False) -> Iterator[Finding]:
    """Check everything that the processes on this machine need, one part after the other.

    Args:
        settings: the settings of the processes.
        services: number of web servers.
        may_run: whether a stack that runs already may have the ports.
    """
    checks: tuple[tuple[str, Check], ...] = (
        ("settings", _settings),
        ("models", _models),
        ("keys", _keys),
        ("disk", _disk),
        ("redis", _redis),
        ("store", _store),
        ("signing", _signing),
        ("devices", _devices),
        ("ports", lambda settings: _ports(settings, services, may_run=may_run)),
    )
    for name, check in checks:
        try:
            yield from check(settings)
        except (FramemillError, RedisStartError, OSError) as exc:
            yield Finding(name, PROBLEM, str(exc))


def _settings(settings: Settings) -> Iterator[Finding]:
    given = [name for name, value in environment.of_process().items() if name in defaults() and value.strip()]
    text = f"{len(given)} set: {_names(sorted(given))}" if given else "all at their defaults"
    yield Finding("settings", OK, text)
    for sentence in without_effect(settings):
        yield Finding("settings", NOTE, sentence)
    for sentence in dangers(settings, partial(has_keys, settings)):
        yield Finding("settings", NOTE, sentence)
    if settings.devoid.test_mode:
        yield Finding("settings", NOTE, "TEST_MODE is set: pictures are drawn, and no model of this server runs")


def _models(settings: Settings) -> Iterator[Finding]:
    registry = registry_of(settings)
    check_weights(settings)
    found = registry.names()
    file = settings.paths.models_file.name
    if not found:
        yield Finding("models", NOTE, f"{file} has no models", "add a table to it: docs/models.md")
        return
    yield Finding("models", OK, f"{_names(found)} ({file})")


def _keys(settings: Settings) -> Iterator[Finding]:
    callers = callers_of(settings.access.key_entries)
    check_key_names(settings)
    if callers or settings.devoid.services:
        yield Finding("keys", OK, f"{len(callers)} in API_KEYS")
        return
    if settings.web.is_loopback:
        yield Finding("keys", OK, "only this machine is served, so none is needed")
        return
    yield Finding("keys", OK, f"HOST is {settings.web.host}: keys are looked up when Redis runs")


def _disk(settings: Settings) -> Iterator[Finding]:
    check_folders(settings)
    free = disks.free_bytes(settings)
    yield Finding("disk", OK, ", ".join(f"{name} {size_text(count)} free" for name, count in sorted(free.items())))
    for sentence in disks.warnings(settings):
        yield Finding("disk", NOTE, sentence)


def _redis(settings: Settings) -> Iterator[Finding]:
    if not settings.embedded_redis:
        for sentence in check_connection(settings):
            yield Finding("data", NOTE, sentence)
        try:
            JobStore(settings).check_writable()
        except Unavailable as exc:
            yield Finding("redis", NOTE, f"REDIS_URL: {exc.message}; it is waited for", "start it, or check REDIS_URL")
        else:
            yield Finding("redis", OK, "REDIS_URL answers and accepts writes")
        return
    if probe.ping(settings.redis_socket) is ServerState.READY:
        yield Finding("redis", OK, f"runs on {settings.redis_socket}")
        return
    found = binary.find_binary()
    version = ".".join(map(str, found.version))
    yield Finding("redis", OK, f"{found.path.name} {version}, data in {settings.redis_socket.parent}")


def _signing(settings: Settings) -> Iterator[Finding]:
    if settings.c2pa.certificate:
        check_signing(settings.c2pa)
        yield Finding("signing", OK, f"outputs are signed with {settings.c2pa.certificate}")


def _store(settings: Settings) -> Iterator[Finding]:
    where = f"bucket {settings.s3.bucket}" if settings.s3.bucket else str(settings.paths.objects_dir)
    notes = check_bucket(settings)
    if notes:
        yield from (Finding("store", NOTE, text, "start it, or check the S3_ settings") for text in notes)
        return
    store, key, content = open_store(settings, patience_s=_PATIENCE_S), probe_key(), os.urandom(16)
    try:
        store.put_bytes(key, content, "application/octet-stream")
        try:
            same = b"".join(store.read(key)) == content
        finally:
            store.delete(key)
    except Unavailable as exc:
        yield Finding("store", NOTE, f"{where}: {exc.message}", "jobs are computed, and delivered when it is back")
        return
    if not same:
        raise BadSetting(f"{where} does not return what was stored in it")
    yield Finding("store", OK, f"{where}: a file was written, read and removed")


def _devices(settings: Settings) -> Iterator[Finding]:
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing and not settings.devoid.test_mode:
        yield Finding("devices", PROBLEM, f"not installed: {', '.join(missing)}", "run 'make setup'")
        return
    count = devices.cuda_devices(os.environ)
    backends = read_backends(settings.paths.backends_file)
    text = (
        f"{count} CUDA device{'' if count == 1 else 's'}, a slot for each" if count else "no GPU: one slot on the CPU"
    )
    yield Finding("devices", OK, text + (f"; back ends {_names(list(backends))}" if backends else ""))


def _ports(settings: Settings, services: int, *, may_run: bool) -> Iterator[Finding]:
    pid = running_stack(settings.paths.data_dir) if may_run else None
    if pid:
        yield Finding("ports", OK, f"in use by the server that runs here (pid {pid})")
        return
    required = [
        ports.Required(
            "PORT" if not number else f"PORT+{number}", settings.web.host, settings.web.port + number, "the web server"
        )
        for number in range(services)
    ]
    required.append(ports.Required("FLOWER_PORT", FLOWER_HOST, settings.web.flower_port, "Flower"))
    problems = ports.problems(required)
    for problem in problems:
        yield Finding("ports", PROBLEM, problem)
    if not problems:
        yield Finding("ports", OK, f"{', '.join(str(port.port) for port in required)} are free")


def running_stack(data_dir: Path) -> str | None:
    """Return the process id of the stack that runs with this folder; None if there is none."""
    try:
        with (data_dir / "stack.lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read().strip() or "unknown"
    except OSError:
        pass
    return None


def _names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> int:
    """Check what the processes on this machine need; nothing is started.

    Exit codes: 0 everything works, 1 something does not.
    """
    found = []
    for finding in _with_settings():
        # A start waits for Redis and the store. Here it is asked whether they work now.
        if finding.state == NOTE and finding.name in ("redis", "store"):
            finding = Finding(finding.name, PROBLEM, finding.text, finding.remedy)
        found.append(finding)
        if not as_json:
            print(line(finding), flush=True)
    if as_json:
        print(json.dumps({"findings": [finding.to_dict() for finding in found]}))
    return int(any(finding.state == PROBLEM for finding in found))


def _with_settings() -> Iterator[Finding]:
    try:
        settings = Settings.from_env()
    except BadSetting as exc:
        yield Finding("settings", PROBLEM, exc.message, "docs/configuration.md lists all settings")
        return
    yield from findings(settings, may_run=True)
