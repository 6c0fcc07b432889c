"""Input images in every form that callers send: uploads, base64, data URLs, links."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
from PIL import Image, ImageFile
from werkzeug.datastructures import FileStorage

from app.media import inputs
from jobs.errors import InvalidRequest
from jobs.settings import Settings
from tests.support.input_case import Case
from tests.support.pictures import JPEG, PNG, WEBP, b64, encoded, picture


@pytest.mark.parametrize(("data", "extension"), [(PNG, "png"), (JPEG, "jpg"), (WEBP, "webp")])
def test_a_plain_image_is_stored_as_sent(case: Case, data: bytes, extension: str) -> None:
    key = case.store(data)
    assert re.fullmatch(rf"inputs/{hashlib.sha256(data).hexdigest()}\.[0-9a-f]{{8}}\.{extension}", key)
    assert case.content(key) == data
    stored = case.objects.stat(key)
    assert stored.size_bytes == len(data)
    assert stored.media_type == {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}[extension]


def test_every_form_of_the_same_image_is_one_object(case: Case) -> None:
    text = b64(PNG)
    forms = [
        PNG, io.BytesIO(PNG), FileStorage(io.BytesIO(PNG), "lies.gif", content_type="image/gif"), text,
        text.rstrip("="),
        "\n  ".join(text[i : i + 76] for i in range(0, len(text), 76)) + "\r\n", f"\t{text} ",
        base64.urlsafe_b64encode(PNG).decode(), base64.urlsafe_b64encode(PNG).decode().rstrip("="),
        f"data:image/png;base64,{text}", f"data:;base64,{text}", f"DATA:IMAGE/PNG;BASE64,{text.rstrip('=')}",
        f"data:image/jpeg;name=a.jpg;charset=utf-8;base64,{text}", f"data:application/octet-stream;base64,{text}",
        f" data:image/webp;base64,\n{text}",
    ]  # fmt: skip
    assert len({case.store(form) for form in forms}) == 1
    assert case.objects.writes == 1


@pytest.mark.parametrize("cut", range(6))
def test_base64_of_any_length_needs_no_padding(case: Case, cut: int) -> None:
    text = "x" * cut  # the length of an upload's comment, so that each file has another length
    image = encoded(picture(), "JPEG", comment=text.encode())
    assert case.content(case.store(b64(image).rstrip("="))) == image


class _Pictures(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/a.gif")  # type: ignore[attr-defined]
            self.end_headers()
            return
        body = {"/a.gif": PNG, "/a.png": b"<html><img src=x onerror=alert(1)></html>", "/big": b"x" * 600_000}.get(
            self.path
        )
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pictures)
    server.handle_error = lambda *args: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_link_is_downloaded_and_its_content_decides(case: Case, web: str) -> None:
    assert case.store(f"{web}/a.gif") == case.store(f" {web}/a.gif\n") == case.store(PNG)


def test_links_are_refused_for_what_they_are(case: Case, web: str) -> None:
    assert "PNG, JPEG or WebP" in case.refused(f"{web}/a.png")
    assert "404" in case.refused(f"{web}/nothing")
    assert "500000 bytes" in case.refused(f"{web}/big")
    assert "public addresses" in case.refused(f"{web}/away")
    assert "public addresses" in case.refused(f"{web}/a.gif", input_url_allow="")
    for link in ("http://localhost/a.png", "http://[::1]/a.png", "http://2130706433/a.png", "http://0x7f.1/a.png",
                 "http://017700000001/a.png", "http://[::ffff:127.0.0.1]/a.png", "HTTP://LOCALHOST/"):  # fmt: skip
        assert "public addresses" in case.refused(link)
    for link in (
        "file:///etc/passwd",
        "gopher://127.0.0.1/_x",
        "ftp://127.0.0.1/a.png",
        "javascript:alert(1)",
        "s3://a/b",
    ):
        assert "http:// or https://" in case.refused(link)


# --- What is no image -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "   \n", b"", io.BytesIO(), "data:image/png;base64,", "="])
def test_refuses_nothing(case: Case, value: object) -> None:
    assert "empty" in case.refused(value)


@pytest.mark.parametrize(
    "value", ["!!!!", "a", "abcde", "iVBOR*w0KGgo", "abc=def=", "ab====", "é" * 40, "\udcff" * 8, "a.png"]
)
def test_refuses_what_is_no_base64(case: Case, value: str) -> None:
    assert "valid base64" in case.refused(value)


@pytest.mark.parametrize(
    "head", ["data:image/png,", "data:,", "data:image/png;base64", "data:image/png;utf8;", "data:" + ";" * 100_000,
             "data:base64x,", "data:image/png;base64;x,"]
)  # fmt: skip
def test_refuses_data_urls_that_are_not_base64(case: Case, head: str) -> None:
    assert "data URL" in case.refused(head + b64(PNG))


@pytest.mark.parametrize(
    "head", ["data:text/html;base64,", "data:image/gif;base64,", "data:binary/octet-stream;base64,",
             "data:image/*;base64,", "data:image/x-png;base64,", "data:;base64,", "data:base64,",
             "data:nonsense;base64,", "DATA:image/PNG;BASE64,",
             'data:image/png;name="my file.png";base64,', "data:image/jpeg;charset=utf-8;base64 ,"]
)  # fmt: skip
def test_the_content_of_a_data_url_decides_whatever_its_type(case: Case, head: str) -> None:
    assert case.store(head + b64(PNG)) == case.store(PNG)
    assert case.store(head + b64(PNG).replace("+", "%2B").replace("/", "%2f")) == case.store(PNG)


def test_base64_is_decoded_to_the_byte_limit_only(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(PNG)
    for form in (b64(PNG), b64(PNG).rstrip("="), PNG, io.BytesIO(PNG)):
        assert case.store(form, max_input_bytes=size)
    for path in case.folder.rglob("*"):
        if path.is_file():
            path.unlink()
    case.folder = case.folder / "unused"
    for form in (PNG, io.BytesIO(PNG)):
        assert f"{size - 1} bytes" in case.refused(form, max_input_bytes=size - 1)
    decode, decoded = base64.b64decode, list[int]()

    def counted(text: str, **options: bool) -> bytes:
        decoded.append(len(text))
        return decode(text, **options)

    monkeypatch.setattr(inputs, "_STEP_CHARS", 1000)
    monkeypatch.setattr(base64, "b64decode", counted)
    for form in (b64(PNG), f"data:image/png;base64,{b64(PNG)}", "A" * 10_000_000):
        decoded.clear()
        assert f"{size - 1} bytes" in case.refused(form, max_input_bytes=size - 1)
        assert sum(decoded) <= size * 4 / 3 + 1000


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 64, 1000])
def test_pieces_of_any_length_are_decoded(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_STEP_CHARS", step)
    settings = Settings.of()
    for length in range(60, 70):
        data = random.Random(length).randbytes(length)
        text = b64(data)
        escaped = quote(text[:40], safe="") + text[40:].replace("=", "%3D").replace("+", "%2b")
        for form in (text, text.rstrip("="), text.replace("+", "-").replace("/", "_"), "\n ".join(text),
                     f"data:;base64,{escaped}", f"data:image/png;base64,{text}"):  # fmt: skip
            assert inputs.bytes_of(form, settings) == data
        for wrong in (text[:9] + "=" + text[9:], text[:8] + "==" + text[8:], text.rstrip("=") + "===",
                      text[:5] + "%" + text[5:], text[:5] + "ä" + text[5:], text[:61]):  # fmt: skip
            with pytest.raises(InvalidRequest, match="valid base64"):
                inputs.bytes_of(wrong, settings)


def test_an_upload_is_read_to_the_limit_only(case: Case) -> None:
    endless = io.BytesIO(b"x" * 10_000_000)
    case.refused(endless)
    assert endless.tell() == 500_001


# --- The process around it --------------------------------------------------------------------------------------------


def test_pillow_keeps_its_global_state(case: Case) -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    case.store(encoded(picture("RGBA"), "PNG"))
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    assert after == before


def test_needs_no_application_and_loads_no_numpy(server: Settings) -> None:
    code = f"""if True:
        import sys
        from app.media.inputs import store_image
        from jobs.objects.local import LocalStore
        from jobs.settings import Settings
        from jobs.store.jobs import JobStore
        import pathlib, tempfile
        folder = tempfile.TemporaryDirectory()
        objects, settings = LocalStore(pathlib.Path(folder.name)), Settings.of(redis_url={server.store_url!r})
        image = {b64(encoded(picture("RGBA"), "PNG"))!r}
        store_image(image, settings=settings, objects=objects, records=JobStore(settings))
        print([m for m in ("numpy", "torch") if m in sys.modules])
        """
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_decoding_stops_no_other_request_under_gevent(server: Settings) -> None:
    code = """if True:
        from gevent import monkey; monkey.patch_all()
        import gevent, io, pathlib, sys, tempfile, time
        from PIL import Image
        from app.media.inputs import store_image
        from jobs.errors import InvalidRequest
        from jobs.objects.local import LocalStore
        from jobs.settings import Settings
        from jobs.store.jobs import JobStore
        settings = Settings.of(redis_url=sys.argv[1])
        records = JobStore(settings)
        buffer = io.BytesIO()
        Image.effect_noise((3000, 3000), 90).convert("RGB").save(buffer, "PNG", compress_level=1)
        folder = tempfile.TemporaryDirectory()
        objects = LocalStore(pathlib.Path(folder.name))
        job = gevent.spawn(store_image, buffer.getvalue(), settings=settings, objects=objects, records=records)
        started = time.monotonic(); ticks = 0
        while not job.ready():
            gevent.sleep(0.005); ticks += 1
        print(job.get().key[-4:], ticks >= 5, time.monotonic() - started)
        try: store_image(b"junk", settings=settings, objects=None, records=records)
        except InvalidRequest: print("refused")
        """
    command = [sys.executable, "-c", code, server.store_url]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.startswith(".png True"), done.stdout
    assert done.stdout.endswith("refused\n")
    assert done.stderr == ""
