"""Paths and names that lead out of a folder, on every route that serves or stores files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.support.aime_endpoint import write_endpoint
from tests.support.pictures import PNG
from tests.support.raw_http import exchange, status_of
from tests.support.served_app import ServedApp
from tests.support.tiny import BASE

SECRET = "a line of a file that is no output"
#: Ways up; each is followed by the rest of a path.
UPS = ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%252f", "..\\", "..%5c", "....//", "..;/", "/", "%2f", "//", "./../",
       "x/../../", "%c0%ae%c0%ae/", "..%00/", "\xef\xbc\x8e\xef\xbc\x8e/", "~/", "C:\\"]  # fmt: skip
ROUTES = ["/v1/files/download/{}", "/img/{}", "/docs/static/{}", "/published/{}", "/api/demo/{}", "/{}",
          "/v1/jobs/{}/result", "/v1/jobs/{}/thumbnail", "/v1/tasks/{}/result"]  # fmt: skip
NAMES = ["../secret.txt", "..\\secret.txt", "/etc/cron.d/x", "a/../../secret.txt", "secret.txt\0.png", "\0", "..", ".",
         "C:\\x.png", "~root/x", "a" * 5000, "%2e%2e%2fsecret.txt", "\r\nX: 1", "CON",
         "a/" * 300 + "b.png"]  # fmt: skip


@pytest.fixture(scope="module")
def served(serve: Callable[..., ServedApp]) -> Iterator[ServedApp]:
    parent = Path(tempfile.mkdtemp(prefix="fm-"))  # short, for the socket of Redis
    write_endpoint(parent / "endpoints", pages="[STATIC]\n'/published' = { path = 'public' }")
    (parent / "endpoints" / "draw" / "public").mkdir()
    (parent / "endpoints" / "draw" / "secret.txt").write_text(SECRET)
    app = serve(BASE, DATA_DIR=parent / "data", ENDPOINTS_DIR=parent / "endpoints")
    for folder in (app.settings.paths.data_dir, app.settings.paths.objects_dir):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "secret.txt").write_text(SECRET)
    yield app
    shutil.rmtree(parent, ignore_errors=True)


def files_of(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and "redis" not in path.parts}


@pytest.mark.parametrize("route", ROUTES)
def test_no_path_leads_out_of_the_outputs(served: ServedApp, route: str) -> None:
    targets = ["secret.txt", "../secret.txt", "../../../../../../etc/passwd"]
    for up in UPS:
        for target in targets:
            path = route.format((up + target).encode("latin-1", "replace").decode("latin-1"))
            head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
            answer = exchange(served.port, head.encode("latin-1", "replace"))
            assert 300 <= status_of(answer) < 500, (path, answer[:200])
            assert SECRET.encode() not in answer, path
            assert b"root:" not in answer, path


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:24])
def test_no_name_of_a_client_becomes_a_path(served: ServedApp, name: str) -> None:
    folder = served.settings.paths.data_dir
    before = files_of(folder.parent)
    image = {"image": (name, PNG, "image/png")}
    answers = [
        requests.post(served.url("/v1/jobs"), data={"model": "tiny-image"}, files=image, timeout=60),
        requests.post(served.url("/v1/jobs"), json={"model": "tiny-image", "prompt": "x", "id": name}, timeout=60),
        requests.post(served.url("/v1/tasks/"), json={"prompt": "x", "save_result_path": name}, timeout=60),
        requests.post(served.url("/v1/tasks/"), json={"prompt": "x", "task_id": name}, timeout=60),
        requests.post(served.url("/v1/tasks/"), json={"prompt": "x", "image_path": name}, timeout=60),
    ]
    assert all(answer.status_code < 500 for answer in answers), [answer.text for answer in answers]
    new = files_of(folder.parent) - before
    assert all(path.is_relative_to(served.settings.paths.objects_dir / "inputs") for path in new), new
    assert (folder / "secret.txt").read_text() == SECRET
