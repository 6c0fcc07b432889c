"""The pages of the API name every field of requests and responses of the native API, and no other."""

from __future__ import annotations

import re
from typing import Any

from app.protocols.native.admin import KeySchema
from app.protocols.native.wire import schemas
from jobs.settings import PROJECT_ROOT
from tests.support.service import Service

DOCS = PROJECT_ROOT / "docs"


def section(page: str, title: str) -> str:
    """Return what stands below a heading of a page, up to the next heading of any level."""
    text = (DOCS / page).read_text(encoding="utf-8")
    match = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"docs/{page} has no section {title!r}"
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
    documented = names(section("api/submit.md", "Submit a job"))
    fields = {field.data_key or name for name, field in schemas.SUBMIT.fields.items()}
    assert len(documented) == len(set(documented))
    assert set(documented) == fields


def test_every_field_of_a_job_is_documented(service: Service) -> None:
    documented = names(section("api/jobs.md", "Read a job"))
    assert len(documented) == len(set(documented))
    assert set(documented) == flat(service.job(service.submit()))


def test_every_field_of_an_output_is_documented(service: Service) -> None:
    job_id = service.submit()
    service.finish()
    [row] = re.findall(r"^\| `outputs` \|(.*)$", section("api/jobs.md", "Read a job"), re.MULTILINE)
    assert {*service.job(job_id)["outputs"][0]} <= set(re.findall(r"`(\w+)`", row))


def test_every_field_of_the_fleet_and_the_queue_is_documented(service: Service) -> None:
    service.submit()
    text = section("api/fleet.md", "Inspect the fleet and the queue")
    fleet = service.json("/v1/fleet")
    fields = {*fleet, *fleet["slots"][0], *service.json("/v1/queue")}
    assert {name for name in fields if not re.search(rf"[`\"]{name}[`\"]", text)} == set()


def test_every_field_of_a_key_is_documented() -> None:
    documented = names(section("api.md", "Keys"))
    assert set(documented) == {field.data_key or name for name, field in KeySchema().fields.items()}
