"""``framemill submit`` with many prompts against a server with workers: results as they end, outages, jobs that go."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from framemill.cli import main
from jobs.callers import Caller
from jobs.store.credentials.api_keys import KeyRing
from tests.support.api import wait_for
from tests.support.served_app import ServedApp

MODELS = """
[paint]
executor = "drawing"
kinds = ["text2img"]
defaults = { steps = 2, width = 64, height = 64 }
limits = { steps = [1, 100000], width = [32, 128], height = [32, 128] }
"""


@pytest.fixture
def mill() -> Iterator[ServedApp]:
    app = ServedApp(MODELS)
    for slot in ("gpu0", "gpu1"):
        app.worker("paint", slot=slot, step_s=0.02)
    yield app
    app.close()


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], None]], None]]:
    """``meanwhile(act)``: act in a thread; the test fails if it does."""
    failures: list[BaseException] = []
    threads: list[threading.Thread] = []

    def start(act: Callable[[], None]) -> None:
        def run() -> None:
            try:
                act()
            except BaseException as exc:
                failures.append(exc)

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()
    assert failures == []


def prompts(folder: Path, *lines: dict[str, object]) -> str:
    path = folder / "prompts.txt"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def id_of(mill: ServedApp, prompt: str) -> str:
    jobs = mill.get("/v1/jobs").json()["jobs"]
    return str(next(job["id"] for job in jobs if job["request"]["prompt"] == prompt))


def test_a_short_job_is_saved_while_a_long_one_before_it_runs(
    mill: ServedApp, tmp_path: Path, meanwhile: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    file = prompts(tmp_path, {"prompt": "long", "steps": 50_000}, {"prompt": "short"})
    folder = tmp_path / "out"

    def act() -> None:
        wait_for(lambda: (folder / "002-short.png").is_file(), "the second picture")
        assert mill.status(id_of(mill, "long"))["state"] == "running"
        mill.stop_serving()  # an outage changes nothing
        mill.serve_again()
        mill.cancel(id_of(mill, "long"))

    meanwhile(act)
    assert main(["--url", mill.url(""), "submit", "--model", "paint", "--prompts", file, "-o", str(folder)]) == 1
    assert [path.name for path in folder.iterdir()] == ["002-short.png"]
    err = capsys.readouterr().err
    assert "framemill: prompt 1: " in err
    assert err.splitlines()[-1].startswith("1 of 2 done, 1 failed in ")


def test_a_deleted_job_is_reported_and_the_rest_goes_on(
    mill: ServedApp, tmp_path: Path, meanwhile: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    file = prompts(tmp_path, {"prompt": "long", "steps": 50_000}, {"prompt": "short"})

    def act() -> None:
        wait_for(lambda: mill.get("/v1/jobs").json()["total"] == 2, "both jobs")
        mill.delete(f"/v1/jobs/{id_of(mill, 'long')}")

    meanwhile(act)
    assert main(["--url", mill.url(""), "submit", "--model", "paint", "--prompts", file, "--wait"]) == 1
    shown = capsys.readouterr()
    assert "framemill: prompt 1: " in shown.err
    assert shown.out.count("/result?index=0") == 1


def test_a_key_without_events_gets_all_results(
    mill: ServedApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = KeyRing(mill.store).create(Caller(key_id="shop", endpoints=("/v1/jobs",)))
    wait_for(lambda: mill.get("/v1/jobs").status_code == 401, "the server to ask for a key")
    monkeypatch.setenv("FRAMEMILL_API_KEY", secret)
    words = [f"picture {number}" for number in range(12)]
    folder = tmp_path / "out"
    assert main(["--url", mill.url(""), "submit", "--model", "paint", *words, "-o", str(folder)]) == 0
    assert len(list(folder.iterdir())) == 12
    assert "12 of 12 done" in capsys.readouterr().err
