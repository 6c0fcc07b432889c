"""Every family of models: from a request over HTTP to the file."""

from __future__ import annotations

import base64
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import requests
from PIL import Image

from tests.support.harness import Stack
from tests.support.in_process import in_process
from tests.support.recordings import video


def picture(mode: str = "RGB", color: Any = "red", size: tuple[int, int] = (40, 24)) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, "PNG")
    return buffer.getvalue()


def text_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


#: The first test waits until all models are made and loaded.
pytestmark = pytest.mark.timeout(300)

INPUTS: dict[str, dict[str, Any]] = {
    "img2img": {"image": text_of(picture())},
    "inpaint": {"image": text_of(picture()), "mask": text_of(picture("L", 255))},
    "edit": {"images": [text_of(picture(size=(96, 64)))]},
    "img2video": {"image": text_of(picture())},
    "video2video": {"video": text_of(video())},
    "mix2img": {"mix": [{"text": "a cat", "weight": 0.4}, {"image": text_of(picture()), "weight": 0.6}]},
}
CONTROLS = [
    {"name": "edges", "image": text_of(picture()), "scale": 0.8, "end": 0.75, "preprocess": "canny"},
    {"name": "style", "image": text_of(picture(color="blue")), "start": 0.25},
]
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("sd", "text2img", {"scheduler": "dpmpp_2m_karras", "loras": [{"name": "grain", "weight": 0.5}], "num_images": 2}),
    ("sd", "img2img", {"controls": CONTROLS}),
    ("sd", "inpaint", {"strength": 1.0}),
    ("sdxl", "text2img", {"scheduler": "Euler a"}),
    ("sdxl", "img2img", {}),
    ("sdxl", "inpaint", {}),
    ("flux", "text2img", {"num_images": 2}),
    ("flux", "img2img", {}),
    ("flux", "inpaint", {}),
    ("flux-fill", "inpaint", {}),
    ("sd-fill", "inpaint", {"inpaint": {"blur_px": 2.5, "fill": "noise"}}),
    ("kandinsky", "text2img", {}),
    ("kandinsky", "mix2img", {"num_images": 2}),
    ("kandinsky", "img2img", {}),
    ("kandinsky-inpaint", "inpaint", {}),
    ("kandinsky-combined", "mix2img", {}),
    ("flux-kontext", "edit", {}),
    ("flux2", "edit", {"images": [text_of(picture(color=color, size=(64, 64))) for color in ("red", "blue")]}),
    ("ltx", "text2video", {}),
    ("ltx", "img2video", {}),
    ("ltx2", "text2video", {}),
    ("ltx2", "img2video", {"audio_output": False}),
    ("anima", "text2img", {"scheduler": "UniPC", "num_images": 2}),
    ("anima", "img2img", {}),
    ("ltx2-modular", "text2video", {}),
    ("wan", "text2video", {"scheduler": "Euler", "frames": 7}),
    ("wan-i2v", "img2video", {}),
    ("wan-flf2v", "img2video", {"last_image": text_of(picture(color="blue"))}),
    ("wan-v2v", "video2video", {}),
    ("ltx-conditions", "img2video", {"last_image": text_of(picture(color="blue"))}),
    ("ltx-conditions", "video2video", {"frames": 17, "strength": 1.0}),
    ("cogvideox", "text2video", {}),
    ("unknown", "text2img", {"num_images": 2}),
]


@pytest.fixture(scope="module")
def families(families_file: Path) -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with in_process(folder, families_file) as stack:
        yield stack
    shutil.rmtree(folder, ignore_errors=True)


def send(stack: Stack, model: str, kind: str, fields: dict[str, Any]) -> str:
    """Submit with a seed; return the id."""
    fields = {"prompt": "a red circle", "seed": 3, "steps": 4, **INPUTS.get(kind, {}), **fields}
    if kind == "mix2img":
        del fields["prompt"]
    return stack.submit(model=model, kind=kind, **{"prompt": None, **fields})


@pytest.fixture(scope="module")
def sent(families: Stack) -> dict[tuple[str, str], str]:
    """All cases wait in the queue together."""
    return {(model, kind): send(families, model, kind, fields) for model, kind, fields in CASES}


