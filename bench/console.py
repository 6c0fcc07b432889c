"""Measure what the console costs: its first paint, its bytes, a long history, and an open page beside a running job.

``python -m bench.console [--rounds 3] [--jobs 1000] [--seconds 15]``, with chromium and chromedriver on PATH. A real
stack with the demo model and a real browser, headless. The cost of an open page is the CPU time of the web server and
of Redis while a job with previews runs, less what both use then without a page.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.common import SHIPPED, Client, clean_environment, machine, short_folder, table
from bench.processes import cpu_ms, tree
from jobs.settings import PROJECT_ROOT
from tests.support.browser import browsing
from tests.support.console_page import ConsolePage
from tests.support.harness import Stack, wait_for

MODELS = f"""
[demo-image]
source = "{PROJECT_ROOT}/models/demo-image"
kinds = ["text2img"]
defaults = {{ steps = 20, guidance_scale = 3.0, width = 128, height = 128 }}
limits = {{ steps = [1, 1000], width = [64, 256], height = [64, 256] }}

[noop]
kinds = ["text2img"]
executor = "noop"
limits = {{ steps = [1, 1000000] }}
"""
#: The targets: seconds, bytes, and the share of a core.
PAINT_S, TRANSFERRED_BYTES, CORE_PERCENT = 1.0, 200_000, 1.0
#: Pages whose cost is measured.
OPEN_PAGES = ("create", "fleet")
#: What a page has read when it shows everything.
_READ = """
const pictures = /\\/(result|poster|thumbnail|preview)\\b/;
const entries = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
const texts = entries.filter((one) => !pictures.test(one.name));
return {
  paint_ms: performance.getEntriesByName("first-contentful-paint")[0].startTime,
  requests: texts.length, bytes: texts.reduce((sum, one) => sum + one.transferSize, 0),
};
"""
#: Scrolls to the end of the list, a quarter of a screen in each frame.
_SCROLL = """
const frames = [], tasks = [];
let rows = 0, before = performance.now(), still = 0;
const keep = (list) => tasks.push(...list.getEntries().map((one) => one.duration));
new PerformanceObserver(keep).observe({type: "longtask"});
const step = (now) => {
  frames.push(now - before);
  before = now;
  rows = Math.max(rows, document.querySelectorAll(".job-row").length);
  const place = scrollY;
  scrollBy(0, innerHeight / 4);
  still = scrollY === place ? still + 1 : 0;
  if (still < 60) requestAnimationFrame(step);
  else window.scrolled = {frames, tasks, rows, height_px: document.documentElement.scrollHeight};
};
requestAnimationFrame(step);
"""


@contextmanager
def opened(stack: Stack, page: str) -> Iterator[ConsolePage]:
    """Yield a page of the console in a browser of its own, with nothing in its cache."""
    with tempfile.TemporaryDirectory() as folder, browsing(Path(folder)) as browser:
        browser.resize(1280, 900)
        console = ConsolePage(browser, f"http://127.0.0.1:{stack.port}")
        console.open(page)
        console.shows("Connected")
        yield console


def fill(stack: Stack, count: int) -> None:
    """Let this many jobs run to their end."""

    def submit(number: int) -> None:
        with Client(stack.port) as client:
            body = {"model": "noop", "prompt": f"job {number} of the history", "steps": 1}
            assert client.send("POST", "/v1/jobs", body)[0] == 201

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(submit, range(count)))
    wait_for(lambda: stack.get("/v1/queue").json()["counts"]["succeeded"] >= count, "the end of the jobs", 600)


def first_view(stack: Stack, rounds: int) -> Iterator[dict[str, float]]:
    """Yield first paint, requests and bytes of the first page, each time with an empty cache."""
    with opened(stack, "create") as console:
        for _ in range(rounds):
            console.browser.open("about:blank")
            console.browser.command("Network.clearBrowserCache")
            console.open("create")
            console.shows("Connected")
            yield console.run(_READ)


def scrolled(stack: Stack, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield frames, long tasks and rows while the whole history is scrolled through."""
    with opened(stack, "jobs") as console:
        for _ in range(rounds):
            console.open("jobs")
            console.shows("of the history")
            console.run(_SCROLL)
            yield wait_for(lambda: console.run("return window.scrolled"), "the end of the list")


