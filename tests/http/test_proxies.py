"""Reverse proxies: which of their header fields count, from whom, and what links look like below a path prefix."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import request

from app.extensions import of
from jobs.errors import BadSetting
from jobs.settings import Settings
from tests.support.aime_endpoint import write_endpoint
from tests.support.service import Service, first_key, key

PROXY, FURTHER_PROXY, CLIENT = "10.0.0.2", "10.1.7.7", "198.51.100.7"
TRUSTED = "10.0.0.2, 10.1.0.0/16, ::1"
PREFIX = "/framemill"
BASE = f"https://pictures.example.org:8443{PREFIX}"
#: What a proxy sends that serves the server at :data:`BASE`.
FIELDS = {
    "Host": "127.0.0.1:8000",
    "X-Forwarded-For": CLIENT,
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "pictures.example.org:8443",
    "X-Forwarded-Prefix": PREFIX,
}


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("endpoints")
    write_endpoint(folder, clients="client_request_limit = 1", timeout_s="1")
    return folder


@pytest.fixture
def behind(services: Callable[..., Service], endpoints: Path) -> Service:
    """Return a service without keys behind a trusted proxy."""
    service = services(
        TRUSTED_PROXIES=TRUSTED, ALLOWED_HOSTS="pictures.example.org", ENDPOINTS_DIR=endpoints, RESULT_URLS="proxy"
    )
    service.open()
    return service


def sent(changed: dict[str, str] | None = None, *, by: str = PROXY) -> dict[str, Any]:
    """Return the arguments of a request that a proxy sends."""
    fields = FIELDS | (changed or {})
    return {"headers": {name: value for name, value in fields.items() if value}, "environ_base": {"REMOTE_ADDR": by}}


def seen(service: Service, changed: dict[str, str] | None = None, *, by: str = PROXY) -> tuple[str, str]:
    """Return the client's address, and the address of the server, as the app sees them."""
    found: list[tuple[str, str]] = []
    arguments = sent(changed, by=by)

    def inside() -> None:
        found.append((request.remote_addr or "", request.url_root))

    service.app.before_request_funcs.setdefault(None, []).insert(0, inside)
    try:
        service.get("/healthz", **arguments)
    finally:
        service.app.before_request_funcs[None].remove(inside)
    return found[0]


def test_nobody_is_believed_by_default(service: Service) -> None:
    for peer in ("127.0.0.1", "::1", PROXY):
        assert seen(service, by=peer) == (peer, "http://127.0.0.1:8000/")
    assert service.get("/openapi.json", **sent()).get_json()["servers"] == [{"url": "/"}]


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.0.0.3", "10.2.0.1", "::2", ""])
def test_others_are_not_believed(behind: Service, peer: str) -> None:
    assert seen(behind, by=peer) == (peer, "http://127.0.0.1:8000/")


@pytest.mark.parametrize("peer", [PROXY, FURTHER_PROXY, "::1", "::ffff:10.0.0.2", "0:0:0:0:0:0:0:1"])
def test_a_trusted_proxy_is_believed(behind: Service, peer: str) -> None:
    assert seen(behind, by=peer) == (CLIENT, f"{BASE}/")


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        (f"203.0.113.9, {CLIENT}", CLIENT),  # the client has sent a field of its own
        (f"203.0.113.9, {CLIENT}, {FURTHER_PROXY}", CLIENT),
        (f"{FURTHER_PROXY}, {CLIENT}", CLIENT),
        (f"{CLIENT}:51234", CLIENT),
        ("[2001:db8::5]:51234", "2001:db8::5"),
        ("2001:db8::5", "2001:db8::5"),
        ("::ffff:198.51.100.7", CLIENT),
        (FURTHER_PROXY, FURTHER_PROXY),
        (f"unknown, {FURTHER_PROXY}", FURTHER_PROXY),
        (f"{CLIENT}, unknown", PROXY),
        (f"{CLIENT}, 1.2.3.4.5", PROXY),
        ("", PROXY),
        (",,", PROXY),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy(behind: Service, chain: str, client: str) -> None:
    assert seen(behind, {"X-Forwarded-For": chain})[0] == client