@pytest.mark.parametrize(("model", "kind", "fields"), CASES, ids=[f"{model}-{kind}" for model, kind, _ in CASES])
def test_a_job_of_each_family(
    families: Stack, sent: dict[tuple[str, str], str], model: str, kind: str, fields: dict[str, Any]
) -> None:
    view = families.wait(sent[model, kind])
    assert (view["state"], view["kind"], view["error"]) == ("succeeded", kind, None)
    request = view["request"]
    number = fields.get("num_images", 1)
    assert [output["seed"] for output in view["outputs"]] == [3 + index for index in range(number)]
    assert not request.keys() & {"image", "images", "mask", "last_image", "video"}
    for index in range(number):
        content = families.get(f"/v1/jobs/{view['id']}/result?index={index}").content
        frames = decoded(content, video=kind.endswith("video"))
        assert frames.shape == (request["frames"], request["height"], request["width"], 3)
        assert frames.std() > 2
        # The metadata of the file is sufficient to reproduce it.
        written = metadata(content, video=kind.endswith("video"))
        assert {name: written[name] for name in request if name != "mix"} == {
            name: value for name, value in request.items() if name != "mix"
        }


def test_the_rounded_number_of_frames_is_named(families: Stack, sent: dict[tuple[str, str], str]) -> None:
    view = families.status(sent["wan", "text2video"])
    assert (view["request"]["frames"], view["warnings"]) == (9, ["frames 7 was rounded to 9"])


def test_names_of_schedulers_are_written_down_as_one(families: Stack, sent: dict[tuple[str, str], str]) -> None:
    assert families.status(sent["sd", "text2img"])["request"]["scheduler"] == "DPM++ 2M Karras"


def test_what_a_file_says_makes_it_again(families: Stack, sent: dict[tuple[str, str], str]) -> None:
    families.wait(sent["sd", "text2img"])
    first = families.get(f"/v1/jobs/{sent['sd', 'text2img']}/result?index=1").content
    written = metadata(first, video=False)
    again = families.submit(**{name: value for name, value in written.items() if name not in ("job_id", "index")})
    families.wait(again)
    second = families.get(f"/v1/jobs/{again}/result?index=1").content
    assert np.array_equal(decoded(first, video=False), decoded(second, video=False))


def test_a_form_with_files_for_every_picture(families: Stack) -> None:
    files = {name: (f"{name}.png", picture(color=color)) for name, color in (("red", "red"), ("blue", "blue"))}
    form = {"model": "kandinsky", "mix": json.dumps([{"image": "red"}, {"image": "blue", "weight": 0.5}]), "seed": "3",
            "steps": "2"}  # fmt: skip
    answer = requests.post(families.url("/v1/jobs"), data=form, files=files, timeout=90).json()
    assert (answer["kind"], answer["warnings"]) == ("mix2img", []), answer
    masked = {"image": ("i.png", picture()), "mask": ("m.png", picture("L", 255)), "other": ("o.png", picture())}
    form = {"model": "sd", "loras": '[{"name": "grain"}]', "num_images": "1", "steps": "2", "inpaint": '{"blur_px": 2}'}
    second = requests.post(families.url("/v1/jobs"), data=form, files=masked, timeout=90).json()
    assert (second["kind"], second["warnings"]) == ("inpaint", ["unused file 'other' was ignored"]), second
    assert second["request"]["loras"] == [{"name": "grain", "weight": 1.0}]
    assert second["request"]["inpaint"] == {"blur_px": 2}
    for job in (answer, second):
        assert families.wait(job["id"])["state"] == "succeeded"


