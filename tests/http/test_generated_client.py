"""A client that openapi-python-client generates works, and reads every response as a type of its own."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from types import ModuleType
from typing import Any, get_args

import pytest
from PIL import Image

from tests.support.fuzzed_app import FuzzedApp, fuzzed_app, settle

#: Name of the generated package.
PACKAGE = "generated_framemill"
#: Argument of an operation → a value that exists.
NAMES = {"name": "tiny-image"}


@pytest.fixture(scope="module")
def app() -> Iterator[FuzzedApp]:
    with fuzzed_app(with_keys=True) as (app, _):
        yield app
        settle(app)


@pytest.fixture(scope="module")
def document(app: FuzzedApp) -> dict[str, Any]:
    return dict(app.get("/openapi.json").json())


@pytest.fixture(scope="module")
def package(document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Generate the package, without a single warning of the generator, and import it."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "config.yml").write_text("post_hooks: []\n")  # else it formats the code, which nobody reads here
    generate = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json", "--config",
                "config.yml", "--meta", "none", "--output-path", PACKAGE, "--fail-on-warning"]  # fmt: skip
    done = subprocess.run(generate, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module(PACKAGE)
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def client(app: FuzzedApp, package: ModuleType) -> Iterator[Any]:
    with package.AuthenticatedClient(
        base_url=app.url(""), token=app.admin, raise_on_unexpected_status=True, timeout=60
    ) as client:
        yield client


def operation(tag: str, name: str) -> ModuleType:
    return importlib.import_module(f"{PACKAGE}.api.{tag}.{name}")


def model(name: str) -> Any:
    return getattr(importlib.import_module(f"{PACKAGE}.models"), name)


def followed(client: Any, job: Any) -> Any:
    """Request a job until it has finished."""
    deadline = time.monotonic() + 30
    while job.finished_at is None:
        assert time.monotonic() < deadline
        job = operation("framemill_jobs", "get_job").sync(job.id, client=client, wait=5)
    return job


def test_it_submits_follows_and_fetches(client: Any) -> None:
    submit = model("Submit")(model="tiny-image", prompt="a red circle", seed=7, kind=model("SubmitKindType0").TEXT2IMG)
    job = operation("framemill_jobs", "submit_job").sync(client=client, body=submit, idempotency_key="once")
    assert isinstance(job, model("JobAnswer"))
    again = operation("framemill_jobs", "submit_job").sync(client=client, body=submit, idempotency_key="once")
    assert again.id == job.id

    job = followed(client, job)
    assert (job.state, job.request.seed, job.progress.step) == ("succeeded", 7, 2)
    assert job.outputs[0].media_type == "image/png"

    result = operation("framemill_jobs", "get_result").sync(job.id, client=client)
    with Image.open(BytesIO(result.payload.read())) as image:
        assert image.size == (16, 16)
    events = operation("framemill_jobs", "get_job_events").sync(job.id, client=client)
    assert "event: status" in events

    page = operation("framemill_jobs", "get_jobs").sync(client=client, limit=1)
    assert [one.id for one in page.jobs] == [job.id]
    assert operation("framemill_jobs", "delete_job").sync(job.id, client=client).deleted


def test_refusals_name_their_fields(client: Any) -> None:
    body = model("Submit")(model="tiny-image", prompt="x", steps=1000)
    error = operation("framemill_jobs", "submit_job").sync(client=client, body=body)
    assert isinstance(error, model("ErrorAnswer"))
    assert (error.error.code, error.error.fields[0].field) == ("invalid_request", "steps")


def test_a_wrong_key_is_an_error_of_its_type(app: FuzzedApp, package: ModuleType) -> None:
    with package.AuthenticatedClient(base_url=app.url(""), token="wrong") as client:
        error = operation("framemill_jobs", "get_jobs").sync(client=client)
    assert error.error.code == "unauthorized"


def operations() -> Iterator[tuple[str, ModuleType]]:
    """Yield the module of each operation, by the operation's id without underscores."""
    root = importlib.import_module(f"{PACKAGE}.api")
    for found in pkgutil.walk_packages(root.__path__, f"{PACKAGE}.api."):
        if not found.ispkg:
            yield found.name.rpartition(".")[2].replace("_", ""), importlib.import_module(found.name)


def test_every_response_is_read(client: Any, package: ModuleType, document: dict[str, Any]) -> None:
    """Call every operation, with its example, and with a new job if it needs one."""
    described = {
        one["operationId"].replace("_", "").lower(): one
        for item in document["paths"].values()
        for method, one in item.items()
        if method != "parameters"
    }
    called = set()
    for key, module in operations():
        contents = described[key].get("requestBody", {}).get("content", {"": {}}).values()
        for number, content in enumerate(contents):
            arguments = arguments_of(client, module, content.get("example"), number)
            response = module.sync_detailed(client=client, **arguments)
            where = f"{described[key]['operationId']}: {response.status_code} {response.content[:200]!r}"
            assert response.parsed is not None or response.content.strip() == b"null", where
            assert response.status_code < 500, where
        called.add(key)
    assert called == set(described)
    assert len(called) > 80


def finished_job(client: Any) -> str:
    """Submit a job and return its id when it has finished."""
    body = model("Submit")(model="tiny-video", prompt="a red circle")
    job = operation("framemill_jobs", "submit_job").sync(client=client, body=body)
    return str(followed(client, job).id)


def arguments_of(client: Any, module: ModuleType, example: dict[str, Any] | None, number: int) -> dict[str, Any]:
    """Return the arguments of an operation: names that exist where it needs them, and the example as its body.

    Args:
        client: the client.
        module: the operation.
        example: of one media type.
        number: index of this media type.
    """
    arguments: dict[str, Any] = {}
    for name, parameter in inspect.signature(module.sync_detailed).parameters.items():
        if name == "body" and example is not None:
            kinds = get_args(parameter.annotation) or (parameter.annotation,)
            arguments["body"] = [kind for kind in kinds if hasattr(kind, "to_dict")][number].from_dict(example)
        elif parameter.default is inspect.Parameter.empty and name not in ("client", "body"):
            arguments[name] = finished_job(client) if name in ("job_id", "task_id") else NAMES.get(name, "unknown")
    return arguments
