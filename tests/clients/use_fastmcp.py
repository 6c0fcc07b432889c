"""Uses an MCP server with the client of ``fastmcp`` and its extension for tasks.

Arguments: URL, key, and ``all`` or ``restart``.
"""

import asyncio
import sys

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import ToolError
from fastmcp_tasks import call_tool_task

URL, KEY, WHAT = sys.argv[1:]


def client(key: str = KEY) -> Client:
    return Client(StreamableHttpTransport(URL, headers={"Authorization": f"Bearer {key}"}))


async def use() -> None:
    async with client() as agent:
        assert "generate_video" in [tool.name for tool in await agent.list_tools()]
        arguments = {"prompt": "a red circle", "model": "tiny-image", "steps": 40}
        made = await agent.call_tool("generate_image", arguments)  # a task, which the client looks after
        assert made.structured_content["state"] == "succeeded", made
        assert [block.type for block in made.content] == ["text", "image", "resource_link"]
        edited = await agent.call_tool("edit_image", {"prompt": "blue", "image": made.structured_content["job_id"]})
        assert edited.structured_content["kind"] == "img2img", edited
        try:
            await agent.call_tool("generate_image", {"prompt": "x", "steps": 0})
            raise AssertionError("wrong arguments were accepted")
        except ToolError as exc:
            assert "`steps` must be between 1 and 100000" in str(exc), exc
        endless = {"prompt": "endless", "model": "tiny-image", "steps": 100_000}
        task = await call_tool_task(agent, "generate_image", endless)
        while "step" not in ((await task.status()).status_message or ""):
            await asyncio.sleep(0.05)
        await task.cancel()
        assert (await task.wait(timeout=60)).status == "cancelled"
        known = await agent.call_tool("get_job", {"job_id": task.task_id})
        assert known.structured_content["state"] == "cancelled", known


async def refused() -> None:
    try:
        async with client("wrong") as agent:
            await agent.list_tools()
    except Exception as exc:
        assert not isinstance(exc, AssertionError)
        return
    raise AssertionError("a wrong key was accepted")


async def restarted() -> None:
    """Look after a task while the web server is killed and started again."""
    async with client() as agent:
        arguments = {"prompt": "restart", "model": "tiny-image", "steps": 1000}
        task = await call_tool_task(agent, "generate_image", arguments)
        while "step" not in ((await task.status()).status_message or ""):
            await asyncio.sleep(0.05)
        task_id = task.task_id
    print("running", flush=True)
    while True:  # another client, as after a restart of the agent
        try:
            async with client() as agent:
                done = await agent.call_tool("get_job", {"job_id": task_id})
                assert done.structured_content["state"] == "succeeded", done
                return
        except AssertionError:
            raise
        except Exception:
            await asyncio.sleep(0.1)


async def main() -> None:
    if WHAT == "restart":
        await restarted()
        return
    await refused()
    await use()


asyncio.run(main())
