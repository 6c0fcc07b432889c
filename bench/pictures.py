"""Memory and stalls of a web process that reads pictures and sound: ``python -m bench.pictures [CASE …]``.

Each case sends hostile requests to a fresh server at once. ``peak`` is what the web process takes more than before,
``stall`` the longest wait for ``/healthz``, ``answers`` counts the HTTP statuses.
"""

from __future__ import annotations

import collections
import io
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import requests
from PIL import Image

from bench.common import clean_environment, machine, short_folder
from tests.support import drawn_models
from tests.support.aime_endpoint import write_endpoint
from tests.support.harness import Stack, running
from tests.support.pictures import b64, chunk, encoded, picture, png

MIB = 2**20
_DEFLATE: dict[str, Any] = {"compression": "tiff_adobe_deflate"}
#: Of a WebP of one colour: 38 bytes.
_TINY: dict[str, Any] = {"lossless": True, "method": 0, "quality": 0}
_SOUND = 'sound = { type = "audio", format = { supported = ["wav"], auto_convert = true } }'
_ANY_SIZE = "size = { maximum = [16383, 16383], auto_convert = true }"

Request = tuple[str, dict[str, Any]]


def plain(side_px: int, kind: str = "PNG", mode: str = "RGB", **options: Any) -> str:
    """A picture of one colour in base64: few bytes, many pixels."""
    return b64(encoded(Image.new(mode, (side_px, side_px)), kind, **options))


def noise(side_px: int, kind: str = "PNG", **options: Any) -> str:
    return b64(encoded(picture(size=(side_px, side_px)), kind, **options))


def silence(seconds: int) -> str:
    """A FLAC file of silence in base64."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as target:
        stream = target.add_stream("flac", rate=48000, layout="stereo")
        for _ in range(seconds):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 96000), np.int16), format="s16", layout="stereo")
            frame.rate = 48000
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return b64(buffer.getvalue())


def img2img(image: str) -> Request:
    return "/v1/jobs", {"model": "tiny-image", "kind": "img2img", "strength": 0.5, "image": image}


def aime(**fields: str) -> Request:
    return "/draw", {"prompt": "a", "wait_for_result": False, **fields}


def batch(*images: str, scale: float) -> Request:
    entries = [{"data": image, "name": "a"} for image in images]
    fields = {"upscaler_1": "Lanczos", "upscaling_resize": scale}
    return "/sdapi/v1/extra-batch-images", {"imageList": entries, **fields}


#: Name → the requests, sent at once.
CASES: dict[str, Callable[[], list[Request]]] = {
    "png-info, 169 MP": lambda: [("/sdapi/v1/png-info", {"image": plain(13_000)})] * 2,
    "png-info, 60 MB of text": lambda: [("/sdapi/v1/png-info", {"image": _texts(60)})] * 2,
    "img2img, 60 MB of text": lambda: [img2img(_texts(60))] * 2,
    "png-info, 100,000 chunks": lambda: [("/sdapi/v1/png-info", {"image": _chunks(99_990)})] * 2,
    "img2img, PNG 64 MP RGBA, 4 at once": lambda: [img2img(plain(8000, mode="RGBA"))] * 4,
    "img2img, JPEG 64 MP progressive, 4 at once": lambda: [img2img(plain(8000, "JPEG", progressive=True))] * 4,
    "img2img, WebP 31 MP, 4 at once": lambda: [img2img(plain(5600, "WEBP", **_TINY))] * 4,
    "img2img, PNG noise of 27 MB": lambda: [img2img(noise(3000, compress_level=1))] * 3,
    "extra-batch-images, 10 x 4 MP doubled, 4 at once": lambda: [batch(*[plain(2000)] * 10, scale=2)] * 4,
    "extra-batch-images, 1 MP times 8, 3 at once": lambda: [batch(noise(1000), scale=8)] * 3,
    "AIME, TIFF 64 MP to PNG, 3 at once": lambda: [aime(image=_uri("image/tiff", plain(8000, "TIFF", **_DEFLATE)))] * 3,
    "AIME, WebP 31 MP to PNG": lambda: [aime(image=_uri("image/webp", plain(5600, "WEBP", **_TINY)))] * 2,
    "AIME, FLAC of silence to WAV, 2 at once": lambda: [aime(sound=_uri("audio/flac", silence(1200)))] * 2,
}  # fmt: skip


def _uri(media_type: str, text: str) -> str:
    return f"data:{media_type};base64,{text}"


def _texts(mib: int) -> str:
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    for number in range(mib):
        notes.add_text(f"t{number}", "a" * (MIB - 100), zip=True)
    return b64(encoded(picture(), "PNG", pnginfo=notes))


def _chunks(number: int) -> str:
    return b64(png(8, 8, bytes(72), extra=chunk(b"teXt", b"") * number))


class _Watch:
    """Asks for ``/healthz`` all the time."""

    def __init__(self, stack: Stack) -> None:
        self.longest_s = 0.0
        self._stack, self._over = stack, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with requests.Session() as session:
            while not self._over.wait(0.005):
                begun = time.monotonic()
                session.get(self._stack.url("/healthz"), timeout=120)
                self.longest_s = max(self.longest_s, time.monotonic() - begun)


def _memory_mib(stack: Stack, field: str) -> int:
    web = stack.processes["web"].pid
    pids = Path(f"/proc/{web}/task/{web}/children").read_text().split()
    found = [re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in pids]
    return max(int(match[1]) // 1024 for match in found if match)


def measure(case: Callable[[], list[Request]]) -> tuple[int, int, float, float, dict[Any, int]]:
    """Return KiB sent, peak MiB, longest stall and whole time in seconds, and the statuses of one case."""
    bodies = [(path, json.dumps(fields).encode()) for path, fields in case()]
    with short_folder() as folder:
        write_endpoint(folder / "endpoints", inputs=_SOUND, size=_ANY_SIZE)
        environment = {"ENDPOINTS_DIR": folder / "endpoints", "MAX_QUEUE": 1000}
        with running(folder, drawn_models.write(folder), **environment) as stack:

            def send(request: tuple[str, bytes]) -> Any:
                try:
                    headers = {"Content-Type": "application/json"}
                    url, body = stack.url(request[0]), request[1]
                    with requests.post(url, data=body, headers=headers, timeout=300, stream=True) as response:
                        for _ in response.iter_content(MIB):
                            pass
                        return response.status_code
                except requests.RequestException as exc:
                    return type(exc).__name__

            send(("/sdapi/v1/png-info", json.dumps({"image": b64(encoded(picture(), "PNG"))}).encode()))
            before = _memory_mib(stack, "VmRSS")
            begun = time.monotonic()
            with _Watch(stack) as watch, ThreadPoolExecutor(len(bodies)) as threads:
                statuses = collections.Counter(threads.map(send, bodies))
            took_s = time.monotonic() - begun
            peak = _memory_mib(stack, "VmHWM") - before
    return sum(len(body) for _, body in bodies) // 1024, peak, watch.longest_s, took_s, dict(statuses)


def main() -> int:
    clean_environment()
    print(machine())
    print("\n| case | KiB sent | peak, MiB | stall, ms | took, s | answers |\n|---|---|---|---|---|---|")
    for name, case in CASES.items():
        if len(sys.argv) > 1 and not any(word in name for word in sys.argv[1:]):
            continue
        kib, peak, stall_s, took_s, statuses = measure(case)
        print(f"| {name} | {kib} | {peak} | {stall_s * 1000:.0f} | {took_s:.1f} | {statuses} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
