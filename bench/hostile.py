"""``python -m bench.hostile [CHECKOUT]``: what hostile requests cost the web process of a checkout.

Each load meets a web process of its own. Another process asks ``/healthz`` every 20 ms: the longest wait is the stall.
A process that only answers is asked as well: its longest wait is what other work of the machine adds. Memory is the
peak beyond that of the idle process; loads that send pictures may need as much as the decoded pictures.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from PIL import Image

from bench import hostile_clients as clients
from bench.common import machine, table
from bench.hostile_web import MB, PROBE_TIMEOUT_S, Cost, Web, web
from tests.support.hostile_bodies import BODIES, HONEST, Body, lora_prompt, progress_list

#: Targets: the longest stall in seconds, and memory beyond the pictures of a request in bytes.
MAX_STALL_S, MAX_BYTES = 0.1, 64 * MB
LARGE = 60_000_000
#: A key of the server, for loads that are sent without it.
KEYS = "ops:operators-secret-key:admin"

_HEAD = (
    "load", "sent MB", "longest stall ms", "of it machine ms", "peak memory MB", "of it pictures MB",
    "peak per byte sent", "answers", "reached",
)  # fmt: skip


@dataclass(frozen=True)
class Load:
    """Requests to one web process."""

    name: str
    #: Sends the requests; returns what came back, and the number of bytes sent.
    send: Callable[[int], clients.Outcome]
    #: Bytes of the decoded pictures: Pillow keeps 4 of each pixel.
    pictures_bytes: int = 0
    #: Keys of the server; '' if it has none.
    keys: str = ""
    #: Makes what is sent.
    prepare: Callable[[], object] = lambda: None


def loads() -> Iterable[Load]:
    """Return all loads; what they send is made when it is needed."""
    yield Load("nothing, for 3 s", clients.nothing)
    for name, make in BODIES.items():
        yield _body(f"60 MB: {name}", "/v1/jobs", partial(make, LARGE), pictures=LARGE if name in HONEST else 0)
    for name, path, keys in (
        ("LightX2V", "/v1/tasks/image", ""), ("AUTOMATIC1111", "/sdapi/v1/txt2img", ""),
        ("AIME client without a key", "/sound", KEYS), ("AIME worker without a key", "/worker_job_result", KEYS),
        ("native without a key", "/v1/jobs", KEYS),
    ):  # fmt: skip
        yield _body(f"60 MB of lists, {name}", path, _lists, keys=keys)
    yield Load("60 MB of lists, Devoid's socket", lambda port: clients.socket_message(port, _lists().content))
    yield _body("prompt <lora:aaa… of 20,000 characters", "/v1/jobs", _lora)
    yield _body("… AUTOMATIC1111: prompt <lora:aaa…", "/sdapi/v1/txt2img", partial(_lora, steps=0))
    yield _body("progress of 50,000 jobs, AIME worker", "/worker_job_progress", lambda: progress_list(50_000))
    yield _body("png-info, 13,000 × 13,000", "/sdapi/v1/png-info", _large, pictures=13_000**2 * 4)
    pictures, path = (4000**2 + 8000**2) * 4, "/sdapi/v1/extra-batch-images"
    yield _body("extra-batch-images, 10 of 4000 × 4000, doubled", path, _batch, pictures=pictures)
    yield _body("… extra-batch-images by 10 clients", path, _batch, number=10, pictures=pictures)
    yield _body("FLAC of an hour of silence, AIME", "/sound", _sound)
    yield Load("400 half headers", lambda port: clients.held(port, 400, b"GET / HTTP/1.1\r\nX-Half:"))
    yield Load("2,000 silent connections", lambda port: clients.held(port, 2000, b""))
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{"
    yield Load("400 bodies that do not come", lambda port: clients.held(port, 400, head))
    yield Load("400 clients that read nothing", clients.unread)
    yield Load("150 listeners and 20 submits", lambda port: clients.listeners(port, 150, 20))
    yield Load("500 long polls", lambda port: clients.long_polls(port, 500))


def _body(
    name: str, path: str, make: Callable[[], Body], *, keys: str = "", number: int = 1, pictures: int = 0
) -> Load:  # fmt: skip
    def send(port: int, body: list[Body]) -> clients.Outcome:
        return clients.bodies(port, path, body[0], number)

    made: list[Body] = []
    return Load(name, lambda port: send(port, made), pictures, keys, lambda: made.append(make()))


def _lists() -> Body:
    return BODIES["empty_lists"](LARGE)


def _lora(**fields: int) -> Body:
    return _json(model="noop", prompt=lora_prompt(20_000), **fields)


def _large() -> Body:
    return _json(image=_png(13_000, 13_000))


def _batch() -> Body:
    images = [{"data": _png(4000, 4000), "name": f"{number}.png"} for number in range(10)]
    return _json(imageList=images, upscaling_resize=2, upscaler_1="Lanczos")


def _sound() -> Body:
    return _json(audio=f"data:audio/flac;base64,{base64.b64encode(_silence(3600)).decode()}")


def _json(**fields: object) -> Body:
    return Body("application/json", json.dumps(fields).encode())


def _png(width: int, height: int) -> str:
    content = io.BytesIO()
    Image.new("RGB", (width, height)).save(content, "PNG", compress_level=1)
    return base64.b64encode(content.getvalue()).decode()


def _silence(duration_s: int) -> bytes:
    content, rate = io.BytesIO(), 48_000
    with av.open(content, "w", "flac") as target:
        stream = target.add_stream("flac", rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * rate), np.int16), "s16", "stereo")
        frame.rate = rate
        for second in range(duration_s):
            frame.pts = second * rate
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return content.getvalue()


def measure(checkout: Path, load: Load) -> list[object]:
    """Return the row of one load."""
    load.prepare()
    with web(checkout, **({"API_KEYS": load.keys} if load.keys else {})) as process:
        outcome, cost = _sent(process, load)
    beyond = max(0, cost.peak_bytes - load.pictures_bytes)
    stall = f"{'≥ ' * (cost.longest_stall_s >= PROBE_TIMEOUT_S)}{1000 * cost.longest_stall_s:.0f}"
    remarks = [outcome.answers, cost.died and "process killed", cost.tracebacks and f"{cost.tracebacks} tracebacks"]
    is_quick = cost.longest_stall_s - cost.machine_s <= MAX_STALL_S
    reached = is_quick and beyond <= MAX_BYTES and not cost.died and not cost.tracebacks
    per_byte = cost.peak_bytes / outcome.sent_bytes if outcome.sent_bytes > MB else ""
    return [
        load.name, outcome.sent_bytes / MB, stall, f"{1000 * cost.machine_s:.0f}", cost.peak_bytes / MB,
        load.pictures_bytes / MB or "", per_byte,
        "; ".join(str(remark) for remark in remarks if remark), "yes" if reached else "**no**",
    ]  # fmt: skip


def _sent(process: Web, load: Load) -> tuple[clients.Outcome, Cost]:
    with process.measured() as costs:
        outcome = load.send(process.port)
    return outcome, costs[0]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description="Measure hostile requests.")
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(), help="root of the checkout; default: here")
    parser.add_argument("--only", default="", help="measure the loads whose names contain this")
    options = parser.parse_args()
    print(machine(), file=sys.stderr)
    rows = []
    for load in loads():
        if options.only in load.name:
            rows.append(measure(options.checkout.resolve(), load))
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    print(table(_HEAD, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
