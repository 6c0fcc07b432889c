"""Small files that decode to a lot of data: refused by their header, or delayed by the budget of the process."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import requests
from PIL import Image, PngImagePlugin

from app.media import decoding
from app.media.pictures import MAX_WEBP_PX
from jobs.settings import PROJECT_ROOT, Settings
from tests.support.aime_endpoint import write_endpoint
from tests.support.devoid_client import Client as DevoidClient
from tests.support.pictures import JPEG, PNG, animated, b64, encoded, picture, png
from tests.support.served_app import ServedApp

SOUND = 'sound = { type = "audio", format = { supported = ["wav"], auto_convert = true } }'
KEY = "key-of-the-caller"
MAX_PX = 1_000_000
MAX_BYTES = 1_000_000


def silence(seconds: int) -> bytes:
    """Return a FLAC file of silence: 350 bytes per second."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as target:
        stream = target.add_stream("flac", rate=48000, layout="stereo")
        for _ in range(seconds):
            frame = av.AudioFrame(format="s16", layout="stereo", samples=48000)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.rate = 48000
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return buffer.getvalue()


def tile_bomb() -> bytes:
    """Return a TIFF of one pixel whose only tile is 30,000 x 30,000."""
    data = zlib.compress(bytes(30_000 * 30_000 // 100))
    values = {256: 1, 257: 1, 258: 8, 259: 8, 262: 1, 277: 1, 322: 30_000, 323: 30_000, 324: 8, 325: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(values)) + entries + bytes(4)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., ServedApp]) -> ServedApp:
    endpoints = tmp_path_factory.mktemp("endpoints")
    write_endpoint(endpoints, inputs=SOUND)
    return serve(
        ENDPOINTS_DIR=endpoints, MAX_INPUT_PX=MAX_PX, MAX_INPUT_BYTES=MAX_BYTES, DECODE_WAIT_S=0.1, MAX_QUEUE=1000,
        SERVICES="generator:secret", API_KEYS="caller:key-of-the-caller",
    )  # fmt: skip


def a1111(here: ServedApp, path: str, **fields: Any) -> requests.Response:
    return requests.post(here.url(f"/sdapi/v1/{path}"), json=fields, auth=("", KEY), timeout=60)


def aime(here: ServedApp, **fields: str) -> requests.Response:
    body = {"prompt": "a", "wait_for_result": False, "key": KEY, **fields}
    return requests.post(here.url("/draw"), json=body, timeout=60)


# ---- refused by the header


@pytest.mark.parametrize("path", ["png-info", "extra-single-image"])
def test_a1111_refuses_a_picture_of_too_many_pixels(here: ServedApp, path: str) -> None:
    response = a1111(here, path, image=b64(png(13_000, 13_000, bytes(1000))))
    assert (response.status_code, response.json()["detail"]) == (500, "Invalid encoded image")
    assert f"{MAX_PX} pixels" in response.json()["errors"]


@pytest.mark.parametrize("path", ["png-info", "extra-single-image"])
def test_a_webp_has_a_lower_limit(serve: Callable[..., ServedApp], path: str) -> None:
    image = b64(encoded(Image.new("RGB", (5_700, 5_700)), "WEBP", lossless=True, method=0, quality=0))
    response = a1111(serve(API_KEYS="caller:key-of-the-caller"), path, image=image)
    assert (response.status_code, f"{MAX_WEBP_PX} pixels" in response.json()["errors"]) == (500, True)


def test_png_info_decodes_no_pixels(here: ServedApp) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("parameters", "a cat\nSteps: 5, Seed: 7, Size: 8x8")
    data = encoded(picture(size=(300, 300)), "PNG", pnginfo=notes)
    for content in (data, data[:2000]):  # the pixels may be missing
        assert a1111(here, "png-info", image=b64(content)).json()["info"].startswith("a cat")
    for content in (JPEG, animated("WEBP")):
        assert a1111(here, "png-info", image=b64(content)).json()["info"] == ""


def test_png_info_reads_what_fits_of_a_bomb_of_texts(here: ServedApp) -> None:
    notes = PngImagePlugin.PngInfo()
    for number in range(10):
        notes.add_text(f"t{number}", "a" * 1_000_000, zip=True)
    notes.add_text("too large", "a" * 60_000_000, zip=True)
    bomb = encoded(picture(), "PNG", pnginfo=notes)
    assert len(bomb) < 80_000
    response = a1111(here, "png-info", image=b64(bomb))
    assert (response.status_code, list(response.json()["items"])) == (200, [f"t{number}" for number in range(8)])


def test_aime_refuses_a_tile_larger_than_its_picture(here: ServedApp) -> None:
    response = aime(here, image=f"data:image/tiff;base64,{b64(tile_bomb())}")
    assert (response.status_code, "must be an image" in response.text) == (400, True)


def test_a_sound_that_would_become_too_large_is_refused(here: ServedApp) -> None:
    short, long = silence(2), silence(30)
    assert len(long) < 20_000
    assert aime(here, sound=f"data:audio/flac;base64,{b64(short)}").status_code == 200
    response = aime(here, sound=f"data:audio/flac;base64,{b64(long)}")
    assert (response.status_code, f"{MAX_BYTES} bytes after its conversion" in response.text) == (400, True)


def test_a_conversion_that_takes_too_long_is_ended(serve: Callable[..., ServedApp], tmp_path: Path) -> None:
    write_endpoint(tmp_path, inputs=SOUND)
    impatient = serve(ENDPOINTS_DIR=tmp_path, CONVERT_S=0)
    response = requests.post(
        impatient.url("/draw"),
        json={"prompt": "a", "wait_for_result": False, "sound": f"data:audio/flac;base64,{b64(silence(5))}"},
        timeout=60,
    )
    assert (response.status_code, "takes more than 0 s to convert" in response.text) == (400, True)


