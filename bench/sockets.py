"""``python -m bench.sockets``: measure many sockets of Devoid Generator's protocol on one web process.

1,000 sockets are idle while 50 others each send one request after the other to a model that computes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

import psutil
from simple_websocket import AioClient

from bench.common import noop_stack, quantile, table
from tests.support.harness import Stack

SERVICE, KEY = "telegram", "service_key"
REQUEST = json.dumps({
    "message_type": "request", "executor": "automatic1111", "gen_type": "text2img",
    "settings": {"premium": 0, "moderate": 0, "sync_with_s3": 1}, "service_info": {"user_id": 1},
    "payload": {"prompt": "x", "steps": 1},
})  # fmt: skip


async def connect(stack: Stack) -> Any:
    url = stack.url(f"/ws/{SERVICE}").replace("http:", "ws:")
    return await AioClient.connect(url, headers={"authorization": KEY})


async def active(stack: Stack, until: float) -> tuple[list[float], list[float]]:
    """Use one socket; return the milliseconds from each request to ``queued``, and to its last message."""
    ws, queued_ms, over_ms = await connect(stack), [], []
    while time.monotonic() < until:
        sent = time.monotonic()
        await ws.send(REQUEST)
        while True:
            status = json.loads(await ws.receive())["gen_status"]
            if status == "queued":
                queued_ms.append(1000 * (time.monotonic() - sent))
            elif status in ("ok", "error"):
                over_ms.append(1000 * (time.monotonic() - sent))
                break
    await ws.close()
    return queued_ms, over_ms


def web_process(stack: Stack) -> psutil.Process:
    """Return the only worker process of gunicorn."""
    (child,) = psutil.Process(stack.processes["web"].pid).children()
    return child


async def measure(stack: Stack, idle: int, busy: int, seconds: float) -> list[tuple[str, str]]:
    web = web_process(stack)
    first = await connect(stack)
    before = web.memory_info().rss
    sockets = [first, *[await connect(stack) for _ in range(idle - 1)]]
    each_kib = (web.memory_info().rss - before) / 1024 / max(1, idle - 1)
    cpu = web.cpu_times()
    await asyncio.sleep(5)
    idle_cpu = sum(web.cpu_times()[:2]) - sum(cpu[:2])
    alone = await active(stack, time.monotonic() + seconds)
    results = await asyncio.gather(*[active(stack, time.monotonic() + seconds) for _ in range(busy)])
    queued = [value for one in results for value in one[0]]
    over = [value for one in results for value in one[1]]

    def spread(values: list[float]) -> str:
        return ", ".join(f"p{share * 100:.0f} {quantile(values, share):.0f} ms" for share in (0.5, 0.95, 0.99))

    rows = [
        (f"memory of a socket, {idle:,} idle", f"{each_kib:.0f} KiB ({web.memory_info().rss / 2**20:.0f} MiB in all)"),
        (f"CPU of the web process with {idle:,} idle sockets", f"{idle_cpu / 5:.1%} of a core"),
        ("request → queued, one active socket beside them", spread(alone[0])),
        (f"request → queued, {busy} active", f"{spread(queued)} ({len(queued) / seconds:.0f} requests a second)"),
        (f"request → ok or error, {busy} active, one slot", spread(over)),
    ]
    await asyncio.gather(*[ws.close() for ws in sockets])
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--idle", type=int, default=1000)
    options.add_argument("--active", type=int, default=50)
    options.add_argument("--seconds", type=float, default=10)
    chosen = options.parse_args()
    with noop_stack("gpu0", "io", SERVICES=f"{SERVICE}:{KEY}", API_KEYS="ops:operators-secret-key:admin") as stack:
        rows = asyncio.run(measure(stack, chosen.idle, chosen.active, chosen.seconds))
    print(table(("what", "measured"), rows))


if __name__ == "__main__":
    main()
