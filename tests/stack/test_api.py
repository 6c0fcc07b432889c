"""The shape of the API: lists, ids, slashes, warnings, service, OpenAPI."""

from __future__ import annotations

import pytest
import requests

from tests.support.harness import Stack


def test_both_slash_forms_are_served_without_a_redirect(stack: Stack) -> None:
    job_id = stack.submit(steps=1)
    stack.wait(job_id)
    paths = ["/v1/jobs", f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/result", "/v1/fleet", "/v1/queue", "/v1/models",
             "/healthz", "/readyz", "/docs"]  # fmt: skip
    for path in paths:
        for form in (path, path + "/"):
            assert stack.get(form, allow_redirects=False).status_code == 200, form
    for form in ("/v1/jobs", "/v1/jobs/"):
        sent = {"model": "tiny-image", "steps": 1}
        assert requests.post(stack.url(form), json=sent, allow_redirects=False, timeout=10).status_code == 201


def test_rounded_and_unknown_fields_are_reported(stack: Stack) -> None:
    accepted = stack.post(model="tiny-video", steps=1, width=50, frames=14, colour="red", num_frames=3).json()
    assert (accepted["request"]["width"], accepted["request"]["frames"]) == (64, 17)
    assert accepted["warnings"] == [
        "width 50 was rounded to 64",
        "frames 14 was rounded to 17",
        "unknown field 'colour' was ignored",
        "unknown field 'num_frames' was ignored",
    ]
    assert stack.wait(accepted["id"])["warnings"] == accepted["warnings"]


def test_the_model_follows_from_the_kind_and_the_kind_from_the_model(stack: Stack) -> None:
    request = stack.post(kind="text2video", steps=1).json()["request"]
    assert (request["model"], request["kind"]) == ("tiny-video", "text2video")
    request = stack.post(model="tiny-video", steps=1).json()["request"]
    assert request["kind"] == "text2video"
    assert stack.post(steps=1).json()["request"]["model"] == "tiny-image"


def test_an_empty_body_asks_for_the_defaults(stack: Stack) -> None:
    response = requests.post(stack.url("/v1/jobs"), timeout=10)
    assert response.status_code == 201
    assert stack.wait(response.json()["id"])["state"] == "succeeded"


def test_a_form_without_a_file(stack: Stack) -> None:
    response = requests.post(stack.url("/v1/jobs"), data={"model": "tiny-image", "steps": "2"}, timeout=10)
    assert response.json()["request"]["steps"] == 2


def test_an_id_of_the_clients_own(stack: Stack) -> None:
    job_id = "my-film_01"
    assert stack.submit(id=job_id, steps=1) == job_id
    again = stack.post(model="tiny-image", id=job_id)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "duplicate_job")
    assert stack.wait(job_id)["state"] == "succeeded"


def test_generated_ids_are_24_hex_characters(stack: Stack) -> None:
    job_id = stack.submit(steps=1)
    assert len(job_id) == 24
    assert set(job_id) <= set("0123456789abcdef")


def test_the_list_is_paged_newest_first(stack: Stack) -> None:
    ids = [stack.submit(steps=1) for _ in range(5)]
    for job_id in ids:
        stack.wait(job_id)
    seen, after = [], ""
    for _ in range(3):
        page = stack.get(f"/v1/jobs?limit=2{after}").json()
        seen += [task["id"] for task in page["jobs"]]
        after = f"&after={page['next']}"
    assert seen[:5] == ids[::-1]
    assert page["total"] >= 5


def test_the_list_of_a_state_ends(stack: Stack) -> None:
    blocker = stack.endless()
    waiting = [stack.submit(steps=1) for _ in range(3)]
    page = stack.get("/v1/jobs?state=queued").json()
    assert [task["id"] for task in page["jobs"]] == waiting[::-1]
    assert (page["total"], page["next"]) == (3, None)
    assert [task["id"] for task in stack.get("/v1/jobs?state=running").json()["jobs"]] == [blocker]
    queue = stack.queue()
    assert (queue["idle"], queue["active"], queue["waiting"]["total"]) == (False, [blocker], 3)
    assert queue["waiting"]["by_model"] == {"tiny-image": 3}
    stack.cancel(blocker)
    for job_id in waiting:
        stack.wait(job_id)


def test_the_service_is_busy_in_the_instant_a_job_was_accepted(stack: Stack) -> None:
    job_id = stack.submit(steps=50)
    assert not stack.queue()["idle"]
    stack.wait(job_id)
    stack.wait_until(job_id, lambda _: stack.queue()["idle"], "idle")


def test_a_full_queue(start) -> None:  # type: ignore[no-untyped-def]
    stack = start(MAX_WAITING=2)
    assert [stack.post(model="tiny-image").status_code for _ in range(3)] == [201, 201, 429]
    refused = stack.post(model="tiny-image")
    assert refused.json()["error"]["code"] == "queue_full"
    assert int(refused.headers["Retry-After"]) > 0
    assert stack.get("/readyz").status_code == 503
    missing = " ".join(stack.get("/readyz").json()["missing"])
    assert all(part in missing for part in ("GPU worker", "delivery worker", "model tiny-image"))


def test_models_tell_what_they_can_do_and_not_where_they_lie(stack: Stack) -> None:
    models = {model["name"]: model for model in stack.get("/v1/models").json()["models"]}
    assert models["tiny-video"]["kinds"] == ["text2video", "img2video"]
    assert models["tiny-video"]["defaults"]["frames"] == 9
    assert models["tiny-image"]["limits"]["width"] == {"min": 16, "max": 128}
    assert "frames" not in models["tiny-image"]["defaults"]
    assert "source" not in models["tiny-image"]


def test_openapi_names_every_route_and_field(stack: Stack) -> None:
    spec = stack.get("/openapi.json").json()
    assert {"/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/result", "/v1/jobs/{job_id}/cancel", "/v1/jobs/cancel",
            "/v1/fleet", "/v1/queue", "/v1/models", "/healthz", "/readyz"} <= set(spec["paths"])  # fmt: skip
    fields = spec["components"]["schemas"]["Submit"]["properties"]
    assert {"model", "kind", "prompt", "seed", "steps", "width", "height", "frames", "fps", "image"} <= set(fields)
    assert all(field.get("description") for field in fields.values())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "framemill.example"])
def test_an_open_address_is_refused_while_there_are_no_keys(stack: Stack, host: str) -> None:
    process = stack.run("open", "gunicorn", "app:create_app()", HOST=host, PORT="1")
    assert process.wait(20) != 0
    assert "loopback" in stack.log("open")
    del stack.processes["open"]
