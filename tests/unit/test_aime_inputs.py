"""Inputs of AIME endpoints by type: what is accepted, converted and refused."""

from __future__ import annotations

import base64
import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from app.protocols.aime.endpoints.parameters import load_inputs
from app.protocols.aime.endpoints.spec import Endpoint, Endpoints
from app.protocols.aime.endpoints.tables import Table
from app.protocols.aime.inputs.checking import BadInputs, check_inputs
from jobs.process.toml_lines import TomlFile
from jobs.settings import Settings


def checked(spec: str, as_text: bool = False, formats: dict[str, tuple[str, ...]] | None = None, **sent: Any) -> Any:
    text = f"[INPUTS]\n{spec}"
    file = TomlFile(Path("test"), text)
    table = Table(file, (), file.tables).table("INPUTS")
    endpoint = Endpoint(name="e", title="e", description="e", inputs=load_inputs(table))
    return check_inputs(endpoint, Endpoints(formats=formats or {}), sent, Settings(), as_text=as_text)


def value(spec: str, given: Any, **more: Any) -> Any:
    return checked(f"a = {{ {spec} }}", a=given, **more).params["a"]


def refusal(spec: str, given: Any, **more: Any) -> str:
    with pytest.raises(BadInputs) as refused:
        checked(f"a = {{ {spec} }}", a=given, **more)
    (problem,) = refused.value.problems
    assert problem.startswith("a: ")
    return problem[3:]


@pytest.mark.parametrize(
    ("spec", "given", "taken"),
    [
        ("type = 'integer'", 5.7, 5),
        ("type = 'float'", 5, 5.0),
        ("type = 'int', max = 9, auto_convert = true", 12, 9),
        ("type = 'integer', minimum = 5, align = 8, auto_convert = true", 6, 8),
        ("type = 'integer', align = 8, auto_convert = true", 23, 16),
        ("type = 'integer', auto_convert = true", "12", 12),
        ("type = 'string', max_length = 3, auto_convert = true", "abcdef", "abc"),
        ("type = 'string', auto_convert = true", 7, "7"),
        ("type = 'bool', auto_convert = true", "false", False),
        ("type = 'selection', supported = [1, 2], auto_convert = true", 3, 1),
        ("type = 'selection', supported = [1, 2], default = 2, auto_convert = true", 3, 2),
        ("type = 'json'", '{"a": 1}', {"a": 1}),
        ("type = 'text_context'", "hello", "hello"),
    ],
)
def test_values_are_taken(spec: str, given: Any, taken: Any) -> None:
    got = value(spec, given)
    assert got == taken
    assert type(got) is type(taken)


@pytest.mark.parametrize(
    ("spec", "given", "rule"),
    [
        ("type = 'integer'", "5", "must be an integer, not a string"),
        ("type = 'integer'", True, "must be an integer, not a boolean"),
        ("type = 'float'", float("nan"), "must be a finite number"),
        ("type = 'integer', minimum = 1, maximum = 3", 4, "must be from 1 to 3, not 4"),
        ("type = 'integer', align = 8", 9, "must be a multiple of 8, not 9"),
        ("type = 'string'", 7, "must be a string, not an integer"),
        ("type = 'string', max_length = 3", "abcd", "must have at most 3 characters, not 4"),
        ("type = 'bool'", 1, "must be true or false, not an integer"),
        ("type = 'selection', supported = ['x', 'y']", "z", "must be one of x, y"),
        ("type = 'selection', supported = [1]", True, "must be one of 1"),
        ("type = 'json'", "{", "must be JSON"),
        ("type = 'chat_context'", "[1]", "message 1 must have a role out of system, user, assistant"),
        ("type = 'image'", "data:audio/wav;base64,AA", "must be of type image, not audio"),
        ("type = 'image'", "AAAA", "must be a data URI (data:image/<format>;base64,…) or job:<id>"),
        ("type = 'image'", "data:image/png;base64,A", "must be valid base64"),
    ],
)  # fmt: skip
def test_values_are_refused(spec: str, given: Any, rule: str) -> None:
    assert refusal(spec, given) == rule


