"""Outputs say that a model made them, in a form that other readers of each format find."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from framemill import inspection
from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest
from tests.worker.test_formats import clip, request
from workers.delivery import encode, provenance

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
PROPERTY = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
IMAGE_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def packet_of(path: Path) -> str:
    """Return the XMP of a file as Pillow or FFmpeg finds it."""
    if path.suffix == ".mp4":
        with av.open(str(path), options={"export_xmp": "1"}) as container:
            return container.metadata["xmp"]
    with Image.open(path) as image:
        image.load()
        found = image.info["xmp"]
        return found.decode() if isinstance(found, bytes) else found


def source_types(packet: str) -> list[str | None]:
    [description] = ElementTree.fromstring(packet).findall(f"{RDF}RDF/{RDF}Description")
    return [one.text for one in description.findall(PROPERTY)]


def text_request(name: str, **fields: Any) -> GenerationRequest:
    is_video = fields.pop("animated", False) or name in ("mp4", "webm")
    return request(name, is_video=is_video, **{"image": None, **fields})


@pytest.mark.parametrize("embed_metadata", [False, True])
@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "mp4", "animated webp"])
def test_files_of_each_format_say_so_and_stay_as_they_were(tmp_path: Path, name: str, embed_metadata: bool) -> None:
    is_animated, name = name.startswith("animated"), name.removeprefix("animated ")
    wanted = text_request(name, animated=is_animated, embed_metadata=embed_metadata)
    path, pictures = tmp_path / f"file.{name}", clip(wanted.frames, 33, 47)
    written = encode.write(pictures, path, wanted, {"job_id": "j1", "index": 0})
    before = pixels(path)
    media_type = "video/mp4" if name == "mp4" else IMAGE_TYPES[name]
    for _ in range(2):  # the second time changes nothing
        provenance.mark(path, media_type, wanted, (written.width, written.height))
    assert source_types(packet_of(path)) == [provenance.TRAINED]
    assert path.read_bytes().count(b"DigitalSourceType>http") == 1
    after = pixels(path)
    assert len(after) == len(before) == wanted.frames
    assert all((one == other).all() for one, other in zip(after, before, strict=True))
    if embed_metadata:
        assert inspection.read_metadata(path).request["prompt"] == wanted.prompt


def pixels(path: Path) -> list[np.ndarray]:
    if path.suffix == ".mp4":
        with av.open(str(path)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with Image.open(path) as image:
        frames = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGBA")))
        return frames


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_simple_webp_of_a_back_end_keeps_its_transparency(tmp_path: Path, mode: str, lossless: bool) -> None:
    path = tmp_path / "file.webp"
    picture = Image.fromarray(clip(1, 33, 47)[0]).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(path, lossless=lossless)
    before = pixels(path)
    provenance.mark(path, "image/webp", text_request("webp"), picture.size)
    assert source_types(packet_of(path)) == [provenance.TRAINED]
    with Image.open(path) as image:
        assert (image.mode, image.size) == (mode, (47, 33))
    assert (pixels(path)[0] == before[0]).all()


@pytest.mark.parametrize("name", ["png", "jpeg", "webp"])
def test_what_a_back_end_says_stays(tmp_path: Path, name: str) -> None:
    path, own = tmp_path / f"file.{name}", b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    if name == "png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", own.decode())
        Image.fromarray(clip()[0]).save(path, pnginfo=info)
    else:
        Image.fromarray(clip()[0]).save(path, xmp=own)
    before = path.read_bytes()
    provenance.mark(path, IMAGE_TYPES[name], text_request(name), (48, 32))
    assert path.read_bytes() == before
    assert packet_of(path).encode() == own


@pytest.mark.parametrize("name", ["gif", "webm"])
def test_formats_without_a_place_for_it_are_left_alone(tmp_path: Path, name: str) -> None:
    path, wanted = tmp_path / f"file.{name}", text_request(name, animated=True)
    encode.write(clip(wanted.frames), path, wanted, {"index": 0})
    before = path.read_bytes()
    provenance.mark(path, f"{'image' if name == 'gif' else 'video'}/{name}", wanted, (48, 32))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("kind", "fields", "term"),
    [
        (Kind.TEXT2IMG, {}, provenance.TRAINED),
        (Kind.TEXT2VIDEO, {}, provenance.TRAINED),
        (Kind.IMG2IMG, {"image": "inputs/a"}, provenance.COMPOSITE),
        (Kind.INPAINT, {"image": "inputs/a", "mask": "inputs/b"}, provenance.COMPOSITE),
        (Kind.IMG2VIDEO, {"image": "inputs/a"}, provenance.COMPOSITE),
        (Kind.MIX2IMG, {"mix": [{"text": "a", "weight": 1}]}, provenance.TRAINED),
        (Kind.MIX2IMG, {"mix": [{"text": "a", "weight": 1}, {"image": "i", "weight": 1}]}, provenance.COMPOSITE),
    ],
)
def test_the_term_depends_on_what_the_caller_sent(kind: Kind, fields: dict[str, Any], term: str) -> None:
    assert provenance.source_type(request("png", **{"kind": kind, "image": None, **fields})) == term
