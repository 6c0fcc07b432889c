"""``GET /v1/usage``, the client and the command ``framemill usage``."""

from __future__ import annotations

import asyncio
import csv
import datetime
import io
import json
from collections.abc import Callable, Iterator

import pytest

from framemill import AsyncClient, Client
from framemill.cli import main
from framemill.responses import Usage
from tests.support.live_server import served
from tests.support.service import Service, key

SINCE = "2026-01-01"


def today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


@pytest.fixture
def ops(service: Service) -> dict[str, str]:
    """Keys of an admin and of two clients, each of which has made a picture."""
    ops = key(service, "ops", role="admin")
    for name in ("shop", "web"):
        service.submit(headers=key(service, name, admin=ops))
        service.finish()
    return ops


def test_an_admin_sees_all_keys_and_a_client_its_own(service: Service, ops: dict[str, str]) -> None:
    shop = key(service, "shop2", admin=ops)
    service.submit(headers=shop)
    service.finish()
    everything = service.json("/v1/usage?by=key", headers=ops)
    assert [row["key"] for row in everything["rows"]] == ["shop", "shop2", "web"]
    assert (everything["total"]["succeeded"], everything["until"]) == (3, today())
    (own,) = service.json("/v1/usage", headers=shop)["rows"]
    assert (own["key"], own["model"], own["succeeded"], own["images"]) == ("shop2", "tiny-image", 1, 1)
    assert own["gpu_s"] > 0
    assert own["output_bytes"] > 0
    (only,) = service.json("/v1/usage?key=web", headers=ops)["rows"]
    assert only["key"] == "web"
    refused = service.client.get("/v1/usage?key=web", headers=shop)
    assert refused.status_code == 403


def test_rows_are_grouped_as_asked_for(service: Service, ops: dict[str, str]) -> None:
    (row,) = service.json("/v1/usage?by=model", headers=ops)["rows"]
    assert row["model"] == "tiny-image"
    assert row["succeeded"] == 2
    assert not {"day", "key"} & set(row)
    (row,) = service.json("/v1/usage?by=day", headers=ops)["rows"]
    assert row["day"] == today()
    assert service.json("/v1/usage?since=2020-01-01&until=2020-02-01", headers=ops)["rows"] == []


def test_the_rows_as_csv(service: Service, ops: dict[str, str]) -> None:
    answer = service.client.get("/v1/usage?by=key,model&format=csv", headers=ops)
    assert answer.content_type == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["key"], row["model"], row["succeeded"]) for row in rows] == [
        ("shop", "tiny-image", "1"), ("web", "tiny-image", "1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "field"),
    [("since=yesterday", "since"), ("until=2026-13-01", "until"), ("by=hour", "by"), ("by=day,day", "by"),
     ("format=xml", "format"), (f"since={SINCE}&until=2025-12-31", "since"), ("since=0001-01-01", "since")],
)  # fmt: skip
def test_a_wrong_parameter_is_named(services: Callable[..., Service], query: str, field: str) -> None:
    answer = services().client.get(f"/v1/usage?{query}")
    assert (answer.status_code, answer.get_json()["error"]["fields"][0]["field"]) == (422, field)


def test_the_first_days_of_the_calendar_are_no_error(service: Service) -> None:
    assert service.json("/v1/usage?until=0001-01-02")["rows"] == []


@pytest.fixture
def url(service: Service) -> Iterator[str]:
    """The address of a server with one finished job, without keys."""
    service.submit()
    service.finish()
    with served(service.app) as url:
        yield url


def test_the_command_prints_a_table(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", url, "usage"]) == 0
    out, err = capfd.readouterr()
    head, row = out.splitlines()
    assert head.split()[:4] == ["key", "model", "GPU", "time"]
    assert row.split()[:2] == ["-", "tiny-image"]
    assert f"to {today()} (UTC)" in err


def test_the_command_prints_csv_and_json(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", url, "usage", "--csv", "--by", "day"]) == 0
    (row,) = csv.DictReader(io.StringIO(capfd.readouterr().out))
    assert (row["day"], row["images"]) == (today(), "1")
    assert main(["--url", url, "usage", "--json", "--since", today()]) == 0
    assert json.loads(capfd.readouterr().out)["total"]["images"] == 1
    assert main(["--url", url, "usage", "--since", "2020-01-01", "--until", "2020-01-31"]) == 0
    assert "nothing was used" in capfd.readouterr().err


def test_no_cell_is_a_formula(
    service: Service, ops: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    service.submit(headers=key(service, "-1-1", admin=ops))
    service.finish()
    secret = ops["Authorization"].removeprefix("Bearer ")
    monkeypatch.setenv("FRAMEMILL_API_KEY", secret)
    with served(service.app) as url:
        assert main(["--url", url, "usage", "--csv", "--by", "key"]) == 0
        with Client(url, secret) as client:
            printed = client.usage_csv(by=["key"]).splitlines()
    assert printed == capfd.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in printed] == ["key", "'-1-1", "shop", "web"]


def test_the_command_refuses_other_groups(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", url, "usage", "--by", "hour"]) == 2
    assert "must be one of day, key, model" in capfd.readouterr().err


def test_the_clients_return_the_same(url: str) -> None:
    async def asked() -> Usage:
        async with AsyncClient(url) as client:
            assert await client.usage_csv(by=["model"]) == Client(url).usage_csv(by=["model"])
            return await client.usage(by=["model"])

    with Client(url) as client:
        used = client.usage(datetime.date(2026, 1, 1), by=["model"])
    assert used["since"] == "2026-01-01"
    assert [row["model"] for row in used["rows"]] == ["tiny-image"]
    assert asyncio.run(asked())["rows"] == used["rows"]
