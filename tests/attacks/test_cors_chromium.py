"""A page of another origin, in a real browser, uses one call of each protocol with a key; without the setting, none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.access import auth
from tests.support.browser import Browser, browsing
from tests.support.evil_pages import page
from tests.support.fuzzed_app import FuzzedApp, fuzzed_app

#: Makes one call of each protocol. Returns what the page could read: a status, and a part of the response.
CALLS = """
const [base, key] = arguments;
const json = {"Content-Type": "application/json", Authorization: "Bearer " + key};
const small = {prompt: "x", width: 16, height: 16, steps: 1};
const post = (path, body, headers = {}) =>
  fetch(base + path, {method: "POST", headers: {...json, ...headers}, body: JSON.stringify(body)});
const mcp = {jsonrpc: "2.0", id: 1, method: "initialize",
  params: {protocolVersion: "2025-06-18", capabilities: {}, clientInfo: {name: "page", version: "1"}}};
const calls = {
  native: async () => {
    const made = await post("/v1/jobs?wait=30", {model: "tiny-image", ...small}, {"Idempotency-Key": "one"});
    return [made.status, Boolean(made.headers.get("Location"))];
  },
  LightX2V: async () => {
    const made = await post("/v1/tasks/image/", {prompt: "x", model: "tiny-image"});
    return [made.status, Boolean((await made.json()).task_id)];
  },
  AIME: async () => {
    const made = await post("/draw", {prompt: "x", key, wait_for_result: false});
    return [made.status, (await made.json()).success];
  },
  A1111: async () => {
    const made = await post("/sdapi/v1/txt2img", small);
    return [made.status, Boolean(made.headers.get("X-Process-Time")) && (await made.json()).images.length === 1];
  },
  Devoid: async () => {
    const missing = await fetch(base + "/img/nothing.jpg");
    return [missing.status, Boolean((await missing.json()).content)];
  },
  OpenAI: async () => {
    const made = await post("/v1/images/generations", {model: "tiny-image", prompt: "x", size: "16x16"});
    return [made.status, (await made.json()).data.length === 1];
  },
  Replicate: async () => {
    const made = await post("/v1/models/any/tiny-image/predictions", {input: {prompt: "x"}}, {Prefer: "wait=5"});
    return [made.status, Boolean((await made.json()).urls.get)];
  },
  "Hugging Face": async () => {
    const body = {inputs: "x", parameters: {width: 16, height: 16}};
    const made = await post("/hf/tiny-image", body, {Accept: "image/png"});
    return [made.status, Boolean(made.headers.get("X-Request-Id")) && (await made.blob()).size > 50];
  },
  MCP: async () => {
    const made = await post("/mcp", mcp, {Accept: "application/json, text/event-stream"});
    return [made.status, Boolean(made.headers.get("Mcp-Session-Id"))];
  },
  "an error": async () => {
    const refused = await post("/v1/jobs", {}, {Authorization: "Bearer wrong"});
    return [refused.status, (await refused.json()).error.code];
  },
  "a link": async () => {
    const jobs = (await (await fetch(base + "/v1/jobs?state=succeeded", {headers: json})).json()).jobs;
    const shown = await fetch(base + jobs[0].outputs[0].url, {headers: {Range: "bytes=0-9"}});
    return [shown.status, shown.headers.get("Content-Range")?.startsWith("bytes 0-9/")];
  },
};
return (async () => {
  const found = {};
  for (const [name, call] of Object.entries(calls)) found[name] = await call().catch((error) => error.name);
  return found;
})();
"""
WORKED: dict[str, Any] = {
    "native": [201, True], "LightX2V": [200, True], "AIME": [200, True], "A1111": [200, True], "Devoid": [404, True],
    "OpenAI": [200, True], "Replicate": [201, True], "Hugging Face": [200, True], "MCP": [200, True],
    "an error": [401, "unauthorized"], "a link": [206, True],
}  # fmt: skip
NAMES = {"friend.example": "127.0.0.1", "other.example": "127.0.0.1"}


@pytest.fixture(scope="module")
def page_port() -> Iterator[int]:
    with page() as port:
        yield port


@pytest.fixture(scope="module")
def mill(page_port: int) -> Iterator[FuzzedApp]:
    with fuzzed_app(with_keys=True, CORS_ORIGINS=f"http://friend.example:{page_port}") as (app, _):
        auth.keys_changed()
        yield app


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser"), NAMES) as one:
        yield one


@pytest.mark.timeout(180)
def test_an_allowed_page_uses_every_protocol(mill: FuzzedApp, browser: Browser, page_port: int) -> None:
    browser.open(f"http://friend.example:{page_port}/")
    assert browser.run(CALLS, mill.url(""), mill.admin) == WORKED


def test_another_page_uses_none_although_it_has_the_key(mill: FuzzedApp, browser: Browser, page_port: int) -> None:
    browser.open(f"http://other.example:{page_port}/")
    found = browser.run(CALLS, mill.url(""), mill.admin)
    # The address of an image of Devoid's protocol is its secret.
    assert found == dict.fromkeys(WORKED, "TypeError") | {"Devoid": [404, True]}