@pytest.mark.parametrize(
    ("name", "value", "address"),
    [
        ("Proto", "http, https", BASE),
        ("Proto", "HTTPS", BASE),
        ("Proto", "https, http", BASE.replace("https", "http")),
        ("Proto", "javascript", BASE.replace("https", "http")),
        ("Host", "evil.example, pictures.example.org:8443", BASE),
        ("Host", "[2001:db8::5]:8443", f"https://[2001:db8::5]:8443{PREFIX}"),
        ("Host", "evil.example/path", f"https://127.0.0.1:8000{PREFIX}"),
        ("Host", "user@evil.example", f"https://127.0.0.1:8000{PREFIX}"),
        ("Host", "", f"https://127.0.0.1:8000{PREFIX}"),
        ("Prefix", "/evil, /framemill/", BASE),
        ("Prefix", "/a/b-c_d~e.f", "https://pictures.example.org:8443/a/b-c_d~e.f"),
        *(
            ("Prefix", prefix, "https://pictures.example.org:8443")
            for prefix in (
                "",
                "/",
                "//evil.example",
                "/a//b",
                "a",
                "/a/../b",
                "/.",
                "/a b",
                "/a;b",
                "/%2e",
                "/a?b",
                "/ä",
            )
        ),
    ],
)
def test_the_last_value_counts_if_it_is_well_formed(behind: Service, name: str, value: str, address: str) -> None:
    assert seen(behind, {f"X-Forwarded-{name}": value})[1] == f"{address}/"


def test_other_fields_of_proxies_are_ignored(behind: Service) -> None:
    fields = {"Forwarded": "for=203.0.113.9;host=evil.example;proto=http", "X-Real-IP": "203.0.113.9",
              "X-Forwarded-Port": "1", "X-Forwarded-Ssl": "off", "X-Script-Name": "/evil"}  # fmt: skip
    assert seen(behind, fields) == (CLIENT, f"{BASE}/")


@pytest.mark.parametrize("value", ["proxy", "10.0.0.1/8", "10.0.0.0/33", "*", "10.0.0.1;10.0.0.2"])
def test_wrong_addresses_of_proxies_are_refused(value: str) -> None:
    with pytest.raises(BadSetting, match="TRUSTED_PROXIES must be addresses or networks"):
        Settings.from_env({"TRUSTED_PROXIES": value})


def test_the_host_that_the_client_named_is_checked(behind: Service) -> None:
    assert behind.get("/v1/queue", **sent()).status_code == 200
    assert behind.get("/v1/queue", **sent({"X-Forwarded-Host": "evil.example"})).status_code == 421
    assert behind.get("/v1/queue", **sent({"Host": "evil.example"}, by="127.0.0.1")).status_code == 421


def test_pages_of_the_address_that_the_client_named_are_the_servers_own(behind: Service) -> None:
    def status(origin: str) -> int:
        return behind.post("/v1/jobs/estimate", json={"prompt": "x"}, **sent({"Origin": origin})).status_code

    assert status("https://pictures.example.org:8443") == 200
    assert (status("https://evil.example"), status("http://127.0.0.1:8000")) == (403, 403)


def test_requests_are_counted_by_the_address_of_the_client(behind: Service) -> None:
    def status(client: str, by: str = PROXY) -> int:
        body = {"prompt": "a", "wait_for_result": False}
        return behind.post("/draw", json=body, **sent({"X-Forwarded-For": client}, by=by)).status_code

    assert [status(CLIENT), status(CLIENT), status("198.51.100.8")] == [200, 402, 200]
    # One client stays one, whatever it claims to be: through the proxy, and past it.
    assert [status(f"203.0.113.{number}, {CLIENT}") for number in range(3)] == [402] * 3
    assert [status(f"203.0.113.{number}", by="127.0.0.1") for number in range(3)] == [200, 402, 402]


