"""The messages of the Model Context Protocol, in both eras: sessions, versions, mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.mcp_calls import TASKS, post, result, stateless, task
from tests.support.pictures import b64
from tests.support.service import Service


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
