"""Input files under the names of every protocol: what its clients send becomes the job's inputs."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.support.api import PATIENCE_S
from tests.support.pictures import JPEG, PNG, WEBP, b64
from tests.support.served_app import ServedApp

MODELS = """
[editor]
executor = "drawing"
kinds = ["edit"]
aliases = ["gpt-image-*", "black-forest-labs/flux-2-pro"]
limits = { images = [1, 3] }
defaults = { steps = 2, width = 32, height = 32 }
"""
GIVEN = [PNG, JPEG, WEBP]
URIS = [f"data:image/png;base64,{b64(content)}" for content in GIVEN]


@pytest.fixture(scope="module")
def app(serve: Callable[..., ServedApp]) -> ServedApp:
    app = serve(MODELS)
    app.worker("editor")
    return app


def post(app: ServedApp, path: str, **options: Any) -> requests.Response:
    response = requests.post(app.url(path), timeout=PATIENCE_S, **options)
    assert response.ok, response.text
    return response


def newest(app: ServedApp) -> dict[str, Any]:
    return dict(app.get("/v1/jobs?limit=1").json()["jobs"][0])


def stored(app: ServedApp, *names: str) -> list[bytes]:
    """Return inputs of the newest job."""
    job_id = newest(app)["id"]
    return [app.get(f"/v1/jobs/{job_id}/inputs/{name}").content for name in names]


IMAGES = ("images-0", "images-1", "images-2")


def test_openai_edits_with_several_images(app: ServedApp) -> None:
    files = [("image[]", ("x.png", content)) for content in GIVEN]
    post(app, "/v1/images/edits", data={"model": "gpt-image-1", "prompt": "x"}, files=files)
    assert (newest(app)["kind"], stored(app, *IMAGES)) == ("edit", GIVEN)
    body = {"prompt": "x", "images": [{"image_url": uri} for uri in URIS]}
    post(app, "/v1/images/edits", json=body)
    assert stored(app, *IMAGES) == GIVEN
    refused = requests.post(app.url("/v1/images/edits"), json={**body, "images": URIS * 2}, timeout=PATIENCE_S)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "images")


def test_lightx2v_takes_images_with_commas(app: ServedApp) -> None:
    texts = [b64(PNG), f"data:image/jpeg;base64,{b64(JPEG)}", b64(WEBP)]
    post(app, "/v1/tasks/image", json={"prompt": "x", "image_path": ", ".join(texts)})
    assert (newest(app)["kind"], stored(app, *IMAGES)) == ("edit", GIVEN)
    wrong = {"prompt": "x", "image_path": f"{b64(PNG)},data:image/png;base64,AAAA"}
    refused = requests.post(app.url("/v1/tasks/image"), json=wrong, timeout=PATIENCE_S)
    assert [one["field"] for one in refused.json()["error"]["fields"]] == ["image_path"]


def test_a1111_takes_all_init_images(app: ServedApp) -> None:
    post(app, "/sdapi/v1/img2img", json={"prompt": "x", "init_images": [*map(b64, GIVEN)]})
    job = newest(app)
    assert (job["kind"], job["warnings"], stored(app, *IMAGES)) == ("edit", [], GIVEN)


@pytest.mark.parametrize("name", ["images", "input_images", "image_input"])
def test_replicate_takes_lists(app: ServedApp, name: str) -> None:
    path = "/v1/models/black-forest-labs/flux-2-pro/predictions"
    prediction = post(app, path, json={"input": {"prompt": "x", name: URIS}}).json()
    assert stored(app, *IMAGES) == GIVEN
    assert [requests.get(link, timeout=PATIENCE_S).content for link in prediction["input"]["images"]] == GIVEN


def test_hugging_face_sends_one_image(app: ServedApp) -> None:
    body = {"inputs": base64.b64encode(PNG).decode(), "parameters": {"prompt": "x"}}
    post(app, "/hf/editor", json=body)
    assert (newest(app)["kind"], stored(app, "images-0")) == ("edit", [PNG])


def test_mcp_edits_several_images(app: ServedApp) -> None:
    images = {"image": b64(PNG), "images": [b64(JPEG), b64(WEBP)]}
    arguments = {"model": "editor", "prompt": "x", "wait_s": 0, **images}
    call = {"name": "edit_image", "arguments": arguments}
    post(app, "/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
    assert stored(app, *IMAGES) == GIVEN
