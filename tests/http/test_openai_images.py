"""OpenAI's API for images: what a request becomes, what is refused, streams, and repeats."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from jobs.callers import Caller
from jobs.store.credentials.api_keys import KeyRing
from tests.support.a1111_client import Impatient
from tests.support.api import ENDLESS_STEPS, PATIENCE_S, wait_for
from tests.support.openai_models import MODELS, png
from tests.support.served_app import ServedApp

BODY = {"prompt": "a red circle", "size": "32x32", "seed": 7}


@pytest.fixture(scope="module")
def app(serve: Callable[..., ServedApp]) -> ServedApp:
    app = serve(MODELS)
    app.worker("painter", "mixer", "film", "broken")
    return app


@pytest.fixture(autouse=True)
def _idle(app: ServedApp) -> Iterator[None]:
    """Leave the shared app idle after each test."""
    yield
    app.workers[0].step_s = 0.0
    app.cancel_all(waiting=True)


def post(app: ServedApp, path: str, body: Any = None, **options: Any) -> requests.Response:
    return requests.post(app.url(f"/v1/images/{path}"), json=body, timeout=PATIENCE_S, **options)


def generated(app: ServedApp, **fields: Any) -> dict[str, Any]:
    response = post(app, "generations", {**BODY, **fields})
    assert response.status_code == 200, response.text
    return dict(response.json())


def opened(content: str | bytes) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(content) if isinstance(content, str) else content))
    image.load()
    return image


def jobs(app: ServedApp) -> list[dict[str, Any]]:
    return list(app.get("/v1/jobs?limit=500").json()["jobs"])


def newest(app: ServedApp) -> dict[str, Any]:
    return dict(jobs(app)[0])


def test_images_are_generated(app: ServedApp) -> None:
    body = generated(app, quality="hd", user="somebody", moderation="low", style="vivid", background="auto")
    assert [*body] == ["created", "data", "background", "output_format", "size", "usage", "quality"]
    assert (body["size"], body["output_format"], body["quality"]) == ("32x32", "png", "high")
    assert body["usage"]["input_tokens_details"] == {"image_tokens": 0, "text_tokens": 0}
    [image] = body["data"]
    assert (opened(image["b64_json"]).size, opened(image["b64_json"]).format, image["seed"]) == ((32, 32), "PNG", 7)
    assert (newest(app)["model"], newest(app)["request"]["prompt"]) == ("painter", "a red circle")


@pytest.mark.parametrize(("model", "n", "made"), [
    ("painter", 3, [3]), ("painter", 10, [4, 3, 3]), ("mixer", 3, [1, 1, 1])
])  # fmt: skip
def test_several_images_are_one_job_or_several(app: ServedApp, model: str, n: int, made: list[int]) -> None:
    before = {job["id"] for job in jobs(app)}
    body = generated(app, model=model, n=n)
    assert [image["seed"] for image in body["data"]] == list(range(7, 7 + n))
    new = sorted((job for job in jobs(app) if job["id"] not in before), key=lambda job: job["request"]["seed"])
    assert [job["request"].get("num_images", 1) for job in new] == made
    alone = generated(app, model=model, seed=7 + n - 1)
    assert opened(alone["data"][0]["b64_json"]).tobytes() == opened(body["data"][-1]["b64_json"]).tobytes()


#: Body → what the job's request has.
@pytest.mark.parametrize(("sent", "expected"), [
    ({"size": "auto"}, {"width": 32, "height": 32}),
    ({"size": "64x48"}, {"width": 64, "height": 48}),
    ({"width": 48, "height": 64}, {"width": 48, "height": 64}),
    ({"steps": 3}, {"steps": 3}),
    ({"num_inference_steps": "5"}, {"steps": 5}),
    ({"true_cfg_scale": 2.5, "negative_prompt": "blur"}, {"guidance_scale": 2.5, "negative_prompt": "blur"}),
    ({"output_format": "jpeg", "output_compression": 0}, {"output_format": "jpeg", "output_quality": 1}),
    ({"output_format": "webp", "output_compression": 80}, {"output_format": "webp", "output_quality": 80}),
    ({"output_format": "png", "output_compression": 100}, {"output_format": "png"}),
    ({"model": "gpt-image-2"}, {"model": "painter"}),
    ({"model": None}, {"model": "painter"}),
])  # fmt: skip
def test_fields_mean_what_they_mean_there(app: ServedApp, sent: dict[str, Any], expected: dict[str, Any]) -> None:
    generated(app, **sent)
    request = newest(app)["request"]
    assert {name: request.get(name) for name in expected} == expected


def test_a_url_leads_to_the_image(app: ServedApp) -> None:
    [image] = generated(app, response_format="url", output_format="jpeg")["data"]
    assert "b64_json" not in image
    assert image["url"].startswith(app.url("/v1/jobs/"))
    assert opened(requests.get(image["url"], timeout=60).content).format == "JPEG"


@pytest.mark.parametrize(("sent", "weights"), [
    ([("loras", "ink")], [1.0]),
    ([("loras", '{"ink": 0.5}')], [0.5]),
    ([("lora[name]", "ink"), ("lora[scale]", "0.25")], [0.25]),
    ([("loras[]", "ink"), ("loras[]", "oil")], [1.0, 1.0]),
    ([("loras[][name]", "ink"), ("loras[][weight]", "0.5"), ("loras[][name]", "oil"), ("loras[][weight]", "2")],
     [0.5, 2.0]),
    ([("loras[][name]", "ink"), ("loras[][name]", "oil"), ("loras[][weight]", "2")], None),
])  # fmt: skip
def test_loras_come_in_many_forms(app: ServedApp, sent: list[tuple[str, str]], weights: list[float] | None) -> None:
    folder = Path(str(app.settings.paths.models_file.parent))
    for name in ("ink", "oil"):
        (folder / f"{name}.safetensors").touch()
    response = post(app, "edits", data=[("prompt", "x"), *sent], files={"image": png()})
    if weights is None:
        assert response.json()["error"]["param"] == "loras"
    else:
        assert response.status_code == 200, response.text
        assert [lora["weight"] for lora in newest(app)["request"]["loras"]] == weights
        names = [lora["name"] for lora in newest(app)["request"]["loras"]]
        json_form = [{"name": name, "weight": weight} for name, weight in zip(names, weights, strict=True)]
        generated(app, loras=json_form)
        assert newest(app)["request"]["loras"] == json_form


def test_what_was_changed_or_ignored_is_said(app: ServedApp) -> None:
    body = generated(app, favourite_colour="blue", width=33)
    assert body["warnings"][0].startswith("width 33 was rounded")
    assert "unknown field 'favourite_colour' was ignored" in body["warnings"]


#: Route, body, status, param, code, and a part of the message.
REFUSED: list[tuple[str, Any, int, str | None, str, str]] = [
    ("generations", {"prompt": None}, 400, "prompt", "missing_required_parameter", "is required"),
    ("generations", {"prompt": 5}, 400, "prompt", "invalid_value", "must be text"),
    ("generations", {"n": 0}, 400, "n", "invalid_value", "between 1 and 10"),
    ("generations", {"n": 11}, 400, "n", "invalid_value", "between 1 and 10"),
    ("generations", {"n": "many"}, 400, "n", "invalid_value", "whole number"),
    ("generations", {"size": "large"}, 400, "size", "invalid_value", "such as 1024x1024"),
    ("generations", {"size": "4096x64"}, 400, "size", "invalid_value", "must give a width between 16 and 128"),
    ("generations", {"quality": "best"}, 400, "quality", "invalid_value", "must be one of"),
    ("generations", {"background": "transparent"}, 400, "background", "invalid_value", "no model here"),
    ("generations", {"output_format": "svg"}, 400, "output_format", "invalid_value", "must be one of"),
    ("generations", {"output_compression": 101}, 400, "output_compression", "invalid_value", "0 and 100"),
    ("generations", {"output_compression": 50}, 400, "output_compression", "invalid_value", "png has no quality"),
    ("generations", {"partial_images": 4}, 400, "partial_images", "invalid_value", "between 0 and 3"),
    ("generations", {"response_format": "file"}, 400, "response_format", "invalid_value", "b64_json, url"),
    ("generations", {"num_inference_steps": 0}, 400, "num_inference_steps", "invalid_value", "between 1 and 100000"),
    ("generations", {"seed": 2**64}, 400, "seed", "invalid_value", "must be"),
    ("generations", {"promt": "x"}, 400, "promt", "unknown_parameter", "did you mean prompt"),
    ("generations", {"loras": ["chalk"]}, 400, "loras[0].name", "invalid_value", "is not a LoRA"),
    ("generations", {"lora": 5}, 400, "lora", "invalid_value", "must be names"),
    ("generations", {"model": "gpt-5"}, 404, "model", "model_not_found", "does not exist"),
    ("generations", {"model": "film"}, 400, "model", "invalid_value", "does not offer text2img"),
    ("generations", [], 400, "body", "malformed_body", "must be a JSON object"),
    ("edits", {}, 400, "image", "missing_required_parameter", "is required"),
    ("edits", {"image": "x"}, 400, "image", "invalid_value", "base64"),
    ("edits", {"image": 5}, 400, "image", "invalid_value", "must be an image"),
    ("edits", {"image": "http://127.0.0.1/x.png"}, 400, "image", "invalid_value", ""),
    ("variations", {}, 400, "image", "missing_required_parameter", "is required"),
]  # fmt: skip


@pytest.mark.parametrize(("route", "body", "status", "param", "code", "part"), REFUSED)
def test_a_refusal_names_param_and_rule_and_queues_nothing(
    app: ServedApp, route: str, body: Any, status: int, param: str | None, code: str, part: str
) -> None:
    before = len(jobs(app))
    response = post(app, route, {**BODY, **body} if isinstance(body, dict) else body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert part in error["message"]
    assert len(jobs(app)) == before


def test_all_problems_are_named_at_once(app: ServedApp) -> None:
    error = post(app, "generations", {"n": 0, "size": "x", "steps": "many"}).json()["error"]
    assert all(f"`{name}`" in error["message"] for name in ("n", "size", "steps", "prompt"))


def test_an_image_is_edited(app: ServedApp) -> None:
    files = {"image": ("upload", png(size=(64, 32)), "application/octet-stream")}
    response = post(app, "edits", data={"prompt": "a dog", "n": "2", "strength": "0.5"}, files=files)
    assert [opened(image["b64_json"]).size for image in response.json()["data"]] == [(48, 24)] * 2, "its shape"
    assert (newest(app)["kind"], newest(app)["request"]["strength"]) == ("img2img", 0.5)
    by_lightx2v = post(app, "edits", data={"prompt": "a dog", "i2i_denoise_strength": "0.4"}, files={"image": png()})
    assert (by_lightx2v.status_code, newest(app)["request"]["strength"]) == (200, 0.4)
    data_url = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    for image in ({"image": data_url}, {"images": [{"image_url": data_url}]}, {"image": f"job:{newest(app)['id']}"}):
        assert post(app, "edits", {"prompt": "a dog", "size": "64x64", **image}).status_code == 200
        assert newest(app)["request"]["resize"] == "crop"


@pytest.mark.parametrize(
    ("route", "query", "fields", "images"),
    [
        # open-webui with a model that sends links, for Azure, and InvokeAI with its further options
        ("generations", "?api-version=2025-04-01-preview", {"model": "gpt-image-1", "n": 2, "size": "64x64"}, 0),
        ("generations", "", {"model": "gpt-image-1", "n": 1, "size": "64x32", "output_format": "png",
                             "quality": "high", "background": "opaque"}, 0),
        ("edits", "", {"model": "dall-e-2", "n": 2, "size": "32x32", "background": "opaque",
                       "response_format": "b64_json"}, 1),
        ("edits", "", {"model": "gpt-image-1", "n": 1, "size": "64x32", "output_format": "png",
                       "input_fidelity": "high"}, 1),
        ("edits", "", {"model": "mixer", "n": 1, "size": "32x32", "response_format": "b64_json"}, 2),
    ],
)  # fmt: skip
def test_what_open_webui_and_invokeai_send(
    app: ServedApp, route: str, query: str, fields: dict[str, Any], images: int
) -> None:
    body = {"prompt": "a fox", **fields}
    if images:
        files = [("image[]" if images > 1 else "image", (f"{i}.png", png(), "image/png")) for i in range(images)]
        response = post(app, route + query, data=body, files=files)
    else:
        response = post(app, route + query, body)
    assert response.status_code == 200, response.text
    sizes = ["{}x{}".format(*opened(image["b64_json"]).size) for image in response.json()["data"]]
    assert sizes == [fields["size"]] * fields["n"]
    assert app.status(response.headers["X-Request-Id"])["state"] == "succeeded"


def test_the_transparent_part_of_the_mask_is_repainted(app: ServedApp) -> None:
    mask = Image.new("RGBA", (32, 32), "white")
    mask.paste((0, 0, 0, 0), (0, 0, 16, 32))
    file = io.BytesIO()
    mask.save(file, "PNG")
    response = post(app, "edits", data={"prompt": "a dog"}, files={"image[]": png(), "mask": file.getvalue()})
    assert response.status_code == 200, response.text
    job = newest(app)
    assert job["kind"] == "inpaint"
    stored = opened(app.get(f"/v1/jobs/{job['id']}/inputs/mask").content).convert("L")
    assert (stored.getpixel((4, 4)), stored.getpixel((28, 4))) == (255, 0)


def test_several_images_are_mixed_or_refused(app: ServedApp) -> None:
    files = [("image[]", png("red")), ("image[]", png("blue"))]
    refused = post(app, "edits", data={"prompt": "a dog", "model": "painter"}, files=files)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "image[]")
    assert "must be one image, not 2" in refused.json()["error"]["message"]
    repeated = post(app, "edits", data={"prompt": "a dog", "model": "painter"}, files=[("image", png())] * 2)
    assert repeated.json()["error"]["param"] == "image"
    mixed = post(app, "edits", data={"prompt": "a dog", "model": "mixer"}, files=files)
    assert mixed.status_code == 200, mixed.text
    assert newest(app)["kind"] == "mix2img"
    assert len(newest(app)["request"]["mix"]) == 3


def test_an_image_is_varied(app: ServedApp) -> None:
    response = post(app, "variations", data={"n": "2", "model": "dall-e-2"}, files={"image": png()})
    assert len(response.json()["data"]) == 2
    assert newest(app)["request"]["prompt"] == ""


def events(response: requests.Response) -> list[dict[str, Any]]:
    assert response.headers["Content-Type"].startswith("text/event-stream"), response.text
    return [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]


def test_a_stream_has_previews_of_the_running_job_and_each_image(app: ServedApp) -> None:
    app.workers[0].step_s = 0.15
    body = {**BODY, "stream": True, "partial_images": 2, "steps": 20, "n": 2, "quality": "low"}
    *partial, first, second = events(post(app, "generations", body))
    assert [event["type"] for event in partial] == ["image_generation.partial_image"] * 2
    assert [event["partial_image_index"] for event in partial] == [0, 1]
    assert 3 < partial[0]["step"] < partial[1]["step"] <= 20
    assert [event["type"] for event in (first, second)] == ["image_generation.completed"] * 2
    assert opened(partial[0]["b64_json"]).format == partial[0]["output_format"].upper()
    assert (first["seed"], second["seed"]) == (7, 8)
    shared = {"created_at", "background", "quality", "size", "output_format", "b64_json", "type"}
    assert shared <= partial[0].keys() & first.keys()
    assert first["usage"]["total_tokens"] == 0
    assert len(jobs(app)[0]["outputs"]) == 2


def test_a_stream_of_an_edit_has_other_names(app: ServedApp) -> None:
    response = post(app, "edits", data={"prompt": "x", "stream": "true"}, files={"image": png()})
    assert [event["type"] for event in events(response)] == ["image_edit.completed"]


def test_a_failed_job_is_an_error_that_is_not_tried_again(app: ServedApp) -> None:
    response = post(app, "generations", {**BODY, "model": "broken"})
    assert (response.status_code, response.headers["X-Should-Retry"]) == (500, "false")
    assert response.json()["error"] == {
        "message": "no such folder", "type": "server_error", "param": None, "code": "model_load_failed"
    }  # fmt: skip
    [event] = events(post(app, "generations", {**BODY, "model": "broken", "stream": True}))
    assert (event["type"], event["error"]["code"]) == ("error", "model_load_failed")


class Waiting(threading.Thread):
    """A request that waits for its response."""

    def __init__(self, app: ServedApp, body: dict[str, Any], **options: Any) -> None:
        super().__init__(daemon=True)
        self._call = lambda: post(app, "generations", body, **options)
        self.start()

    def run(self) -> None:
        self.response = self._call()

    def end(self) -> requests.Response:
        self.join(PATIENCE_S)
        return self.response


def test_a_stopped_job_is_an_error(app: ServedApp) -> None:
    app.workers[0].step_s = 0.05
    waiting = Waiting(app, {**BODY, "steps": ENDLESS_STEPS})
    wait_for(lambda: newest(app)["state"] == "running", "the run")
    app.cancel(newest(app)["id"])
    response = waiting.end()
    assert (response.status_code, response.json()["error"]["code"]) == (400, "cancelled")


def test_a_full_queue_is_429_with_the_seconds_to_wait(serve: Callable[..., ServedApp]) -> None:
    app = serve(MODELS, MAX_WAITING=1)
    waiting = Waiting(app, BODY)
    wait_for(lambda: len(jobs(app)) == 1, "the first job")
    response = post(app, "generations", {**BODY, "seed": 8})
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) > 0
    assert (response.json()["error"]["code"], response.json()["error"]["type"]) == ("rate_limit_exceeded", "requests")
    many = post(app, "generations", {**BODY, "n": 10})
    assert (many.status_code, len(jobs(app))) == (429, 1)
    app.cancel(newest(app)["id"])
    assert waiting.end().status_code == 400


def test_a_repeat_after_a_lost_connection_gets_the_same_job(app: ServedApp) -> None:
    app.workers[0].step_s = 0.05
    body = {"prompt": "a lost connection", "steps": 40}
    before = len(jobs(app))
    client = Impatient(app, body, path="/v1/images/generations")
    wait_for(lambda: newest(app)["state"] == "running", "the run")
    client.hang_up()
    repeated = post(app, "generations", body)
    assert repeated.status_code == 200
    assert len(jobs(app)) == before + 1
    assert repeated.json()["data"][0]["seed"] == newest(app)["request"]["seed"]
    assert post(app, "generations", body).json()["data"][0]["seed"] != repeated.json()["data"][0]["seed"], "new work"


def test_a_repeat_of_a_form_is_known_by_its_fields(app: ServedApp) -> None:
    app.workers[0].step_s = 0.05
    before = len(jobs(app))
    form: dict[str, Any] = {"data": {"prompt": "x", "steps": "40"}, "files": {"image": png()}}
    with pytest.raises(requests.ReadTimeout):
        requests.post(app.url("/v1/images/edits"), timeout=0.5, **form)
    response = post(app, "edits", **form)
    assert response.status_code == 200
    assert len(jobs(app)) == before + 1


def test_a_lost_stream_is_taken_over(app: ServedApp) -> None:
    app.workers[0].step_s = 0.05
    before = len(jobs(app))
    body = {"prompt": "a lost stream", "steps": 40, "stream": True, "partial_images": 1}
    response = requests.post(app.url("/v1/images/generations"), json=body, timeout=PATIENCE_S, stream=True)
    next(response.iter_lines())
    response.close()
    assert events(post(app, "generations", body))[-1]["type"] == "image_generation.completed"
    assert len(jobs(app)) == before + 1


def test_an_idempotency_key_names_a_request(app: ServedApp) -> None:
    before, headers = len(jobs(app)), {"Idempotency-Key": "mine"}
    seeds = {post(app, "generations", {"prompt": "x"}, headers=headers).json()["data"][0]["seed"] for _ in range(3)}
    assert (len(seeds), len(jobs(app))) == (1, before + 1)
    app.workers[0].step_s = 0.05
    waiting = Waiting(app, {"prompt": "x", "steps": 100}, headers={"Idempotency-Key": "other"})
    wait_for(lambda: len(jobs(app)) == before + 2, "the job")
    refused = post(app, "generations", {"prompt": "y"}, headers={"Idempotency-Key": "other"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "idempotency_mismatch")
    app.workers[0].step_s = 0.0
    assert waiting.end().status_code == 200


def test_models_are_listed_and_found_by_name_and_alias(app: ServedApp) -> None:
    body = app.get("/v1/models").json()
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == ["painter", "mixer", "film", "broken"]
    assert {model["name"] for model in body["models"]} == {"painter", "mixer", "film", "broken"}
    assert body["data"][0] == {**body["data"][0], "object": "model", "owned_by": "framemill"}
    assert body["data"][0]["created"] > 1_700_000_000
    for name in ("painter", "gpt-image-1", "sora-2"):
        assert app.get(f"/v1/models/{name}").json()["id"] == name
    missing = app.get("/v1/models/gpt-5")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_keys_are_checked(serve: Callable[..., ServedApp]) -> None:
    app = serve(MODELS)
    app.worker("painter")
    key = KeyRing(app.store).create(Caller(key_id="shop", models=("painter",)))
    wait_for(lambda: post(app, "generations", BODY).status_code == 401, "the first key")
    for headers in ({}, {"Authorization": "Bearer sk-wrong"}):
        refused = post(app, "generations", BODY, headers=headers)
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_api_key"
        assert refused.headers["WWW-Authenticate"] == "Bearer"
    authorised = {"Authorization": f"Bearer {key}"}
    [image] = post(app, "generations", {**BODY, "response_format": "url"}, headers=authorised).json()["data"]
    assert opened(requests.get(image["url"], timeout=60).content).size == (32, 32), "a link needs no key"
    forbidden = post(app, "generations", {**BODY, "model": "mixer"}, headers=authorised)
    assert (forbidden.status_code, forbidden.json()["error"]["code"]) == (403, "forbidden")
    listed = requests.get(app.url("/v1/models"), headers=authorised, timeout=60).json()["data"]
    assert [model["id"] for model in listed] == ["painter"]
    hidden = requests.get(app.url("/v1/models/mixer"), headers=authorised, timeout=60)
    assert hidden.status_code == 404
