"""Real pipelines compute bodies of AUTOMATIC1111 and Kandinsky."""

from __future__ import annotations

import base64
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app import attachments
from app.payloads import a1111, kandinsky
from jobs.models.spec import Kind
from jobs.requests.generation import resolve
from tests.support import pictures
from tests.support.computing import Worker
from tests.support.store_driver import StoreDriver

#: The first test waits until all models are made.
pytestmark = pytest.mark.timeout(300)

SIZE = {"width": 64, "height": 64, "steps": 4}


@pytest.fixture(scope="module")
def worker(server: Any, families_file: Path) -> Iterator[Worker]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    yield Worker(StoreDriver(server), families_file, folder)
    shutil.rmtree(folder, ignore_errors=True)


def compute(worker: Worker, executor: str, kind: Kind, payload: dict[str, Any]) -> np.ndarray:
    """Compute a body; return (images, height, width, 3)."""
    payloads, model = (a1111, "sd") if executor == "automatic1111" else (kandinsky, "kandinsky")
    found = payloads.map_body(payload, kind, worker.models, model).values
    values = {name: value for name, value in found.items() if value is not None}
    sent = attachments.take(values, {})
    settings, store = worker.driver.store.settings, worker.driver.store
    request, _ = resolve(worker.models, values, settings)
    stored = attachments.store(request, sent, settings=settings, objects=worker.objects, records=store)
    return worker.run(stored.put_into(request))[:, 0]


def picture(colour: str = "red", size: tuple[int, int] = (64, 64)) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    ("executor", "kind", "payload"),
    [
        ("automatic1111", Kind.TEXT2IMG, {"prompt": "x", "sampler_name": "DPM++ 2M", "scheduler": "karras", **SIZE}),
        ("automatic1111", Kind.TEXT2IMG,
         {"prompt": "x", "width": 32, "height": 48, "steps": 4, "enable_hr": True, "hr_resize_x": 64, "hr_resize_y": 64,
          "subseed": 3, "subseed_strength": 0.2}),
        ("automatic1111", Kind.IMG2IMG, {"prompt": "x", "init_images": [picture()], "denoising_strength": 0.5, **SIZE}),
        ("automatic1111", Kind.IMG2IMG, {"prompt": "x", "init_images": [picture()], "mask": picture("white"), **SIZE}),
        ("automatic1111", Kind.IMG2IMG,
         {"prompt": "x", "init_images": [picture(size=(99, 70))], "mask": picture("black"), "inpainting_mask_invert": 1,
          "resize_mode": 1, **SIZE}),
        ("kandinsky", Kind.TEXT2IMG, {"prompt": "x", "negative_decoder_prompt": "y", **SIZE}),
        ("kandinsky", Kind.TEXT2IMG,
         {"prompt": "x", "prior_steps": "3", "prior_cf_scale": 2, "negative_prior_prompt": "y", "sampler": "p_sampler",
          **SIZE}),
        ("kandinsky", Kind.MIX2IMG,
         {"images_texts": ["a cat", picture(), picture("blue"), "a dog"], "weights": [0.3, 0.3, 0.2, 0.2], **SIZE}),
    ],
)  # fmt: skip
def test_bodies_are_computed(worker: Worker, executor: str, kind: Kind, payload: dict[str, Any]) -> None:
    images = compute(worker, executor, kind, payload)
    assert images.shape == (1, *((70, 99) if "resize_mode" in payload else (64, 64)), 3)


def test_a_mask_keeps_the_rest_of_the_image_as_it_was(worker: Worker) -> None:
    """With the defaults of the original API, only the region is computed."""
    before = pictures.picture(size=(100, 70))
    mask = Image.new("L", before.size, 255)
    mask.paste(0, (40, 30, 60, 50))
    body = {"prompt": "x", "init_images": [pictures.b64(pictures.encoded(before, "PNG"))],
            "mask": pictures.b64(pictures.encoded(mask, "PNG")), "inpainting_mask_invert": 1, "mask_blur": 2,
            "inpaint_full_res_padding": 8, "steps": 4, "width": 64, "height": 64, "denoising_strength": 1}  # fmt: skip
    [image] = compute(worker, "automatic1111", Kind.IMG2IMG, body)
    changed = (image != np.asarray(before)).any(axis=-1)
    assert changed[32:48, 42:58].mean() > 0.9
    changed[22:58, 32:68] = False
    assert not changed.any()