def links_in(part: Any) -> list[str]:
    """Return every text in JSON that is an address of this server, or a path."""
    if isinstance(part, dict):
        return [link for item in part.values() for link in links_in(item)]
    if isinstance(part, list):
        return [link for item in part for link in links_in(item)]
    return [part] if isinstance(part, str) and re.match(r"https?://|/(?!9j)", part) else []


def follow(service: Service, link: str, **changed: str) -> int:
    """Follow a link as a client does that called :data:`BASE`, whose proxy removes the prefix; return the status."""
    found = urlsplit(link)
    assert found.netloc in ("", urlsplit(BASE).netloc), link
    assert found.path.startswith(f"{PREFIX}/"), link
    path = found.path.removeprefix(PREFIX) + (f"?{found.query}" if found.query else "")
    with service.get(path, **sent(changed)) as response:
        return response.status_code


@pytest.fixture
def keyed(services: Callable[..., Service], endpoints: Path) -> tuple[Service, dict[str, str]]:
    """Return a service with keys behind a trusted proxy, and the header of an admin."""
    service = services(TRUSTED_PROXIES=PROXY, ENDPOINTS_DIR=endpoints, RESULT_URLS="proxy")
    service.open()
    return service, first_key(service)


def test_every_link_is_below_the_prefix_and_leads_there(keyed: tuple[Service, dict[str, str]]) -> None:
    service, admin = keyed

    def call(path: str, body: Any = None) -> Any:
        method = "GET" if body is None else "POST"
        response = service.client.open(path, method=method, json=body, **sent(admin))
        assert response.status_code < 300, response.text
        return response

    created = call("/v1/jobs", {"model": "tiny-image", "prompt": "x"})
    job_id = created.get_json()["id"]
    assert created.headers["Location"] == f"{PREFIX}/v1/jobs/{job_id}"
    service.start(step=1)
    service.finish()
    prediction = call("/v1/models/any/tiny-image/predictions", {"input": {"prompt": "x"}}).get_json()
    service.finish()
    loaded = call("/v1/models/tiny-image/load", {}).get_json()
    answers: dict[str, Any] = {
        "job": call(f"/v1/jobs/{job_id}").get_json(),
        "list": call("/v1/jobs").get_json(),
        "loaded": loaded,
        "prediction": call(f"/v1/predictions/{prediction['id']}").get_json(),
        "predictions": call("/v1/predictions").get_json(),
        "model": call("/v1/models/any/tiny-image").get_json()["url"],
        "front": service.get("/", **sent()).get_json(),
        "endpoint": call("/api/endpoints/draw").get_json()["demo_url"],
        "mcp": call("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                             "params": {"name": "get_job", "arguments": {"job_id": job_id}}}).get_json(),
    }  # fmt: skip
    for name, answer in answers.items():
        links = [link for link in links_in(answer) if "{" not in link]
        assert links, name
        for link in links:
            status = follow(service, link, **({} if "signature=" in link else admin))
            # What a link of a job leads to may not be there yet; that it was understood is what counts here.
            expected = {"cancel": (405,), "preview": (404,), "result": (200, 409)}
            assert status in expected.get(urlsplit(link).path.rpartition("/")[2], (200,)), (name, link)


def test_events_have_the_links_of_their_reader(services: Callable[..., Service]) -> None:
    service = services(TRUSTED_PROXIES="127.0.0.1", ALLOWED_HOSTS="pictures.example.org")
    service.open()
    job_id = service.submit()
    below = service.events(f"/v1/jobs/{job_id}/events", headers=FIELDS)
    plain = service.events(f"/v1/jobs/{job_id}/events")
    service.finish()
    shown = {}
    for name, stream in (("below", below), ("plain", plain)):
        shown[name] = [data["links"]["self"] for _, _, data in stream if "links" in data]
    assert set(shown["below"]) == {f"{PREFIX}/v1/jobs/{job_id}"}
    assert set(shown["plain"]) == {f"/v1/jobs/{job_id}"}


def test_a_body_that_readers_share_has_the_links_of_each(behind: Service) -> None:
    of(behind.app).current_jobs.fresh_s = 60.0
    job_id = behind.submit()
    for _ in range(2):
        for arguments, prefix in (
            (sent(), PREFIX),
            (sent(by="127.0.0.1"), ""),
            (sent({"X-Forwarded-Prefix": "/b"}), "/b"),
        ):
            links = behind.get(f"/v1/jobs/{job_id}", **arguments).get_json()["links"]
            assert links["self"] == f"{prefix}/v1/jobs/{job_id}"
    of(behind.app).current_jobs.fresh_s = 0


def test_a_link_below_the_prefix_names_an_own_output(keyed: tuple[Service, dict[str, str]]) -> None:
    service, admin = keyed
    service.submit(headers=admin)
    job_id = service.finish()
    shown = service.get(f"/v1/jobs/{job_id}", **sent(admin)).get_json()["outputs"][0]["url"]
    for link in (shown, f"https://pictures.example.org:8443{shown}"):
        body = {"model": "tiny-image", "prompt": "x", "image": link}
        response = service.post("/v1/jobs", json=body, **sent(admin))
        assert response.status_code == 201, response.text
    elsewhere = {**body, "image": f"https://pictures.example.org:8443/v1/jobs/{job_id}/result"}
    assert service.post("/v1/jobs", json=elsewhere, **sent(admin)).status_code == 422


def test_the_cookie_of_a_session_is_sent_below_the_prefix_only(keyed: tuple[Service, dict[str, str]]) -> None:
    service, admin = keyed
    own = {"Origin": "https://pictures.example.org:8443", "Sec-Fetch-Site": "same-origin"}
    secret = admin["Authorization"].removeprefix("Bearer ")
    cookie = service.post("/v1/session", json={"key": secret}, **sent(own)).headers["Set-Cookie"]
    assert cookie.startswith("framemill_session_8443=")
    assert f"Path={PREFIX}/;" in cookie
    assert "Secure;" in cookie


def test_the_pages_name_their_files_below_the_prefix(behind: Service) -> None:
    pages = {"/": "text/html", "/docs": "text/html", "/draw/demo": "text/html"}
    for path, media_type in pages.items():
        page = behind.get(path, **sent({"Accept": "text/html"}))
        assert page.mimetype == media_type
        files = re.findall(r'(?:src|href|data-spec)="(/[^"]*)"', page.text)
        assert files
        for file in files:
            assert follow(behind, file) == 200, file
    assert behind.get("/openapi.json", **sent()).get_json()["servers"] == [{"url": PREFIX}]
    assert json.loads(behind.get("/", **sent()).text)["docs"] == f"{PREFIX}/docs"


def test_a_key_for_some_paths_is_held_to_them_below_the_prefix(keyed: tuple[Service, dict[str, str]]) -> None:
    service, admin = keyed
    jobs = key(service, "jobs", endpoints=["/v1/jobs"], admin=admin)
    pictures = key(service, "pictures", endpoints=["/a1111"], admin=admin)

    def status(path: str, of: dict[str, str], **changed: str) -> int:
        return service.get(path, **sent(of | changed)).status_code

    assert (status("/v1/jobs", jobs), status("/v1/queue", jobs)) == (200, 403)
    assert (status("/a1111/sdapi/v1/sd-models", pictures), status("/sdapi/v1/sd-models", pictures)) == (200, 403)
    # A prefix that looks like an allowed path does not make the rest allowed.
    assert status("/v1/queue", jobs, **{"X-Forwarded-Prefix": "/v1/jobs"}) == 403
    assert status("/sdapi/v1/sd-models", pictures, **{"X-Forwarded-Prefix": "/a1111"}) == 403