@pytest.mark.parametrize(
    "head", ["data:;base64,", "data:binary/octet-stream;base64,", "data:image/*;base64,", "data:image;base64,",
             "data:application/octet-stream;name=a.png;base64,", "DATA:image/x-png;BASE64,"]
)  # fmt: skip
def test_the_content_of_a_data_uri_decides_whatever_its_type(head: str) -> None:
    red = Image.new("RGB", (8, 8), "red")
    plain = checked("i = { type = 'image' }", i=uri(red, "png")).media["i"]
    sent = head + uri(red, "png").partition(",")[2]
    assert checked("i = { type = 'image' }", i=sent).media["i"] == plain


def test_a_query_carries_every_type() -> None:
    assert value("type = 'integer'", "5", as_text=True) == 5
    assert value("type = 'bool'", "true", as_text=True) is True
    assert value("type = 'selection', supported = [1, 2]", "2", as_text=True) == 2


def test_chats() -> None:
    spec = "c = { type = 'chat_context', support = ['image'] }\nt = { type = 'text_context' }"
    red = uri(Image.new("RGB", (8, 8), "red"), "png")
    messages = [{"role": "user", "content": "hi"}, {"role": "user", "content": [{"text": "see"}, {"image": red}]}]
    assert checked(spec, c=json.dumps(messages)).params["c"] == messages
    for content, rule in (
        ([{"audio": "x"}], "takes no audio here"), ([{"text": "a", "image": red}], "exactly one of"), (None, "content"),
    ):  # fmt: skip
        with pytest.raises(BadInputs, match=rule):
            checked(spec, c=json.dumps([{"role": "user", "content": content}]))
    with pytest.raises(BadInputs, match="cannot be given together with c"):
        checked(spec, c=json.dumps(messages), t="more")
    assert checked(spec, c="[]", t="alone").params["t"] == "alone"


# ---- media


