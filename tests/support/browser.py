"""A real browser, driven over WebDriver."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from stack import ports
from tests.support.api import wait_for

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One window.

    Args:
        address: address of the driver.
        folder: the profile.
        names: host name → address of this machine. No other name is resolved.
    """

    def __init__(self, address: str, folder: Path, names: Mapping[str, str]) -> None:
        rules = [f"MAP {name} {place}" for name, place in names.items()]
        rules += ["MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1", *(f"EXCLUDE {place}" for place in names.values())]
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                     "--disable-background-networking", "--disable-quic", "--disable-component-update",
                     "--disable-sync", f"--user-data-dir={folder}",
                     f"--host-resolver-rules={', '.join(rules)}"]  # fmt: skip
        options = {"binary": shutil.which("chromium"), "args": arguments}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}, "acceptInsecureCerts": True}
        self._address = address
        self._session = ""
        self._session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        base = self._address + (f"/session/{self._session}" if self._session else "")
        return requests.request(method, base + path, json=body, timeout=60).json()["value"]

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page; await a promise that it returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": arguments})

    def type(self, selector: str, text: str) -> None:
        self._call("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def clear(self, selector: str) -> None:
        self._call("POST", f"/element/{self._find(selector)}/clear", {})

    def click(self, selector: str) -> None:
        self._call("POST", f"/element/{self._find(selector)}/click", {})

    def _find(self, selector: str) -> str:
        return str(self._call("POST", "/element", {"using": "css selector", "value": selector})[_ELEMENT])

    def resize(self, width: int, height: int) -> None:
        """Give the page this size, pixels, also below the smallest window."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.command("Emulation.setDeviceMetricsOverride", **metrics)

    def command(self, name: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def keys(self, text: str) -> None:
        """Press keys, one after the other, where the focus is; WebDriver has codes for keys without a character."""
        pressed = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": pressed}]})

    def new_tab(self) -> str:
        """Open a tab, and return the handle of the present one."""
        present = str(self._call("GET", "/window"))
        self.switch(self._call("POST", "/window/new", {"type": "tab"})["handle"])
        return present

    def close_tab(self) -> None:
        self._call("DELETE", "/window")

    def switch(self, handle: str) -> None:
        self._call("POST", "/window", {"handle": handle})

    def picture(self, path: Path) -> None:
        """Write a picture of what is shown, PNG."""
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def errors(self) -> list[str]:
        found = self._call("POST", "/se/log", {"type": "browser"})
        return [line["message"] for line in found if line["level"] == "SEVERE"]

    def close(self) -> None:
        self._call("DELETE", "")


@contextlib.contextmanager
def browsing(folder: Path, names: Mapping[str, str] | None = None) -> Iterator[Browser]:
    """Yield a browser for one ``with`` block; skip the test if none is installed."""
    driver = shutil.which("chromedriver")
    if driver is None or shutil.which("chromium") is None:
        assert not os.environ.get("CI"), "CI needs chromium and chromedriver on PATH"
        pytest.skip("chromium or its driver is not installed (Debian: apt-get install chromium-driver)")
    port = ports.next_free("127.0.0.1", 40_000 + os.getpid() % 10_000)
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return bool(requests.get(f"{address}/status", timeout=60).json()["value"]["ready"])
        return False

    try:
        wait_for(answers, "the driver")
        one = Browser(address, folder / "profile", names or {})
        try:
            yield one
        finally:
            one.close()
    finally:
        process.terminate()
        process.wait(10)
