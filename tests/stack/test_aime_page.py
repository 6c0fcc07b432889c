"""The page of an endpoint in a real browser, driven over WebDriver."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from stack import ports
from tests.support.aime_endpoint import write_endpoint
from tests.support.aime_peers import Worker, picture
from tests.support.harness import Stack, running, wait_for

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One window."""

    def __init__(self, address: str, folder: Path) -> None:
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                     "--disable-background-networking", f"--user-data-dir={folder}",
                     "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # fmt: skip
        options = {"binary": shutil.which("chromium"), "args": arguments}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._address = address
        self._session = ""
        self._session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        base = self._address + (f"/session/{self._session}" if self._session else "")
        return requests.request(method, base + path, json=body, timeout=60).json()["value"]

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def type(self, selector: str, text: str) -> None:
        self._call("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def clear(self, selector: str) -> None:
        self._call("POST", f"/element/{self._find(selector)}/clear", {})

    def click(self, selector: str) -> None:
        self._call("POST", f"/element/{self._find(selector)}/click", {})

    def _find(self, selector: str) -> str:
        return str(self._call("POST", "/element", {"using": "css selector", "value": selector})[_ELEMENT])

    def errors(self) -> list[str]:
        found = self._call("POST", "/se/log", {"type": "browser"})
        return [line["message"] for line in found if line["level"] == "SEVERE"]

    def close(self) -> None:
        self._call("DELETE", "")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    driver = shutil.which("chromedriver")
    if driver is None or shutil.which("chromium") is None:
        assert not os.environ.get("CI"), "CI needs chromium and chromedriver on PATH"
        pytest.skip("chromium or its driver is not installed (Debian: apt-get install chromium-driver)")
    port = ports.next_free("127.0.0.1", 40_000 + os.getpid() % 10_000)
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return bool(requests.get(f"{address}/status", timeout=5).json()["value"]["ready"])
        return False

    try:
        wait_for(answers, "the driver")
        one = Browser(address, tmp_path / "profile")
        yield one
        one.close()
    finally:
        process.terminate()
        process.wait(10)


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
