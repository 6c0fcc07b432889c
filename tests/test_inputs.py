"""Input images in every form that callers send, and files made to do harm."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import struct
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image, ImageFile
from werkzeug.datastructures import FileStorage

from app.inputs import store_image
from jobs.errors import InvalidRequest
from jobs.objects.local import LocalStore
from jobs.settings import Settings


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    """The same noise every time, so that no file of it is short."""
    channels = {"RGB": 3, "RGBA": 4, "L": 1, "CMYK": 4, "LA": 2}[mode]
    return Image.frombytes(mode, size, random.Random(7).randbytes(size[0] * size[1] * channels))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG by hand, 8-bit grey."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


PNG, JPEG, WEBP = (encoded(picture(), kind) for kind in ("PNG", "JPEG", "WEBP"))


class Store(LocalStore):
    """Counts what is written."""

    writes = 0

    def put_bytes(self, key: str, data: bytes, media_type: str) -> None:
        self.writes += 1
        super().put_bytes(key, data, media_type)


class Case:
    def __init__(self, folder: Path) -> None:
        self.settings = Settings(
            data_dir=Path("/tmp"), input_url_allow="other.example, 127.0.0.1", max_input_bytes=500_000
        )
        self.folder = folder
        self.objects = Store(folder)

    def store(self, value: object, **settings: object) -> str:
        used = Settings(**{**vars(self.settings), **settings})  # type: ignore[arg-type]
        return store_image(value, settings=used, objects=self.objects)  # type: ignore[arg-type]

    def content(self, key: str) -> bytes:
        return b"".join(self.objects.read(key))

    def refused(self, value: object, **settings: object) -> str:
        """The rule that was broken; nothing may have been stored."""
        with pytest.raises(InvalidRequest) as caught:
            self.store(value, **settings)
        (problem,) = caught.value.problems
        assert problem.field == "image"
        assert len(str(problem.value)) <= 80 or str(problem.value).startswith("http")
        assert not self.folder.exists() or not any(self.folder.rglob("*"))
        return problem.rule


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "objects")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- Forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "extension"), [(PNG, "png"), (JPEG, "jpg"), (WEBP, "webp")])
def test_a_plain_image_is_stored_as_sent(case: Case, data: bytes, extension: str) -> None:
    key = case.store(data)
    assert key == f"inputs/{hashlib.sha256(data).hexdigest()}.{extension}"
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
    data = PNG + b"\0" * cut  # readers stop at the end chunk
    assert case.content(case.store(b64(data).rstrip("="))) == data


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


# --- What is changed --------------------------------------------------------------------------------------------------


def opened(case: Case, key: str) -> Image.Image:
    assert key.endswith(".png")
    image = Image.open(io.BytesIO(case.content(key)))
    image.load()
    assert (image.mode, image.info) == ("RGB", {})
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(case: Case, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Camera"
    upright = Image.new("RGB", (32, 16), "white")
    upright.paste("black", (0, 0, 8, 8))
    data = encoded(upright, "JPEG", quality=95, exif=exif)
    key = case.store(data)
    if orientation == 1:
        assert case.content(key) == data
        return
    image = opened(case, key)
    assert image.size == ((32, 16) if orientation < 5 else (16, 32))
    corner = {2: (28, 4), 3: (28, 12), 4: (4, 12), 5: (4, 4), 6: (12, 4), 7: (12, 28), 8: (4, 28)}[orientation]
    dark = [xy for xy in ((x, y) for x in (4, 12, 28) for y in (4, 12, 28)) if _is_dark(image, xy)]
    assert dark == [corner]


def _is_dark(image: Image.Image, xy: tuple[int, int]) -> bool:
    return xy[0] < image.width and xy[1] < image.height and sum(image.getpixel(xy)) < 100  # type: ignore[arg-type]


def test_transparency_becomes_white(case: Case) -> None:
    image = Image.new("RGBA", (2, 2), (255, 0, 0, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 128))
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        flat = opened(case, case.store(encoded(image, kind, **options)))
        assert [flat.getpixel(xy) for xy in ((0, 0), (1, 0), (0, 1))] == [(255, 255, 255), (127, 127, 127), (255, 0, 0)]


@pytest.mark.parametrize(
    "mode", ["LA", "P", "P+alpha", "RGB+colour", "L+grey", "1", "1+grey", "CMYK", "I;16", "I;16+grey"]
)
def test_every_other_kind_of_pixel_becomes_rgb(case: Case, mode: str) -> None:
    kind, options = "PNG", {}
    if mode == "CMYK":
        image, kind, options = picture("CMYK"), "JPEG", {"icc_profile": b"for ink" * 30}
    elif mode.startswith("P"):
        image = picture().quantize(16)
        options = {"transparency": bytes([0, 128] + [255] * 14)} if mode == "P+alpha" else {}
    elif mode.startswith("I;16"):
        image = Image.new("I;16", (3, 1))
        image.putdata([0, 0x8080, 0xFFFF])
        options = {"transparency": 0x80} if "+" in mode else {}
    elif mode.startswith("1"):
        image = picture("L").convert("1")
        options = {"transparency": 0} if "+" in mode else {}
    else:
        image = picture(mode.partition("+")[0])
        options = {"RGB+colour": {"transparency": (1, 2, 3)}, "L+grey": {"transparency": 7}}.get(mode, {})
    data = encoded(image, kind, **options)
    stored = opened(case, case.store(data))
    assert stored.size == image.size
    if image.mode == "I;16":
        assert [stored.getpixel((x, 0)) for x in range(3)] == [(0, 0, 0), (128, 128, 128), (255, 255, 255)]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_beside_a_sound_picture_is_no_reason_to_refuse(case: Case) -> None:
    broken = b"\xff\xd8" + b"\xff\xe1\x00\x14Exif\0\0" + b"II*\0\xff\xff\xff\xff\0\0" + JPEG[2:]
    assert case.content(case.store(broken)) == broken
    broken = png(1, 1, bytes(2), chunk(b"eXIf", b"junk"))
    assert case.content(case.store(broken)) == broken


def test_phones_store_a_second_picture_behind_the_first(case: Case) -> None:
    data = encoded(picture(), "MPO", save_all=True, append_images=[picture("L")])
    assert case.store(data).endswith(".jpg")


def test_grey_and_one_frame_files_stay_as_they_are(case: Case) -> None:
    for data in (
        encoded(picture("L"), "PNG"),
        encoded(picture("L"), "JPEG"),
        encoded(picture(), "WEBP", lossless=True),
    ):
        assert case.content(case.store(data)) == data


# --- What is refused --------------------------------------------------------------------------------------------------


def animated(kind: str, **options: object) -> bytes:
    return encoded(picture(), kind, save_all=True, append_images=[picture("L").convert("RGB")], duration=100, **options)


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"\0" * 10_000_000)
    return buffer.getvalue()


OTHER_FORMATS = {
    "gif": encoded(picture("L"), "GIF"), "bmp": encoded(picture(), "BMP"), "tiff": encoded(picture(), "TIFF"),
    "ico": encoded(picture(), "ICO"), "jpeg2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
    "ppm": encoded(picture(), "PPM"),
    "psd": b"8BPS\0\1" + bytes(100), "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "pdf": b"%PDF-1.7\n" + bytes(100),
    "avif": b"\0\0\0\x1cftypavif" + bytes(100), "html": b"<html><script>alert(1)</script></html>", "zip": zip_bomb(),
    "text": b"hello", "riff": b"RIFF\x24\0\0\0WAVEfmt " + bytes(32), "webp junk": b"RIFF\x24\0\0\0WEBPJUNK" + bytes(32),
    "nul": bytes(1000), "shifted": b"\n" + PNG,
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_refuses_other_formats(case: Case, name: str) -> None:
    data = OTHER_FORMATS[name]
    assert "PNG, JPEG or WebP" in case.refused(data)
    assert "PNG, JPEG or WebP" in case.refused(f"data:image/png;base64,{b64(data)}")
    assert "PNG, JPEG or WebP" in case.refused(FileStorage(io.BytesIO(data), "a.png", content_type="image/png"))


DAMAGED = {
    "half a jpeg": JPEG[: len(JPEG) // 2], "jpeg without its end": JPEG[:-40], "half a png": PNG[: len(PNG) // 2],
    "half a webp": WEBP[: len(WEBP) // 2], "png header and junk": PNG[:33] + b"<script>" * 100,
    "png signature": PNG[:8],
    "png without pixels": png(10, 10), "empty png": png(0, 0),
    "jpeg signature": b"\xff\xd8\xff", "jpeg of zeros": b"\xff\xd8\xff\xe0" + bytes(500),
    "no size": png(0, 10, bytes(10)), "webp header": WEBP[:30],
    "png text bomb": png(1, 1, bytes(2), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000)))),
    "png and wrong crc": PNG[:20] + b"\xff" + PNG[21:], "jpeg with webp": b"\xff\xd8\xff" + WEBP,
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_refuses_damaged_files(case: Case, name: str) -> None:
    assert "damaged or incomplete" in case.refused(DAMAGED[name])
    assert "damaged or incomplete" in case.refused(b64(DAMAGED[name]))


def test_random_damage_is_refused_or_harmless(case: Case) -> None:
    chance = random.Random(11)
    for data in (PNG, JPEG, WEBP, encoded(picture("RGBA"), "PNG"), encoded(picture("RGBA"), "WEBP", lossless=True)):
        for _ in range(60):
            hurt = bytearray(data)
            for _ in range(chance.randint(1, 8)):
                hurt[chance.randrange(len(hurt))] = chance.randrange(256)
            with suppress(InvalidRequest):
                case.store(bytes(hurt))


def webp_canvas(width: int, height: int) -> bytes:
    body = (
        b"VP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4 + len(WEBP) - 12) + b"WEBP" + body + WEBP[12:]


@pytest.mark.parametrize("size", [(9000, 9000), (30_000, 30_000), (2**31 - 1, 2**31 - 1), (100_000_000, 1)])
def test_a_decompression_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    """In a process of its own, to see that no memory was taken for the pixels."""
    jpeg = JPEG.replace(struct.pack(">HH", 30, 40), struct.pack(">HH", *(min(n, 65_000) for n in size)), 1)
    assert jpeg != JPEG
    files = [png(*size, bytes(1000))]
    if min(size) > 1:
        files.append(jpeg)
    if max(size) < 2**24:
        files.append(webp_canvas(*size))
    code = """if True:
        import resource, sys
        from app.inputs import store_image
        from jobs.errors import InvalidRequest
        from jobs.settings import Settings
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for data in sys.stdin.read().split():
            try: store_image(data, settings=Settings(max_input_px=64_000_000), objects=None)
            except InvalidRequest as exc: print(exc.message)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
        """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        input="\n".join(map(b64, files)), check=True, capture_output=True, text=True,
    )  # fmt: skip
    *rules, taken_mib = done.stdout.splitlines()
    assert len(rules) == len(files)
    assert all("64000000 pixels" in rule or "damaged" in rule for rule in rules), rules
    assert int(taken_mib) < 30


def test_the_pixel_limit_is_exact(case: Case) -> None:
    assert "1199 pixels" in case.refused(PNG, max_input_px=1199)
    assert case.store(PNG, max_input_px=1200)


@pytest.mark.parametrize(
    "data", [animated("PNG"), animated("WEBP"), animated("WEBP", lossless=True)], ids=["apng", "webp", "lossless"]
)
def test_refuses_animations(case: Case, data: bytes) -> None:
    assert case.refused(data) == "must not be animated"


@pytest.mark.parametrize("value", ["", "   \n", b"", io.BytesIO(), "data:image/png;base64,", "="])
def test_refuses_nothing(case: Case, value: object) -> None:
    assert "empty" in case.refused(value)


@pytest.mark.parametrize(
    "value", ["!!!!", "a", "abcde", "iVBOR*w0KGgo", "abc=def=", "ab====", "é" * 40, "\udcff" * 8, "a.png"]
)
def test_refuses_what_is_no_base64(case: Case, value: str) -> None:
    assert "valid base64" in case.refused(value)


@pytest.mark.parametrize(
    "head", ["data:text/html;base64,", "data:image/svg+xml;base64,", "data:image/gif;base64,", "data:image/png,",
             "data:,", "data:image/png;base64", "data:image/png;utf8;", "data:" + ";" * 100_000]
)  # fmt: skip
def test_refuses_data_urls_of_another_type(case: Case, head: str) -> None:
    assert "data URL" in case.refused(head + b64(PNG))


def test_the_byte_limit_holds_before_base64_is_decoded(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(PNG)
    for form in (b64(PNG), b64(PNG).rstrip("="), PNG, io.BytesIO(PNG)):
        assert case.store(form, max_input_bytes=size)
    for path in case.folder.rglob("*"):
        if path.is_file():
            path.unlink()
    case.folder = case.folder / "unused"
    for form in (PNG, io.BytesIO(PNG)):
        assert f"{size - 1} bytes" in case.refused(form, max_input_bytes=size - 1)
    monkeypatch.setattr(base64, "b64decode", lambda *args, **options: pytest.fail("decoded"))
    for form in (b64(PNG), f"data:image/png;base64,{b64(PNG)}", "A" * 10_000_000):
        assert f"{size - 1} bytes" in case.refused(form, max_input_bytes=size - 1)


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


def test_needs_no_application_and_loads_no_numpy() -> None:
    code = f"""if True:
        import sys
        from app.inputs import store_image
        from jobs.objects.local import LocalStore
        from jobs.settings import Settings
        import pathlib, tempfile
        folder = tempfile.TemporaryDirectory()
        objects = LocalStore(pathlib.Path(folder.name))
        store_image({b64(encoded(picture("RGBA"), "PNG"))!r}, settings=Settings(), objects=objects)
        print([m for m in ("numpy", "torch") if m in sys.modules])
        """
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_decoding_stops_no_other_request_under_gevent() -> None:
    code = """if True:
        from gevent import monkey; monkey.patch_all()
        import gevent, io, pathlib, sys, tempfile, time
        from PIL import Image
        from app.inputs import store_image
        from jobs.errors import InvalidRequest
        from jobs.objects.local import LocalStore
        from jobs.settings import Settings
        buffer = io.BytesIO()
        Image.effect_noise((3000, 3000), 90).convert("RGB").save(buffer, "PNG", compress_level=1)
        folder = tempfile.TemporaryDirectory()
        objects = LocalStore(pathlib.Path(folder.name))
        job = gevent.spawn(store_image, buffer.getvalue(), settings=Settings(), objects=objects)
        started = time.monotonic(); ticks = 0
        while not job.ready():
            gevent.sleep(0.005); ticks += 1
        print(job.get()[-4:], ticks >= 5, time.monotonic() - started)
        try: store_image(b"junk", settings=Settings(), objects=None)
        except InvalidRequest: print("refused")
        """
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.startswith(".png True"), done.stdout
    assert done.stdout.endswith("refused\n")
    assert done.stderr == ""
