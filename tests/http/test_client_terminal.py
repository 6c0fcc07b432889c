"""The command and what it displays while it waits, against a small server that follows the contract."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import click
import pytest

import framemill
from framemill.cli import main
from framemill.cli.app import framemill as framemill_command
from framemill.cli.display.output import duration
from framemill.cli.display.progress import ProgressBar
from framemill.records import Job
from framemill.transport import polling, wire
from tests.support.fake_server import PNG, FakeServer, refusal, serving


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as fake:
        yield fake


@pytest.fixture
def client(server: FakeServer) -> Iterator[framemill.Client]:
    with framemill.Client(server.url, api_key="secret") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "RETRY_WAITS_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(polling, "MIN_INTERVAL_S", 0.01)
    monkeypatch.setattr(polling, "MAX_INTERVAL_S", 0.05)


# --- progress


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_one_line_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    with ProgressBar("text2img", terminal) as bar:
        bar.update(Job(id="a", state="queued", position=2, eta_s=61))
        bar.update(Job(id="a", state="running", step=10, steps=20, eta_s=3.2))
        bar.update(Job(id="a", state="succeeded"))
    first, *lines = terminal.getvalue().split("\r\x1b[2K")
    assert first.endswith("text2img waiting, position 2, 1 min 01 s left")
    assert lines[0] == f"text2img {'━' * 7}╸{' ' * 7} step 10/20, 3 s left"
    assert lines[-1].startswith(f"text2img {'━' * 15} done\n")
    assert terminal.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("job", "text"),
    [
        ({"state": "queued", "position": 1, "waiting_for": "model sdxl"},
         "waiting, position 1, for a worker with model sdxl; none is running"),
        ({"state": "queued", "position": 3, "waiting_for": "resume of the queue"},
         "waiting, position 3, for resume of the queue"),
        ({"state": "delivering", "waiting_for": "the object store: S3 refused: the bucket does not exist"},
         "saving, for the object store: S3 refused: the bucket does not exist"),
        ({"state": "delivering", "waiting_for": "a delivery worker"}, "saving, for a delivery worker"),
    ],
)  # fmt: skip
def test_the_reason_of_a_wait_is_shown_whole(
    monkeypatch: pytest.MonkeyPatch, job: dict[str, object], text: str
) -> None:
    for name, value in {"TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    terminal, log = Terminal(), io.StringIO()
    with ProgressBar("", terminal) as bar, ProgressBar("", log) as lines:
        bar.update(Job(id="a", **{**job, "waiting_for": None}))  # type: ignore[arg-type]
        bar.update(Job(id="a", **job))  # type: ignore[arg-type]
        lines.update(Job(id="a", **{**job, "waiting_for": None}))  # type: ignore[arg-type]
        lines.update(Job(id="a", **job))  # type: ignore[arg-type]
    assert terminal.getvalue().rpartition("\r\x1b[2K")[2].partition("\n")[0].strip() == text
    assert log.getvalue().splitlines()[-1] == text


def test_a_narrow_terminal_keeps_to_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "44")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    with ProgressBar("", terminal) as bar:
        bar.update(Job(id="a", state="running", step=10, steps=20, eta_s=4000))
    assert all(len(line) <= 44 for line in terminal.getvalue().rpartition("\r\x1b[2K")[2].split("\n")[:1])
    assert terminal.getvalue().count("\n") == 1


def test_elsewhere_few_plain_lines_are_written() -> None:
    now, log = 0.0, io.StringIO()
    with ProgressBar("", log, clock=lambda: now) as bar:
        for step in range(1, 51):
            bar.update(Job(id="a", state="running", step=step, steps=50))
            now += 0.1
        bar.update(Job(id="a", state="succeeded"))
    lines = log.getvalue().splitlines()
    assert [line.split()[-1] for line in lines] == ["1/50", "21/50", "41/50", "done"]
    assert log.getvalue().isascii()


def test_durations_for_people() -> None:
    assert [duration(s) for s in (-1, 3.4, 60, 3725)] == ["0 s", "3 s", "1 min 00 s", "1 h 02 min"]


# --- command


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("-o", "star.tiff"), "star.tiff: no output can be a .tiff file; known: .png, "),
        (("-o", "star.mp4", "--format", "png"), "star.mp4 is a name for mp4, but the format is png"),
    ],
)
def test_a_name_that_no_output_can_have_is_refused_before_anything_is_sent(
    server: FakeServer, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], problem: str
) -> None:
    assert main(["--url", server.url, "submit", "--prompt", "a star", *words]) == 2
    assert problem in capsys.readouterr().err
    assert server.calls == []


def test_the_name_of_the_file_chooses_the_format(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, expected in (("star.mp4", "mp4"), ("star.JPG", "jpeg"), ("star", None)):
        main(["--url", server.url, "submit", "--prompt", "a star", "-o", str(tmp_path / name)])
        submitted = [call for call in server.calls if call[0] == "POST"][-1]
        assert submitted[2].get("output_format") == expected
    # The small server made a picture all the same.
    assert not (tmp_path / "star.mp4").exists()
    assert "star.mp4 is a name for mp4, but the output is image/png: name it star.png" in capsys.readouterr().err


def test_submit_prints_the_id(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", server.url, "submit", "--prompt", "a red circle", "--guidance-scale", "4"]) == 0
    out, err = capsys.readouterr()
    assert out == "a1\n"
    assert "width 63 was rounded to 64" in err
    assert server.calls[0][2] == {"prompt": "a red circle", "guidance_scale": 4.0}


def test_submit_waits_and_stores(server: FakeServer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    image = tmp_path / "in.png"
    image.write_bytes(PNG)
    target = tmp_path / "out.png"
    assert main(["--url", server.url, "submit", "--image", str(image), "-o", str(target)]) == 0
    out, err = capsys.readouterr()
    assert target.read_bytes() == PNG
    assert out == ""
    for part in ("job a1, seed 7", "waiting, position 2", "step 10/20, 3 s left", "done", f"saved {target}"):
        assert part in err


def test_submit_wait_prints_the_link(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", server.url, "submit", "--wait"]) == 0
    assert capsys.readouterr().out == f"{server.url}/v1/jobs/a1/result?index=0\n"


def test_exit_codes(server: FakeServer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    base = ["--url", server.url]
    server.end = "failed"
    assert main([*base, "submit", "--wait"]) == 1
    server.end = "cancelled"
    assert main([*base, "submit", "--wait"]) == 5
    assert main([*base, "submit", "--image", str(tmp_path / "missing.png")]) == 1
    assert main([*base, "submit", "--steps", "1000"]) == 3
    assert capsys.readouterr().err.splitlines()[-1] == "framemill: steps: must be 1 to 100"
    assert main([*base, "status", "unknown"]) == 3
    server.first = [refusal(503, "unavailable", {"Retry-After": "5"})]
    assert main([*base, "models"]) == 4
    assert "try again in 5 s" in capsys.readouterr().err
    assert main(["--url", "nonsense", "models"]) == 2
    capsys.readouterr()
    assert main(["submit", "--kind", "poem"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("framemill: Invalid value for '--kind'")
    assert err.endswith("; see 'framemill submit --help'\n")
    assert err.count("\n") == 1
    assert main([]) == 2


def test_tables_and_json(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["--url", server.url]
    for words, expected in (
        (["list", "--limit", "1"], r"id  state +model .*\na1  queued #2 .* ago"),
        (["models"], r"demo-image  text2img  +Shapes\."),
        (["service"], r"queue +2 queued\nversion +0\.2\.0\ndelivery +here\n\nno slots"),
        (["queue"], r"^queue +2 queued\n$"),
        (["fleet"], r"^version +0\.2\.0\ndelivery +here\n\nno slots"),
        (["status", "a1"], r"state     running\nstep      10/20"),
        (["cancel", "a1"], r"a1 was cancelled"),
    ):
        assert main([*base, *words]) == 0
        assert re.search(expected, capsys.readouterr().out), words
    for words, name, value in ((["list"], "total", 2), (["queue"], "idle", True), (["fleet"], "delivery", ["here"])):
        assert main([*base, "--json", *words]) == 0
        assert json.loads(capsys.readouterr().out)[name] == value


def test_result_names_the_file_after_the_job(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    server.end = "succeeded"
    assert main(["--url", server.url, "result", "a1"]) == 0
    assert (tmp_path / "a1.png").read_bytes() == PNG
    capsysbinary.readouterr()
    assert main(["--url", server.url, "result", "a1", "-o", "-"]) == 0
    assert capsysbinary.readouterr().out == PNG


def test_ctrl_c_while_waiting_cancels_the_job(server: FakeServer) -> None:
    server.hold = True
    # A shell that starts programs in the background makes them ignore SIGINT.
    code = "import signal; signal.signal(2, signal.default_int_handler); from framemill.cli import main; exit(main())"
    command = [sys.executable, "-c", code, "--url", server.url, "submit", "--wait"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        deadline = time.monotonic() + 20
        while not any(path == "/v1/jobs/a1" for _, path, _ in server.calls):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=150)
    assert process.returncode == 130
    assert server.calls[-1][:2] == ("POST", "/v1/jobs/a1/cancel")
    assert "job a1 was cancelled on the server" in err


def names(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the words that call each command."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from names(inner, (*path, name))


def command_of(path: tuple[str, ...]) -> click.Command:
    command: click.Command = framemill_command
    for name in path:
        assert isinstance(command, click.Group)
        inner = command.get_command(click.Context(command), name)
        assert inner is not None
        command = inner
    return command


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for path in names(framemill_command, ()):
        if path not in (("up",), ("logs",)):
            assert main([*path, "--help"]) == 0
            assert f"Usage: {' '.join(('framemill', *path))} " in capsys.readouterr().out
            if path:
                assert "--json" in {option for one in command_of(path).params for option in one.opts}


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"framemill {metadata.version('framemill')}\n"
    assert framemill.__version__ == metadata.version("framemill")


def test_texts_and_images_are_mixed_in_the_order_of_the_command_line(server: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    words = ["--mix-image", f"{file}=0.2", "--mix-text", "a cat", "--mix-image", str(file)]
    assert main(["--url", server.url, "submit", *words]) == 0
    assert [sorted(part) for part in server.calls[0][2]["mix"]] == [["image", "weight"], ["text"], ["image"]]


def test_a_pipe_gets_one_line_for_each_row(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.first = [(200, {"models": [{"name": "long", "kinds": ["text2img"], "description": "word " * 100}]}, {})]
    assert main(["--url", server.url, "models"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_reader_that_stops_reading_is_no_error(server: FakeServer) -> None:
    job = {"id": "a" * 60, "state": "queued"}
    server.first = [(200, {"jobs": [job] * 5000, "total": 5000, "next": None}, {})]
    command = f"{sys.executable} -m framemill --url {server.url} list | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_runs_as_a_module(server: FakeServer) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "framemill", "--help"], capture_output=True, text=True, timeout=30, check=True
    )
    assert "Exit codes:" in done.stdout
