"""Uses an MCP server with the client of the package ``mcp``. Arguments: URL, key, and ``all`` or ``restart``."""

import asyncio
import base64
import itertools
import sys

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

URL, KEY, WHAT = sys.argv[1:]


def client(http: httpx2.AsyncClient, era: str) -> Client:
    return Client(streamable_http_client(URL, http_client=http), mode=era)


def connection(key: str = KEY) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60)


async def cancelled(agent: Client, arguments: dict, how: str) -> str:
    """Begin a job that takes long, and stop it while it runs; return its id."""
    running = asyncio.Event()
    job_id = ""

    async def told(progress: float, total: float | None, message: str | None) -> None:
        nonlocal job_id
        job_id = (message or "").split()[1].rstrip(":")
        if progress >= 1:
            running.set()

    call = asyncio.create_task(agent.call_tool("generate_image", arguments, progress_callback=told))
    await running.wait()
    if how == "tool":
        stopped = await agent.call_tool("cancel_job", {"job_id": job_id})
        assert stopped.structured_content["state"] == "cancelled", stopped
        done = await call
        assert done.is_error
        assert done.structured_content["error"]["code"] == "cancelled", done
    else:
        call.cancel()
        await asyncio.wait([call])
    return job_id


async def use(era: str, version: str) -> None:
    async with connection() as http, client(http, era) as agent:
        assert agent.protocol_version == version, agent.protocol_version
        tools = {tool.name: tool for tool in (await agent.list_tools()).tools}
        assert tools["generate_image"].input_schema["properties"]["model"]["enum"][0] == "tiny-image"
        told = []

        async def tell(progress: float, total: float | None, message: str | None) -> None:
            told.append((progress, total, message))

        arguments = {"prompt": "a red circle", "model": "tiny-image", "steps": 40, "seed": 7}
        made = await agent.call_tool("generate_image", arguments, progress_callback=tell)
        assert not made.is_error, made
        assert [block.type for block in made.content] == ["text", "image", "resource_link"]
        assert base64.b64decode(made.content[1].data).startswith(b"\x89PNG")
        assert told
        assert all(before[0] < after[0] for before, after in itertools.pairwise(told)), told
        link = await http.get(made.content[2].uri, headers={"Authorization": ""})
        assert link.status_code in (200, 401), link
        async with httpx2.AsyncClient() as anybody:  # the link is signed
            assert (await anybody.get(made.content[2].uri)).content.startswith(b"\x89PNG")
        job_id = made.structured_content["job_id"]
        edited = await agent.call_tool("edit_image", {"prompt": "blue", "image": job_id})
        assert edited.structured_content["kind"] == "img2img", edited
        assert edited.structured_content["state"] == "succeeded", edited
        video = await agent.call_tool("generate_video", {"prompt": "a red circle", "wait_s": 0})
        assert "get_job" in video.structured_content["next"], video
        video = await agent.call_tool("get_job", {"job_id": video.structured_content["job_id"]})
        assert video.structured_content["outputs"][0]["media_type"] == "video/mp4", video
        assert "image" in [block.type for block in video.content], video
        wrong = await agent.call_tool("generate_image", {"prompt": "x", "width": 9999, "stepz": 4})
        assert wrong.is_error
        assert "`width` must be between" in wrong.content[0].text
        assert "did you mean steps?" in wrong.content[0].text
        try:
            await agent.call_tool("draw", {})
            raise AssertionError("an unknown tool was called")
        except MCPError as exc:
            assert exc.error.code == -32602, exc
        await paused(agent, era)
        for how in ("tool", "request"):
            endless = {"prompt": f"{era} {how}", "model": "tiny-image", "steps": 100_000}
            job_id = await cancelled(agent, endless, how)
            ended = await agent.call_tool("get_job", {"job_id": job_id, "wait_s": 45})
            assert ended.structured_content["state"] == "cancelled", (how, ended)


async def paused(agent: Client, era: str) -> None:
    """Pause a job while it runs, and resume it."""
    made = await agent.call_tool("generate_image", {"prompt": era, "model": "tiny-image", "steps": 400, "wait_s": 0})
    job = {"job_id": made.structured_content["job_id"]}
    state = made.structured_content
    while state["step"] < 1:
        state = (await agent.call_tool("get_job", {**job, "wait_s": 0})).structured_content
    asked = await agent.call_tool("pause_job", job)
    assert not asked.is_error, asked
    while state["state"] != "paused":
        state = (await agent.call_tool("get_job", {**job, "wait_s": 0})).structured_content
    assert "resume_job" in state["next"], state
    resumed = await agent.call_tool("resume_job", job)
    assert resumed.structured_content["state"] in ("queued", "running"), resumed
    done = await agent.call_tool("get_job", job)
    assert (done.structured_content["state"], len(done.structured_content["outputs"])) == ("succeeded", 1), done


async def refused() -> None:
    for era in ("auto", "legacy"):
        try:
            async with connection("wrong") as http, client(http, era) as agent:
                await agent.list_tools()
        except BaseException as exc:  # a group of errors, or one
            assert not isinstance(exc, AssertionError)
            continue
        raise AssertionError("a wrong key was accepted")


async def restarted() -> None:
    """Wait for a job while the web server is killed and started again."""
    async with connection() as http, client(http, "legacy") as agent:

        async def tell(progress: float, total: float | None, message: str | None) -> None:
            if progress >= 1:
                print("running", flush=True)

        arguments = {"prompt": "restart", "model": "tiny-image", "steps": 1000}
        made = await agent.call_tool("generate_image", arguments, progress_callback=tell)
        assert made.structured_content["state"] == "succeeded", made


async def main() -> None:
    if WHAT == "restart":
        await restarted()
        return
    await refused()
    await use("auto", "2026-07-28")
    await use("legacy", "2025-11-25")


asyncio.run(main())