def test_enlarged_pictures_are_limited_together(here: ServedApp, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [{"data": b64(PNG), "name": "a"}] * 3
    fields = {"imageList": images, "upscaler_1": "Nearest", "upscaling_resize": 2}
    assert len(a1111(here, "extra-batch-images", **fields).json()["images"]) == 3
    monkeypatch.setattr("app.protocols.a1111.enlarging.MAX_RESULT_BYTES", 10_000)
    response = a1111(here, "extra-batch-images", **fields)
    assert (response.status_code, "10000 bytes" in response.text) == (422, True)


# ---- one budget


@pytest.fixture
def nothing_left(here: ServedApp) -> Iterator[None]:
    """Let other work use the whole budget during the test."""
    options = here.settings.inputs
    budget = decoding._budget(options.decode_bytes, options.decode_threads, options.decode_wait_s)
    with budget.reserved(options.decode_bytes):
        yield


@pytest.mark.usefixtures("nothing_left")
def test_every_protocol_says_in_its_own_shape_that_it_is_busy(here: ServedApp) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    image = b64(PNG)
    native = {"model": "tiny-image", "kind": "img2img", "strength": 0.5, "image": image}
    responses = {
        "native": requests.post(here.url("/v1/jobs"), json=native, headers=headers, timeout=60),
        "form": requests.post(
            here.url("/v1/jobs"), data={**native, "image": ""}, files={"image": PNG}, headers=headers, timeout=60
        ),
        "lightx2v": requests.post(
            here.url("/v1/tasks/image/"), json={"prompt": "a", "image_path": image}, headers=headers, timeout=60
        ),
        "a1111": a1111(here, "img2img", init_images=[image], prompt="a", steps=4, width=32, height=32),
        "extras": a1111(here, "extra-single-image", image=image, upscaler_1="Nearest"),
        "aime": aime(here, image=f"data:image/webp;base64,{b64(encoded(picture(), 'WEBP'))}"),
        "sound": aime(here, sound=f"data:audio/flac;base64,{b64(silence(1))}"),
    }
    for name, response in responses.items():
        assert (name, response.status_code, response.headers.get("Retry-After")) == (name, 503, "2"), response.text
    for name in ("native", "form", "lightx2v"):
        assert responses[name].json()["error"]["code"] == "decoding_busy"
    assert responses["a1111"].json()["error"] == responses["extras"].json()["error"] == "HTTPException"
    assert responses["aime"].json()["success"] is False
    assert a1111(here, "png-info", image=image).status_code == 200  # needs no memory


def test_one_request_of_many_pictures_at_a_time(here: ServedApp) -> None:
    image = b64(PNG)
    with decoding.one_long_request(here.settings):
        refused = a1111(here, "extra-batch-images", imageList=[{"data": image, "name": "a"}], upscaler_1="Nearest")
        assert (refused.status_code, refused.headers.get("Retry-After")) == (503, "2"), refused.text
        fields = {"model": "tiny-image", "kind": "img2img", "strength": 0.5, "image": image, "prompt": "a"}
        submitted = requests.post(
            here.url("/v1/jobs"), json=fields, headers={"Authorization": f"Bearer {KEY}"}, timeout=60
        )
        assert submitted.status_code == 201, submitted.text
    assert a1111(here, "extra-single-image", image=image, upscaler_1="Nearest").status_code == 200


@pytest.mark.usefixtures("nothing_left")
def test_a_socket_is_told_that_the_server_is_busy(here: ServedApp) -> None:
    client = DevoidClient(here, "generator", "secret")
    payload = {"prompt": "a", "init_images": [b64(PNG)], "steps": 4, "width": 32, "height": 32}
    client.ask(payload, gen_type="img2img")
    answer = client.next()
    assert (answer["gen_status"], "being decoded" in json.dumps(answer)) == ("error", True), answer
    client.close()


# ---- memory of a process


def test_a_process_needs_memory_for_one_large_picture_at_a_time(server: Settings, tmp_path: Path) -> None:
    """Four pictures of 9 megapixels at once. Each takes 36 MB three times: as grey, with its colours and on white."""
    code = """if True:
        from gevent import monkey; monkey.patch_all()
        import gevent, io, re, sys
        from PIL import Image
        from app.media.inputs import store_image
        from jobs.objects.local import LocalStore
        from jobs.settings import Settings
        from jobs.store.jobs import JobStore
        import pathlib
        settings = Settings.from_env()
        objects, records = LocalStore(pathlib.Path(sys.argv[1])), JobStore(settings)

        def kib(name):
            return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

        def data(shade):
            buffer = io.BytesIO()
            Image.new("LA", (3000, 3000), (shade, 100)).save(buffer, "PNG", compress_level=1)
            return buffer.getvalue()

        def send(content):
            store_image(content, settings=settings, objects=objects, records=records)

        send(data(0))
        pictures = [data(shade) for shade in (1, 2, 3, 4)]
        open("/proc/self/clear_refs", "w").write("5")
        before = kib("VmRSS")
        gevent.joinall([gevent.spawn(send, content) for content in pictures], raise_error=True)
        print((kib("VmHWM") - before) // 1024)
        """
    budget = {"DECODE_BUDGET_BYTES": "100000000", "DECODE_THREADS": "8"}
    environment = {**os.environ, "REDIS_URL": server.store_url, **budget}
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], env=environment, cwd=PROJECT_ROOT, check=True, capture_output=True,
        text=True,
    )  # fmt: skip
    assert int(done.stdout) < 250
