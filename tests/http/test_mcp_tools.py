"""The tools of the Model Context Protocol: their schemas, results, errors and progress."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
from PIL import Image

from app.protocols.mcp import previews
from tests.support.mcp_calls import MP4, STREAMS, call, events, notify, post, result, session_of, stateless
from tests.support.pictures import PNG, b64, encoded, picture
from tests.support.service import Service, later


def test_tools_have_schemas_of_the_models_on_offer(service: Service) -> None:
    tools = {tool["name"]: tool for tool in result(post(service, "tools/list"))["tools"]}
    assert list(tools) == [
        "generate_image", "edit_image", "generate_video", "get_job", "cancel_job", "pause_job", "resume_job",
        "list_models",
    ]  # fmt: skip
    image, video = (tools[f"generate_{kind}"]["inputSchema"] for kind in ("image", "video"))
    assert image["properties"]["model"]["enum"] == ["tiny-image", "broken"]
    assert video["properties"]["model"]["enum"] == ["tiny-video"]
    assert (video["properties"]["frames"]["minimum"], video["properties"]["frames"]["maximum"]) == (9, 33)
    assert (image["required"], image["additionalProperties"]) == (["prompt"], False)
    assert "image" in tools["edit_image"]["inputSchema"]["required"]
    for tool in tools.values():
        jsonschema_rs.meta.validate(tool["inputSchema"])
        jsonschema_rs.meta.validate(tool["outputSchema"])
        assert "null" not in json.dumps(tool["inputSchema"])
        assert tool["description"]
        assert tool["title"]
    assert tools["get_job"]["annotations"]["readOnlyHint"]


def test_an_image_is_made(service: Service) -> None:
    made = call(service, "generate_image", prompt="a red circle", steps="4", seed=7, negative_prompt=None)
    job_id = made["structuredContent"]["job_id"]
    assert made["structuredContent"]["state"] == "queued"
    assert f"get_job with job_id {job_id}" in made["structuredContent"]["next"]
    assert json.loads(made["content"][0]["text"]) == made["structuredContent"]
    job = service.job(job_id)
    assert (job["request"]["steps"], job["request"]["seed"], job["kind"]) == (4, 7, "text2img")
    service.finish()
    done = call(service, "get_job", job_id=job_id)
    text, image, link = done["content"]
    assert (text["type"], image["type"], link["type"]) == ("text", "image", "resource_link")
    assert (base64.b64decode(image["data"]), image["mimeType"]) == (PNG, "image/png")
    assert link["uri"] == f"http://localhost/v1/jobs/{job_id}/result?index=0"
    assert service.get(link["uri"]).data == PNG
    assert (link["mimeType"], link["size"]) == ("image/png", len(PNG))


def test_results_fit_their_schemas(service: Service) -> None:
    tools = {tool["name"]: tool["outputSchema"] for tool in result(post(service, "tools/list"))["tools"]}

    def fits(tool: str, **arguments: Any) -> dict[str, Any]:
        shown = call(service, tool, **arguments)["structuredContent"]
        jsonschema_rs.validate(tools[tool], shown)
        return dict(shown)

    fits("list_models")
    first = fits("generate_image", prompt="x")["job_id"]
    fits("cancel_job", job_id=fits("generate_video", prompt="x")["job_id"])
    service.start(step=2)
    assert fits("get_job", job_id=first)["step"] == 2
    service.finish()
    assert fits("get_job", job_id=first)["outputs"][0]["media_type"] == "image/png"
    failing = fits("generate_image", prompt="x")["job_id"]
    service.fail()
    assert fits("get_job", job_id=failing)["error"] == {"code": "execution_failed", "message": "it broke"}


@pytest.mark.parametrize("form", ["id", "id with index", "url", "data", "base64"])
def test_an_image_is_edited(service: Service, form: str) -> None:
    first = call(service, "generate_image", prompt="x")["structuredContent"]["job_id"]
    service.finish()
    url = call(service, "get_job", job_id=first)["structuredContent"]["outputs"][0]["url"]
    forms = {"id": first, "id with index": f"{first}/0", "url": url, "base64": b64(PNG),
             "data": f"data:image/png;base64,{b64(PNG)}"}  # fmt: skip
    edited = call(service, "edit_image", prompt="blue", image=forms[form], strength=0.5)
    assert not edited.get("isError"), edited
    job = service.job(edited["structuredContent"]["job_id"])
    assert (job["kind"], job["request"]["strength"]) == ("img2img", 0.5)


def test_a_video_begins_with_an_image_and_shows_its_poster(service: Service) -> None:
    made = call(service, "generate_video", prompt="x", image=b64(PNG), frames=9)
    job_id = made["structuredContent"]["job_id"]
    assert made["structuredContent"]["kind"] == "img2video"
    service.finish(content=MP4, media_type="video/mp4", suffix="mp4")
    done = call(service, "get_job", job_id=job_id)
    assert [block["type"] for block in done["content"]] == ["text", "resource_link"]  # it has no poster here
    assert done["content"][-1]["mimeType"] == "video/mp4"


@pytest.mark.parametrize(
    ("tool", "arguments", "texts"),
    [
        ("generate_image", {"prompt": "x", "width": 4000, "stepz": 3},
         ["`width` must be between 16 and 128", "`stepz`", "steps?"]),
        ("generate_image", {}, ["`prompt` is required"]),
        ("generate_image", {"prompt": "x", "model": "tiny-video"}, ["kind", "tiny-video"]),
        ("generate_image", {"prompt": "x", "model": "nothing"}, ["nothing", "tiny-image"]),
        ("generate_image", {"prompt": "x", "steps": "many", "wait_s": 99},
         ["`steps` must be a whole number", "`wait_s` must be between 0 and 45"]),
        ("edit_image", {"prompt": "x"}, ["`image` is required"]),
        ("edit_image", {"prompt": "x", "image": "/etc/passwd"}, ["`image`"]),
        ("edit_image", {"prompt": "x", "image": "file:///etc/passwd"}, ["`image`"]),
        ("edit_image", {"prompt": "x", "image": "0123456789abcdef01234567"}, ["`image`: names no job of yours"]),
        ("edit_image", {"prompt": "x", "image": 7}, ["`image` must be text"]),
        ("get_job", {"job_id": "unknown"}, ["job_not_found"]),
        ("cancel_job", {}, ["`job_id` is required"]),
        ("list_models", {"model": "x"}, ["`model` is unknown"]),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named_with_their_rules(
    service: Service, tool: str, arguments: dict[str, Any], texts: list[str]
) -> None:
    refused = call(service, tool, **arguments)
    assert refused["isError"]
    assert "structuredContent" not in refused
    for text in texts:
        assert text in refused["content"][0]["text"]
    assert service.json("/v1/jobs")["total"] == 0


def test_an_unknown_tool_is_an_error_of_the_protocol(service: Service) -> None:
    error = post(service, "tools/call", {"name": "generate_imag", "arguments": {}}).get_json()["error"]
    assert (error["code"], error["message"]) == (
        -32602,
        "Unknown tool: generate_imag; did you mean generate_image?",
    )
    for params in ({}, {"name": 7}, {"name": "get_job", "arguments": [1]}):
        assert post(service, "tools/call", params).get_json()["error"]["code"] == -32602


def test_a_full_queue_is_an_error_of_the_tool(services: Callable[..., Service]) -> None:
    service = services(MAX_WAITING=0)
    refused = call(service, "generate_image", prompt="x")
    assert refused["isError"]
    assert "try again in" in refused["content"][0]["text"]


def test_large_outputs_are_shown_small(service: Service) -> None:
    noise = encoded(picture(size=(1400, 1000)), "PNG")
    assert len(noise) > 4 * previews.MAX_BYTES
    job_id = call(service, "generate_image", prompt="x")["structuredContent"]["job_id"]
    service.finish(content=noise)
    image = call(service, "get_job", job_id=job_id)["content"][1]
    assert image["mimeType"] == "image/webp"
    assert len(image["data"]) <= 1024 * 1024
    with Image.open(io.BytesIO(base64.b64decode(image["data"]))) as shown:
        assert max(shown.size) <= 1024
        assert abs(shown.width / shown.height - 1.4) < 0.01


def test_a_job_whose_file_cannot_be_read_has_its_link(service: Service) -> None:
    job_id = call(service, "generate_image", prompt="x")["structuredContent"]["job_id"]
    service.finish(content=b"no picture", media_type="image/x-odd")
    done = call(service, "get_job", job_id=job_id)
    assert [block["type"] for block in done["content"]] == ["text", "resource_link"]


def test_a_failed_job_is_an_error_of_the_tool_that_makes_it(service: Service) -> None:
    with later(service.fail):
        failed = call(service, "generate_image", prompt="x", wait_s=30)
    assert failed["isError"]
    assert failed["structuredContent"]["error"]["message"] == "it broke"


def test_a_call_waits_for_its_result(service: Service) -> None:
    with later(service.finish):
        done = call(service, "generate_image", prompt="x", wait_s=30)
    assert done["structuredContent"]["state"] == "succeeded"


def test_a_call_that_takes_longer_returns_the_job(service: Service) -> None:
    first = call(service, "generate_image", prompt="x")["structuredContent"]["job_id"]
    late = call(service, "generate_image", prompt="x", wait_s=0.1)
    assert not late.get("isError")
    assert (late["structuredContent"]["state"], late["structuredContent"]["position"]) == ("queued", 1)
    assert first != late["structuredContent"]["job_id"]


@pytest.mark.parametrize("era", [post, stateless])
def test_progress_is_told_in_a_stream_that_ends_with_the_response(service: Service, era: Callable[..., Any]) -> None:
    def compute() -> None:
        service.start()
        service.step(2)
        service.finish()

    # Parts of the newest revision's _meta would be replaced: its token comes in a merged one.
    with later(compute):
        if era is post:
            params = {"_meta": {"progressToken": "t"}, "name": "generate_image", "arguments": {"prompt": "x"}}
            response = post(service, "tools/call", params, STREAMS)
        else:
            meta = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "progressToken": "t",
            }
            params = {"_meta": meta, "name": "generate_image", "arguments": {"prompt": "x"}}
            response = stateless(service, "tools/call", params, STREAMS)
        text = response.get_data(as_text=True)
    assert response.mimetype == "text/event-stream"
    *told, last = events(text)
    assert last["id"] == 1
    assert last["result"]["structuredContent"]["state"] == "succeeded"
    assert {one["method"] for one in told} == {"notifications/progress"}
    parts = [one["params"] for one in told]
    progress = [one["progress"] for one in parts]
    assert progress == sorted(set(progress))
    assert all(one["progressToken"] == "t" and one["progress"] <= one["total"] for one in parts)
    assert last["result"]["structuredContent"]["job_id"] in parts[0]["message"]
    assert ("\nid: " in text) == (era is post)


def test_a_stream_is_resumed_after_its_connection_was_lost(service: Service) -> None:
    params = {"_meta": {"progressToken": 9}, "name": "generate_image", "arguments": {"prompt": "x", "wait_s": 0.1}}
    headers = {**STREAMS, "MCP-Protocol-Version": "2025-11-25"}
    text = post(service, "tools/call", params, headers, number="call").get_data(as_text=True)
    assert text.startswith("id: ")
    place = text.splitlines()[0].removeprefix("id: ")
    job_id = service.finish()
    (response,) = events(service.get("/mcp", headers={"Last-Event-ID": place}).get_data(as_text=True))
    assert (response["id"], response["result"]["structuredContent"]["job_id"]) == ("call", job_id)
    assert response["result"]["structuredContent"]["state"] == "succeeded"


def test_a_cancelled_request_stops_its_job_and_no_other(service: Service) -> None:
    one, two = session_of(service), session_of(service)
    jobs = {
        (session, number): call(service, "generate_image", {"Mcp-Session-Id": session}, number, prompt=f"{number}")
        for session, number in ((one, 5), (one, "5"), (two, 5))
    }
    ids = {name: job["structuredContent"]["job_id"] for name, job in jobs.items()}
    assert len(set(ids.values())) == 3
    notify(service, one, 5)
    notify(service, two, 7)
    notify(service, "", 5)
    states = {name: service.job(job_id)["state"] for name, job_id in ids.items()}
    assert states == {(one, 5): "cancelled", (one, "5"): "queued", (two, 5): "queued"}


def test_a_request_that_is_sent_again_gets_its_job(service: Service) -> None:
    headers = {"Mcp-Session-Id": session_of(service)}
    first, again, other = (
        call(service, "generate_image", headers, 5, prompt=prompt)["structuredContent"]["job_id"]
        for prompt in ("x", "x", "another")
    )
    assert first == again != other


def test_a_job_is_stopped(service: Service) -> None:
    job_id = call(service, "generate_image", prompt="x")["structuredContent"]["job_id"]
    for _ in range(2):
        assert call(service, "cancel_job", job_id=job_id)["structuredContent"]["state"] == "cancelled"
    assert call(service, "get_job", job_id=job_id)["structuredContent"]["error"]["code"] == "cancelled"