def uri(image: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return as_uri(buffer.getvalue(), f"image/{kind}")


def as_uri(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def medium(spec: str, given: str, **more: Any) -> tuple[bytes, str]:
    found: tuple[bytes, str] = checked(f"a = {{ {spec} }}", a=given, **more).media["a"]
    return found


def picture(spec: str, image: Image.Image, kind: str = "png") -> Image.Image:
    content, media_type = medium(f"type = 'image', {spec}", uri(image, kind))
    made = Image.open(io.BytesIO(content))
    assert media_type == f"image/{(made.format or '').lower()}"
    return made


def halves() -> Image.Image:
    """Return a picture of 40 x 20: red on the left, blue on the right."""
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    return image


def test_an_image_that_fits_is_passed_on_as_it_is() -> None:
    sent = uri(halves(), "png")
    content, media_type = medium("type = 'image', format = { supported = ['PNG'] }", sent)
    assert (as_uri(content, "image/png"), media_type) == (sent, "image/png")


def test_images_are_converted() -> None:
    auto = "auto_convert = true"
    assert picture(f"format = {{ supported = ['jpeg'], {auto} }}", halves()).format == "JPEG"
    assert picture(f"color_space = {{ supported = ['gray'], {auto} }}", halves()).mode == "L"
    assert picture(f"size = {{ maximum = [16, 16], {auto} }}", halves()).size == (16, 16)
    assert picture(f"size = {{ maximum = [16, 16], keep_aspect_ratio = true, {auto} }}", halves()).size == (16, 8)
    assert picture(f"size = {{ align = 16, {auto} }}", halves()).size == (32, 16)
    cropped = picture(
        f"resize_method = 'crop', size = {{ default = [10, 10], supported = [[10, 10]], {auto} }}", halves()
    )
    assert cropped.size == (10, 10)
    assert cropped.convert("RGB").getpixel((1, 5)) == (255, 0, 0)
    assert cropped.convert("RGB").getpixel((8, 5)) == (0, 0, 255)
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert picture(f"color_space = {{ supported = ['rgb'], {auto} }}", clear).getpixel((0, 0)) == (255, 255, 255)


def test_a_jpeg_counts_as_rgb_and_as_yuv() -> None:
    for space in ("rgb", "yuv"):
        sent = uri(halves(), "jpeg")
        spec = f"type = 'image', color_space = {{ supported = ['{space}'] }}"
        assert as_uri(*medium(spec, sent)) == sent


def test_images_are_refused() -> None:
    sent = uri(halves(), "png")
    for spec, rule in (
        ("format = { supported = ['jpeg'] }", "format must be one of jpeg, not png"),
        ("color_space = { supported = ['gray'] }", "color_space must be one of gray, not rgb"),
        ("size = { maximum = [16, 16] }", "size must be at most (16, 16), not 40 x 20"),
    ):
        assert refusal(f"type = 'image', {spec}", sent) == rule
    assert refusal("type = 'image'", sent, formats={"image": ("jpeg",)}) == "must be jpeg, not png"
    noise = base64.b64decode(uri(Image.effect_noise((64, 64), 100), "png").partition(",")[2])
    assert refusal("type = 'image'", as_uri(noise[:1500], "image/png")) == "is damaged or incomplete (png)"


def tone(rate: int = 8000, seconds: float = 1.0, kind: str = "wav", layout: str = "mono") -> bytes:
    buffer = io.BytesIO()
    codec = {"wav": "pcm_s16le", "mp3": "libmp3lame"}[kind]
    with av.open(buffer, "w", format=kind) as target:
        stream = target.add_stream(codec, rate=rate, layout=layout)
        fmt = {"wav": "s16", "mp3": "s16p"}[kind]
        for _ in range(int(rate * seconds) // 800):
            frame = av.AudioFrame(format=fmt, layout=layout, samples=800)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.sample_rate = rate
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return buffer.getvalue()


def sound(content: bytes) -> tuple[str, int, int, float]:
    with av.open(io.BytesIO(content)) as found:
        stream = found.streams.audio[0]
        frames = list(found.decode(stream))
        length_s = sum(frame.samples for frame in frames) / stream.rate
        return found.format.name, stream.rate, stream.channels, length_s


def test_a_sound_that_fits_is_passed_on_as_it_is() -> None:
    sent = as_uri(tone(), "audio/wav")
    spec = "type = 'audio', format = { supported = ['wav'] }, sample_rate = { supported = [8000] }"
    assert as_uri(*medium(spec, sent)) == sent
    assert as_uri(*medium(spec, sent.replace("audio/wav", "audio/vnd.wave"))) == sent


def test_sounds_are_converted() -> None:
    spec = """type = 'audio', format = { supported = ['wav'], auto_convert = true },
        sample_rate = { supported = [16000], auto_convert = true }, channels = { maximum = 1, auto_convert = true },
        duration = { maximum = 0.5, auto_convert = true }"""
    sent = as_uri(tone(44100, 1.0, "mp3", "stereo"), "audio/mpeg")
    content, media_type = medium(spec.replace("\n", " "), sent)
    name, rate, channels, length_s = sound(content)
    assert (media_type, name, rate, channels) == ("audio/wav", "wav", 16000, 1)
    assert length_s == pytest.approx(0.5, abs=0.01)


def test_sounds_are_refused() -> None:
    sent = as_uri(tone(), "audio/wav")
    assert refusal("type = 'audio', sample_rate = { minimum = 16000 }", sent) == (
        "sample_rate must be at least 16000, not 8000"
    )
    assert refusal("type = 'audio', duration = { minimum = 2, auto_convert = true }", sent).startswith(
        "duration must be"
    )
    assert refusal("type = 'audio'", as_uri(b"rubbish", "audio/wav")).startswith("is damaged")


def film(width: int = 64, height: int = 32, frames: int = 10) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(frames):
            target.mux(stream.encode(av.VideoFrame.from_image(halves().resize((width, height)))))
        target.mux(stream.encode(None))
    return buffer.getvalue()


def test_videos_are_converted() -> None:
    sent = as_uri(film(), "video/mp4")
    assert as_uri(*medium("type = 'video', format = { supported = ['mp4'] }", sent)) == sent
    spec = "type = 'video', resize_method = 'crop', size = { supported = [[32, 32]], auto_convert = true }"
    content, media_type = medium(spec, sent)
    with av.open(io.BytesIO(content)) as found:
        stream = found.streams.video[0]
        pictures = [frame.to_image() for frame in found.decode(stream)]
    assert (media_type, len(pictures), pictures[0].size) == ("video/mp4", 10, (32, 32))
    left, right = pictures[0].getpixel((4, 16)), pictures[0].getpixel((28, 16))
    assert left[0] > 150 > left[2]  # type: ignore[index]
    assert right[2] > 150 > right[0]  # type: ignore[index]
    shorter = medium("type = 'video', duration = { maximum = 0.5, auto_convert = true }", sent)[0]
    with av.open(io.BytesIO(shorter)) as found:
        assert len(list(found.decode(video=0))) == 5
    assert refusal("type = 'video', size = { maximum = [32, 32] }", sent) == (
        "size must be at most (32, 32), not 64 x 32"
    )


# ---- shapes and colours of pictures


RATIO = "size = { minimum = [8, 8], maximum = [64, 64], aspect_ratio_min = 0.5, aspect_ratio_max = 1.5, %s }"


def test_aspect_ratios_are_kept_within_their_limits() -> None:
    wide, tall = halves().resize((64, 16)), halves().resize((16, 64))
    crop, scale = RATIO % "auto_convert = true, resize_method = 'crop'", RATIO % "auto_convert = true"
    assert [picture(crop, image).size for image in (wide, tall, halves().resize((24, 16)))] == [
        (24, 16), (16, 32), (24, 16),
    ]  # fmt: skip
    assert picture(scale, wide).size == (24, 16)
    stripes = Image.new("RGB", (64, 16), "red")
    stripes.paste("blue", (16, 0, 48, 16))
    # Cropping keeps the middle, scaling all.
    assert picture(crop, stripes).getpixel((1, 8)) == (0, 0, 255)
    assert picture(scale, stripes).getpixel((1, 8)) == (255, 0, 0)
    # The same beside the size, and without a size.
    assert picture("aspect_ratio_max = 1.0, auto_convert = true", wide).size == (16, 16)
    assert refusal(f"type = 'image', {RATIO % 'auto_convert = false'}", uri(wide, "png")) == (
        "must have an aspect ratio of at least 0.5 and of at most 1.5, not 64 x 16"
    )


def test_pictures_lose_their_colours() -> None:
    gray = picture("option_convert_bw = true", Image.new("RGB", (8, 8), "red")).convert("RGB").getpixel((0, 0))
    assert gray == (76, 76, 76)
    assert picture("option_convert_bw = false", Image.new("RGB", (8, 8), "red")).getpixel((0, 0)) == (255, 0, 0)


def test_a_format_has_two_names() -> None:
    sent = picture("format = { supported = ['JPG'], default = 'JPG', auto_convert = true }", halves())
    assert sent.format == "JPEG"


# ---- what counts as sent


@pytest.mark.parametrize("kind", ["chat_context", "json", "image", "audio"])
def test_an_empty_text_is_no_chat_and_no_picture(kind: str) -> None:
    assert checked(f"a = {{ type = '{kind}', default = '' }}").params == {}
    assert checked(f"a = {{ type = '{kind}' }}", a="").params == {}
    with pytest.raises(BadInputs, match="a: is required"):
        checked(f"a = {{ type = '{kind}', required = true }}", a="")


def test_a_default_does_not_stand_in_for_what_is_required() -> None:
    spec = "a = { type = 'string', default = 'x', required = true }"
    with pytest.raises(BadInputs, match="a: is required"):
        checked(spec)
    assert checked(spec, a="").params == {"a": ""}
    with pytest.raises(BadInputs, match="a: is required"):
        checked(spec, as_text=True, a="")
    assert checked("a = { type = 'string', default = 'x' }", as_text=True, a="").params == {"a": "x"}


def test_a_chat_may_name_its_media_by_flags() -> None:
    red = uri(Image.new("RGB", (8, 8), "red"), "png")
    spec, chat = "c = { type = 'chat_context', image = %s }", [{"role": "user", "content": [{"image": red}]}]
    assert checked(spec % "true", c=chat).params["c"] == chat
    with pytest.raises(BadInputs, match="takes no image here"):
        checked(spec % "false", c=chat)


def test_a_default_may_be_a_value_of_the_file() -> None:
    assert checked("a = { type = 'json', default = [] }").params == {"a": []}
    assert checked("a = { type = 'int', default = 0, minimum = 5, auto_convert = true }").params == {"a": 5}
