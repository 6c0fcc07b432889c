"""The Model Context Protocol: its messages, tools, tasks and errors, in both eras."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
from PIL import Image
from werkzeug.test import TestResponse

from app.protocols.mcp import previews, tasks
from jobs.states import JobState
from tests.support.pictures import PNG, b64, encoded, picture
from tests.support.service import Service, key, later

TASKS = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
MP4 = b"\0\0\0\x18ftypmp42" + bytes(range(100))
STREAMS = {"Accept": "application/json, text/event-stream"}


def post(
    service: Service, method: str, params: dict[str, Any] | None = None, headers: dict[str, str] | None = None,
    number: Any = 1,
) -> TestResponse:  # fmt: skip
    """Send a request of the older revisions."""
    body = {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}
    return service.post("/mcp", json=body, headers=headers)


def result(response: TestResponse) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    body = response.get_json()
    assert "error" not in body, body
    return dict(body["result"])


def call(service: Service, tool: str, headers: dict[str, str] | None = None, number: Any = 1, **arguments: Any) -> Any:
    """Call a tool that does not wait; return its result."""
    if tool.startswith(("generate", "edit", "get")):
        arguments = {"wait_s": 0, **arguments}
    return result(post(service, "tools/call", {"name": tool, "arguments": arguments}, headers, number))


def stateless(
    service: Service, method: str, params: dict[str, Any] | None = None, headers: dict[str, str] | None = None,
    capabilities: dict[str, Any] | None = None, **changed: str,
) -> TestResponse:  # fmt: skip
    """Send a request of the newest revision; ``changed`` replaces headers (``_`` for ``-``)."""
    params = params or {}
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities or {},
    }
    sent = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
    if name := params.get("name") or params.get("taskId"):
        sent["Mcp-Name"] = name
    sent |= {name.replace("_", "-"): value for name, value in changed.items()}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta, **params}}
    return service.post("/mcp", json=body, headers={**sent, **(headers or {})})


def events(text: str) -> list[dict[str, Any]]:
    """Return the messages of an event stream."""
    data = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
    return [json.loads(one) for one in data]


def notify(service: Service, session: str, number: Any, headers: dict[str, str] | None = None) -> None:
    body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
    response = service.post("/mcp", json=body, headers={"Mcp-Session-Id": session, **(headers or {})})
    assert (response.status_code, response.data) == (202, b"")


def session_of(service: Service, headers: dict[str, str] | None = None) -> str:
    return str(post(service, "initialize", {"protocolVersion": "2025-11-25"}, headers).headers["Mcp-Session-Id"])


# ---- the eras


@pytest.mark.parametrize(
    ("requested", "chosen"), [("2025-06-18", "2025-06-18"), ("2025-11-25", "2025-11-25"), ("2024-11-05", "2025-11-25")]
)
def test_a_session_begins_with_a_version_that_both_know(service: Service, requested: str, chosen: str) -> None:
    response = post(service, "initialize", {"protocolVersion": requested, "capabilities": {}, "clientInfo": {}})
    begun = result(response)
    assert (begun["protocolVersion"], begun["serverInfo"]["name"]) == (chosen, "framemill")
    assert begun["capabilities"] == {"tools": {"listChanged": False}}
    session = {"Mcp-Session-Id": response.headers["Mcp-Session-Id"], "MCP-Protocol-Version": chosen}
    ready = service.post("/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=session)
    assert (ready.status_code, ready.data) == (202, b"")
    assert result(post(service, "ping", headers=session)) == {}
    assert len(result(post(service, "tools/list", headers=session))["tools"]) == 8


def test_a_stateless_request_needs_no_session(service: Service) -> None:
    found = result(stateless(service, "server/discover"))
    assert found["supportedVersions"] == ["2025-06-18", "2025-11-25", "2026-07-28"]
    assert found["capabilities"]["extensions"] == TASKS["extensions"]
    assert (found["resultType"], found["cacheScope"]) == ("complete", "private")
    listed = result(stateless(service, "tools/list"))
    assert (len(listed["tools"]), listed["resultType"]) == (8, "complete")
    assert listed["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "framemill"


@pytest.mark.parametrize(
    ("method", "params", "changed", "code", "status"),
    [
        ("tools/list", {"_meta": {}}, {}, -32602, 400),
        ("tools/list", {}, {"MCP_Protocol_Version": "2025-11-25"}, -32020, 400),
        ("tools/list", {}, {"Mcp_Method": "tools/call"}, -32020, 400),
        ("tools/call", {"name": "get_job"}, {"Mcp_Name": "cancel_job"}, -32020, 400),
        ("tools/call", {"name": "get_job"}, {"Mcp_Name": "=?base64?%%?="}, -32020, 400),
        ("initialized", {}, {}, -32601, 404),
        ("ping", {}, {}, -32601, 404),
        ("tools/call", {"name": "draw"}, {}, -32602, 400),
        ("tasks/get", {"taskId": "x"}, {}, -32021, 400),
    ],
)
def test_mistakes_in_stateless_requests(
    service: Service, method: str, params: dict[str, Any], changed: dict[str, str], code: int, status: int
) -> None:
    response = stateless(service, method, params, **changed)
    assert (response.status_code, response.get_json()["error"]["code"]) == (status, code), response.text
    assert response.get_json()["id"] == 1


def test_a_header_in_base64_is_read(service: Service) -> None:
    name = f"=?base64?{b64(b'list_models')}?="
    assert result(stateless(service, "tools/call", {"name": "list_models"}, Mcp_Name=name))["resultType"] == "complete"


def test_methods_of_tasks_need_no_name_in_a_header(service: Service) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": TASKS,
    }
    job_id = task(service)["taskId"]
    body = {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"_meta": meta, "taskId": job_id}}
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tasks/get"}
    assert result(service.post("/mcp", json=body, headers=headers))["taskId"] == job_id


def test_an_unknown_version_is_told_which_are_served(service: Service) -> None:
    response = post(service, "tools/list", headers={"MCP-Protocol-Version": "2099-01-01"})
    error = response.get_json()["error"]
    assert (response.status_code, error["code"], error["data"]["requested"]) == (400, -32022, "2099-01-01")
    assert error["data"]["supported"] == ["2025-06-18", "2025-11-25", "2026-07-28"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b"", -32600),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 7}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}', -32600),
    ],
)
def test_what_is_no_message_is_refused(service: Service, body: bytes, code: int) -> None:
    response = service.post("/mcp", data=body, content_type="application/json")
    assert (response.status_code, response.get_json()["error"]["code"]) == (400, code)


@pytest.mark.parametrize("method", ["resources/list", "prompts/list", "tasks/get", "server/discove"])
def test_an_unknown_method_of_a_session_is_an_error_of_json_rpc(service: Service, method: str) -> None:
    response = post(service, method)  # 404 would end the session of many clients
    assert (response.status_code, response.get_json()["error"]["code"]) == (200, -32601)


def test_responses_of_clients_are_accepted_and_ids_are_returned_as_they_are(service: Service) -> None:
    assert service.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "result": {}}).status_code == 202
    for number in (0, -7, "a b", "1", ""):
        assert post(service, "ping", number=number).get_json()["id"] == number


def test_the_server_has_no_stream_of_its_own(service: Service) -> None:
    for method in (service.get, service.delete):
        response = method("/mcp", headers={"Accept": "text/event-stream"})
        assert (response.status_code, "POST" in response.headers["Allow"]) == (405, True)
    assert service.get("/mcp", headers={"Last-Event-ID": "7"}).status_code == 400
    assert post(service, "ping", headers={"Mcp-Session-Id": "unknown"}).status_code == 404


# ---- the tools


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


# ---- waiting


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


# ---- stopping


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


# ---- tasks


def task(service: Service, headers: dict[str, str] | None = None) -> dict[str, Any]:
    params = {"name": "generate_image", "arguments": {"prompt": "x"}}
    return result(stateless(service, "tools/call", params, headers, TASKS))


def test_every_state_has_a_status_of_a_task() -> None:
    assert set(tasks.STATUS) == set(JobState)


def test_a_task_is_its_job(service: Service) -> None:
    made = task(service)
    assert (made["resultType"], made["status"]) == ("task", "working")
    job_id = made["taskId"]
    assert service.job(job_id)["state"] == "queued"

    def look() -> dict[str, Any]:
        return result(stateless(service, "tasks/get", {"taskId": job_id}, capabilities=TASKS))

    service.start(step=2)
    assert (look()["status"], "step 2 of 4" in look()["statusMessage"]) == ("working", True)
    service.finish()
    done = look()
    assert (done["status"], done["resultType"], done["ttlMs"]) == ("completed", "complete", None)
    assert [block["type"] for block in done["result"]["content"]] == ["text", "image", "resource_link"]
    assert result(stateless(service, "tasks/update", {"taskId": job_id, "inputResponses": {}}, capabilities=TASKS))


def test_tasks_that_end_otherwise(service: Service) -> None:
    failed, stopped = task(service)["taskId"], task(service)["taskId"]
    service.fail()
    stop = stateless(service, "tasks/cancel", {"taskId": stopped}, capabilities=TASKS)
    assert result(stop)["resultType"] == "complete"
    looks = [result(stateless(service, "tasks/get", {"taskId": one}, capabilities=TASKS)) for one in (failed, stopped)]
    assert [look["status"] for look in looks] == ["completed", "cancelled"]
    assert looks[0]["result"]["isError"]
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        response = stateless(service, method, {"taskId": "unknown"}, capabilities=TASKS)
        assert (response.status_code, response.get_json()["error"]["code"]) == (400, -32602)


def test_other_tools_are_no_tasks(service: Service) -> None:
    params = {"name": "list_models", "arguments": {}}
    listed = result(stateless(service, "tools/call", params, capabilities=TASKS))
    assert (listed["resultType"], listed["structuredContent"]["models"][0]["name"]) == ("complete", "tiny-image")


# ---- keys


def test_a_wrong_key_is_refused_before_the_body(service: Service) -> None:
    key(service, "ops")
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        response = service.post("/mcp", data=b"{", headers=headers)
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        body = response.get_json()
        assert (body["jsonrpc"], body["id"], body["error"]["data"]) == ("2.0", None, {"code": "unauthorized"})


def test_jobs_of_other_keys_do_not_exist(service: Service) -> None:
    admin = key(service, "ops")
    one, two = key(service, "one", admin=admin), key(service, "two", admin=admin)
    session = session_of(service, one)
    made = call(service, "generate_image", {**one, "Mcp-Session-Id": session}, 5, prompt="x")
    job_id = made["structuredContent"]["job_id"]
    for tool in ("get_job", "cancel_job"):
        assert "job_not_found" in call(service, tool, two, job_id=job_id)["content"][0]["text"]
    assert "names no job of yours" in call(service, "edit_image", two, prompt="x", image=job_id)["content"][0]["text"]
    assert stateless(service, "tasks/get", {"taskId": job_id}, two, TASKS).get_json()["error"]["code"] == -32602
    notify(service, session, 5, two)
    text = post(
        service, "tools/call", {"name": "get_job", "arguments": {"job_id": job_id, "wait_s": 0.1}}, {**one, **STREAMS}
    ).get_data(as_text=True)
    place = next(line for line in text.splitlines() if line.startswith("id: ")).removeprefix("id: ")
    assert service.get("/mcp", headers={**two, "Last-Event-ID": place}).status_code == 404
    assert call(service, "get_job", one, job_id=job_id)["structuredContent"]["state"] == "queued"


def test_links_are_signed_and_models_are_those_of_the_key(service: Service) -> None:
    admin = key(service, "ops")
    one = key(service, "one", admin=admin, models=["broken"])
    tools = [tool["name"] for tool in result(post(service, "tools/list", headers=one))["tools"]]
    assert tools == ["generate_image", "get_job", "cancel_job", "pause_job", "resume_job", "list_models"]
    made = call(service, "generate_image", one, prompt="x")["structuredContent"]
    assert made["model"] == "broken"
    refused = call(service, "generate_image", one, prompt="x", model="tiny-image")
    assert "forbidden" in refused["content"][0]["text"]
    listed = call(service, "list_models", one)["structuredContent"]["models"]
    assert [model["name"] for model in listed] == ["broken"]
    job_id = call(service, "generate_image", admin, prompt="x")["structuredContent"]["job_id"]
    service.finish()
    (output,) = call(service, "get_job", admin, job_id=job_id)["structuredContent"]["outputs"]
    assert "signature=" in output["url"]
    assert service.get(output["url"]).data == PNG


def test_a_key_for_agents_only_follows_its_links_and_calls_nothing_else(service: Service) -> None:
    admin = key(service, "ops")
    agent = key(service, "agent", admin=admin, endpoints=["/mcp"])
    job_id = call(service, "generate_image", agent, prompt="x")["structuredContent"]["job_id"]
    service.finish()
    (output,) = call(service, "get_job", agent, job_id=job_id)["structuredContent"]["outputs"]
    assert service.get(output["url"]).data == PNG
    for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/result", "/v1/jobs"):
        assert service.get(path, headers=agent).status_code == 403, path
    assert service.get(output["url"].replace("/result", "/events")).status_code == 403
    assert service.get(output["url"], headers=agent).status_code == 403, "a key counts before the link"


def test_a_page_of_another_origin_gets_an_error_of_json_rpc(service: Service) -> None:
    response = post(service, "tools/list", headers={"Origin": "https://evil.example"})
    assert (response.status_code, response.get_json()["error"]["data"]) == (403, {"code": "origin_not_allowed"})
    response = post(service, "tools/list", headers={"Host": "evil.example"})
    assert (response.status_code, response.get_json()["error"]["data"]) == (421, {"code": "host_not_allowed"})


def test_a_paused_task_works_and_says_that_it_is_paused(service: Service) -> None:
    job_id = task(service)["taskId"]
    service.start()
    service.pause()
    looked = result(stateless(service, "tasks/get", {"taskId": job_id}, capabilities=TASKS))
    assert (looked["status"], looked["statusMessage"]) == ("working", "paused at step 2 of 4")
    shown = call(service, "get_job", job_id=job_id)["structuredContent"]
    assert (shown["state"], shown["step"], shown["position"]) == ("paused", 2, None)
    assert f"resume_job with job_id {job_id}" in shown["next"]
    service.resume(job_id)
    service.finish()
    assert call(service, "get_job", job_id=job_id)["structuredContent"]["state"] == "succeeded"


def test_the_tools_that_pause_and_resume_a_job(service: Service) -> None:
    job_id = call(service, "generate_image", prompt="x", steps=4)["structuredContent"]["job_id"]
    service.start(step=1)
    refused = call(service, "pause_job", job_id=job_id)
    assert (refused["isError"], "does not make checkpoints" in refused["content"][0]["text"]) == (True, True)
    service.store.progress(job_id, 1, "denoising", 1, 4, None, resumable=True)
    for _ in range(2):
        asked = call(service, "pause_job", job_id=job_id)["structuredContent"]
        assert (asked["state"], "after its present step" in asked["next"]) == ("running", True)
    service.pause(step=2)
    again = call(service, "pause_job", job_id=job_id)["structuredContent"]
    assert (again["state"], again["step"]) == ("paused", 2)
    resumed = call(service, "resume_job", job_id=job_id)["structuredContent"]
    assert (resumed["state"], resumed["position"]) == ("queued", 0)
    assert service.finish() == job_id
    over = call(service, "resume_job", job_id=job_id)
    assert (over["isError"], over["content"][0]["text"].split(":")[0]) == (True, "conflict")
    unknown = call(service, "pause_job", job_id="nothing")
    assert unknown["content"][0]["text"].startswith("job_not_found")


def test_jobs_of_other_keys_are_neither_paused_nor_resumed(service: Service) -> None:
    admin = key(service, "ops")
    mine, other = key(service, "mine", admin=admin), key(service, "other", admin=admin)
    service.driver.store.pause_slots("gpu0")
    job_id = call(service, "generate_image", headers=mine, prompt="x")["structuredContent"]["job_id"]
    for tool in ("pause_job", "resume_job"):
        assert call(service, tool, headers=other, job_id=job_id)["content"][0]["text"].startswith("job_not_found")
    assert call(service, "pause_job", headers=mine, job_id=job_id)["structuredContent"]["state"] == "paused"
