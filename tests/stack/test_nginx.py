"""A server behind a real nginx with the shipped examples: at the root of a host name, and below a path."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
import websocket
from click.testing import CliRunner
from PIL import Image

from framemill import Client
from framemill.cli.app import framemill
from jobs.settings import PROJECT_ROOT, Settings
from stack import ports
from tests.support import drawn_models, nginx
from tests.support.api import ENDLESS_STEPS, PATIENCE_S, wait_for
from tests.support.browser import Browser, browsing
from tests.support.console_page import ConsolePage
from tests.support.devoid_client import request
from tests.support.harness import Stack
from tests.support.nginx import NAME, Nginx

ADMIN = "o" * 20
EXAMPLES = {"nginx.conf": "", "nginx-prefix.conf": "/framemill"}
#: What a client claims about itself; nothing of it may count.
SPOOFED = {
    "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil", "X-Forwarded-Ssl": "off", "X-Forwarded-Protocol": "http", "X-Real-IP": "203.0.113.9",
    "Forwarded": "for=203.0.113.9;host=evil.example;proto=http", "SCRIPT_NAME": "/evil", "X-Script-Name": "/evil",
}  # fmt: skip


class Site:
    """A server as its clients reach it."""

    def __init__(self, server: Nginx) -> None:
        self.server, self.base_url = server, server.base_url
        self.session, self._without_key = requests.Session(), requests.Session()
        for session in (self.session, self._without_key):
            # Certificates and proxies in the environment would come before these.
            session.trust_env, session.verify = False, str(server.certificate)
        self.session.headers["Authorization"] = f"Bearer {ADMIN}"

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(f"{self.base_url}{path}", timeout=60, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> requests.Response:
        return self.session.post(f"{self.base_url}{path}", json=body, timeout=PATIENCE_S, **options)

    def follow(self, link: str, **options: Any) -> requests.Response:
        """Follow a link of a response as a page does: from the address that was called, without a key."""
        address = urljoin(f"{self.base_url}/", link)
        assert address.startswith(f"{self.base_url}/"), link
        return self._without_key.get(address, timeout=60, **options)

    def finished(self, **fields: Any) -> dict[str, Any]:
        """Submit a job; return it when it has succeeded."""
        response = self.post("/v1/jobs?wait=60", {"model": "tiny-image", "prompt": "a red circle", **fields})
        assert response.status_code == 201, response.text
        job = dict(response.json())
        wait_for(lambda: job.update(self.get(f"/v1/jobs/{job['id']}").json()) or job["finished_at"], "the job")
        assert job["state"] == "succeeded", job
        return job


@pytest.fixture(scope="module")
def stack(drawn_models_file: Path) -> Iterator[Stack]:
    environment = {
        "TRUSTED_PROXIES": "127.0.0.1", "API_KEYS": f"ops:{ADMIN}:admin", "SERVICES": "telegram:service_key",
        "RESULT_URLS": "proxy",
    }  # fmt: skip
    with drawn_models.stack_in_new_folder(drawn_models_file, "gpu0", "io", **environment) as one:
        yield one


@pytest.fixture(scope="module", autouse=True)
def _names() -> Iterator[None]:
    """Let the name of the examples mean this machine."""
    resolve = socket.getaddrinfo

    def local(host: Any, *args: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host in (NAME, NAME.encode()) else host, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", local)
        yield


@pytest.fixture(scope="module", params=EXAMPLES)
def site(request: pytest.FixtureRequest, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    example = str(request.param)
    server = Nginx(tmp_path_factory.mktemp("nginx"), example, EXAMPLES[example], web=stack.port, flower=1)
    with server.running():
        yield Site(server)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser"), {NAME: "127.0.0.1"}) as one:
        yield one


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_numbers_of_the_example_fit_the_server(example: str) -> None:
    text = (nginx.FOLDER / example).read_text()
    settings = Settings.from_env({})

    def value(name: str) -> str:
        [found] = re.findall(rf"^ *{name} ([^;]+);", text, re.MULTILINE)
        return str(found)

    assert int(value("client_max_body_size").removesuffix("m")) * 1024 * 1024 == settings.web.max_request_bytes
    # Sixteen processes of nginx may keep their idle connections.
    assert int(value("keepalive")) * 15 < settings.web.max_idle_per_address
    configured = re.search(r"^keepalive = (\d+)", (PROJECT_ROOT / "gunicorn.conf.py").read_text(), re.MULTILINE)
    assert configured
    assert int(value("keepalive_timeout").removesuffix("s")) < int(configured[1])
    # nginx waits for 60 s by default; requests of other protocols are held until their job has finished.
    assert (value("proxy_read_timeout"), value("proxy_send_timeout")) == ("1h", "1h")
    assert value("proxy_buffering") == "off"
    assert value("proxy_set_header X-Forwarded-For") == "$remote_addr"


def test_the_console_works_below_its_address(site: Site, browser: Browser) -> None:
    browser.resize(1280, 900)
    browser.open(f"{site.base_url}/healthz")
    browser.run("localStorage.clear()")
    browser.errors()
    page = ConsolePage(browser, site.base_url)
    page.open()
    page.log_in(ADMIN)
    page.fill("prompt", "a lighthouse")
    page.shows("Starts at once")
    page.press("Create")
    page.newest("succeeded")
    wait_for(lambda: page.run('return document.querySelector(".job img")?.naturalWidth'), "the picture")
    page.shows("Connected")
    for name in ("jobs", "gallery", "fleet", "admin"):
        page.open(name)
        page.shows({"jobs": "a lighthouse", "gallery": "Gallery", "fleet": "gpu0", "admin": "ops"}[name])
    assert page.errors() == []
    addresses = page.run('return performance.getEntriesByType("resource").map((one) => one.name)')
    assert addresses
    assert [one for one in addresses if not one.startswith((f"{site.base_url}/", "data:", "blob:"))] == []
    [cookie] = browser.command("Network.getAllCookies")["cookies"]
    assert (cookie["path"], cookie["secure"], cookie["httpOnly"]) == (f"{site.server.prefix}/", True, True)
    browser.command("Network.clearBrowserCookies")


def test_the_page_of_the_api_works_below_its_address(site: Site, browser: Browser) -> None:
    browser.errors()
    browser.open(f"{site.base_url}/docs")
    wait_for(lambda: browser.run('return document.querySelectorAll(".opblock").length'), "the operations")
    shown = browser.run('return document.querySelector(".servers option")?.value')
    assert shown == (site.server.prefix or "/")
    assert browser.errors() == []


def test_events_arrive_while_the_job_runs(site: Site) -> None:
    job_id = site.post("/v1/jobs", {"model": "tiny-image", "prompt": "x", "steps": ENDLESS_STEPS}).json()["id"]
    with site.get(f"/v1/jobs/{job_id}/events", stream=True) as response:
        lines = response.iter_lines()
        steps = (json.loads(line[6:])["progress"]["step"] for line in lines if line.startswith(b"data: "))
        # The job does not end by itself, and its messages are far smaller than any buffer.
        assert next(step for step in steps if step > 0) < next(step for step in steps if step > 20)
        assert site.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
        assert [line for line in lines if line.startswith(b"event: end")]


def test_a_socket_is_opened_and_named_images_can_be_fetched(site: Site) -> None:
    context = ssl.create_default_context(cafile=str(site.server.certificate))
    ws = websocket.create_connection(
        f"{site.base_url.replace('https', 'wss')}/ws/telegram", header={"authorization": "service_key"},
        timeout=PATIENCE_S, sslopt={"context": context},
    )  # fmt: skip
    ws.send(json.dumps(request()))
    while (message := json.loads(ws.recv())).get("gen_status") not in ("ok", "error"):
        pass
    ws.close()
    assert message["gen_status"] == "ok", message
    [link] = [text for text in re.findall(r'"([^"]+)"', json.dumps(message)) if "/img/" in text]
    assert link.startswith(f"{site.base_url}/img/")
    assert site.follow(link).headers["Content-Type"].startswith("image/")


def test_a_large_picture_is_uploaded_and_a_larger_body_is_refused(site: Site) -> None:
    noise = Image.frombytes("RGB", (2600, 2600), os.urandom(2600 * 2600 * 3))
    file = io.BytesIO()
    noise.save(file, "PNG", compress_level=0)
    assert len(file.getvalue()) > 20_000_000
    form = {"model": "tiny-image", "prompt": "x", "strength": "0.5"}
    sent = site.session.post(
        f"{site.base_url}/v1/jobs", data=form, files={"image": ("large.png", file.getvalue(), "image/png")}, timeout=120
    )
    assert (sent.status_code, sent.json()["kind"]) == (201, "img2img")
    with socket.create_connection(("127.0.0.1", site.server.port), 30) as plain:
        context = ssl.create_default_context(cafile=str(site.server.certificate))
        with context.wrap_socket(plain, server_hostname=NAME) as connection:
            length = 64 * 1024 * 1024 + 1
            head = f"POST {site.server.prefix}/v1/jobs HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {length}\r\n\r\n"
            connection.sendall(head.encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_part_of_a_video_is_sent(site: Site) -> None:
    job = site.finished(model="tiny-video")
    link = job["outputs"][0]["url"]
    whole = site.follow(link)
    part = site.follow(link, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(whole.content)}"


def test_links_of_all_protocols_lead_to_the_files(site: Site) -> None:
    job = site.finished()
    content = site.follow(job["outputs"][0]["url"]).content
    assert Image.open(io.BytesIO(content)).size == (32, 32)
    location = site.post("/v1/jobs", {"model": "tiny-image", "prompt": "x"}).headers["Location"]
    assert site.session.get(urljoin(f"{site.base_url}/", location), timeout=60).status_code == 200
    openai = {"model": "tiny-image", "prompt": "x", "size": "32x32", "response_format": "url"}
    links = [site.post("/v1/images/generations", openai).json()["data"][0]["url"]]
    made = site.post(
        "/v1/models/any/tiny-image/predictions", {"input": {"prompt": "x"}}, headers={"Prefer": "wait=60"}
    ).json()
    wait_for(lambda: made.update(site.session.get(made["urls"]["get"], timeout=60).json()) or made["output"], "output")
    links += [made["output"][0] if isinstance(made["output"], list) else made["output"]]
    call = {"name": "get_job", "arguments": {"job_id": job["id"]}}
    told = site.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}).json()
    links += [told["result"]["structuredContent"]["outputs"][0]["url"]]
    for link in links:
        assert link.startswith(f"{site.base_url}/")
        assert site.follow(link).headers["Content-Type"] == "image/png", link


def test_the_client_and_the_command_take_the_address(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(site.server.certificate))
    with Client(site.base_url, ADMIN) as client:
        job = client.submit(prompt="a red circle", model="tiny-image")
        assert [event.job.finished for event in client.follow(job.id)][-1]
        assert client.result(job.id).startswith(b"\x89PNG")
    monkeypatch.setenv("FRAMEMILL_API_KEY", ADMIN)
    shown = CliRunner().invoke(framemill, ["--url", f"{site.base_url}/", "show", job.id], catch_exceptions=False)
    [link] = re.findall(r"https://\S+/result\S*", shown.output)
    assert site.follow(link).content.startswith(b"\x89PNG")


def test_spoofed_fields_have_no_effect(site: Site) -> None:
    servers = site.get("/openapi.json", headers=SPOOFED).json()["servers"]
    assert servers == [{"url": site.server.prefix or "/"}]
    openai = {"model": "tiny-image", "prompt": "x", "size": "32x32", "response_format": "url"}
    response = site.post("/v1/images/generations", openai, headers=SPOOFED)
    assert response.json()["data"][0]["url"].startswith(f"{site.base_url}/")
    own = {"Origin": f"https://{NAME}:{site.server.port}", "Sec-Fetch-Site": "same-origin"}
    foreign = {"Origin": "https://evil.example"}
    assert site.post("/v1/session", {"key": ADMIN}, headers=own | SPOOFED).status_code == 200
    assert site.post("/v1/session", {"key": ADMIN}, headers=foreign | SPOOFED).status_code == 403


def test_the_log_of_the_example_has_no_signatures(site: Site) -> None:
    site.follow(site.finished()["outputs"][0]["url"])
    log = site.server.log()
    assert "/result" in log
    assert "signature" not in log


def test_a_server_that_trusts_nobody_ignores_every_field(stack: Stack) -> None:
    port = ports.next_free("127.0.0.1", stack.port + 1)
    stack.run("plain", "gunicorn", "app:create_app()", PORT=str(port), TRUSTED_PROXIES="", FORWARDED_ALLOW_IPS="*")
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"{address}/healthz", timeout=60).ok
        return False

    wait_for(answers, "the second server")
    # gunicorn itself believes its neighbours on this machine unless it is told otherwise.
    headers = SPOOFED | {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "on", "X-Forwarded-Protocol": "ssl",
                         "Authorization": f"Bearer {ADMIN}"}  # fmt: skip
    assert requests.get(f"{address}/openapi.json", headers=headers, timeout=60).json()["servers"] == [{"url": "/"}]
    openai = {"model": "tiny-image", "prompt": "x", "size": "32x32", "response_format": "url"}
    response = requests.post(f"{address}/v1/images/generations", json=openai, headers=headers, timeout=PATIENCE_S)
    assert response.json()["data"][0]["url"].startswith(f"{address}/v1/jobs/")
    headers |= {"Origin": address}
    login = requests.post(f"{address}/v1/session", json={"key": ADMIN}, headers=headers, timeout=60)
    assert "Secure" not in login.headers["Set-Cookie"]
    assert "Path=/;" in login.headers["Set-Cookie"]
    stack.kill("plain", signal.SIGTERM)
