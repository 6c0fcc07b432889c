"""The console in a real browser: all its pages, with keys and without, on a phone, and while the server is away."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from jobs.store import listing
from jobs.store.outgoing.webhook_outbox import WebhookOutbox
from jobs.store.statistics import slot_history
from tests.support.api import wait_for
from tests.support.browser import Browser, browsing
from tests.support.console_page import ConsolePage
from tests.support.pictures import PNG
from tests.support.served_app import ServedApp

MODELS = """
[paint]
executor = "drawing"
kinds = ["text2img", "img2img", "inpaint", "mix2img"]
schedulers = ["Euler", "DDIM"]
description = "Pictures of every kind."
defaults = { steps = 4, width = 64, height = 64 }
limits = { steps = [1, 100000], width = [32, 128], height = [32, 128], num_images = [1, 3] }
[paint.controls.edges]
type = "controlnet"
source = "somewhere/edges"
kinds = ["text2img"]

[film]
executor = "drawing"
kinds = ["text2video", "img2video"]
defaults = { steps = 3, width = 64, height = 64, frames = 5, fps = 8 }
limits = { steps = [1, 50], width = [32, 64], height = [32, 64], frames = [1, 9] }
"""
ADMIN, SHOP, OTHER = "o" * 20, "s" * 20, "t" * 20


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("console")) as one:
        yield one


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., ServedApp]]:
    with ExitStack() as apps:

        def make(**environment: str) -> ServedApp:
            app = ServedApp(MODELS, **environment)
            apps.callback(app.close)
            app.worker("paint", "film", step_s=0.02)
            return app

        yield make


@pytest.fixture(scope="module")
def mill(serve: Callable[..., ServedApp]) -> ServedApp:
    return serve()


@pytest.fixture(scope="module")
def keyed(serve: Callable[..., ServedApp]) -> ServedApp:
    return serve(API_KEYS=f"ops:{ADMIN}:admin,shop:{SHOP},other:{OTHER}")


@pytest.fixture
def page(browser: Browser, mill: ServedApp) -> ConsolePage:
    """Return the console of a server without keys, with an empty form."""
    return fresh(browser, mill)


def fresh(browser: Browser, server: ServedApp) -> ConsolePage:
    browser.resize(1280, 900)
    browser.open(server.url("/healthz"))
    browser.run("localStorage.clear()")
    browser.errors()
    page = ConsolePage(browser, server.url(""))
    page.open()
    return page


def test_a_prompt_becomes_a_picture(page: ConsolePage, mill: ServedApp) -> None:
    page.fill("prompt", "a lighthouse")
    page.shows("Starts at once")
    page.press("Create")
    job_id = page.newest("succeeded")
    wait_for(lambda: page.run('return document.querySelector(".job img")?.naturalWidth') == 64, "the picture")
    assert mill.status(job_id)["request"]["prompt"] == "a lighthouse"
    assert page.errors() == []


def test_the_first_view_is_small_however_long_the_history_is(browser: Browser, serve: Callable[..., ServedApp]) -> None:
    mill = serve()
    mill.store.pause_slots("*", resume=False)
    for number in range(120):
        mill.submit(model="paint", prompt=f"row {number}")
    page = fresh(browser, mill)
    browser.command("Network.clearBrowserCache")
    page.open()
    page.shows("row 119")
    sizes = page.run("""
        return performance.getEntries().map((one) => [one.name.replace(location.origin, ""), one.transferSize ?? 0])
    """)
    read = {name: size for name, size in sizes if size}
    assert any(name.endswith("/main.js") for name in read)
    assert any(name.startswith("/v1/jobs?") for name in read)
    assert sum(read.values()) <= 200_000, read


@pytest.mark.parametrize("kind", ["Image to image", "Inpaint", "Mix", "Text to video", "Image to video"])
def test_every_kind_is_made(page: ConsolePage, mill: ServedApp, tmp_path: Path, kind: str) -> None:
    picture = tmp_path / "in.png"
    picture.write_bytes(PNG)
    if "video" in kind:
        page.fill("model", "film")
    page.press(kind)
    if kind == "Mix":
        page.press("Text")
        page.type(".mix-part input", "a fox")
    elif kind != "Text to video":
        page.choose_file("Input picture", str(picture))
    if kind == "Inpaint":
        wait_for(lambda: page.run('return Boolean(document.querySelector(".mask canvas"))'), "the canvas")
        paint(page)
    if kind != "Mix":
        page.fill("prompt", kind)
    before = len(page.states())
    page.press("Create")
    wait_for(lambda: len(page.states()) > before or page.problem("image"), "a card")
    assert page.problem("image") == ""
    job = mill.status(page.newest("succeeded"))
    assert job["kind"] == {"Image to image": "img2img", "Inpaint": "inpaint", "Mix": "mix2img",
                           "Text to video": "text2video", "Image to video": "img2video"}[kind]  # fmt: skip
    assert page.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.errors() == []


def test_a_control_has_a_picture_and_a_scale(page: ConsolePage, mill: ServedApp, tmp_path: Path) -> None:
    picture = tmp_path / "in.png"
    picture.write_bytes(PNG)
    page.press("Text to image")
    page.type('[aria-label="Add a control"]', "edges")
    page.choose_file("edges", str(picture))
    page.type('[aria-label="Scale of edges"]', "0.4")
    page.fill("prompt", "steered")
    before = len(page.states())
    page.press("Create")
    wait_for(lambda: len(page.states()) > before or page.problem("controls"), "a card")
    job = mill.status(page.newest("succeeded"))
    assert job["request"]["controls"] == [{"name": "edges", "scale": 0.4, "start": 0.0, "end": 1.0}]
    assert mill.get(f"/v1/jobs/{job['id']}/inputs/controls-0").content == PNG
    page.press("Image to image")
    page.lacks("Control pictures")
    assert page.errors() == []


def paint(page: ConsolePage) -> None:
    """Paint a line across the picture."""
    box = page.run('return document.querySelector(".mask canvas").getBoundingClientRect().toJSON()')
    at = {"y": box["y"] + box["height"] / 2, "button": "left", "clickCount": 1}
    page.browser.command("Input.dispatchMouseEvent", type="mousePressed", x=box["x"] + 5, **at)
    page.browser.command("Input.dispatchMouseEvent", type="mouseMoved", x=box["x"] + box["width"] - 5, **at)
    page.browser.command("Input.dispatchMouseEvent", type="mouseReleased", x=box["x"] + box["width"] - 5, **at)
    page.lacks("Paint over what is to be drawn anew.")


def test_wrong_fields_are_marked_where_they_are(page: ConsolePage) -> None:
    page.fill("prompt", "x")
    page.fill("steps", 1_000_000)
    wait_for(lambda: "Must be between 1 and 100000" in page.problem("steps"), "the problem of the estimate")
    page.fill("steps", 2)
    wait_for(lambda: page.problem("steps") == "", "its end")
    page.fill("prompt", "")
    page.press("Create")
    wait_for(lambda: page.problem("prompt"), "the problem of the prompt")


def test_a_running_job_shows_steps_and_a_preview_and_stops(page: ConsolePage, mill: ServedApp) -> None:
    page.fill("prompt", "endless")
    page.fill("steps", 50_000)
    page.press("Create")
    page.newest("running")
    page.shows("Step ")
    wait_for(lambda: page.run('return Boolean(document.querySelector(".job .pending img"))'), "a preview")
    page.shows(" left")
    page.press("Stop")
    page.newest("cancelled")
    assert mill.status(page.newest("cancelled"))["state"] == "cancelled"


def test_a_running_job_is_paused_and_resumed(page: ConsolePage, mill: ServedApp) -> None:
    page.fill("prompt", "paused")
    page.fill("steps", 300)
    page.press("Create")
    page.shows("Step ")
    page.press("Pause")
    page.shows("Paused at step ")
    job_id = page.newest("paused")
    page.lacks(" left")
    assert mill.status(job_id)["state"] == "paused"
    page.open(f"jobs?state=active&job={job_id}")
    page.shows("Expires unless resumed by")
    assert page.violations() == []
    page.press("Resume")
    page.shows(", resumed after ")
    page.press("Stop")
    page.shows("Stopped")
    assert page.errors() == []


def test_a_job_waits_for_its_time_and_is_paused_at_its_step(page: ConsolePage, mill: ServedApp) -> None:
    page.fill("prompt", "later")
    page.fill("steps", 30)
    page.press("More")
    page.fill("pause_at_step", 30)
    wait_for(lambda: page.problem("pause_at_step") != "", "the problem of a step after the last one")
    page.fill("pause_at_step", 3)
    page.fill("not_before", "2000-01-01T00:00")
    page.lacks("Not before")
    later = datetime.now(UTC).astimezone().replace(microsecond=0, second=0) + timedelta(hours=2)
    page.fill("not_before", later.isoformat()[:16])
    page.shows("Not before ")
    assert page.violations() == []
    page.press("Create")
    job_id = page.newest("queued")
    job = mill.status(job_id)
    assert datetime.fromisoformat(job["not_before"]) == later
    assert job["pause_at_step"] == 3
    mill.cancel(job_id)
    page.newest("cancelled")
    page.fill("not_before", "")
    page.press("Create")
    page.shows("Paused at step 3 of 30")
    page.press("Stop")
    page.newest("cancelled")
    assert page.errors() == []


def test_a_reload_in_the_middle_loses_nothing(page: ConsolePage, mill: ServedApp) -> None:
    page.fill("prompt", "in the middle")
    page.fill("steps", 50_000)
    page.press("Create")
    job_id = page.newest("running")
    page.open()
    assert page.newest("running") == job_id
    assert page.run('return document.getElementById("f-prompt").value') == "in the middle"
    mill.cancel(job_id)
    page.newest("cancelled")


def test_two_tabs_show_the_same(page: ConsolePage, mill: ServedApp) -> None:
    first = page.browser.new_tab()
    try:
        page.open()
        page.fill("prompt", "seen by both")
        page.press("Create")
        job_id = page.newest("succeeded")
    finally:
        page.browser.close_tab()
        page.browser.switch(first)
    assert page.newest("succeeded") == job_id


def test_a_server_that_goes_away_and_comes_back(page: ConsolePage, mill: ServedApp) -> None:
    page.shows("Connected")
    mill.stop_serving()
    page.shows("The server does not answer.")
    mill.serve_again()
    page.lacks("The server does not answer.")
    job_id = mill.submit(model="paint", prompt="after the outage")
    page.shows("after the outage")
    assert page.newest("succeeded") == job_id


def test_jobs_of_others_appear_by_themselves(page: ConsolePage, mill: ServedApp) -> None:
    page.shows("Connected")
    mill.submit(model="paint", prompt="from elsewhere")
    page.shows("from elsewhere")
    page.newest("succeeded")


def test_vary_run_again_edit_and_use_as_input(page: ConsolePage, mill: ServedApp) -> None:
    page.fill("prompt", "the first")
    page.fill("seed", 5)
    page.press("Create")
    first = page.newest("succeeded")
    page.press("Run again")
    again = next_job(page, mill, first)
    assert again["request"] == mill.status(first)["request"]
    page.press("Vary")
    varied = next_job(page, mill, again["id"])
    assert varied["request"]["seed"] != 5
    page.press("Edit in the form")
    wait_for(
        lambda: page.run('return document.getElementById("f-seed").value') == str(varied["request"]["seed"]), "the form"
    )
    page.press("Use as input")
    page.fill("prompt", "the second")
    page.press("Create")
    second = next_job(page, mill, varied["id"])
    assert (second["kind"], second["request"]["prompt"]) == ("img2img", "the second")
    page.press("Delete")
    page.confirm()
    wait_for(lambda: mill.get(f"/v1/jobs/{second['id']}").status_code == 404, "the end of the job")


def next_job(page: ConsolePage, mill: ServedApp, before: str) -> dict[str, object]:
    """Return the job of the next card, when it has succeeded."""
    wait_for(lambda: page.run('return all(".job")[0].dataset.job') != before, "another card")
    return mill.status(page.newest("succeeded"))


def test_details_show_all_parameters(page: ConsolePage, mill: ServedApp) -> None:
    job_id = mill.submit(model="paint", prompt="all about it", seed=11, num_images=2)
    mill.wait(job_id)
    page.open(f"create?job={job_id}")
    for text in ("all about it", "Seed", "11", "Guidance", "64 × 64, image/png", job_id):
        page.shows(text)
    page.open("create?job=unknown")
    page.shows("There is no job with this id")


def test_login_wrong_key_jobs_of_other_keys_and_a_revoked_key(browser: Browser, keyed: ServedApp) -> None:
    def submit(key: str, prompt: str) -> str:
        headers = {"Authorization": f"Bearer {key}"}
        answer = requests.post(
            keyed.url("/v1/jobs?wait=30"), json={"model": "paint", "prompt": prompt}, headers=headers, timeout=60
        )
        return str(answer.json()["id"])

    submit(OTHER, "a secret of another key")
    submit(SHOP, "my own picture")
    page = fresh(browser, keyed)
    page.log_in("fm_wrong")
    page.shows("This key is unknown.")
    browser.errors()  # the browser notes the refusal
    page.log_in(SHOP)
    page.shows("my own picture")
    wait_for(lambda: page.run('return document.querySelector(".job img")?.naturalWidth') == 64, "the picture")
    assert "a secret of another key" not in page.text()
    assert SHOP not in page.run(
        "return document.documentElement.outerHTML + JSON.stringify(localStorage) + document.cookie"
    )
    page.open()
    page.shows("my own picture")
    assert page.errors() == []
    headers = {"Authorization": f"Bearer {ADMIN}"}
    assert requests.delete(keyed.url("/v1/admin/keys/shop"), headers=headers, timeout=60).status_code == 200
    page.run("""
        const field = document.getElementById("f-prompt");
        if (!field) return;  // the page has noticed by itself, from its events
        field.value = "too late";
        field.dispatchEvent(new Event("input", {bubbles: true}));
        labelled("Create")?.click();
    """)
    page.shows("Log in with an API key")
    page.log_in(ADMIN)
    page.shows("Connected")
    page.press("Log out")
    page.shows("Log in with an API key")
    page.open()
    page.shows("Log in with an API key")


def test_filters_stand_in_the_address(page: ConsolePage, mill: ServedApp) -> None:
    for number in range(3):
        mill.wait(mill.submit(model="paint", prompt=f"searched {number}"))
    mill.wait(mill.submit(model="film", prompt="searched as a film"))
    page.open("jobs?text=searched&model=film")
    page.shows("searched as a film")
    assert "searched 0" not in page.text()
    page.press("Clear")
    page.shows("searched 0")
    page.type(".search input", "searched 2")
    page.lacks("searched 1")
    wait_for(lambda: "text=searched+2" in page.run("return location.hash"), "the filter in the address")
    page.open("jobs?state=failed")
    page.shows("No job matches")
    assert page.errors() == []


def test_a_filter_finds_a_job_however_old_it_is(
    page: ConsolePage, serve: Callable[..., ServedApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    mill = serve(API_KEYS=f"ops:{ADMIN}:admin,shop:{SHOP}")
    monkeypatch.setattr(listing, "MAX_EXAMINED", 2)
    mill.store.pause_slots("*", resume=False)

    def submit(prompt: str, key: str) -> None:
        body, headers = {"model": "paint", "prompt": prompt}, {"Authorization": f"Bearer {key}"}
        assert requests.post(mill.url("/v1/jobs"), json=body, headers=headers, timeout=60).status_code == 201

    submit("a needle", SHOP)
    for number in range(56):
        submit(f"hay {number}", ADMIN)
    page = fresh(page.browser, mill)
    page.log_in(ADMIN)
    page.open("jobs?text=needle")
    page.shows("Many jobs were looked at.")  # fifty of them
    page.press("Search older jobs")
    page.shows("Search older jobs")
    for _ in range(3):
        page.press("Search older jobs")
    page.shows("a needle")
    page.shows("1 job")
    page.lacks("Search older jobs")
    page.press("Clear")
    page.shows("hay 55")
    page.type("select[aria-label='All keys']", "shop")
    page.shows("a needle")
    page.lacks("hay 55")
    page.type("select[aria-label='All states']", "over")
    page.shows("No job matches")
    assert page.errors() == []


def test_many_jobs_are_stopped_and_deleted_and_only_rows_on_the_screen_exist(
    page: ConsolePage, serve: Callable[..., ServedApp]
) -> None:
    mill = serve()
    mill.store.pause_slots("*", resume=False)
    for number in range(120):
        mill.submit(model="paint", prompt=f"row {number}")
    page = fresh(page.browser, mill)
    page.open("jobs")
    page.shows("row 119")
    page.shows("120 jobs")
    assert page.run('return document.querySelectorAll(".job-row").length') < 40
    page.run("scrollTo(0, 120 * 76 / 2)")
    page.shows("row 60")
    page.run('document.querySelector(".bulk input").click()')
    page.press("Stop 120")
    wait_for(lambda: mill.queue()["counts"]["cancelled"] == 120, "the end of the jobs")
    page.press("Delete 120")
    page.confirm()
    page.shows("No jobs yet")
    assert mill.get("/v1/jobs").json()["total"] == 0


def test_the_gallery_moves_by_keys_and_compares_two(page: ConsolePage, mill: ServedApp) -> None:
    mill.wait(mill.submit(model="paint", prompt="a pair", num_images=2, seed=1, steps=3))
    page.open("gallery?text=a+pair")
    wait_for(lambda: page.run('return document.querySelectorAll(".tile img").length') == 2, "the pictures")
    page.run('document.querySelector("[data-place]").focus()')
    page.browser.keys(" \ue014 ")
    page.press("Compare")
    page.shows("Seed")
    shown = page.run(
        'return [...document.querySelectorAll(".differences tbody tr")].map((row) => row.innerText.split(/\\s+/))'
    )
    assert sorted(shown[0][1:]) == ["1", "2"]
    assert len(shown) == 1
    assert page.errors() == []


def test_a_video_and_a_picture_are_compared_side_by_side(page: ConsolePage, mill: ServedApp) -> None:
    mill.wait(mill.submit(model="paint", prompt="both media", seed=1))
    mill.wait(mill.submit(model="film", prompt="both media", seed=1))
    page.open("gallery?text=both+media")
    wait_for(lambda: page.run('return document.querySelectorAll(".tile").length') == 2, "the tiles")
    page.run('document.querySelectorAll(".tile-choose").forEach((one) => one.click())')
    page.press("Compare")
    page.shows("Frames per second")
    rows = page.run("""
        const texts = (row) => [...row.cells].map((cell) => cell.innerText);
        return [...document.querySelectorAll(".differences tbody tr")].map(texts);
    """)
    shown = {name: (left, right) for name, left, right in rows}
    assert shown["Kind"] == ("Text to video", "Text to image")
    assert (shown["Frames"], shown["Frames per second"]) == (("5", "–"), ("8", "–"))
    widths = page.run('return [...document.querySelectorAll(".side-by-side > *")].map((one) => one.clientWidth)')
    assert min(widths) > 300
    assert page.errors() == []


def test_the_fleet_shows_what_slots_do_and_pauses_them(page: ConsolePage, mill: ServedApp) -> None:
    job_id = mill.submit(model="paint", prompt="on the slot", steps=50_000)
    page.open("fleet")
    page.shows("on the slot")
    page.shows("Step ")
    page.press("Pause the queue")
    page.shows("The queue is paused")
    assert mill.queue()["paused"] == ["*"]
    page.press("Resume the queue")
    page.lacks("The queue is paused")
    page.shows("Pictures of every kind.")
    assert not page.run('return all(".models .commands button").length')  # drawn models have no weights to load
    page.press("Drain")
    page.shows("It finishes its job and takes no new one")
    page.confirm()
    page.shows("Draining")
    assert mill.queue()["paused"] == ["gpu0"]
    mill.cancel(job_id)
    page.shows("Drained")
    page.press("Resume")
    page.shows("Idle")
    assert mill.queue()["paused"] == []
    assert page.errors() == []


def test_the_fleet_shows_the_last_hour_after_a_reload(page: ConsolePage, mill: ServedApp) -> None:
    facts = {"memory_total_bytes": 100, "memory_used_bytes": 50, "load_1min": 1.5, "cores": 2}
    mill.store.set_facts("gpu0", mill.workers[0].owner, {"device_facts": json.dumps(facts)})
    for minute in range(3):
        at = datetime.now(UTC) - timedelta(minutes=50 - minute)
        slot_history.add(mill.store, "gpu0", {"at": at.isoformat(), **facts})
    page.open("fleet")
    page.shows("1.5 on 2 cores")
    shown = 'return all(".spark").map((one) => [one.firstChild.textContent, one.dataset.points])'
    assert page.run(shown) == [["Memory", "4"], ["Load", "4"]]
    assert page.errors() == []


def test_snippets_make_the_same_picture(page: ConsolePage, mill: ServedApp) -> None:
    job_id = mill.submit(model="paint", prompt='it\'s a "quoted" text', seed=3, num_images=2)
    first = mill.wait(job_id)
    page.open(f"jobs?job={job_id}")
    page.press("As code")
    page.shows("curl")
    command = page.run('return document.querySelector(".snippets pre").textContent')
    made = json.loads(subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=60).stdout)
    assert mill.wait(made["id"])["request"] == first["request"]
    page.press("Python")
    program = page.run('return document.querySelector(".snippets pre").textContent')
    compile(program, "snippet", "exec")
    assert "client.submit(" in program
    page.press("OpenAI JSON")
    body = json.loads(page.run('return document.querySelector(".snippets pre").textContent'))
    assert (body["n"], body["size"]) == (2, "64x64")


def test_keys_are_made_and_shown_once(browser: Browser, keyed: ServedApp) -> None:
    page = fresh(browser, keyed)
    page.log_in(ADMIN)
    page.shows("Connected")
    page.press("Admin")
    page.shows("other")
    page.press("New key")
    page.fill("service", "a b")
    page.press("Make the key")
    wait_for(lambda: "Must be" in page.problem("service"), "the problem of the name")
    page.fill("service", "studio")
    page.fill("max_waiting", 5)
    page.press("Make the key")
    page.shows("it is shown this once only")
    secret = page.run('return document.querySelector(".secret code").textContent')
    page.press("Done")
    page.shows("5 jobs waiting")
    assert secret not in page.run("return document.documentElement.outerHTML")
    headers = {"Authorization": f"Bearer {secret}"}
    assert requests.get(keyed.url("/v1/jobs"), headers=headers, timeout=60).status_code == 200
    page.run('document.querySelector("[data-key=studio] footer .button:last-child").click()')
    page.confirm()
    wait_for(
        lambda: requests.get(keyed.url("/v1/jobs"), headers=headers, timeout=60).status_code == 401,
        "the end of the key",
    )
    page.press("Log out")


def test_failed_webhooks_of_all_jobs_are_sent_again(browser: Browser, serve: Callable[..., ServedApp]) -> None:
    mill = serve(WEBHOOK_ALLOW="127.0.0.1", WEBHOOK_SECRET=f"whsec_{'x' * 32}")
    mill.store.pause_slots("*", resume=False)
    outbox = WebhookOutbox(mill.store)
    job_id = mill.submit(model="paint", prompt="x", webhook_url="http://127.0.0.1:9/hook")
    mill.cancel(job_id)
    [claimed] = outbox.claim("-|127.0.0.1:9", 1, lease_s=60, sender="me")
    tries = [{"at": 1000, "status": None, "error": "the connection was refused"}]
    outbox.settle(replace(claimed, state="failed", next_at=None, tries=tries), "me")
    page = fresh(browser, mill)
    page.open("admin")
    page.shows("the connection was refused")
    page.press("Only those that were given up")
    page.shows("127.0.0.1:9")
    assert page.violations() == []
    page.press(f"Send job.cancelled of {job_id} again")
    page.shows("None was given up.")
    assert [one.state for one in outbox.log(job_id)] == ["pending"]
    assert page.errors() == []


@pytest.mark.parametrize("name", ["create", "jobs", "gallery", "fleet", "admin", "job"])
def test_pages_fit_a_phone_and_are_accessible(page: ConsolePage, mill: ServedApp, name: str) -> None:
    job_id = mill.submit(model="paint", prompt="for everybody")
    mill.wait(job_id)
    path = f"jobs?job={job_id}" if name == "job" else name
    for width, colours in ((1280, "light"), (360, "dark")):
        page.browser.resize(width, 800)
        page.browser.command(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": colours}]
        )
        page.open(path)
        page.shows(
            "for everybody"
            if name in ("create", "jobs", "job")
            else {"gallery": "Gallery", "fleet": "Models", "admin": "no keys"}[name]
        )
        assert page.run("return document.documentElement.scrollWidth") <= width
        assert page.violations() == [], f"{name}, {width} px, {colours}"
    page.browser.command("Emulation.setEmulatedMedia", features=[])
    assert page.errors() == []
