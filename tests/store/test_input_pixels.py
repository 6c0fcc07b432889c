"""Changes to an input image before it is stored, and images that are refused."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zlib
from contextlib import suppress

import pytest
from PIL import Image, ImageCms
from werkzeug.datastructures import FileStorage

from app import attachments
from jobs.errors import InvalidRequest
from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest
from tests.support.icc_profiles import ADOBE_RGB, DISPLAY_P3, GREY_GAMMA_1
from tests.support.input_case import Case
from tests.support.pictures import JPEG, PNG, WEBP, animated, b64, chunk, encoded, picture, png, webp_canvas, zip_bomb

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


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_texts_and_profiles_of_any_size_are_no_damage(case: Case, kind: bytes) -> None:
    pixels, large = b"\0" + bytes(range(8)), chunk(kind, b"workflow\0\0" + zlib.compress(bytes(5_000_000)))
    key = case.store(png(8, 1, pixels, extra=large))
    assert case.content(key) == png(8, 1, pixels)  # workers read it with the same library


def test_transparency_becomes_white(case: Case) -> None:
    image = Image.new("RGBA", (2, 2), (255, 0, 0, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 128))
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        flat = opened(case, case.store(encoded(image, kind, **options)))
        assert [flat.getpixel(xy) for xy in ((0, 0), (1, 0), (0, 1))] == [(255, 255, 255), (127, 127, 127), (255, 0, 0)]


def test_transparency_of_a_mask_becomes_black(case: Case) -> None:
    """White strokes on a transparent ground: only they are painted."""
    image = Image.new("RGBA", (2, 1), (255, 255, 255, 255))
    image.putpixel((0, 0), (255, 255, 255, 0))
    flat = opened(case, case.store(encoded(image, "PNG"), field="mask"))
    assert [flat.getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 0), (255, 255, 255)]


STROKES = {"black": (0, 0, 0), "red": (255, 0, 0), "white": (255, 255, 255)}


def strokes(*colours: str, backdrop: int = 0) -> Image.Image:
    """A column of each colour, and one of transparency (0) or of black (255)."""
    image = Image.new("RGBA", (len(colours) + 1, 1), (0, 0, 0, backdrop))
    for x, colour in enumerate(colours):
        image.putpixel((x, 0), (*STROKES[colour], 255))
    return image


def painted(case: Case, mask: Image.Image, **options: bool) -> list[bool]:
    """Which columns of a mask are white when it is stored."""
    stored = Image.open(io.BytesIO(case.content(case.store(encoded(mask, "PNG"), field="mask", **options))))
    return [stored.convert("L").getpixel((x, 0)) >= 128 for x in range(stored.width)]  # type: ignore[operator]


def test_strokes_of_any_colour_on_transparency(case: Case) -> None:
    mask = strokes("black", "red", "white")
    assert painted(case, mask, repainted="opaque") == [True, True, True, False]
    assert painted(case, mask, repainted="opaque", inverted=True) == [False, False, False, True]
    assert painted(case, mask) == [False, False, True, False], "white is repainted, black is kept"
    palette = strokes("black", "red").quantize(4, method=Image.Quantize.FASTOCTREE)
    for mask in (strokes("black", "red"), palette):
        assert painted(case, mask) == [True, True, False], "nothing is white"
        assert painted(case, mask, repainted="opaque") == [True, True, False]


def test_the_transparent_part_of_a_mask_is_repainted_where_openai_means_it(case: Case) -> None:
    mask = strokes("black", "red", "white")
    assert painted(case, mask, repainted="transparent") == [False, False, False, True]
    assert painted(case, mask.quantize(4, method=Image.Quantize.FASTOCTREE), repainted="transparent")[3]


def test_the_mask_of_a_body_of_automatic1111_is_stored_by_its_alpha(case: Case) -> None:
    mask = b64(encoded(strokes("black", "white"), "PNG"))
    assert mask is not None
    for repainted in ("opaque", ""):
        values = {"image": b64(PNG), "mask": mask, "mask_repaints": repainted}
        pictures = attachments.take(values, {})
        request = GenerationRequest(
            model="m", kind=Kind.INPAINT, prompt="", negative_prompt="", seed=1, steps=4, guidance_scale=1, width=64,
            height=64, output_format="png", image=values["image"], mask=values["mask"],
        )  # fmt: skip
        stored = attachments.store(
            request, pictures, settings=case.settings, objects=case.objects, records=case.records
        ).put_into(request)
        kept = Image.open(io.BytesIO(case.content(str(stored.mask)))).convert("L")
        assert [kept.getpixel((x, 0)) for x in range(3)] == [255 * bool(repainted), 255, 0]


def test_masks_without_transparency_go_by_their_colour(case: Case) -> None:
    for repainted in ("", "opaque", "transparent"):
        assert painted(case, strokes("black", "white", backdrop=255), repainted=repainted) == [False, True, False]
        assert painted(case, strokes("black", backdrop=255), repainted=repainted) == [False, False]
        everything = repainted == "transparent"
        assert painted(case, Image.new("RGBA", (2, 1)), repainted=repainted) == [everything, everything]


def test_an_inverted_mask(case: Case) -> None:
    """Masks of any kind of pixels; transparent parts are black before the inversion."""
    image = Image.new("RGBA", (3, 1), (255, 255, 255, 255))
    image.putpixel((0, 0), (255, 255, 255, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    for mask in (image, image.getchannel("A").point([255] + [0] * 255).convert("1")):
        stored = Image.open(io.BytesIO(case.content(case.store(encoded(mask, "PNG"), field="mask", inverted=True))))
        kept = [255, 255, 0] if mask is image else [0, 255, 255]
        assert [stored.convert("L").getpixel((x, 0)) for x in range(3)] == kept


@pytest.mark.parametrize(
    ("mode", "colour", "profile", "expected"),
    [
        # From the definitions of the colour spaces: the chromaticities of the primaries, a gamma of 2.2, and sRGB's
        # curve.
        ("RGB", (200, 60, 60), DISPLAY_P3, (219, 37, 49)),
        ("RGB", (60, 200, 60), ADOBE_RGB, (0, 201, 37)),
        ("RGBA", (200, 60, 60, 255), DISPLAY_P3, (219, 37, 49)),
        ("RGBA", (0, 0, 0, 0), DISPLAY_P3, (255, 255, 255)),
        ("L", 60, GREY_GAMMA_1, (133, 133, 133)),
    ],
)
def test_colours_of_a_profile_become_srgb(
    case: Case, mode: str, colour: int | tuple[int, ...], profile: bytes, expected: tuple[int, int, int]
) -> None:
    image = Image.new(mode, (4, 4), colour)
    for kind in ("PNG",) if mode == "L" else ("PNG", "WEBP"):
        data = encoded(image, kind, icc_profile=profile, **({"lossless": True} if kind == "WEBP" else {}))
        flat = opened(case, case.store(data))
        shown = flat.getpixel((1, 1))
        assert all(abs(a - b) <= 1 for a, b in zip(shown, expected, strict=True)), shown  # type: ignore[arg-type]


def test_a_profile_of_srgb_and_a_damaged_one_change_nothing(case: Case) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, DISPLAY_P3[:200], b"junk", GREY_GAMMA_1):  # a profile for grey cannot describe three colours
        image = Image.new("RGB", (4, 4), (200, 60, 60))
        stored = Image.open(io.BytesIO(case.content(case.store(encoded(image, "PNG", icc_profile=profile)))))
        assert profile == GREY_GAMMA_1 or stored.getpixel((1, 1)) == (200, 60, 60)


def test_an_output_as_large_as_its_image_fits_into_its_format(case: Case) -> None:
    wide = encoded(Image.new("L", (90, 2)), "PNG")
    assert case.store(wide, max_side_px=90)
    with pytest.raises(InvalidRequest, match="at most 89 pixels a side"):
        case.store(wide, max_side_px=89)


def test_a_refusal_names_the_field(case: Case) -> None:
    for value in ("!!!", "http://127.0.0.1:9/m.png", b"junk"):
        with pytest.raises(InvalidRequest) as caught:
            case.store(value, field="mix[1].image", input_url_allow="")
        assert [problem.field for problem in caught.value.problems] == ["mix[1].image"]


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


@pytest.mark.parametrize("size", [(9000, 9000), (30_000, 30_000), (2**31 - 1, 2**31 - 1), (100_000_000, 1)])
def test_a_decompression_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    """Runs in a separate process, to measure that no memory was allocated for the pixels."""
    jpeg = JPEG.replace(struct.pack(">HH", 30, 40), struct.pack(">HH", *(min(n, 65_000) for n in size)), 1)
    assert jpeg != JPEG
    files = [png(*size, bytes(1000))]
    if min(size) > 1:
        files.append(jpeg)
    if max(size) < 2**24:
        files.append(webp_canvas(*size))
    code = """if True:
        import resource, sys
        from app.media.inputs import store_image
        from jobs.errors import InvalidRequest
        from jobs.settings import Settings
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for data in sys.stdin.read().split():
            try: store_image(data, settings=Settings.of(max_input_px=64_000_000), objects=None, records=None)
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
