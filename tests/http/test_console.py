"""The console's page and files, and its session: who may log in, which requests the cookie counts for, and its end."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.access import auth, sessions
from app.console.pages import FOLDER
from jobs.callers import Caller
from jobs.store.credentials import link_secret
from jobs.store.credentials.api_keys import KeyRing
from tests.support.service import Service, first_key, key

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
OWN = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
#: What a page of this host on another port sends; browsers count it as the same site, so cookies come along.
NEIGHBOUR = {"Origin": "http://localhost:9000", "Sec-Fetch-Site": "same-site"}


def without_jar(service: Service) -> Service:
    """Return a service whose client sends the cookies of its headers, and no others."""
    service.client = service.app.test_client(use_cookies=False)
    service.open()
    return service


@pytest.fixture
def keyed(services: Callable[..., Service]) -> Iterator[tuple[Service, dict[str, str], str]]:
    """Yield a service with keys, the header of its admin, and the secret of a client's key."""
    service = without_jar(services())
    admin = first_key(service, "ops")
    secret = key(service, "shop", admin=admin)["Authorization"].removeprefix("Bearer ")
    yield service, admin, secret
    auth.keys_changed()


def log_in(service: Service, secret: str, headers: dict[str, str] = OWN, **options: Any) -> TestResponse:
    return service.post("/v1/session", json={"key": secret}, headers=headers, **options)


def cookie_of(response: TestResponse) -> dict[str, str]:
    """Return the header that sends the cookie of a response back."""
    return {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}


def test_a_browser_gets_the_console_and_programs_get_json(service: Service) -> None:
    page = service.get("/", headers=BROWSER)
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert service.get("/", headers=BROWSER | {"If-None-Match": page.headers["ETag"]}).status_code == 304
    assert service.json("/")["name"] == "Framemill"
    assert page.headers["Vary"] == "Accept, service"


