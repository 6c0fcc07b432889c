"""``docs/api.md`` names every field of requests and responses of the native API, and no other."""

from __future__ import annotations

import re
from typing import Any

from app.protocols.native.admin import KeySchema
from app.protocols.native.wire import schemas
from jobs.settings import PROJECT_ROOT
from tests.support.service import Service

PAGE = (PROJECT_ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def section(title: str, *, level: int = 2) -> str:
    """Return what stands below a heading, up to the next heading of any level."""
    match = re.search(rf"^{'#' * level} {re.escape(title)}\n(.*?)(?=^#+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert match, f"docs/api.md has no section {title!r}"
    return match[1]


def names(table: str) -> list[str]:
    """Return the names in backquotes in the first cells of a table."""
    cells = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)]


def flat(job: dict[str, Any]) -> set[str]:
    """Return the fields of a job; those of its progress as ``progress.step``."""
    progress = job.pop("progress")
    return {*job, *(f"progress.{name}" for name in progress)}


def test_every_field_of_a_request_is_documented() -> None:
    documented = names(section("Submit a job"))
    fields = {field.data_key or name for name, field in schemas.SUBMIT.fields.items()}
    assert len(documented) == len(set(documented))
    assert set(documented) == fields


def test_every_field_of_a_job_is_documented(service: Service) -> None:
    documented = names(section("Read a job"))
    assert len(documented) == len(set(documented))
    assert set(documented) == flat(service.job(service.submit()))


def test_every_field_of_an_output_is_documented(service: Service) -> None:
    job_id = service.submit()
    service.finish()
    [row] = re.findall(r"^\| `outputs` \|(.*)$", section("Read a job"), re.MULTILINE)
    assert {*service.job(job_id)["outputs"][0]} <= set(re.findall(r"`(\w+)`", row))


def test_every_field_of_the_fleet_and_the_queue_is_documented(service: Service) -> None:
    service.submit()
    text = section("Inspect the fleet and the queue")
    fleet = service.json("/v1/fleet")
    fields = {*fleet, *fleet["slots"][0], *service.json("/v1/queue")}
    assert {name for name in fields if not re.search(rf"[`\"]{name}[`\"]", text)} == set()


def test_every_field_of_a_key_is_documented() -> None:
    documented = names(section("Keys"))
    assert set(documented) == {field.data_key or name for name, field in KeySchema().fields.items()}
