"""Stacks with AUTOMATIC1111 and Kandinsky servers as back ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.blocking_server import BlockingServer
from tests.support.fake_a1111 import FakeA1111
from tests.support.harness import Stack, wait_for

MODELS = '[noop]\nexecutor = "noop"\nkinds = ["text2img"]\n'
TOKEN = "a:raw token"


class Fleet:
    """Builds a stack whose back ends are the given fakes; each is a slot with its name.

    Args:
        start: the fixture.
        folder: for the files.
    """

    def __init__(self, start: Callable[..., Stack], folder: Path) -> None:
        self._start, self._folder = start, folder
        self.fakes: list[BlockingServer] = []

    def __call__(
        self, *workers: str, more: str = "", services: bool = False, models: str = MODELS, **fakes: BlockingServer
    ) -> Stack:  # fmt: skip
        tables = []
        for name, fake in fakes.items():
            slot = name.replace("_", "-")
            kind = "automatic1111" if isinstance(fake, FakeA1111) else "kandinsky"
            if not fake.port:
                fake.start()
                self.fakes.append(fake)
            tables.append(
                f'[{slot}]\ntype = "{kind}"\nendpoint = "{fake.url}"\ntimeout_s = 2\nlost_after_s = 2\n{more}\n'
            )
        (self._folder / "models.toml").write_text(models)
        (self._folder / "backends.toml").write_text("\n".join(tables))
        options: dict[str, Any] = {"SERVICES": "telegram:service_key"} if services else {}
        slots = [name.replace("_", "-") for name in fakes]
        return self._start(
            *slots, *workers, MODELS_FILE=self._folder / "models.toml", BACKENDS_FILE=self._folder / "backends.toml",
            KANDINSKY_API_TOKEN=TOKEN, PROGRESS_INTERVAL_MS=50, CANCEL_GRACE_S=20, **options,
        )  # fmt: skip

    def close(self) -> None:
        for fake in self.fakes:
            fake.stop()


def slot(stack: Stack, name: str, **options: Any) -> dict[str, Any]:
    slots = {one["name"]: one for one in stack.get("/v1/fleet", **options).json()["slots"]}
    return dict(slots.get(name, {}))


def await_slot(stack: Stack, name: str, state: str, **options: Any) -> dict[str, Any]:
    def look() -> Any:
        found = slot(stack, name, **options)
        was_looked_at = "has not been checked yet" not in (found.get("waiting_for") or "")
        return found if found.get("state") == state and was_looked_at else None

    return dict(wait_for(look, f"slot {name} to be {state}"))


def other(fakes: dict[str, BlockingServer], view: dict[str, Any]) -> BlockingServer:
    """Return the fake that does not have the slot of this job."""
    [found] = [fake for name, fake in fakes.items() if name.replace("_", "-") != view["slot"]]
    return found
