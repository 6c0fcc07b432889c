"""The quality of a request in each protocol that has such a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.support.served_app import ServedApp

MODELS = """
[painter]
kinds = ["text2img"]
executor = "drawing"
defaults = { steps = 4, width = 32, height = 32 }
quality = { draft = { steps = 2, guidance_scale = 1.5 }, high = { steps = 9 } }

[plain]
kinds = ["text2img"]
executor = "drawing"
defaults = { steps = 4, width = 32, height = 32 }
"""
PROMPT = {"prompt": "a red circle"}


@pytest.fixture(scope="module")
def app(serve: Callable[..., ServedApp]) -> ServedApp:
    app = serve(MODELS)
    app.worker("painter", "plain")
    return app


def posted(app: ServedApp, path: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    response = requests.post(app.url(path), json=body, timeout=60)
    assert response.status_code == status, response.text
    return dict(response.json())


def newest(app: ServedApp) -> tuple[Any, ...]:
    [job] = app.get("/v1/jobs?limit=1").json()["jobs"]
    request = app.get(f"/v1/jobs/{job['id']}").json()["request"]
    return request.get("quality"), request["steps"], request["guidance_scale"]


def test_the_native_api_takes_it_and_shows_it(app: ServedApp) -> None:
    posted(app, "/v1/jobs", {**PROMPT, "quality": "draft"}, 201)
    assert newest(app) == ("draft", 2, 1.5)
    posted(app, "/v1/jobs", {**PROMPT, "quality": "high", "steps": 7}, 201)
    assert newest(app) == ("high", 7, 5.0)
    posted(app, "/v1/jobs", PROMPT, 201)
    assert newest(app) == (None, 4, 5.0)


def test_an_unknown_one_is_refused_by_name_and_rule(app: ServedApp) -> None:
    body = posted(app, "/v1/jobs", {**PROMPT, "quality": "hihg"}, 422)
    [field] = body["error"]["fields"]
    assert field["field"] == "quality"
    assert field["rule"] == "is not one of model painter; did you mean high? it has standard, draft, high"


def test_models_list_their_qualities(app: ServedApp) -> None:
    shown = {model["name"]: model["quality"] for model in app.get("/v1/models").json()["models"]}
    assert shown["painter"] == {"standard": {}, "draft": {"steps": 2, "guidance_scale": 1.5}, "high": {"steps": 9}}
    assert shown["plain"] == {}


@pytest.mark.parametrize(
    ("word", "chosen"),
    [("low", ("draft", 2)), ("medium", (None, 4)), ("hd", ("high", 9)), ("auto", (None, 4)), (None, (None, 4))],
)
def test_words_of_openai_choose_one(app: ServedApp, word: str | None, chosen: tuple[Any, int]) -> None:
    posted(app, "/v1/images/generations", {**PROMPT, "model": "painter", "quality": word})
    assert newest(app)[:2] == chosen
    posted(app, "/v1/images/generations", {**PROMPT, "model": "plain", "quality": word})
    assert newest(app)[:2] == (None, 4)


def test_replicate_has_it_as_an_input(app: ServedApp) -> None:
    posted(app, "/v1/models/any/painter/predictions", {"input": {**PROMPT, "quality": "draft"}}, 201)
    assert newest(app)[:2] == ("draft", 2)
    schema = app.get("/v1/models/any/painter").json()["latest_version"]["openapi_schema"]
    described = schema["components"]["schemas"]["Input"]["properties"]["quality"]
    assert described["enum"] == ["standard", "draft", "high"]


def test_agents_choose_one(app: ServedApp) -> None:
    arguments = {**PROMPT, "quality": "high", "wait_s": 0}
    call = {"name": "generate_image", "arguments": arguments}
    posted(app, "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
    assert newest(app)[:2] == ("high", 9)
