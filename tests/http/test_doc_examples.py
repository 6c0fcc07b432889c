"""The commands in the documents: each is sent as it is printed, and its response has the keys that are printed."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import requests

from framemill.cli.app import framemill
from jobs.callers import Caller, Role
from jobs.files import retention
from jobs.settings import PROJECT_ROOT
from jobs.store import keys, queries
from jobs.store.credentials.api_keys import KeyRing
from tests.support.api import wait_for
from tests.support.doc_examples import Example, differences, examples, parse
from tests.support.pictures import PNG
from tests.support.recordings import video
from tests.support.served_app import ServedApp
from workers.parent.devices import facts as device_facts

DOCS = PROJECT_ROOT / "docs"
PAGES = [PROJECT_ROOT / "README.md", *(page for folder in (DOCS, DOCS / "api", DOCS / "operating", DOCS / "protocols")
                                       for page in sorted(folder.glob("*.md")))]  # fmt: skip
EXAMPLES = [example for page in PAGES for example in examples(page)]
#: The job that most examples are about, as the options of a request submit it.
CIRCLE = {"id": "circle", "model": "demo-image", "prompt": "a red circle"}
SERVER = "http://127.0.0.1:8000"


def needs_keys(example: Example) -> bool:
    """Return whether the server of an example has keys."""
    return example.section == KEYS or "fm_…" in example.command


#: The examples that send requests to the server.
SENT = [one for one in EXAMPLES if SERVER in one.command
        and (one.is_python or one.command.startswith(("curl", "sleep")))]  # fmt: skip
#: Section whose server has keys.
KEYS = "Keys"
#: Job of the documents that is stopped before it has finished.
UNFINISHED = "6b01b68c17d71d15422472a4"
#: Models that the documents name, besides those that come with Framemill.
MODELS = """
[sdxl]
kinds = ["text2img", "img2img", "inpaint"]
executor = "drawing"
schedulers = ["DPM++ 2M Karras"]
loras = "FOLDER"
defaults = { steps = 4, width = 64, height = 64 }

[flux2-klein]
kinds = ["edit"]
executor = "drawing"
limits = { images = [1, 4] }
defaults = { steps = 4, width = 64, height = 64 }

[wan-v2v]
kinds = ["video2video"]
executor = "drawing"
defaults = { steps = 4, width = 64, height = 64, fps = 8 }

[sd15]
kinds = ["text2img"]
executor = "drawing"
defaults = { steps = 4, width = 64, height = 64 }
[sd15.controls.canny]
type = "controlnet"
source = "FOLDER"

