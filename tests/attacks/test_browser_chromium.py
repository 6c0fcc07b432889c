"""A real browser: pages of another origin or a rebound name achieve nothing; an allowed page can do everything."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from jobs.slots.slot import ALL_SLOTS
from jobs.store.credentials.api_keys import KeyRing
from tests.support.aime_endpoint import write_endpoint
from tests.support.api import wait_for
from tests.support.browser import Browser, browsing
from tests.support.evil_pages import ATTACK, Rebinding, page
from tests.support.served_app import ServedApp
from tests.support.tiny import BASE

#: Results of an attack that achieved nothing: nothing was read, and every request that can be answered is an error.
NOTHING = {"read": "error", "json": "error", "text": "error", "delete": "error", "options": "error", "picture": "error",
           "script": "error", "socket": "closed", "events": "error"}  # fmt: skip
#: The same for a page that has the origin of the server, so that it can read the refusal.
REFUSED = {**NOTHING, **dict.fromkeys(("read", "json", "text", "delete", "options"), 421)}
EVERYTHING = {"read": 200, "json": 201, "text": 201, "delete": 200, "options": 200, "picture": "load", "script": "load",
              "socket": "info", "events": "open"}  # fmt: skip
#: A page of an operator, with a script and a style within it, that uses its endpoint.
SHOP = """<!doctype html><meta charset="utf-8"><title>Shop</title><style>body { color: rgb(1, 2, 3); }</style>
<link rel="icon" href="data:,"><body><script>
fetch("/api/endpoints").then((answer) => answer.json()).then((body) => { document.title = body.endpoints.join(); });
</script></body>"""
#: What an app's page does with the links that its server has read with a key. Returns what it has shown.
GALLERY = """
const [base, links] = arguments;
const shown = {};
const loaded = (tag, src, event, width) => new Promise((resolve) => {
  const element = Object.assign(document.createElement(tag), {src: base + src});
  element.addEventListener(event, () => resolve(element[width]));
  element.addEventListener("error", () => resolve("error"));
  document.body.append(element);
});
return (async () => {
  const end = new Promise((resolve) => {
    const events = new EventSource(base + links.events + "&preview=1");
    events.addEventListener("end", (event) => { events.close(); resolve(JSON.parse(event.data)); });
    events.onerror = () => { events.close(); resolve(null); };
  });
  shown.image = await loaded("img", links.image, "load", "naturalWidth");
  shown.video = await loaded("video", links.video, "loadeddata", "videoWidth");
  const job = await end;
  shown.state = job ? job.state : "error";
  shown.result = job ? await loaded("img", job.outputs[0].url, "load", "naturalWidth") : "error";
  return shown;
})();
"""
#: Made-up names, and the address of this machine that they resolve to.
NAMES = {"evil.example": "127.0.0.1", "friend.example": "127.0.0.1", "rebound.example": "127.0.0.2",
         "studio.example": "127.0.0.2"}  # fmt: skip


class Place:
    """A server without keys, the page of another server, and a browser."""

    def __init__(self, mill: ServedApp, browser: Browser, page_port: int) -> None:
        self.mill, self.browser, self.page_port = mill, browser, page_port
        self.log: list[tuple[str, str, int]] = []
        inner = mill.app.wsgi_app

        def logged(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            def start(status: str, *rest: Any) -> Any:
                self.log.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], int(status[:3])))
                return start_response(status, *rest)

            return inner(environ, start)

        mill.app.wsgi_app = logged  # type: ignore[method-assign]

    def jobs(self) -> int:
        return int(self.mill.store.client.zcard("framemill:jobs"))

    def attack(self, origin: str, base: str = "") -> dict[str, Any]:
        """Open the page of an origin, and run the attack there."""
        self.browser.open(f"{origin}/")
        return self.attack_here(base)

    def attack_here(self, base: str) -> dict[str, Any]:
        self.log.clear()
        return dict(self.browser.run(ATTACK, base, self.result()))

    def result(self) -> str:
        """Return a job with a picture."""
        self.mill.store.pause_slots(ALL_SLOTS, resume=True)
        job_id = self.mill.submit()
        self.mill.wait(job_id)
        return job_id


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., ServedApp]) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("browser")
    write_endpoint(folder, timeout_s="1", outputs='[STATIC.shop]\nfile = "shop.html"')
    (folder / "draw" / "shop.html").write_text(SHOP)
    with ExitStack() as opened:
        port = opened.enter_context(page())
        browser = opened.enter_context(browsing(folder, NAMES))
        friend = f"http://friend.example:{port}"
        mill = serve(BASE, ENDPOINTS_DIR=folder, CORS_ORIGINS=friend, ALLOWED_HOSTS="studio.example")
        mill.worker("tiny-image", step_s=0.001)
        yield Place(mill, browser, port)


def check_nothing_happened(place: Place, jobs: int) -> None:
    assert place.jobs() == jobs
    assert KeyRing(place.mill.store).all() == []
    assert place.mill.queue()["paused"] == []


@pytest.mark.timeout(180)
def test_a_page_of_another_origin_gets_nothing(place: Place) -> None:
    jobs = place.jobs()
    assert place.attack(f"http://evil.example:{place.page_port}", place.mill.url("")) == NOTHING
    check_nothing_happened(place, jobs + 1)
    assert len([status for _, _, status in place.log if status == 403]) >= 15, place.log
    # The same under another name of this machine: a different site, whatever its address is.
    assert place.attack(f"http://127.0.0.1:{place.page_port}", place.mill.url("")) == NOTHING
    check_nothing_happened(place, jobs + 2)


@pytest.mark.timeout(180)
def test_a_page_that_the_server_allows_gets_everything(place: Place) -> None:
    jobs = place.jobs()
    assert place.attack(f"http://friend.example:{place.page_port}", place.mill.url("")) == EVERYTHING
    wait_for(lambda: place.jobs() >= jobs + 4, "the jobs of the page")
    assert KeyRing(place.mill.store).all() == []  # not even this page can create a key


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("name", "expected"), [("rebound.example", REFUSED), ("studio.example", EVERYTHING)])
def test_a_page_under_a_rebound_name_gets_nothing(place: Place, name: str, expected: dict[str, Any]) -> None:
    """The page then has the origin of the server, so that only ``Host`` distinguishes them."""
    rebinding = Rebinding("127.0.0.2", place.mill.port, place.page_port)
    try:
        jobs = place.jobs()
        place.browser.open(f"http://{name}:{place.mill.port}/")
        assert place.browser.run("return document.title") == "A page"
        rebinding.rebind()
        assert place.attack_here("") == expected
        if expected is REFUSED:
            check_nothing_happened(place, jobs + 1)
            assert len([status for _, _, status in place.log if status == 421]) >= 15
        else:
            assert place.jobs() > jobs + 4
    finally:
        rebinding.close()


@pytest.mark.timeout(180)
def test_results_are_shown_and_links_to_pages_are_followed(place: Place, tmp_path: Path) -> None:
    browser, mill = place.browser, place.mill
    browser.open(mill.url(f"/v1/jobs/{place.result()}/result"))
    wait_for(lambda: browser.run("return document.images.length && document.images[0].naturalWidth"), "the picture")
    browser.open(f"http://evil.example:{place.page_port}/")
    browser.run("location = arguments[0]", mill.url("/"))
    wait_for(lambda: "Framemill" in browser.run("return document.title"), "the console")
    browser.open(f"http://evil.example:{place.page_port}/")
    browser.run("location = arguments[0]", mill.url("/v1/jobs"))
    wait_for(lambda: "CORS_ORIGINS" in browser.run("return document.body.textContent"), "the refusal")


@pytest.mark.timeout(180)
def test_pages_of_the_server_work_with_their_policies(place: Place) -> None:
    browser, mill = place.browser, place.mill
    browser.open(f"http://evil.example:{place.page_port}/")
    browser.errors()  # those of the attacks
    browser.open(mill.url("/shop"))
    wait_for(lambda: browser.run("return document.title") == "draw", "the answer of the endpoint")
    assert browser.run("return getComputedStyle(document.body).color") == "rgb(1, 2, 3)"
    browser.open(mill.url("/draw/demo"))
    wait_for(lambda: browser.run("return document.getElementById('form').dataset.ready"), "the form")
    browser.open(mill.url("/docs"))
    # The page draws only the operations in sight.
    wait_for(lambda: browser.run("return document.querySelectorAll('.opblock').length > 2"), "the page of the API")
    assert browser.errors() == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("where", ["another origin", "the same origin"])
def test_a_page_shows_the_outputs_of_a_server_with_keys_by_signed_links(
    place: Place, serve: Callable[..., ServedApp], where: str
) -> None:
    """The page has no key: pictures, videos and event streams are asked for by the browser itself."""
    mill = serve(BASE, API_KEYS=f"ops:{'o' * 20}:admin,shop:{'s' * 20}")
    worker = mill.worker("tiny-image", "tiny-video", step_s=0.01)
    headers = {"Authorization": f"Bearer {'s' * 20}"}

    def job(wait_s: int = 60, **fields: Any) -> dict[str, Any]:
        body = {"model": "tiny-image", "prompt": "a cat", **fields}
        return dict(requests.post(mill.url(f"/v1/jobs?wait={wait_s}"), json=body, headers=headers, timeout=90).json())

    image, video = job()["outputs"][0], job(model="tiny-video", frames=9)["outputs"][0]
    links = {"image": image["url"], "video": video["url"]}
    worker.delivers.clear()  # so that the page sees the job before its end
    links["events"] = job(wait_s=0)["links"]["events"]
    base, page_url = mill.url(""), f"http://friend.example:{place.page_port}/"
    if where == "the same origin":
        base, page_url = "", mill.url("/docs")
    place.browser.open(page_url)
    threading.Timer(1, worker.delivers.set).start()
    shown = place.browser.run(GALLERY, base, links)
    width = image["width"]
    assert shown == {"image": width, "video": video["width"], "state": "succeeded", "result": width}
    unsigned = {name: re.sub("signature=[^&]*", "signature=x", link) for name, link in links.items()}
    assert set(place.browser.run(GALLERY, base, unsigned).values()) == {"error"}
