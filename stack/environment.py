"""Install packages into the environment, and show the progress. ``make setup`` runs this before anything is installed.

So only the standard library is available. pip alone is silent for minutes, or writes hundreds of lines.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from stack.devices import cuda_devices

#: Page of the builds of torch for CPUs. The one on PyPI includes CUDA, 3 GB that a machine without a GPU cannot use.
CPU_BUILDS = "https://download.pytorch.org/whl/cpu/torch/"
#: How long that page may take to respond, seconds.
_PAGE_TIMEOUT_S = 5
#: Interval between two reports, in a terminal and in a file, seconds.
_TERMINAL_S, _FILE_S = 0.2, 10.0
#: Lines of pip that are shown when it fails.
_LAST_LINES = 30
#: A file of a package in pip's output: what is done with it, package, size, unit.
_FILE = re.compile(r"\s*(Downloading|Using cached|Processing) (?:\S*/)?(\w[\w.]*?)-\S*(?: \(([\d.]+) (\w+)\))?")
_UNITS = {"bytes": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}


class Progress:
    """What pip has done so far, from its output."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._activity = "looking for packages"
        self._packages: set[str] = set()
        self._megabytes = 0.0

    def read(self, line: str) -> None:
        """Take a line of pip's output."""
        self.lines.append(line)
        if match := _FILE.match(line):
            verb, name, size, unit = match.groups()
            self._packages.add(name.lower())
            self._activity = f"reading {name}"
            if verb == "Downloading" and size:
                self._activity = f"downloading {name} ({size} {unit})"
                self._megabytes += float(size) * _UNITS.get(unit, 0.0)
        elif line.startswith("Installing collected packages:"):
            self._activity = f"unpacking {_counted(line.count(',') + 1)}"
        elif "build" in line.lower():
            self._activity = "building Framemill"

    def __str__(self) -> str:
        downloaded = f", {self._megabytes:.0f} MB" if self._megabytes >= 1 else ""
        return f"{_counted(len(self._packages))}{downloaded}: {self._activity}"


def _counted(packages: int) -> str:
    return f"{packages} package{'' if packages == 1 else 's'}"


@contextmanager
def reported(progress: Progress) -> Iterator[None]:
    """Write the progress while the block runs: in a terminal one line that changes, else a line every ten seconds."""
    in_terminal = sys.stdout.isatty()
    done = threading.Event()
    started = time.monotonic()

    def report() -> None:
        while not done.wait(_TERMINAL_S if in_terminal else _FILE_S):
            text = f"  {progress}, {time.monotonic() - started:.0f} s"
            print(f"\r\033[K{text[:78]}" if in_terminal else text, end="" if in_terminal else "\n", flush=True)

    reporter = threading.Thread(target=report)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
        print("\r\033[K" if in_terminal else "", end="", flush=True)


def pip_install(*arguments: str) -> None:
    """Run ``pip install``. Raises: SystemExit: it failed; its last lines have been written."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "-c",
        "constraints.txt",
        *arguments,
    ]
    progress = Progress()
    started = time.monotonic()
    with (
        reported(progress),
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip,
    ):
        for line in pip.stdout or ():
            progress.read(line.rstrip())
    if pip.returncode:
        print("\n".join(progress.lines[-_LAST_LINES:]), file=sys.stderr)
        raise SystemExit(pip.returncode)
    print(f"  done in {time.monotonic() - started:.0f} s", flush=True)


def torch_source(environ: Mapping[str, str]) -> tuple[list[str], str]:
    """Return the arguments for pip that select the build of torch, and say which one it is."""
    if cuda_devices(environ):
        return [], "with CUDA, about 3 GB"
    try:
        request = urllib.request.Request(CPU_BUILDS, method="HEAD")
        with urllib.request.urlopen(request, timeout=_PAGE_TIMEOUT_S):  # noqa: S310  (a constant)
            pass
    except OSError:
        return [], "from PyPI, which may include CUDA (3 GB), because download.pytorch.org does not respond"
    return ["--find-links", CPU_BUILDS], "for CPUs, about 200 MB, because there is no NVIDIA GPU"


def install(torch: str, extras: str) -> None:
    """Install torch and Framemill with extras into the environment of this interpreter."""
    if torch:
        source, description = torch_source(os.environ)
        print(f"installing {torch} {description}", flush=True)
        pip_install(*source, torch)
    print(f"installing Framemill and its dependencies ({extras})", flush=True)
    pip_install("-e", f".[{extras}]")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m stack.environment", description=__doc__)
    parser.add_argument("extras", help="extras of setup.cfg, separated by commas")
    parser.add_argument("--torch", default="", help="requirement of torch; left out: torch is not touched")
    options = parser.parse_args(arguments)
    install(options.torch, options.extras)


if __name__ == "__main__":
    main()
