"""The command in terminals of different widths, in pipes, with many prompts, and its remembered servers."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from framemill.cli import main
from framemill.cli.app import framemill
from framemill.cli.context import servers
from framemill.cli.display import graphics, pictures, tables, terminal
from framemill.cli.display.output import ago
from framemill.cli.display.tables import Column, table
from framemill.errors import JobFailed
from framemill.records import Job
from framemill.transport import polling, wire
from tests.support.fake_server import PNG, FakeServer, refusal, serving

Screen = Callable[..., None]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as fake:
        yield fake


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("FRAMEMILL_URL", "FRAMEMILL_API_KEY", "FRAMEMILL_PICTURES", "NO_COLOR", "TMUX", "TERM_PROGRAM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(wire, "RETRY_WAITS_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(polling, "MIN_INTERVAL_S", 0.01)
    monkeypatch.setattr(polling, "MAX_INTERVAL_S", 0.05)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """``screen(columns=60)``: standard output is a terminal of this width."""

    def resize(columns: int = 80) -> None:
        monkeypatch.setattr(terminal, "is_terminal", lambda stream: True)
        monkeypatch.setenv("COLUMNS", str(columns))

    return resize


# --- start


def test_help_imports_nothing_that_takes_long() -> None:
    code = """
import sys
from framemill.cli import main
main(["--help"])
heavy = ("asyncio", "httpx2", "rich", "ssl", "requests", "torch", "PIL", "framemill.client")
print("imported:", *(name for name in heavy if name in sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "imported:\n"
    assert "submit " in done.stdout


def test_the_many_options_of_submit_are_in_sections(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "--help"]) == 0
    out = capsys.readouterr().out
    heads = [line for line in out.splitlines() if re.fullmatch(r"[A-Z].*:", line)]
    assert heads == ["What to generate:", "Input images:", "Noise and passes:", "Output file:", "Job:",
                     "Many prompts, and waiting:", "Other:"]  # fmt: skip
    assert out.index("--prompts") > out.index("Many prompts") > out.index("--webhook-url")


# --- the line


@pytest.mark.parametrize("words", [("--json", "list"), ("list", "--json"), ("list", "--json", "--limit", "1")])
def test_json_stands_anywhere(server: FakeServer, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    assert main([*words, "--url", server.url]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["total"] == 2
    assert err == ""


def test_a_group_and_its_commands_take_json(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["models", "--json"], ["--json", "models"]):
        assert main(["--url", server.url, *words]) == 0
        assert json.loads(capsys.readouterr().out)["models"][0]["name"] == "demo-image"


def test_older_names_of_commands_work(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    for old, new in (("status", "show"), ("cancel", "stop")):
        server.steps, server.end = 1, None
        assert main(["--url", server.url, old, "a1"]) == 0
        first = capsys.readouterr().out
        server.steps, server.end = 1, None
        assert main(["--url", server.url, new, "a1"]) == 0
        assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("lst",), "framemill: No such command 'lst'"),
        (("list", "--stat", "queued"), "framemill: No such option"),
        (("show",), "framemill: Missing argument 'ID'; see 'framemill show --help'"),
        (("stop",), "framemill: give the ids of jobs, or --all; see 'framemill stop --help'"),
    ],
)
def test_a_wrong_line_is_one_line(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], error: str) -> None:
    assert main([*words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err.startswith(error)) == ("", 1, True), err


def test_no_answer_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "http://127.0.0.1:9", "list"]) == 4
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "no answer from http://127.0.0.1:9" in err
    assert "'framemill doctor'" in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert main(["completion", shell]) == 0
    assert "_FRAMEMILL_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "found"),
    [("framemill sto", {"stop", "storage"}), ("framemill submit --model d", {"demo-image"}),
     ("framemill show a", {"a1"})],
)
def test_a_shell_completes_commands_and_names(server: FakeServer, line: str, found: set[str]) -> None:
    words = line.split()
    environ = {**os.environ, "_FRAMEMILL_COMPLETE": "bash_complete", "COMP_WORDS": line, "FRAMEMILL_URL": server.url,
               "COMP_CWORD": str(len(words) - 1)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "framemill"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert {text.partition(",")[2] for text in done.stdout.splitlines()} == found


# --- tables


HEADS = (Column("id"), Column("model", spare=2), Column("prompt", flexible="cut", spare=1), Column("age", right=True))
ROW = ("a1", "demo-image", "a red circle on a blue background, painted in oil", "2 s ago")


def test_a_pipe_gets_plain_lines() -> None:
    text = table(HEADS, [ROW, ("b2", "x", "two\nlines \x1b[31m", "1 s ago")])
    assert text.splitlines()[1:] == [
        "a1  demo-image  a red circle on a blue background, painted in oil  2 s ago",
        f"b2  x           two lines  [31m{' ' * 36}1 s ago",
    ]
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("columns", "head", "prompt"),
    [(80, "id  model", ROW[2]), (60, "id  model", "a red circle on a blue background,…"),
     (38, "id  prompt", "a red circle on a blue b…"), (20, "id      age", "")],
)  # fmt: skip
def test_a_terminal_shows_what_has_room(screen: Screen, columns: int, head: str, prompt: str) -> None:
    screen(columns)
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in table(HEADS, [ROW]).splitlines()]
    assert len(lines) == 2
    assert all(len(line) <= columns for line in lines), lines
    assert lines[0].startswith(head)
    assert prompt in lines[1]
    assert lines[1].endswith("2 s ago")