MASKED = {"model": "sd", "inpaint": {"area": "masked"}, **INPUTS["inpaint"]}
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"model": "wan", "scheduler": "DDIM"}, "scheduler", "and 2 more for model wan"),
    ({"model": "kandinsky", "scheduler": "Euler"}, "scheduler", "only has its own scheduler"),
    ({"model": "sdxl", "loras": [{"name": "grain"}]}, "loras[0].name", "model sdxl has no LoRAs"),
    ({"model": "sd", "loras": [{"name": "../sd/model"}]}, "loras[0].name", "is not a LoRA of model sd"),
    ({"model": "sd", "loras": [{"weight": 1}]}, "loras[0].name", "is needed"),
    ({"model": "sd", "loras": [{"name": "grain", "weight": "much"}]}, "loras[0].weight", "must be a number"),
    ({"model": "sd", "loras": [{"name": "grain", "colour": 1}]}, "loras[0].colour", "is unknown"),
    ({"model": "sd", "loras": "grain"}, "loras", "must be a list"),
    ({"model": "sd", "loras": ["grain"]}, "loras[0]", "must be an object"),
    ({"model": "sd", "loras": [{"name": "grain"}] * 9}, "loras", "must have at most 8 items"),
    ({"model": "sd", "num_images": 5}, "num_images", "must be between 1 and 4"),
    ({"model": "sd", "num_images": 1.5}, "num_images", "whole number"),
    ({"model": "wan", "num_images": 2}, "num_images", "does not apply to text2video"),
    ({"model": "sd", "image": "aGk=", "kind": "inpaint"}, "mask", "needs a mask"),
    ({"model": "ltx", "image": "aGk=", "mask": "aGk="}, "mask", "is not an input of img2video"),
    ({"model": "sd", "image": text_of(picture()), "mask": "aGk="}, "mask", "must be a PNG"),
    ({"model": "sd", "image": text_of(picture()), "mask": "http://127.0.0.1:9/m.png"}, "mask", "public addresses"),
    ({"model": "sd", "inpaint": "soft"}, "inpaint", "must be an object"),
    ({"model": "sd", "inpaint": [{"area": "masked"}]}, "inpaint", "must be an object"),
    ({"model": "sd", "inpaint": {"colour": "red"}}, "inpaint.colour", "is unknown"),
    ({"model": "sd", "inpaint": {"blur_px": "much"}}, "inpaint.blur_px", "must be a number"),
    ({"model": "sd", "inpaint": {"blur_px": 4}}, "inpaint", "text2img has no mask"),
    ({"model": "sd", "resize": "pad"}, "resize", "text2img has no input image"),
    ({**MASKED, "inpaint": {"padding_px": 600}}, "inpaint.padding_px", "must be between 0 and 512"),
    ({**MASKED, "output_format": "webp", "image": text_of(picture(size=(16_384, 1)))}, "image", "at most 16383 pixels"),
    ({"model": "kandinsky", "mix": [{"text": "a"}, {"image": "!!!"}]}, "mix[1].image", "base64"),
    ({"model": "kandinsky", "mix": [{"text": "a\0b"}]}, "mix[0].text", "NUL"),
    ({"model": "kandinsky", "mix": [{"weight": 1}]}, "mix[0]", "either a text or an image"),
    ({"model": "kandinsky", "kind": "mix2img"}, "mix", "needs a mix"),
]


@pytest.mark.parametrize(("fields", "field", "rule"), REFUSED, ids=lambda value: str(value)[:50])
def test_what_a_model_cannot_do_is_refused_before_it_is_queued(
    families: Stack, fields: dict[str, Any], field: str, rule: str
) -> None:
    before = families.queue()["submitted"]
    answer = families.post(**{"prompt": "x", **fields})
    assert answer.status_code == 422, answer.text
    rules = {problem["field"]: problem["rule"] for problem in answer.json()["error"]["fields"]}
    assert rule in rules.get(field, ""), rules
    assert families.queue()["submitted"] == before


def test_the_list_of_models_shows_schedulers_and_loras(families: Stack) -> None:
    models = {model["name"]: model for model in families.get("/v1/models").json()["models"]}
    assert {"Euler a", "DPM++ 2M Karras"} <= set(models["sd"]["schedulers"])
    assert models["sd"]["loras"] == ["foreign", "glow", "grain"]
    assert models["sd-styled"]["defaults"]["loras"] == [{"name": "grain", "weight": 0.5}]
    assert str(families.folder.parent) not in json.dumps(models)


def test_a_lora_that_does_not_fit_fails_with_its_name(families: Stack) -> None:
    view = families.wait(families.submit(model="sd", loras=[{"name": "foreign"}]))
    assert view["error"]["code"] == "execution_failed"
    assert "foreign does not fit" in view["error"]["message"]


def test_an_idempotent_repeat_knows_its_pictures(families: Stack) -> None:
    def post(mask: int) -> requests.Response:
        fields = {"model": "sd", "image": text_of(picture()), "mask": text_of(picture("L", mask)), "steps": 2}
        headers = {"Idempotency-Key": "masked"}
        return requests.post(families.url("/v1/jobs"), json=fields, headers=headers, timeout=90)

    first, repeat, other = post(255), post(255), post(0)
    assert first.json()["id"] == repeat.json()["id"]
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_mismatch")
    families.wait(first.json()["id"])


def decoded(content: bytes, *, video: bool) -> np.ndarray:
    """Return (frames, height, width, 3)."""
    if not video:
        return np.asarray(Image.open(io.BytesIO(content)))[None]
    with av.open(io.BytesIO(content)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def metadata(content: bytes, *, video: bool) -> dict[str, Any]:
    if not video:
        return dict(json.loads(Image.open(io.BytesIO(content)).info["framemill"]))
    with av.open(io.BytesIO(content)) as container:
        return dict(json.loads(container.metadata["comment"]))
