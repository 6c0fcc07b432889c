"""Signed links: what leads to a job's files, previews and events without a key, and everything that must not."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from werkzeug.test import TestResponse

from app import create_app
from app.keys import main as keys_command
from jobs.callers import Caller, Role
from jobs.errors import BadSetting
from jobs.record import Output
from jobs.settings import Settings
from jobs.store.credentials import link_secret
from jobs.store.credentials.api_keys import KeyRing
from tests.support.pictures import PNG
from tests.support.service import Service, first_key, key
from workers.parent.webhook_sender import view_of

OLD, NEW, OTHER = "o" * 32, "n" * 32, "x" * 32


class Here:
    """A server with keys, and finished jobs of the key ``shop``."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.admin = first_key(service)
        self.shop = key(service, "shop", admin=self.admin)
        service.open()

    def job(self, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Return a finished job as its owner is shown it."""
        job_id = self.service.submit(headers or self.shop)
        self.service.finish()
        return self.view(job_id, headers)

    def view(self, job_id: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
        return dict(self.service.json(f"/v1/jobs/{job_id}", headers=headers or self.shop))

    def follow(self, link: str, method: str = "GET", **options: Any) -> TestResponse:
        return self.service.client.open(link, method=method, **options)


@pytest.fixture
def here(services: Callable[..., Service]) -> Here:
    return Here(services())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """``clock(seconds)``: let this time pass."""
    real, passed_s = time.time, 0.0

    def advance(seconds: float) -> None:
        nonlocal passed_s
        passed_s += seconds

    monkeypatch.setattr(time, "time", lambda: real() + passed_s)
    return advance


def changed(link: str, **query: str | None) -> str:
    """Return a link with another query; None removes a part."""
    path, _, text = link.partition("?")
    parts = {name: values[0] for name, values in parse_qs(text).items()} | query
    return f"{path}?{urlencode({name: value for name, value in parts.items() if value is not None})}"


def code(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.get_json()["error"]["code"]


REFUSED = (403, "forbidden")


# ---- what links are for


def test_links_lead_to_files_and_events_without_a_key(here: Here) -> None:
    job = here.job()
    for link in (job["outputs"][0]["url"], job["links"]["result"]):
        assert here.follow(link).data == PNG
        assert here.follow(link, "HEAD").content_length == len(PNG)
        part = here.follow(link, headers={"Range": "bytes=1-3"})
        assert (part.status_code, part.data) == (206, b"PNG")
    for link in (job["links"]["events"], job["links"]["events"] + "&preview=1"):
        assert "event: status" in here.follow(link).text
    assert code(here.follow(job["links"]["preview"])) == (404, "no_preview")
    assert {name for name, link in job["links"].items() if "signature=" in link} == {"result", "events", "preview"}


def test_previews_thumbnails_and_posters_have_links(here: Here) -> None:
    service = here.service
    job_id = service.submit(here.shop, preview=True)
    stream = service.events(here.view(job_id)["links"]["events"])
    service.start(step=2)
    assert service.store.preview(job_id, 1, 2, PNG, "image/png")
    event = next(data for _, name, data in stream if name == "preview")
    for link in (here.view(job_id)["preview"]["url"], event["preview"]["url"]):
        assert here.follow(link).data == PNG
        assert here.follow(changed(link, step="3")).data == PNG  # only makes browsers load it again
    files = f"outputs/{job_id}/1.1/0"
    small = Output(f"{files}-t.png", "image/png", len(PNG), "a", 4, 3)
    for name in (f"{files}.png", small.key):
        service.objects.put_bytes(name, PNG, "image/png")
    assert service.store.finish_run(job_id, 1, slot="gpu0", node="host", run_s=1)
    assert service.store.claim(job_id, 1, "io") == 1
    output = Output(f"{files}.png", "image/png", len(PNG), "b", 40, 30, thumbnail=small, poster=small)
    assert service.store.deliver(job_id, 1, "io", [output])
    end = next(data for _, name, data in stream if name == "end")
    for shown in (here.view(job_id)["outputs"][0], end["outputs"][0]):
        for name in ("url", "thumbnail_url", "poster_url"):
            assert here.follow(shown[name]).data == PNG


def test_a_link_shown_again_is_the_same_so_that_browsers_cache_it(here: Here, clock: Callable[[float], None]) -> None:
    job = here.job()
    clock(-(time.time() % 900))  # the beginning of a step
    first = here.view(job["id"])["links"]["result"]
    clock(800)
    assert here.view(job["id"])["links"]["result"] == first
    clock(200)
    assert here.view(job["id"])["links"]["result"] != first


def test_pages_of_all_origins_may_read_what_a_link_leads_to(here: Here) -> None:
    job, page = here.job(), {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    for name in ("result", "events"):
        response = here.follow(job["links"][name], headers=page)
        assert response.data
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert "Access-Control-Allow-Credentials" not in response.headers
        wrong = here.follow(changed(job["links"][name], signature="x"), headers=page)
        assert "Access-Control-Allow-Origin" not in wrong.headers
    plain = here.follow(f"/v1/jobs/{job['id']}/result", headers={**page, **here.shop})
    assert "Access-Control-Allow-Origin" not in plain.headers


def test_links_of_webhooks_are_signed_for_the_owner_of_the_job(services: Callable[..., Service]) -> None:
    here = Here(services(PUBLIC_URL="https://mill.example/gpu/"))
    job = here.job()
    view = view_of(here.service.store.get(job["id"]), here.service.store, here.service.objects)
    for link in (view["outputs"][0]["url"], view["links"]["events"]):
        assert link.startswith("https://mill.example/gpu/v1/jobs/")
        assert here.follow(link.removeprefix("https://mill.example/gpu")).status_code == 200
    here.service.delete("/v1/admin/keys/shop", headers=here.admin)
    assert code(here.follow(view["links"]["result"].removeprefix("https://mill.example/gpu"))) == REFUSED


def test_a_server_without_keys_shows_plain_links(services: Callable[..., Service]) -> None:
    service = services()
    service.open()
    job_id = service.submit()
    service.finish()
    assert service.job(job_id)["outputs"][0]["url"] == f"/v1/jobs/{job_id}/result?index=0"
    assert "?" not in "".join(service.job(job_id)["links"].values())


# ---- what does not work


@pytest.mark.parametrize(
    "query",
    [{"signature": "x"}, {"signature": ""}, {"signature": "é"}, {"signature": "A" * 43}, {"signature": "A" * 10_000},
     {"expires": "99999999999"}, {"expires": "0"}, {"expires": "x"}, {"expires": ""}, {"expires": None},
     {"expires": "1e10"}, {"signer": "ops"}, {"signer": "nobody"}, {"signer": ""}, {"signer": None}, {"signer": "-"},
     {"index": "1"}, {"index": "00"}, {"index": ""}, {"index": None}, {"index": "0\n"}],
)  # fmt: skip
def test_a_changed_link_is_refused(here: Here, query: dict[str, str | None]) -> None:
    link = here.job()["outputs"][0]["url"]
    assert code(here.follow(changed(link, **query))) == REFUSED


def test_a_link_without_its_signature_is_a_request_without_a_key(here: Here) -> None:
    assert code(here.follow(changed(here.job()["links"]["result"], signature=None))) == (401, "unauthorized")


def test_a_link_expires(here: Here, clock: Callable[[float], None]) -> None:
    job = here.job()
    links = [job["outputs"][0]["url"], job["links"]["result"], job["links"]["events"], job["links"]["preview"]]
    clock(3601)
    for link in links:
        assert code(here.follow(link)) == (403, "link_expired")
        assert code(here.follow(changed(link, expires=str(int(time.time()) + 100)))) == REFUSED
    assert here.follow(here.view(job["id"])["links"]["result"]).data == PNG


def test_the_signature_of_one_link_fits_no_other(here: Here) -> None:
    first, second = here.job(), here.job()
    names = ("result", "events", "preview")
    links = {name: first["links"][name] for name in names}
    for name, link in links.items():
        query = link.partition("?")[2]
        for path in (f"/v1/jobs/{second['id']}/{name}", f"/v1/jobs/{first['id']}/thumbnail",
                     *(f"/v1/jobs/{first['id']}/{other}" for other in names if other != name)):  # fmt: skip
            assert code(here.follow(f"{path}?{query}")) == REFUSED
        assert code(here.follow(f"{link.partition('?')[0]}/?{query}")) == REFUSED


def test_a_signature_opens_nothing_else(here: Here) -> None:
    """Neither other methods of the same path, nor any route that links do not lead to."""
    job = here.job()
    query = job["links"]["result"].partition("?")[2]
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert here.follow(job["links"]["result"], method).status_code in (401, 405)
    for rule in here.service.app.url_map.iter_rules():
        path = re.sub(r"<(?:path:)?\w+>", job["id"], rule.rule)
        with_key = here.follow(path, headers=here.shop)
        without = here.follow(path)
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
            if without.status_code in (401, 403) and with_key.status_code != 405 and path not in job["links"]["result"]:
                assert here.follow(f"{path}?{query}", method).status_code in (401, 403, 405), (method, path)
    assert here.view(job["id"])["state"] == "succeeded"


def test_a_key_in_the_header_decides(here: Here) -> None:
    link = here.job()["links"]["result"]
    other = key(here.service, "other", admin=here.admin)
    assert code(here.follow(link, headers=other)) == (404, "job_not_found")
    assert code(here.follow(link, headers={"Authorization": "Bearer " + "x" * 43})) == (401, "unauthorized")


def test_a_link_ends_with_its_key(here: Here) -> None:
    job = here.job()
    by_admin = here.view(job["id"], here.admin)["links"]["result"]
    assert here.follow(by_admin).data == PNG
    here.service.delete("/v1/admin/keys/shop", headers=here.admin)
    assert code(here.follow(job["links"]["result"])) == REFUSED
    assert here.follow(by_admin).data == PNG


def test_a_link_permits_what_its_key_permits(here: Here) -> None:
    ring = KeyRing(here.service.store)
    secret = ring.create(Caller(key_id="narrow", endpoints=("/v1/jobs",)))
    link = here.job({"Authorization": f"Bearer {secret}"})["links"]["result"]
    assert here.follow(link).data == PNG
    ring.revoke("narrow")
    for changes in ({"endpoints": ("/sdapi",)}, {"role": Role.WORKER}):
        ring.create(Caller(key_id="narrow", **changes))  # type: ignore[arg-type]
        assert code(here.follow(link)) == REFUSED
        ring.revoke("narrow")


def test_links_within_the_response_to_a_link_do_not_outlive_it(here: Here, clock: Callable[[float], None]) -> None:
    """Nobody prolongs an access by following one link after the other."""
    job = here.job()
    clock(2000)
    events = here.follow(job["links"]["events"]).text
    shown = re.findall(r'"(/v1/jobs/[^"]+signer=[^"]+)"', events)
    expires = {parse_qs(urlsplit(link).query)["expires"][0] for link in shown}
    assert expires == {parse_qs(urlsplit(job["links"]["events"]).query)["expires"][0]}


def test_a_stream_ends_with_its_link(here: Here, clock: Callable[[float], None]) -> None:
    job_id = here.service.submit(here.shop)
    here.service.start()
    stream = here.service.events(here.view(job_id)["links"]["events"])
    assert next(stream)[1] == "status"
    here.service.step(1)
    assert next(stream)[1] in ("state", "progress")
    clock(3601)
    here.service.step(2)
    assert [name for _, name, _ in stream if name == "end"] == []


def test_a_stream_ends_with_the_key_of_its_link(here: Here) -> None:
    job_id = here.service.submit(here.shop)
    here.service.start()
    stream = here.service.events(here.view(job_id)["links"]["events"])
    assert next(stream)[1] == "status"
    here.service.delete("/v1/admin/keys/shop", headers=here.admin)
    here.service.finish()
    assert [name for _, name, _ in stream if name == "end"] == []


# ---- the secret


def test_all_processes_of_an_installation_have_one_secret(here: Here) -> None:
    link = here.job()["links"]["result"]
    link_secret.changed()  # as in another process
    assert create_app(here.service.settings).test_client().get(link).data == PNG


def test_another_installation_has_another_secret(here: Here) -> None:
    link = here.job()["links"]["result"]
    here.service.redis.delete("framemill:link_secret")
    link_secret.changed()
    assert code(here.follow(link)) == REFUSED


def test_an_operator_makes_all_links_invalid(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    link = here.job()["links"]["result"]
    monkeypatch.setattr(Settings, "from_env", lambda: here.service.settings)
    assert keys_command(["renew-links"]) == 0
    assert code(here.follow(link)) == REFUSED
    monkeypatch.setattr(Settings, "from_env", lambda: here.service.settings.replace(link_secret=NEW))
    assert keys_command(["renew-links"]) == 1  # the secret of the settings is changed there


@pytest.mark.parametrize(("after", "works"), [(f"{NEW},{OLD}", True), (NEW, False), (f"{NEW}, {OTHER}", False)])
def test_secrets_of_the_settings_are_replaced_one_by_one(
    services: Callable[..., Service], after: str, works: bool
) -> None:  # fmt: skip
    here = Here(services(LINK_SECRET=OLD))
    link = here.job()["links"]["result"]
    later = create_app(here.service.settings.replace(link_secret=after))
    assert (later.test_client().get(link).status_code == 200) == works


def test_a_short_secret_is_refused_at_start() -> None:
    with pytest.raises(BadSetting, match="LINK_SECRET must be secrets of 32 or more characters"):
        Settings.of(link_secret=f"{NEW},short")
    assert NEW not in repr(Settings.of(link_secret=NEW))