[kandinsky]
kinds = ["text2img", "mix2img"]
executor = "drawing"
defaults = { steps = 4, width = 64, height = 64 }
"""


class Reader:
    """A reader of the documents, who enters the commands in a folder with the pictures that they name."""

    def __init__(self, folder: Path, *, with_keys: bool, submits_circle: bool = False) -> None:
        self.folder = folder
        (folder / "loras").mkdir()
        (folder / "loras" / "watercolour.safetensors").write_bytes(b"")
        for name in ("circle", "barn", "hole", "cat", "edges", "photo", "sofa"):
            (folder / f"{name}.png").write_bytes(PNG)
        (folder / "scene.mp4").write_bytes(video())
        shipped = (PROJECT_ROOT / "models.toml").read_text().replace('source = "', f'source = "{PROJECT_ROOT}/')
        models = MODELS.replace("FOLDER", str(folder / "loras"))
        self.app = ServedApp(shipped + models, WEBHOOK_ALLOW="localhost", WEBHOOK_SECRET=f"whsec_{'x' * 32}")
        self.app.store.client.zadd(keys.NODES, {"vm": 2e9})
        self.worker = self.app.worker("demo-image", "demo-video", "sdxl", "flux2-klein", "wan-v2v", "sd15", "kandinsky")
        facts = {"device_facts": json.dumps(device_facts.measure("gpu0"))}
        self.app.store.set_facts("gpu0", self.worker.owner, facts)
        retention.walk(self.app.store, self.app.objects, orphan_age_s=0)
        self.key = KeyRing(self.app.store).create(Caller(key_id="ops", role=Role.ADMIN)) if with_keys else ""
        if submits_circle:
            headers = {"Authorization": f"Bearer {self.key}"} if with_keys else {}
            assert requests.post(self.app.url("/v1/jobs"), json=CIRCLE, headers=headers, timeout=60).ok

    def enter(self, example: Example) -> str:
        """Enter a command, and return what it prints. Jobs have finished before, unless it shows one at work."""
        if "/preview" not in example.command:
            wait_for(self._is_idle, "the jobs")
            slow = ('"preview"', UNFINISHED, "/ev/")
            self.worker.step_s = 0.05 if any(part in example.command for part in slow) else 0.0
        if UNFINISHED in example.command:
            self.app.submit(id=UNFINISHED, model="demo-image", prompt="a circle", steps=100)
        if "/ev/" in example.command:
            self.app.submit(id="ev", model="demo-image", prompt="a circle")
        command = example.command.replace(SERVER, self.app.url("")).replace("fm_…", self.key)
        command = command.replace("//shop.example.org", "//localhost")  # a name that has an address
        interpreter = [sys.executable] if example.is_python else ["bash", "-euo", "pipefail"]
        # huggingface_hub is to call this server, and no hub.
        environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "src"), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [*interpreter, "-c", command], cwd=self.folder, env=environment,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{example}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _is_idle(self) -> bool:
        counts = queries.fleet(self.app.store).counts
        return not any(counts[state] for state in ("queued", "running", "delivering"))

    def close(self) -> None:
        """Stop the server when all outputs are delivered: a thread that delivers would miss Redis."""
        wait_for(self._is_idle, "the jobs")
        self.app.close()


@pytest.fixture(scope="module", params=[str(page.relative_to(PROJECT_ROOT)) for page in PAGES])
def page(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("with_keys", [False, True])
def test_the_requests_of_a_page_are_answered_as_printed(page: str, with_keys: bool, tmp_path: Path) -> None:
    sent = [one for one in SENT if one.page == page and needs_keys(one) == with_keys]
    if not sent:
        return
    submits_circle = not any('"id": "circle"' in one.command for one in sent)
    reader = Reader(tmp_path, with_keys=with_keys, submits_circle=submits_circle)
    try:
        found = [
            f"{example}\n  {difference}" for example in sent for difference in compared(example, reader.enter(example))
        ]
    finally:
        reader.close()
    assert found == []


def compared(example: Example, output: str) -> Iterator[str]:
    """Yield the differences between what a document prints and what was sent."""
    if example.printed.startswith("HTTP/"):
        own = {"server", "date", "connection"}  # of the web server
        yield from names_of_headers(example.printed) - names_of_headers(output) - own
    elif example.printed.startswith("id: "):
        real = dict(re.findall(r"event: (\w+)\ndata: (.*)", output))
        assert {"status", "progress", "end"} <= set(real)
        for name, data in re.findall(r"event: (\w+)\ndata: (.*(?:\n(?!id: |\n).+)*)", example.printed):
            if name in real:
                yield from differences(parse(data), json.loads(real[name]))
    elif example.printed:
        yield from differences(parse(example.printed), json.loads(output))


def names_of_headers(text: str) -> set[str]:
    return {line.partition(":")[0].lower() for line in text.splitlines()[1:] if ":" in line}


def test_most_examples_are_requests() -> None:
    assert len(SENT) > 25
    assert len([one for one in EXAMPLES if one.printed.startswith("{")]) > 15


COMMANDS = [one for one in EXAMPLES if re.match(r"(?:\.venv/bin/)?framemill ", one.command)]


@pytest.mark.parametrize("example", COMMANDS, ids=str)
def test_the_command_has_the_printed_options(example: Example) -> None:
    words = shlex.split(example.command, comments=True)[1:]
    for operator in ("|", ">", "&&", ";"):
        words = words[: words.index(operator)] if operator in words else words
    command: click.Command = framemill
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMEMILL_URL", "http://127.0.0.1:9")
        context = None
        while True:
            context = command.make_context(words[0] if words else "framemill", words, parent=context)
            if not isinstance(command, click.Group) or not context._protected_args:
                break
            name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
            assert command is not None, name


#: The page whose commands are entered, and what they print compared line by line.
ENTERED = [one for one in EXAMPLES if one.page == "docs/command-line.md" and one.printed]
#: What differs from run to run, and a word for it.
_VARYING = (
    (r"\b[0-9a-f]{24}(\.\d{13})?\b", "ID"), (r"http://127\.0\.0\.1:\d+", "URL"), (r"just now|\d+ (?:s|min) ago", "AGE"),
    (r"\d+ min \d+ s|\d+ s\b", "TIME"), (r"[\d.]+/\d+ GiB", "MEMORY"), (r"(?<= )\d+\.\d+(?= )", "NUMBER"), (r" +", " "),
)  # fmt: skip


def shape(line: str) -> str:
    for pattern, word in _VARYING:
        line = re.sub(pattern, word, line)
    return line.strip()


def test_the_commands_of_the_page_print_what_it_shows(tmp_path: Path) -> None:
    reader = Reader(tmp_path, with_keys=False)
    (tmp_path / "framemill").write_text(f'#!/bin/sh\nexec {sys.executable} -m framemill "$@"\n')
    (tmp_path / "framemill").chmod(0o755)
    environ = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "src"), "FRAMEMILL_URL": reader.app.url("").rstrip("/"),
               "PATH": f"{tmp_path}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(tmp_path)}  # fmt: skip
    try:
        for example in (one for one in EXAMPLES if one.page == "docs/command-line.md"):
            if example not in ENTERED and not example.command.startswith("printf"):
                continue
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", f"exec 2>&1\n{example.command}"], cwd=tmp_path, env=environ,
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{example}\n{done.stdout}"
            real = {shape(line) for line in done.stdout.splitlines()}
            printed = [shape(line) for line in example.printed.splitlines() if line.strip() not in ("", "…")]
            assert [line for line in printed if line not in real] == [], f"{example}\n{done.stdout}"
            if "…" not in example.printed:
                assert len(done.stdout.splitlines()) == len(example.printed.splitlines()), f"{example}\n{done.stdout}"
    finally:
        reader.close()
    assert len(ENTERED) > 8


def test_printed_json_is_compared() -> None:
    printed = parse('{"a": 1, "b": [{"c": null}], "d": {"e": "x", …}}')
    real: dict[str, Any] = {"a": 2, "b": [{"c": "y"}], "d": {"e": "z", "more": 1}}
    assert list(differences(printed, real)) == []
    assert list(differences(printed, {**real, "new": 1})) == [
        "the body: printed but not sent: [], sent but not printed: ['new']"
    ]
    assert list(differences(printed, {**real, "a": "2"})) == [".a is '2', not like 1.0"]
    assert list(differences(printed, {**real, "b": [{}]})) == [
        ".b[0]: printed but not sent: ['c'], sent but not printed: []"
    ]