def spent_ms(stack: Stack, seconds: float) -> tuple[float, float]:
    """Return the CPU time of the web server and of Redis in a second, milliseconds, while a job runs."""
    job_id = stack.submit(model="demo-image", prompt="a red circle", steps=1000, preview=True)
    wait_for(lambda: stack.status(job_id)["progress"]["step"] > 3, "some steps")
    web, redis = tree(stack.processes["web"].pid), [int(stack.store.client.info("server")["process_id"])]
    before, begun = (cpu_ms(web), cpu_ms(redis)), time.perf_counter()
    time.sleep(seconds)
    spent, took_s = (cpu_ms(web) - before[0], cpu_ms(redis) - before[1]), time.perf_counter() - begun
    assert stack.status(job_id)["state"] == "running"
    stack.cancel(job_id)
    stack.wait(job_id)
    return spent[0] / took_s, spent[1] / took_s


def open_pages(stack: Stack, rounds: int, seconds: float) -> dict[str, list[tuple[float, float]]]:
    """Return :func:`spent_ms` by page; ``""`` is without one."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("", *OPEN_PAGES)}
    for _ in range(rounds):
        found[""].append(spent_ms(stack, seconds))
        for name in OPEN_PAGES:
            with opened(stack, name):
                found[name].append(spent_ms(stack, seconds))
    return found


def report(rounds: int = 3, jobs: int = 1000, seconds: float = 15) -> str:
    """Return the figures as tables."""
    clean_environment()
    with short_folder() as folder:
        (folder / "models.toml").write_text(MODELS)
        stack = Stack(folder, folder / "models.toml", **SHIPPED)
        try:
            stack.up("gpu0", "io")
            fill(stack, jobs)
            return "\n\n".join((
                _view_table(list(first_view(stack, rounds))), _scroll_table(list(scrolled(stack, rounds)), jobs),
                _cost_table(open_pages(stack, rounds, seconds)),
            ))  # fmt: skip
        finally:
            stack.close()


def _view_table(views: Sequence[dict[str, float]]) -> str:
    paint_s, count, size = (
        statistics.median(view[name] for view in views) for name in ("paint_ms", "requests", "bytes")
    )
    rows = [
        ("first contentful paint, s", paint_s / 1000, PAINT_S),
        ("bytes without pictures, kB", size / 1000, TRANSFERRED_BYTES / 1000),
        ("requests", count, ""),
    ]
    return table(("first view, empty cache", "median", "target"), rows)


def _scroll_table(found: Sequence[dict[str, Any]], jobs: int) -> str:
    frames = [statistics.median(one["frames"]) for one in found]
    longest = [max(one["frames"]) for one in found]
    tasks = [max(one["tasks"], default=0.0) for one in found]
    rows = [
        ("rows in the page, at most", max(one["rows"] for one in found)),
        ("frame, median, ms", statistics.median(frames)), ("frame, longest, ms", statistics.median(longest)),
        ("task, longest, ms", statistics.median(tasks)),
        ("height of the list, px", found[-1]["height_px"]),
    ]  # fmt: skip
    return table((f"scrolling through {jobs:,} jobs", "median of rounds"), rows)


def _cost_table(found: dict[str, list[tuple[float, float]]]) -> str:
    middle = {name: [statistics.median(part) for part in zip(*costs, strict=True)] for name, costs in found.items()}
    rows = []
    for name, (web, redis) in middle.items():
        more = (web + redis - sum(middle[""])) / 10
        rows.append((name or "none", web, redis, *((more, CORE_PERCENT) if name else ("", ""))))
    return table(("open page", "web, ms/s", "Redis, ms/s", "one page, % of a core", "target"), rows)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--jobs", type=int, default=1000)
    options.add_argument("--seconds", type=float, default=15)
    chosen = options.parse_args()
    print(machine())
    print(f"\n{report(chosen.rounds, chosen.jobs, chosen.seconds)}")


if __name__ == "__main__":
    main()
