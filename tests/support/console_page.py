"""The console in a browser, as a person uses it: by labels, buttons and what is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.api import wait_for
from tests.support.browser import Browser

#: The checks of accessibility, as a script.
_AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
#: Finds what is shown: a button or link by its label, a field by its name, a card by its state.
_HELPERS = """
const all = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility());
const labelled = (name) => ["dialog ", "main ", ""].flatMap((part) =>
  all(`:is(${part}*):is(button, a, summary, label)`)).find((one) =>
  (one.getAttribute("aria-label") ?? one.textContent).trim() === name && !one.disabled);
"""


class ConsolePage:
    """The page of a server.

    Args:
        browser: shows it.
        base: address of the server.
    """

    def __init__(self, browser: Browser, base: str) -> None:
        self.browser, self._base = browser, base

    def open(self, page: str = "create") -> None:
        """Load the page anew."""
        self.browser.open("about:blank")
        self.browser.open(f"{self._base}/#/{page}")

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script, which may use ``all(selector)`` and ``labelled(name)``."""
        return self.browser.run(_HELPERS + script, *arguments)

    def text(self) -> str:
        return str(self.run("return document.body.innerText"))

    def shows(self, text: str) -> None:
        """Wait until the page shows a text."""
        wait_for(lambda: text in self.text(), f"{text!r} on the page; it shows: {self.text()[:1500]}")

    def lacks(self, text: str) -> None:
        """Wait until the page does not show a text."""
        wait_for(lambda: text not in self.text(), f"the end of {text!r} on the page")

    def press(self, name: str) -> None:
        """Press the button, link or tab with this label as soon as it is there; in a dialog, else in the page."""
        wait_for(lambda: self.run("const one = labelled(arguments[0]); one?.click(); return Boolean(one)", name), name)

    def confirm(self) -> None:
        """Confirm what the page asks, as soon as it does."""
        script = "const one = all('dialog .danger')[0]; one?.click(); return Boolean(one)"
        wait_for(lambda: self.run(script), "a question")

    def fill(self, name: str, value: Any) -> None:
        """Write into a field of the form."""
        self.type(f"[id='f-{name}']", value)

    def type(self, selector: str, value: Any) -> None:
        """Write into a field as soon as it is there."""
        script = """
            const one = document.querySelector(arguments[0]);
            if (!one) return false;
            one.value = arguments[1];
            one.dispatchEvent(new Event(one.tagName === "SELECT" ? "change" : "input", {bubbles: true}));
            return true;
        """
        wait_for(lambda: self.run(script, selector, str(value)), f"the field {selector}")

    def choose_file(self, label: str, path: str) -> None:
        """Choose a file for the input with this label."""
        self.browser.type(f'input[type="file"][aria-label="{label}"]', path)

    def errors(self) -> list[str]:
        """Return the errors in the browser's console. A preview may be gone when it is asked for."""
        return [line for line in self.browser.errors() if "/preview?step=" not in line]

    def violations(self) -> list[tuple[str, list[str]]]:
        """Return the serious problems of accessibility, each with the elements that have it."""
        found = self.browser.run(_AXE + "; return axe.run(document, {resultTypes: ['violations']});")["violations"]
        return [
            (one["id"], [node["html"][:200] for node in one["nodes"]])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]

    def states(self) -> list[str]:
        """Return the states of the cards that are shown, newest first."""
        return list(self.run('return all(".job").map((one) => one.dataset.state)'))

    def newest(self, state: str) -> str:
        """Wait until the newest card has a state, and return the id of its job."""
        wait_for(lambda: self.states()[:1] == [state], f"a card that is {state}; shown: {self.states()}")
        return str(self.run('return all(".job")[0].dataset.job'))

    def problem(self, name: str) -> str:
        """Return the problem beside a field, '' if there is none."""
        script = "return document.querySelector(`[data-field=\"${arguments[0]}\"] .field-problem`)?.textContent ?? ''"
        return str(self.run(script, name))

    def log_in(self, key: str) -> None:
        """Enter a key on the page of the login."""
        self.fill("key", key)
        self.press("Log in")