def test_the_page_loads_own_files_only_and_all_are_there(service: Service) -> None:
    page = service.get("/", headers=BROWSER)
    assert not re.search(r"<script(?! (type=\"module\" )?src=)|<style|\son\w+=|\sstyle=|//", page.text)
    links = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    for link in links:
        assert service.get(link).status_code == 200, link
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    modules = {link.partition("/static/")[2].partition("/")[2] for link in links if link.endswith(".js")}
    assert modules == {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.js")}


def test_modules_import_each_other_by_relative_paths(service: Service) -> None:
    for path in FOLDER.rglob("*.js"):
        for name in re.findall(r'(?:from|import) ?"([^"]+)"', path.read_text(encoding="utf-8")):
            assert name.startswith("."), f"{path.name} imports {name}"
            assert (path.parent / name).is_file(), f"{path.name} imports {name}"


def test_files_have_their_types_and_are_kept_by_version(service: Service) -> None:
    page = service.get("/", headers=BROWSER).text
    found = re.search(r"/console/static/(\w+)/style.css", page)
    assert found
    types = {"style.css": "text/css", "main.js": "text/javascript", "icon.svg": "image/svg+xml",
             "vendor/preact.js": "text/javascript", "vendor/htm.LICENSE.txt": "text/plain"}  # fmt: skip
    for name, media_type in types.items():
        file = service.get(f"/console/static/{found[1]}/{name}")
        assert file.mimetype == media_type
        assert "immutable" in file.headers["Cache-Control"]
        etag = {"If-None-Match": file.headers["ETag"]}
        assert service.get(f"/console/static/{found[1]}/{name}", headers=etag).status_code == 304
    assert "immutable" not in service.get("/console/static/older/style.css").headers["Cache-Control"]


def test_files_are_compressed_for_those_who_read_it(service: Service) -> None:
    path = "/console/static/older/vendor/preact.js"
    content = (FOLDER / "vendor/preact.js").read_bytes()
    for accepted in ("", "identity", "br", "gzip;q=0"):
        plain = service.get(path, headers={"Accept-Encoding": accepted})
        assert (plain.data, plain.headers.get("Content-Encoding")) == (content, None)
        assert plain.headers["Vary"] == "Accept-Encoding"
    packed = service.get(path, headers={"Accept-Encoding": "gzip, deflate, br"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == content
    assert len(packed.data) < len(content) / 2
    assert packed.headers["ETag"] != plain.headers["ETag"]


@pytest.mark.parametrize("name", ["nothing.js", "../pages.py", "..%2fpages.py", "%2fetc%2fpasswd", "vendor", ""])
def test_no_other_file_is_sent(service: Service, name: str) -> None:
    assert service.get(f"/console/static/1/{name}").status_code == 404


def test_the_console_is_small() -> None:
    sizes = {path: path.stat().st_size for path in FOLDER.rglob("*") if path.suffix in (".js", ".css", ".svg")}
    assert sum(sizes.values()) < 200 * 1024
    lines = {
        path: path.read_text().count("\n") for path in sizes if path.suffix == ".js" and path.parent.name != "vendor"
    }
    assert [path for path, count in lines.items() if count > 250] == []


def test_without_keys_nobody_logs_in(service: Service) -> None:
    shown = service.json("/v1/session")
    assert (shown["has_keys"], shown["caller"]["role"]) == (False, "admin")
    assert "Set-Cookie" not in log_in(service, "anything").headers


def test_a_session_stands_for_its_key(keyed: tuple[Service, dict[str, str], str]) -> None:
    service, admin, secret = keyed
    assert service.json("/v1/session") | {"version": ""} == {"has_keys": True, "caller": None, "version": ""}
    response = log_in(service, f" {secret}\n")
    assert response.get_json()["caller"]["service"] == "shop"
    attributes = response.headers["Set-Cookie"]
    assert all(part in attributes for part in ("HttpOnly", "SameSite=Strict", "Path=/"))
    assert "Secure" not in attributes
    assert secret not in attributes
    cookie = cookie_of(response)
    mine, other = service.submit(headers={"Authorization": f"Bearer {secret}"}), service.submit(headers=admin)
    assert [job["id"] for job in service.json("/v1/jobs", headers=cookie)["jobs"]] == [mine]
    assert service.get(f"/v1/jobs/{other}", headers=cookie).status_code == 404
    assert (
        service.post("/v1/jobs", json={"model": "tiny-image", "prompt": "x"}, headers=cookie | OWN).status_code == 201
    )
    assert service.get("/v1/admin/keys", headers=cookie).status_code == 403


def test_the_cookie_is_only_sent_over_tls_if_the_browser_speaks_it(keyed: tuple[Service, dict[str, str], str]) -> None:
    service, _, secret = keyed
    response = log_in(service, secret, {"Origin": "https://localhost", "Sec-Fetch-Site": "same-origin"})
    assert "Secure" in response.headers["Set-Cookie"]


def test_wrong_keys_and_keys_without_the_console_are_refused(keyed: tuple[Service, dict[str, str], str]) -> None:
    service, admin, _ = keyed
    for wrong in ("fm_wrong", "", "-", "é" * 20):
        assert log_in(service, wrong).status_code == 401
    worker = key(service, "worker", admin=admin, role="worker")["Authorization"].removeprefix("Bearer ")
    narrow = key(service, "narrow", admin=admin, endpoints=["/v1/tasks"])["Authorization"].removeprefix("Bearer ")
    assert [log_in(service, secret).status_code for secret in (worker, narrow)] == [403, 403]
    assert service.post("/v1/session", json={}, headers=OWN).status_code == 422
    assert service.post("/v1/session", json={"key": "x", "kye": 1}, headers=OWN).status_code == 422


def test_the_cookie_counts_for_requests_of_own_pages_only(keyed: tuple[Service, dict[str, str], str]) -> None:
    service, _, secret = keyed
    cookie = cookie_of(log_in(service, secret))
    body = {"model": "tiny-image", "prompt": "x"}
    foreign: list[dict[str, str]] = [
        NEIGHBOUR, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}, {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:9000"}, {},
    ]  # fmt: skip
    for headers in foreign:
        assert service.post("/v1/jobs", json=body, headers=cookie | headers).status_code == 401, headers
    for headers in foreign[:-1]:
        assert service.get("/v1/jobs", headers=cookie | headers).status_code == 401, headers
    assert service.post("/v1/jobs", json=body, headers=cookie | {"Origin": "http://localhost"}).status_code == 201
    assert service.get("/v1/jobs", headers=cookie).status_code == 200
    # A GET that stops a task: no page may do that with the cookie, by a picture for example.
    stop = service.get("/v1/local/video/generate/stop_running_task", headers=cookie | OWN)
    assert stop.status_code == 401


def test_allowed_origins_get_nothing_by_the_cookie(services: Callable[..., Service]) -> None:
    service = without_jar(services(CORS_ORIGINS="*"))
    admin = first_key(service, "ops")
    cookie = cookie_of(log_in(service, admin["Authorization"].removeprefix("Bearer ")))
    for headers in (NEIGHBOUR, {"Origin": "http://friend.example", "Sec-Fetch-Site": "cross-site"}):
        assert service.get("/v1/jobs", headers=cookie | headers).status_code == 401
    auth.keys_changed()


def test_pages_of_other_origins_do_not_log_in_or_out(keyed: tuple[Service, dict[str, str], str]) -> None:
    service, _, secret = keyed
    cookie = cookie_of(log_in(service, secret))
    assert log_in(service, secret, NEIGHBOUR).status_code == 403
    assert service.delete("/v1/session", headers=cookie | NEIGHBOUR).status_code == 403


def test_logging_out_deletes_the_cookie(keyed: tuple[Service, dict[str, str], str]) -> None:
    service, _, secret = keyed
    cookie = cookie_of(log_in(service, secret))
    response = service.delete("/v1/session", headers=cookie | OWN)
    assert response.get_json()["caller"] is None
    assert "Max-Age=0" in response.headers["Set-Cookie"]


def test_a_session_ends_with_its_key(keyed: tuple[Service, dict[str, str], str]) -> None:
    service, admin, secret = keyed
    cookie = cookie_of(log_in(service, secret))
    assert service.delete("/v1/admin/keys/shop", headers=admin).status_code == 200
    refused = service.get("/v1/jobs", headers=cookie)
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (401, "unauthorized")
    assert service.json("/v1/session", headers=cookie)["caller"] is None
    KeyRing(service.store).create(Caller(key_id="shop"))  # another key of the same name
    assert service.get("/v1/jobs", headers=cookie).status_code == 401


def test_a_stream_ends_with_the_key_of_its_session(keyed: tuple[Service, dict[str, str], str]) -> None:
    service, admin, secret = keyed
    cookie = cookie_of(log_in(service, secret))
    stream = service.events("/v1/events", headers=cookie)
    job_id = service.submit(headers={"Authorization": f"Bearer {secret}"})
    assert service.delete("/v1/admin/keys/shop", headers=admin).status_code == 200
    service.start()
    service.finish()
    assert service.store.get(job_id).state == "succeeded"
    assert all(name != "end" for _, name, _ in stream)


def test_sessions_that_this_server_did_not_make_or_that_are_over_count_for_nothing(
    keyed: tuple[Service, dict[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, _, secret = keyed
    response = log_in(service, secret)
    name, _, value = response.headers["Set-Cookie"].partition(";")[0].partition("=")
    expires, digest, signature = value.split(".")
    later = f"{int(expires) + 1}.{digest}.{signature}"
    for forged in (later, f"{expires}.{'0' * 64}.{signature}", f"{expires}.{digest}.", "", ".", "..", "é", "1.2.3.4"):
        assert service.get("/v1/jobs", headers={"Cookie": f"{name}={forged}"}).status_code == 401, forged
    monkeypatch.setattr(sessions, "LIFETIME_S", -1)
    assert service.get("/v1/jobs", headers=cookie_of(log_in(service, secret))).status_code == 401
    monkeypatch.undo()
    cookie = cookie_of(log_in(service, secret))
    link_secret.renew(service.store)
    assert service.get("/v1/jobs", headers=cookie).status_code == 401


def test_a_session_in_use_is_renewed(
    keyed: tuple[Service, dict[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, _, secret = keyed
    cookie = cookie_of(log_in(service, secret))
    assert "Set-Cookie" not in service.get("/v1/session", headers=cookie).headers
    monkeypatch.setattr(sessions, "LIFETIME_S", sessions.LIFETIME_S + sessions.RENEW_AFTER_S + 60)
    renewed = service.get("/v1/session", headers=cookie)
    assert service.get("/v1/jobs", headers=cookie_of(renewed)).status_code == 200


def test_vendored_files_name_their_versions_and_licences() -> None:
    text = (FOLDER / "vendor" / "README.md").read_text()
    for path in (FOLDER / "vendor").glob("*.js"):
        assert path.name in text
    assert {"preact.LICENSE.txt", "htm.LICENSE.txt"} <= {path.name for path in Path(FOLDER / "vendor").iterdir()}
