"""Other people's clients, outside the environment of the tests: their dependencies conflict with ours and each other's.

``tests/clients/NAME.txt`` pins every package of a Python environment, ``npm`` and ``npm-mcp`` beside it those of Node.
Programs of Debian that must not be on PATH are here, too. Everything is installed when a test first needs it, and again
when the pins change; later runs need no network.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.settings import PROJECT_ROOT

PINS = PROJECT_ROOT / "tests" / "clients"
NODE = PINS / "npm"
#: Environments below it are not tracked.
INSTALLED = PROJECT_ROOT / ".clients"
#: Longest installation, seconds. Tests of clients are marked with it: the first one waits for the packages.
INSTALL_S = 900
#: Longest run of a client, seconds.
RUN_S = 600
_LAST_LINES = 20


def python(name: str) -> Path:
    """Return the interpreter of a Python environment, which has the packages of ``tests/clients/NAME.txt``."""
    pins, folder = PINS / f"{name}.txt", INSTALLED / name

    def install() -> None:
        # The pip of the tests installs into it: an own one would take longer to unpack than most clients.
        _run(sys.executable, "-m", "venv", "--without-pip", "--clear", str(folder))
        _run(
            sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "--disable-pip-version-check",
            "install", "--quiet", "--no-compile", "--no-deps", "--only-binary", ":all:", "-r", str(pins),
        )  # fmt: skip

    _installed(folder, pins.read_bytes() + sys.version.encode(), install)
    return folder / "bin" / "python"


def node(folder: Path = NODE) -> str:
    """Return the path of Node. Modules in ``folder`` import the packages that are pinned there."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        _missing("node and npm are not installed (Debian: apt-get install nodejs npm)")

    def install() -> None:
        # Nothing but files: packages run no code when they are installed.
        options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
        _run(str(npm), "ci", "--prefix", str(folder), *options)

    pins = (folder / "package.json").read_bytes() + (folder / "package-lock.json").read_bytes()
    _installed(folder / "node_modules", pins, install)
    return str(program)


def debian(name: str, *packages: str) -> Path:
    """Return a folder with the files of Debian's packages, which are not installed: PATH does not lead to them."""
    folder = INSTALLED / name

    def install() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _run("apt-get", "download", *packages, cwd=folder)
        for file in folder.glob("*.deb"):
            _run("dpkg-deb", "-x", str(file), str(folder))

    if shutil.which("apt-get") is None:
        _missing(f"apt-get is not here, which downloads {', '.join(packages)}")
    _installed(folder, " ".join(packages).encode(), install)
    return folder


def run(interpreter: str | Path, script: Path, *arguments: str, **environment: str) -> str:
    """Run a program that uses a client; return what it prints. The test fails if the program does."""
    # Without the paths of the tests: the program has its own packages.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [interpreter, script, *arguments], cwd=script.parent, env={**kept, **environment}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=RUN_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{script.name} failed:\n{done.stdout}"
    return done.stdout


def _installed(folder: Path, pins: bytes, install: Callable[[], None]) -> None:
    """Install packages into a folder unless it has those of the pins already. One process does it at a time."""
    stamp, digest = folder / ".pins", hashlib.sha256(pins).hexdigest()
    INSTALLED.mkdir(exist_ok=True)
    with open(INSTALLED / f"{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == digest:
            return
        try:
            install()
        except subprocess.CalledProcessError as exc:
            last_lines = "\n".join(str(exc.stdout).splitlines()[-_LAST_LINES:])
            _missing(f"the packages of {folder.name} cannot be installed:\n{last_lines}")
        stamp.write_text(digest)


def _missing(reason: str) -> None:
    """Skip the test; fail it where all tools are expected."""
    assert not os.environ.get("CI"), reason
    pytest.skip(reason)


def _run(*command: str, cwd: Path | None = None) -> None:
    subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True,
        cwd=cwd,
    )  # fmt: skip
