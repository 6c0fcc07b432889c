"""``python -m stack logs``: the newest lines of the log files, and what is written to them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from jobs.errors import BadSetting
from jobs.settings import Settings
from stack.logs.lines import for_people, record_of
from stack.logs.output import Prefixes

#: Interval at which the files are looked at, in seconds.
POLL_S = 0.2
#: Bytes at the end of a file in which the newest lines are looked for.
_TAIL_BYTES = 256 * 1024


class LogFile:
    """A log file that is followed, also when it is emptied or replaced."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._path = path
        self._inode = self._offset = 0
        self._rest = b""

    def newest(self, count: int) -> list[str]:
        """Return the last lines, and follow from here."""
        try:
            status = self._path.stat()
            with self._path.open("rb") as file:
                file.seek(max(0, status.st_size - _TAIL_BYTES))
                content = file.read()
                self._offset, self._inode = file.tell(), status.st_ino
        except OSError:
            return []
        complete, _, self._rest = content.rpartition(b"\n")
        return complete.decode(errors="replace").splitlines()[-count:] if count else []

    def added(self) -> list[str]:
        """Return the complete lines that were written since the last call."""
        try:
            status = self._path.stat()
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._offset, self._inode, self._rest = 0, status.st_ino, b""
            if status.st_size == self._offset:
                return []
            with self._path.open("rb") as file:
                file.seek(self._offset)
                content = self._rest + file.read()
                self._offset = file.tell()
        except OSError:
            return []
        complete, _, self._rest = content.rpartition(b"\n")
        return complete.decode(errors="replace").splitlines()


def files_of(folder: Path, names: Sequence[str]) -> list[LogFile]:
    """Return the log files in a folder, or those of some processes. Raises: OSError: there are none."""
    found = [path for path in sorted(folder.glob("*.log")) if not names or path.stem in names]
    if not found:
        known = ", ".join(path.stem for path in sorted(folder.glob("*.log")))
        raise OSError(f"{folder} has no logs{f' of {chr(32).join(names)}; there are: {known}' if known else ' yet'}")
    return [LogFile(path) for path in found]


def lines_of(files: Sequence[LogFile], count: int, *, follows: bool) -> Iterator[tuple[str, str]]:
    """Yield name and line: the newest lines of all files in their order of time, and then what is added."""
    newest = [(line, file.name) for file in files for line in file.newest(count)]
    yield from ((name, line) for line, name in _in_order(newest))
    while follows:
        for file in files:
            yield from ((file.name, line) for line in file.added())
        sys.stdout.flush()
        time.sleep(POLL_S)


def _in_order(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return lines by their time; those without one stay behind the line before them."""
    keyed, key = [], ""
    for line, name in lines:
        if (shown := for_people(line) if record_of(line) else line)[:1].isdigit():
            key = shown[:23]
        keyed.append((key, line, name))
    return [(line, name) for _, line, name in sorted(keyed, key=lambda one: one[0])]


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-n", "--lines", "count", type=click.IntRange(0), default=10, show_default=True, metavar="N",
              help="Lines of each file that are shown first.")  # fmt: skip
@click.option("--no-follow", is_flag=True, help="Show these lines only.")
@click.option("--log-dir", type=click.Path(path_type=Path), help="Folder of the logs. Default: DATA_DIR/logs.")
def logs(names: tuple[str, ...], count: int, no_follow: bool, log_dir: Path | None) -> int:
    """Follow the logs of all processes, or of those with these NAMEs (web, gpu0, io, flower). Ctrl-C ends it."""
    try:
        folder = log_dir or Settings.from_env().paths.data_dir / "logs"
        files = files_of(folder, names)
        prefixes = Prefixes([file.name for file in files])
        for name, line in lines_of(files, count, follows=not no_follow):
            for part in for_people(line, colours=prefixes.are_coloured).splitlines():
                sys.stdout.write(f"{prefixes.of(name)}{part}\n")
        sys.stdout.flush()
    except (KeyboardInterrupt, BrokenPipeError):
        return 0
    except (BadSetting, OSError) as exc:
        click.echo(f"logs: {exc}", err=True)
        return 1
    return 0
