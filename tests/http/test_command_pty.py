"""The command in a real terminal: keys, Ctrl-C, colours, hidden input and pictures."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_server import FakeServer, serving
from tests.support.pictures import PNG
from tests.support.pseudo_terminal import PseudoTerminal

Start = Callable[..., PseudoTerminal]
FLEET = {"slots": [{"name": "gpu0", "state": "idle", "waiting_for": None}], "delivery": ["here"], "version": "0.2.0"}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as fake:
        fake.fleet = FLEET
        yield fake


@pytest.fixture
def start(server: FakeServer, tmp_path: Path) -> Iterator[Start]:
    """``start("list", columns=60)``: run the command in a terminal of this width."""
    running: list[PseudoTerminal] = []

    def run(*words: str, columns: int = 80, **environ: str) -> PseudoTerminal:
        # A shell that starts programs in the background makes them ignore SIGINT.
        code = (
            "import signal; signal.signal(2, signal.default_int_handler); from framemill.cli import main; exit(main())"
        )
        variables = {"FRAMEMILL_URL": server.url, "XDG_CONFIG_HOME": str(tmp_path), **environ}
        running.append(PseudoTerminal([sys.executable, "-c", code, *words], columns, environ=variables))
        return running[-1]

    yield run
    for terminal in running:
        terminal.__exit__()


def test_a_table_has_colours_and_the_width_of_the_terminal(server: FakeServer, start: Start) -> None:
    job = {
        "id": "a" * 24,
        "state": "failed",
        "model": "demo-image",
        "kind": "text2img",
        "request": {"prompt": "x " * 90},
    }
    for columns in (100, 50):
        for no_color in ("", "1"):
            server.first = [(200, {"jobs": [job], "total": 1, "next": None}, {})]
            terminal = start("list", columns=columns, NO_COLOR=no_color)
            assert terminal.await_end() == 0
            assert ("\x1b[31mfailed" in terminal.raw) == (not no_color)
            lines = terminal.text.splitlines()
            assert len(lines) == 2
            assert max(map(len, lines)) <= columns
            assert ("demo-image" in terminal.text) == (columns == 100)


def test_top_ends_with_q_and_with_ctrl_c(start: Start) -> None:
    for key, code in (("q", 0), ("\x03", 130)):
        terminal = start("top", "--interval", "0.2", columns=70)
        terminal.await_text("gpu0")
        terminal.press(key)
        assert terminal.await_end() == code
        # The cursor is back, and the screen from before.
        assert terminal.raw.rstrip().endswith("\x1b[?25h\x1b[?1049l")
        assert "Traceback" not in terminal.text


def test_login_does_not_show_the_key(server: FakeServer, start: Start) -> None:
    terminal = start("login", server.url)
    terminal.await_text(f"API key of {server.url}: ")
    terminal.press("fm_secret\n")
    assert terminal.await_end() == 0
    assert "fm_secret" not in terminal.raw
    assert "logged in" in terminal.text
    assert server.headers[-1]["Authorization"] == "Bearer fm_secret"


def test_ctrl_c_cancels_every_job_of_a_batch(server: FakeServer, start: Start) -> None:
    server.hold = True
    terminal = start("submit", "one", "two", "--wait")
    terminal.await_text("0 of 2 done")
    terminal.press("\x03")
    assert terminal.await_end() == 130
    assert "job a1 was cancelled on the server" in terminal.text
    assert server.calls[-1][:2] == ("POST", "/v1/jobs/a1/cancel")
    assert "Traceback" not in terminal.text


def test_the_bar_leaves_room_for_what_the_terminal_writes_of_ctrl_c(server: FakeServer, start: Start) -> None:
    server.hold = True
    for columns in (40, 60):
        terminal = start("submit", "one", "two", "--wait", columns=columns)
        terminal.await_text("0 of 2 done, 3 s left")
        lines = [re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", line) for line in re.split("[\r\n]", terminal.raw)]
        bars = [len(line.rstrip()) for line in lines if "0 of 2 done" in line]
        assert 20 < max(bars) <= columns - 3


def test_ctrl_c_ends_a_watch_and_leaves_the_job(server: FakeServer, start: Start) -> None:
    server.hold = True
    terminal = start("watch", "a1")
    terminal.await_text("step 10/20")
    terminal.press("\x03")
    assert terminal.await_end() == 130
    assert all(method == "GET" for method, _, _ in server.calls)


@pytest.mark.parametrize(
    ("answer", "drawn"),
    [("\x1b_Gi=31;OK\x1b\\\x1b[?62c", "\x1b_Ga=T,f=100,"), ("\x1b[?62;4c", "\x1bPq"), ("\x1b[?62c", "▀")],
)
def test_a_picture_is_drawn_as_the_terminal_answers(server: FakeServer, start: Start, answer: str, drawn: str) -> None:
    output = {"index": 0, "url": "/v1/jobs/a1/result?index=0", "media_type": "image/png", "bytes": len(PNG)}
    job: dict[str, Any] = {"id": "a1", "state": "succeeded", "outputs": [output]}
    server.first = [(200, job, {}), (200, PNG, {"Content-Type": "image/png"})]
    terminal = start("show", "a1")
    terminal.await_text("\x1b[c")
    terminal.press(answer)
    assert terminal.await_end() == 0
    assert drawn in terminal.raw
    assert terminal.text.startswith("state     succeeded")


def test_no_picture_is_asked_for_when_they_are_off(server: FakeServer, start: Start) -> None:
    server.end = "succeeded"
    for words, environ in ((("--no-picture",), {}), ((), {"FRAMEMILL_PICTURES": "off"})):
        terminal = start("show", "a1", *words, **environ)
        assert terminal.await_end() == 0
        assert "\x1b[c" not in terminal.raw
