"""Tasks of the Model Context Protocol, and what the keys of agents may do."""

from __future__ import annotations

from typing import Any

from app.protocols.mcp import tasks
from jobs.states import JobState
from tests.support.mcp_calls import STREAMS, TASKS, call, notify, post, result, session_of, stateless, task
from tests.support.pictures import PNG
from tests.support.service import Service, key


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
