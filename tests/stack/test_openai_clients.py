"""Unmodified clients of OpenAI's API on real processes: the SDK for Python in two versions, that for Node, LiteLLM."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support import clients, tiny
from tests.support.harness import Stack, running, wait_for

pytestmark = pytest.mark.timeout(clients.INSTALL_S)

KEY = "sk-of-the-tests-0123456789"
#: Models in sizes that the strict validation of the SDK knows, drawn; those of the tiny pipelines are real.
DRAWN = """
[canvas]
kinds = ["text2img", "img2img", "inpaint"]
executor = "drawing"
aliases = ["gpt-image-*", "dall-e-*"]
defaults = { steps = 4, width = 256, height = 256 }
limits = { steps = [1, 1000], width = [16, 1792], height = [16, 1792], num_images = [1, 2] }

[screen]
kinds = ["text2video", "img2video"]
executor = "drawing"
aliases = ["sora-*"]
defaults = { steps = 4, width = 1280, height = 720, frames = 5, fps = 2 }
limits = { steps = [1, 100000], width = [32, 1792], height = [32, 1792], frames = [1, 33] }

[tiny-changes]
source = "./tiny-video"
kinds = ["img2video", "video2video"]
pipelines = { img2video = "LTXConditionPipeline", video2video = "LTXConditionPipeline" }
fields = { image = "conditions", last_image = "conditions", video = "conditions", strength = "denoise_strength" }
size_multiple_px = 32
frames_step = 8
defaults = { steps = 2, width = 32, height = 32, frames = 9, fps = 8 }

[broken-video]
source = "./broken"
kinds = ["text2video"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Yield a stack with a key, real tiny models and drawn ones."""
    models_file = tiny.copy(tmp_path_factory.mktemp("models"))
    models_file.write_text(models_file.read_text() + DRAWN)
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    options = {"API_KEYS": f"tests:{KEY}:admin", "NOOP_STEP_MS": 20, "CANCEL_GRACE_S": 3}
    with running(folder, models_file, "gpu0", "io", **options) as stack:
        yield stack
    shutil.rmtree(folder, ignore_errors=True)


def jobs(server: Stack) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {KEY}"}
    return list(requests.get(server.url("/v1/jobs?limit=500"), headers=headers, timeout=60).json()["jobs"])


def restart_at(server: Stack, prompt: str, before: int, client: Future[str]) -> None:
    """Kill the web server while the job with this prompt runs, and start it again, unless the client ends before."""

    def runs() -> bool:
        if client.done():
            client.result()  # why it has failed
        found = [job for job in jobs(server) if job["request"].get("prompt") == prompt]
        return len(found) > before and found[0]["state"] == "running"

    wait_for(runs, "the job")
    server.kill("web", signal.SIGKILL)
    server.web()


@pytest.mark.parametrize("environment", ["litellm", "openai"])  # openai 2 and openai 3
def test_the_sdk_for_python(server: Stack, environment: str) -> None:
    interpreter = clients.python(environment)
    before = len([job for job in jobs(server) if job["request"].get("prompt") == "a restart"])
    with ThreadPoolExecutor() as pool:
        program = clients.PINS / "openai_sdk.py"
        run = pool.submit(clients.run, interpreter, program, server.url("/v1"), KEY)
        # Here, because the server ends with the thread that started it.
        restart_at(server, "a restart", before, run)
        passed = run.result().split()
    assert passed[-1] == "a_request_outlives_a_restart_of_the_server"
    made = [job for job in jobs(server) if job["request"].get("prompt") == "a restart"]
    assert len(made) == before + 1, "the work is done once"


def test_the_sdk_for_node(server: Stack) -> None:
    passed = clients.run(clients.node(), clients.NODE / "openai_sdk.mjs", server.url("/v1"), KEY)
    assert passed.split()[-1] == "errorsHaveTheirClasses"


def test_litellm(server: Stack) -> None:
    program = clients.PINS / "litellm_calls.py"
    # Without this it would fetch a list of prices.
    options = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    passed = clients.run(clients.python("litellm"), program, server.url("/v1"), KEY, **options)
    assert passed.split()[-1] == "errors_have_their_classes"
