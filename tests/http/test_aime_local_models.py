"""Endpoints of the AIME protocol that this server's own GPUs compute."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.aime_endpoint import LOCAL_ENDPOINT
from tests.support.aime_peers import Client, opened, picture
from tests.support.api import ENDLESS_STEPS, wait_for
from tests.support.served_app import ServedApp


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., ServedApp]) -> ServedApp:
    endpoints = tmp_path_factory.mktemp("endpoints")
    (endpoints / "aime_api_endpoint.cfg").write_text(LOCAL_ENDPOINT)
    app = serve(ENDPOINTS_DIR=endpoints)
    app.worker("tiny-image", step_s=0.01)
    return app


def test_a_model_of_the_server_answers_like_any_endpoint(own: ServedApp) -> None:
    client = Client(own.url(""), "tiny")
    answer = client.send(prompt="a fox", seed=3)
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert (result["success"], result["seed"], result["num_inference_steps"], result["auth"]) == (True, 3, 2, "gpu0")
    (image,) = result["images"]
    assert (opened(image).format, opened(image).size) == ("JPEG", (16, 16))
    assert client.follow(result["job_id"])["images"] == [image]
    assert own.status(result["job_id"])["state"] == "succeeded"


def test_problems_have_the_names_of_the_endpoint(own: ServedApp) -> None:
    client = Client(own.url(""), "tiny")
    refused = client.send(prompt="a", num_inference_steps=ENDLESS_STEPS + 1, width=3.5e9)
    assert refused.status_code == 400
    assert [problem.partition(":")[0] for problem in refused.json()["error"]] == ["num_inference_steps"]
    refused = client.send(prompt="a", width=5000)
    assert (refused.status_code, refused.json()["error"][0].partition(":")[0]) == (400, "width")
    assert client.send(prompt="a", image=picture(size=(16, 16))).status_code in (200, 400)  # as the model offers


def test_a_running_job_shows_progress_and_previews(own: ServedApp) -> None:
    client = Client(own.url(""), "tiny")
    job_id = client.submit(prompt="a", num_inference_steps=ENDLESS_STEPS)

    def looked() -> object:
        return client.poll(job_id).json()["progress"]["progress_data"].get("progress_images")

    (image,) = wait_for(looked, "a preview")
    assert opened(image).size[0] > 0
    assert client.poll(job_id).json()["progress"]["num_workers_online"] == 1
    assert own.cancel(job_id).status_code == 200
    assert client.poll(job_id).status_code == 400
