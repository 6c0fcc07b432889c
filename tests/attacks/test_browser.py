"""Pages in a browser on the host: a server without keys refuses what they send; programs are not affected."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from app.access import auth
from app.extensions import of
from jobs.callers import Caller, Role
from jobs.store.credentials.api_keys import KeyRing
from tests.support.aime_endpoint import write_endpoint
from tests.support.api import wait_for
from tests.support.devoid_client import Client, Refused
from tests.support.served_app import ServedApp
from tests.support.tiny import BASE

FOREIGN = "http://evil.example"
FRIEND = "https://pages.example.org"
#: Headers that browsers send with a request started by a page of another site.
PAGES: dict[str, dict[str, str]] = {
    "fetch": {"Origin": FOREIGN, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
    "old browser": {"Origin": FOREIGN},
    "picture": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    "other port": {"Origin": "http://127.0.0.1:3000", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    "sandboxed frame": {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    "opaque": {"Origin": "null"},
    "frame": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    "link": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    "form": {"Origin": FOREIGN, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate",
             "Sec-Fetch-Dest": "document"},
    "same name, other port": {"Origin": "http://127.0.0.1:1"},
}  # fmt: skip
#: Host names that an attacker's name server may resolve to this machine.
REBOUND = ("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.5",
           "", "[::2]:80", "localhost:80:80", "localhost@evil.example", "evil.example, localhost",
           "0x7f.1", "[", "a b")  # fmt: skip
OWN_NAMES = ("localhost", "LOCALHOST:80", "localhost.", "127.0.0.1:8000", "127.8.9.10", "[::1]", "[::1]:8000",
             "studio.example", "studio.example:443", "pictures.example.org")  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., ServedApp]) -> ServedApp:
    endpoints = tmp_path_factory.mktemp("endpoints")
    write_endpoint(endpoints, timeout_s="1", pages="[JINJA]\n'/published' = { file = 'page.html' }")
    (endpoints / "draw" / "page.html").write_text("<p>published</p>")
    return serve(
        BASE, ENDPOINTS_DIR=endpoints, ALLOWED_HOSTS="studio.example, ::7",
        PUBLIC_URL="https://pictures.example.org/mill", CORS_ORIGINS=FRIEND,
    )  # fmt: skip


@pytest.fixture
def mill(made: ServedApp, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedApp]:
    """Yield a server without keys that allows the pages of one other origin."""
    monkeypatch.setattr("app.protocols.aime.workers.routes.ERROR_DELAY_S", 0)
    made.store.client.flushall()
    auth.keys_changed()
    yield made
    made.store.client.flushall()
    auth.keys_changed()


def lock(mill: ServedApp) -> str:
    """Create the first key on the host; return its secret."""
    secret = KeyRing(mill.store).create(Caller(key_id="ops", role=Role.ADMIN))
    auth.keys_changed()
    return secret


def routes(mill: ServedApp) -> list[tuple[str, str]]:
    """Return every route of the server, with every method, for ids that exist or not."""
    values = {"name": "draw", "job_id": "job", "task_id": "job", "service": "telegram", "slug": "x",
              "file_path": "job.png", "file_name": "job.jpg", "filename": "x", "address": "published"}  # fmt: skip
    found = []
    for rule in mill.app.url_map.iter_rules():
        if rule.arguments <= values.keys():
            path = rule.rule
            for argument in rule.arguments:
                start = path.index("<")
                path = path[:start] + values[argument] + path[path.index(">") + 1 :]
            found += [(method, path) for method in sorted(rule.methods or ()) if method != "HEAD"]
    assert len(found) > 200
    return found


def jobs(mill: ServedApp) -> int:
    return int(mill.store.client.zcard("framemill:jobs"))


@pytest.mark.parametrize("headers", PAGES.values(), ids=PAGES.keys())
def test_no_route_serves_a_page_of_another_origin(mill: ServedApp, headers: dict[str, str]) -> None:
    client, is_link = mill.app.test_client(), headers is PAGES["link"]
    pages = {"/", "/docs", "/draw/demo", "/published"} if is_link else set()
    refused = 0
    for method, path in routes(mill):
        response = client.open(path, method=method, headers={"Host": f"127.0.0.1:{mill.port}", **headers})
        if method == "GET" and path in pages:
            assert response.status_code in (200, 404), path
        else:
            assert response.status_code == 403, (method, path, response.status_code)
            assert "CORS_ORIGINS" in response.get_data(as_text=True) or method == "HEAD"
            assert not [name for name in list(response.headers.keys()) if name.startswith("Access-Control")]
            refused += 1
    assert refused > 200
    assert jobs(mill) == 0


@pytest.mark.parametrize("host", REBOUND)
def test_no_route_serves_a_name_of_others(mill: ServedApp, host: str) -> None:
    client = mill.app.test_client()
    probes = {"/health", "/healthz", "/readyz"}
    for method, path in routes(mill):
        origin = {"Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        response = client.open(path, method=method, headers={"Host": host, **origin})
        if path in probes:
            assert response.status_code != 421, path
        else:
            assert response.status_code == 421, (method, path, response.status_code)
            assert "ALLOWED_HOSTS" in response.get_data(as_text=True)
    assert jobs(mill) == 0


@pytest.mark.parametrize("host", OWN_NAMES)
def test_names_of_this_machine_and_of_the_settings_are_served(mill: ServedApp, host: str) -> None:
    client = mill.app.test_client()
    assert client.get("/v1/queue", headers={"Host": host}).status_code == 200
    own = {"Host": host, "Origin": f"http://{host.lower()}", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/jobs", json={"model": "tiny-image", "prompt": "x"}, headers=own).status_code == 201
    # Without Sec-Fetch-Site, which browsers omit for addresses without TLS.
    del own["Sec-Fetch-Site"]
    assert client.post("/v1/jobs", json={"model": "tiny-image", "prompt": "x"}, headers=own).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "shape"),
    [("POST", "/v1/jobs", {"detail", "error"}), ("POST", "/v1/tasks/", {"detail", "error"}),
     ("POST", "/sdapi/v1/txt2img", {"error", "detail", "body", "errors"}),
     ("POST", "/a1111/sdapi/v1/txt2img", {"error", "detail", "body", "errors"}),
     ("POST", "/draw", {"success", "error"}), ("GET", "/draw/progress", {"success", "error"}),
     ("POST", "/worker_job_request", {"success", "cmd", "msg", "error_msg"}), ("GET", "/nothing", {"detail", "error"})],
)  # fmt: skip
def test_each_protocol_has_its_own_shape_of_the_refusal(
    mill: ServedApp, method: str, path: str, shape: set[str]
) -> None:
    for headers, status in ((PAGES["fetch"], 403), ({"Host": "evil.example"}, 421)):
        response = requests.request(method, mill.url(path), json={}, headers=headers, timeout=60)
        assert (response.status_code, set(response.json())) == (status, shape)


def test_simple_requests_that_need_no_preflight_queue_nothing(mill: ServedApp) -> None:
    body = {"prompt": "x", "model": "tiny-image", "service": "evil", "role": "admin"}
    texts: list[tuple[str, bytes]] = [
        ("text/plain", json.dumps(body).encode()), ("application/x-www-form-urlencoded", b"prompt=x"),
        ("multipart/form-data; boundary=b",
         b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n--b--\r\n'),
    ]  # fmt: skip
    for path in ("/v1/jobs", "/v1/jobs/cancel", "/v1/admin/keys", "/v1/admin/pause", "/v1/tasks/", "/v1/tasks/form",
                 "/sdapi/v1/txt2img", "/sdapi/v1/options", "/draw", "/draw/login", "/worker_login"):  # fmt: skip
        for media_type, data in texts:
            headers = {**PAGES["form"], "Content-Type": media_type}
            assert requests.post(mill.url(path), data=data, headers=headers, timeout=60).status_code == 403, path
    for path in ("/draw?prompt=x&wait_for_result=false", "/v1/local/video/generate/stop_running_task"):
        assert requests.get(mill.url(path), headers=PAGES["picture"], timeout=60).status_code == 403
    assert (jobs(mill), KeyRing(mill.store).all()) == (0, [])
    assert mill.get("/v1/queue").json()["paused"] == []


def test_state_never_changes_on_get(mill: ServedApp) -> None:
    """AIME's endpoints and LightX2V's script must allow GET; all other GET routes only read."""
    job_id = mill.submit()
    before = snapshot(mill)
    allowed = {"/draw", "/draw/cancel", "/draw/login", "/draw/client_login",
               "/v1/local/video/generate/stop_running_task"}  # fmt: skip
    client = mill.app.test_client()
    streams = {f"/v1/jobs/{job_id}/events", "/v1/events", "/stream_progress"}
    for method, path in routes(mill):
        path = path.replace("/job/", f"/{job_id}/").replace("/job", f"/{job_id}")
        if method == "GET" and path not in allowed and path not in streams:
            client.get(path)
            assert snapshot(mill) == before, path


def snapshot(mill: ServedApp) -> dict[str, Any]:
    """Return the record of every job, the keys, the pauses and the sessions."""
    redis = mill.store.client
    names = sorted(redis.keys("framemill:job:*") + redis.keys("framemill:session:*"))
    return {name: redis.hgetall(name) if ":job:" in name else redis.get(name) for name in names} | {
        "keys": redis.hgetall("framemill:keys"), "paused": redis.smembers("framemill:paused"),
        "jobs": redis.zcard("framemill:jobs"), "options": redis.keys("framemill:options:*"),
    }  # fmt: skip


def test_a_socket_of_a_page_is_refused_and_gets_no_messages(mill: ServedApp) -> None:
    client = Client(mill, key=None)
    client.ask({"prompt": "x", "steps": 3, "width": 32, "height": 32})
    assert client.next()["gen_status"] == "queued"
    job_id = client.seen[0]["object_id"]
    client.close()
    wait_for(lambda: client.messages.get(timeout=10) is None, "the socket to close")
    mill.cancel(job_id)
    for headers in ({"Origin": FOREIGN}, {"Origin": "null"}, {"Origin": FOREIGN, "Host": "evil.example"}):
        with pytest.raises(Refused) as refusal:
            Client(mill, key=None, headers=headers)
        assert refusal.value.status in (403, 421)
    friend = Client(mill, key=None, headers={"Origin": FRIEND})
    message = friend.next()
    assert (message["object_id"], message["gen_status"], message["service"]) == (job_id, "error", "telegram")
    friend.close()


def test_an_allowed_page_uses_everything(mill: ServedApp) -> None:
    headers = {"Origin": FRIEND, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    asked = requests.options(
        mill.url("/v1/jobs/x"), timeout=60,
        headers={**headers, "Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "x-y",
                 "Access-Control-Request-Private-Network": "true"},
    )  # fmt: skip
    assert (asked.status_code, asked.headers["Access-Control-Allow-Origin"]) == (204, FRIEND)
    assert asked.headers["Access-Control-Allow-Headers"] == "x-y"
    assert "DELETE" in asked.headers["Access-Control-Allow-Methods"]
    assert asked.headers["Access-Control-Allow-Private-Network"] == "true"
    sent = requests.post(mill.url("/v1/jobs"), json={"model": "tiny-image", "prompt": "x"}, headers=headers, timeout=60)
    assert (sent.status_code, sent.headers["Access-Control-Allow-Origin"]) == (201, FRIEND)
    assert "Location" in sent.headers["Access-Control-Expose-Headers"]
    assert "Origin" in sent.headers["Vary"]
    assert "Access-Control-Allow-Credentials" not in sent.headers
    picture = {**PAGES["picture"], "Referer": FRIEND + "/"}
    shown = requests.get(mill.url("/v1/models"), headers=picture, timeout=60)
    assert (shown.status_code, shown.headers["Cross-Origin-Resource-Policy"]) == (200, "cross-origin")
    for wrong in ("http://pages.example.org", FRIEND + ".evil.example", FRIEND + ":8443"):
        refused = requests.get(mill.url("/v1/models"), headers={"Origin": wrong}, timeout=60)
        assert refused.status_code == 403


def test_keys_protect_a_server_that_has_them(mill: ServedApp) -> None:
    key = {"Authorization": f"Bearer {lock(mill)}"}
    assert mill.get("/v1/queue", headers={"Host": "any.example", **key}).status_code == 200
    assert mill.get("/v1/queue", headers={**PAGES["fetch"], **key}).status_code == 200
    assert mill.get("/v1/queue", headers=PAGES["fetch"]).status_code == 401
    # A browser adds a password that its user has typed once to every request of every page.
    password = requests.auth._basic_auth_str("ops", key["Authorization"].removeprefix("Bearer "))
    basic = {"Authorization": password}
    assert mill.get("/sdapi/v1/options", headers=basic).status_code == 200
    for headers in PAGES.values():
        assert mill.get("/sdapi/v1/options", headers={**headers, **basic}).status_code == 403
    assert mill.get("/sdapi/v1/options", headers={"Origin": FRIEND, **basic}).status_code == 200


def test_a_server_without_keys_makes_none_over_http(mill: ServedApp) -> None:
    for role in ("admin", "client", "worker"):
        response = requests.post(mill.url("/v1/admin/keys"), json={"service": "eve", "role": role}, timeout=60)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
        assert "python -m app.keys" in response.json()["detail"]
    assert KeyRing(mill.store).all() == []
    secret = lock(mill)
    headers = {"Authorization": f"Bearer {secret}"}
    made = requests.post(mill.url("/v1/admin/keys"), json={"service": "shop"}, headers=headers, timeout=60)
    assert made.status_code == 200


def test_every_response_has_the_headers_of_a_careful_server(mill: ServedApp) -> None:
    client = mill.app.test_client()
    for method, path in [*routes(mill), ("GET", "/nothing"), ("GET", "/docs/static/swagger-ui.css")]:
        if path in ("/v1/events", "/ws", "/ws/telegram") or method == "POST":
            continue
        with client.open(path, method=method) as response:
            headers = response.headers
        assert headers["X-Content-Type-Options"] == "nosniff", path
        is_operators = path == "/published" and method == "GET"  # this server's own pages may have it in a frame
        framing = ("'self'", "SAMEORIGIN") if is_operators else ("'none'", "DENY")
        assert f"frame-ancestors {framing[0]}" in headers["Content-Security-Policy"], path
        assert headers["X-Frame-Options"] == framing[1]
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert of(mill.app).settings.web.origins == {FRIEND}
