"""The page of an endpoint in a real browser, driven over WebDriver."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.aime_endpoint import write_endpoint
from tests.support.aime_peers import Worker, picture
from tests.support.browser import Browser, browsing
from tests.support.harness import Stack, running, wait_for


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with browsing(tmp_path) as one:
        yield one


@pytest.fixture
def aime(tmp_path: Path, models_file: Path) -> Iterator[Stack]:
    write_endpoint(tmp_path / "endpoints")
    with running(tmp_path / "data", models_file, ENDPOINTS_DIR=tmp_path / "endpoints") as stack:
        yield stack


@pytest.mark.timeout(300)
def test_a_form_sends_a_job_and_shows_its_progress_and_result(aime: Stack, browser: Browser, tmp_path: Path) -> None:
    browser.open(aime.url("/draw/demo"))
    wait_for(lambda: browser.run("return document.getElementById('form').dataset.ready"), "the form")
    kinds = browser.run("return [...document.querySelectorAll('#inputs [name]')].map(e => [e.name, e.type])")
    assert kinds == [
        ["prompt", "textarea"], ["seed", "number"], ["strength", "number"], ["fast", "checkbox"],
        ["size", "select-one"], ["options", "textarea"], ["image", "file"],
    ]  # fmt: skip
    assert browser.run("const s = document.getElementById('in-seed'); return [s.min, s.max, s.value]") == [
        "0",
        "100",
        "7",
    ]

    image = tmp_path / "input.png"
    image.write_bytes(base64.b64decode(picture("green").partition(",")[2]))
    browser.type("#in-prompt", "a fox")
    browser.type("#in-image", str(image))
    browser.click("#in-fast")
    go_on = time.monotonic() + 60

    def compute(worker: Worker, data: dict[str, Any]) -> dict[str, Any]:
        worker.send_progress(data, 40, {"progress_images": [picture("blue")]})
        seen = "return [document.querySelectorAll('#preview img').length, document.getElementById('bar').value]"
        while browser.run(seen) != [1, 40]:
            assert time.monotonic() < go_on
            time.sleep(0.1)
        return {"images": [picture("red"), picture("blue")], "seed": 7}

    with Worker(aime.url(""), compute=compute) as worker:
        browser.click("#send")
        wait_for(
            lambda: browser.run("return document.getElementById('state').textContent").startswith("Done"), "the result"
        )
    (data,) = worker.given
    assert (data["prompt"], data["fast"], data["size"], data["seed"]) == ("a fox", True, "small", 7)
    assert data["image"].startswith("data:image/png;base64,")
    loaded = "return [...document.querySelectorAll('#result img')].map(i => i.naturalWidth)"
    wait_for(lambda: browser.run(loaded) == [16, 16], "the pictures")
    assert browser.run("return document.getElementById('bar').value") == 100
    assert browser.errors() == []

    browser.clear("#in-seed")
    browser.type("#in-seed", "3")
    browser.run(
        "document.getElementById('in-seed').removeAttribute('max'); document.getElementById('in-seed').value = 500"
    )
    browser.click("#send")
    state = wait_for(
        lambda: browser.run("const s = document.getElementById('state'); return s.className && s.textContent"), ""
    )
    assert state == "seed: must be from 0 to 100 and a multiple of 1, not 500"
    worker.join()