def test_long_texts_are_wrapped_on_a_terminal(screen: Screen) -> None:
    screen(28)
    text = table(("name", Column("text", flexible="wrap")), [("a", "one two three four five six seven")])
    assert [line.split() for line in text.splitlines()[1:]] == [["a", "one", "two", "three", "four"],
                                                                ["five", "six", "seven"]]  # fmt: skip


def test_wide_characters_count_twice() -> None:
    assert tables.shortened("赤い円と青い背景", 8) == "赤い円…"


def test_colours_of_states_and_no_color(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    screen(80)
    heads = (Column("state", is_state=True),)
    assert "\x1b[32msucceeded\x1b[0m" in table(heads, [("succeeded",)])
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in table(heads, [("succeeded",)])


def test_ages_for_people() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    found = [ago(now - timedelta(seconds=seconds), now) for seconds in (1, 42, 121, 7300, 90_000, 900_000)]
    assert found == ["just now", "42 s ago", "2 min ago", "2 h ago", "1 day ago", "10 days ago"]


# --- many prompts


def test_a_file_of_prompts_is_a_job_for_each_line(
    server: FakeServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text('a red circle\n\n{"prompt": "a star", "seed": 7, "class": "premium"}\n')
    assert main(["--url", server.url, "submit", "--model", "demo-image", "--prompts", str(file)]) == 0
    assert capsys.readouterr().out == "a1\na1\n"
    sent = [body for method, _, body in server.calls if method == "POST"]
    assert sent == [
        {"model": "demo-image", "prompt": "a red circle"},
        {"model": "demo-image", "prompt": "a star", "seed": 7, "class": "premium"},
    ]


def test_prompts_from_standard_input_are_saved_in_a_folder(
    server: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a red circle\na star\n")))
    folder = tmp_path / "out"
    assert main(["--url", server.url, "submit", "-", "-o", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["001-a1.png", "002-a1.png"]
    assert (folder / "001-a1.png").read_bytes() == PNG
    err = capsys.readouterr().err
    assert "2 of 2 done" in err
    assert f"saved 2 files in {folder}" in err


def test_one_line_is_one_job(server: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a red circle\n")))
    assert main(["--url", server.url, "submit", "-", "-o", str(tmp_path / "circle.png")]) == 0
    assert (tmp_path / "circle.png").read_bytes() == PNG


def test_a_full_queue_is_waited_for(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    accepted = server.answer("POST", "/v1/jobs", {})
    server.first = [accepted, refusal(429, "queue_full", {"Retry-After": "0.01"}), accepted]
    assert main(["--url", server.url, "submit", "one", "two"]) == 0
    assert capsys.readouterr().out == "a1\na1\n"
    keys = [headers["Idempotency-Key"] for headers in server.headers]
    assert (len(set(keys)), keys[1]) == (2, keys[2])


def test_failures_among_many_are_reported_and_the_rest_goes_on(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.end = "failed"
    assert main(["--url", server.url, "submit", "one", "two", "--wait"]) == 1
    err = capsys.readouterr().err
    for number in (1, 2):
        assert f"framemill: prompt {number}: job a1: too large (out_of_memory)" in err
    assert "0 of 2 done" in err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("one", "--prompt", "two"), "not in two ways"),
        (("one", "two", "-o", "-"), "-o - is for one job, and there are 2"),
        (("one", "two", "--id", "x"), "--id is for one job, and there are 2"),
        (("one", "-"), "stands alone"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(
    server: FakeServer, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], error: str
) -> None:
    assert main(["--url", server.url, "submit", *words]) == 2
    assert error in capsys.readouterr().err
    assert server.calls == []


# --- watch, stop, top


def test_watch_ends_as_the_job_does(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", server.url, "watch", "a1"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "done"
    server.end = "failed"
    assert main(["--url", server.url, "watch", "a1"]) == 1
    assert "framemill: job a1: too large (out_of_memory)" in capsys.readouterr().err


def test_watch_says_that_a_job_is_paused_and_how_it_goes_on(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    paused = {**server.job(), "state": "paused", "waiting_for": "resume of the job",
              "progress": {"stage": None, "step": 10, "steps": 20, "percent": 50}}  # fmt: skip
    early = {**paused, "state": "queued", "position": None, "waiting_for": "the time 2126-01-31T18:00:00Z",
             "not_before": "2126-01-31T18:00:00Z"}  # fmt: skip
    server.first = [(200, paused, {}), (200, early, {})]
    assert main(["--url", server.url, "watch", "a1"]) == 0
    first, second, *_, last = capsys.readouterr().err.splitlines()
    assert first == "paused at step 10/20; to go on: framemill resume a1"
    assert second.startswith("waiting, 3 s left, not before 31 Jan 2126") or "not before" in second, second
    assert last == "done"


def test_stop_takes_many_ids_or_all(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", server.url, "stop", "--all", "--waiting"]) == 0
    assert capsys.readouterr() == ("a1\n", "1 job cancelled\n")
    assert server.calls[-1] == ("POST", "/v1/jobs/cancel", {"waiting": True})
    assert main(["--url", server.url, "stop", "a1", "a1"]) == 0
    assert capsys.readouterr().out.count("a1 was cancelled") == 2


SLOT = {
    "name": "gpu0", "state": "busy", "device": "cuda:0", "job_id": "a1", "resident": ["demo-image"],
    "waiting_for": None,
    "device_facts": {"utilization_percent": 97.0, "temperature_c": 64.0, "memory_used_bytes": 2**34,
                     "memory_total_bytes": 2**36},
}  # fmt: skip


def test_top_prints_one_view_in_a_pipe(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    running = {"id": "a1", "state": "running", "slot": "gpu0", "eta_s": 4, "model": "demo-image",
               "progress": {"step": 5, "steps": 20}, "request": {"prompt": "a red circle"}}  # fmt: skip
    waiting = {"id": "b2", "state": "queued", "position": 1, "waiting_for": "model sdxl"}
    pages = [{"jobs": jobs, "total": len(jobs), "next": None} for jobs in ([waiting], [running], [])]
    fleet = {"slots": [SLOT], "delivery": ["here"], "version": "0.2.0"}
    server.first = [(200, body, {}) for body in (*pages, fleet)]
    assert main(["--url", server.url, "top"]) == 0
    out = capsys.readouterr().out
    for text in ("0 running  0 delivering  2 queued", r"gpu0 +busy +97 % 64 °C +16.0/64 GiB +a1 .*step 5/20, 4 s left",
                 r"a1 +running +demo-image .* 4 s +a red circle", r"b2 +queued #1 .* needs model sdxl"):  # fmt: skip
        assert re.search(text, out), out
    assert "\x1b" not in out


def test_top_fits_the_height_of_the_terminal() -> None:
    from rich.console import Console

    from framemill.cli.display.dashboard import Snapshot, view

    jobs = [Job(id=f"job{number}", state="queued", position=number) for number in range(1, 91)]
    fleet: Any = {"slots": [SLOT], "delivery": ["here"]}
    queue: Any = {"counts": {"queued": 90}}
    for width, height in ((100, 30), (40, 12)):
        console = Console(width=width, height=height, file=io.StringIO())
        lines = console.render_lines(view(Snapshot("http://x", fleet, queue, jobs, 90), width, height), pad=False)
        assert len(lines) <= height
        text = "\n".join("".join(segment.text for segment in line) for line in lines)
        assert re.search(r"and \d+ more waiting", text)
        assert "job1 " in text
        assert "…" not in text.partition("slot")[2]
        assert ("16.0/64 GiB" in text) == (width == 100)


# --- remembered servers


def test_login_remembers_a_server_and_its_key(
    server: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("fm_secret\n"))
    assert main(["login", server.url]) == 0
    out, err = capsys.readouterr()
    assert "fm_secret" not in out + err
    assert stat.S_IMODE(servers.file().stat().st_mode) == 0o600
    assert main(["list"]) == 0
    assert server.headers[-1]["Authorization"] == "Bearer fm_secret"
    # A key is sent to the server that it was stored for, and to no other.
    with serving() as other:
        assert main(["--url", other.url, "list"]) == 0
        assert "Authorization" not in other.headers[-1]
    assert main(["logout"]) == 0
    assert "forgot" in capsys.readouterr().err
    assert servers.load() == servers.Servers()


def test_a_key_that_the_server_refuses_is_not_stored(
    server: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("fm_wrong\n"))
    server.first = [refusal(401, "unauthorized")]
    assert main(["login", server.url]) == 3
    assert "does not accept this API key" in capsys.readouterr().err
    assert not servers.file().exists()


def test_a_file_that_others_can_read_is_noticed(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    servers.save(servers.Servers(server.url, {server.url: "fm_secret"}))
    servers.file().chmod(0o644)
    assert main(["list"]) == 0
    assert "others can read your API keys: chmod 600 " in capsys.readouterr().err
    servers.file().write_text("{")
    assert main(["list"]) == 2
    assert "is damaged" in capsys.readouterr().err


def test_the_environment_takes_precedence(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    servers.save(servers.Servers("http://127.0.0.1:9", {"http://127.0.0.1:9": "fm_stored", server.url: "fm_stored"}))
    monkeypatch.setenv("FRAMEMILL_URL", server.url)
    monkeypatch.setenv("FRAMEMILL_API_KEY", "fm_environment")
    assert main(["list"]) == 0
    assert server.headers[-1]["Authorization"] == "Bearer fm_environment"


# --- pictures


def test_pictures_are_off_in_pipes(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.end = "succeeded"
    assert main(["--url", server.url, "show", "a1"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert [path for _, path, _ in server.calls] == ["/v1/jobs/a1"]


def test_every_method_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    picture = Image.new("RGB", (4, 4), (255, 0, 0))
    monkeypatch.setenv("COLORTERM", "truecolor")
    assert graphics.blocks(picture).count("\x1b[38;2;255;0;0;48;2;255;0;0m▀") == 8
    monkeypatch.delenv("COLORTERM")
    assert graphics.blocks(picture).count("\x1b[38;5;196;48;5;196m▀") == 8
    drawn = graphics.sixel(picture)
    assert drawn.startswith('\x1bPq"1;1;4;4#')
    assert re.search(r"#\d+;2;100;0;0#\d+!4N-\x1b\\$", drawn), drawn
    assert graphics.kitty(b"x" * 4000, 10, 5).count("\x1b_G") == 2
    assert graphics.iterm2(b"file", 10, 5) == "\x1b]1337;File=inline=1;size=4;width=10;height=5:ZmlsZQ==\a"


@pytest.mark.parametrize(
    ("environ", "answer", "method"),
    [
        ({"TERM": "xterm-kitty"}, b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c", "kitty"),
        ({"TERM": "foot"}, b"\x1b[?62;4;22c", "sixel"),
        ({"TERM": "xterm-256color"}, b"\x1b[?64;1;2;14c", "blocks"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, b"", "iterm2"),
        ({"TERM": "tmux-256color", "TMUX": "x", "TERM_PROGRAM": "iTerm.app"}, b"\x1b[?1;2;4c", "sixel"),
        ({"TERM": "linux"}, b"", "blocks"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, b"", "off"),
    ],
)
def test_the_terminal_says_what_it_shows(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], answer: bytes, method: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    asked = []
    monkeypatch.setattr(graphics, "ask", lambda question: asked.append(question) or answer)
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    assert graphics.detected() == method
    assert all(b"_G" not in question for question in asked if "TMUX" in environ)


@pytest.mark.parametrize(
    ("columns", "lines", "pixels", "method", "expected"),
    [
        (80, 24, (1024, 1024), "blocks", (40, 20)), (200, 60, (1024, 1024), "kitty", (48, 24)),
        (200, 60, (100, 100), "kitty", (20, 10)), (30, 50, (1024, 512), "blocks", (29, 7)),
    ],
)  # fmt: skip
def test_pictures_fit_the_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: int, lines: int, pixels: tuple[int, int], method: str,
    expected: tuple[int, int],
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(lines))
    assert pictures.size(*pixels, method) == expected


def test_a_job_without_a_result_is_reported_once(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.end = "failed"
    assert main(["--url", server.url, "submit", "x", "--wait"]) == 1
    assert capsys.readouterr().err.count(str(JobFailed(Job(id="a1", state="failed", error_message="too large",
                                                           error_code="out_of_memory")))) == 1  # fmt: skip


# --- help


def test_the_help_of_every_command_fits_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    def pages(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield words
        for name, inner in getattr(command, "commands", {}).items():
            yield from pages(inner, (*words, name))

    context = click.Context(framemill)
    for name in {"", *framemill.list_commands(context)} - {"up", "logs"}:  # which replace this process
        command = framemill.get_command(context, name) if name else click.Command("framemill")
        assert command
        for words in pages(command, (name,) if name else ()):
            assert main([*words, "--help"]) == 0
            shown = capsys.readouterr().out
            assert [line for line in shown.splitlines() if len(line) > 80] == [], words
            assert not re.search(r"(?m)[a-z]\.\.\.$", shown), f"{words}: a text is cut"
