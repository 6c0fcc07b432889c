"""The pictures of a request: taken out of its fields, and stored once everything else is known to be right."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app import inputs
from jobs.formats import FORMATS
from jobs.objects.base import ObjectStore
from jobs.requests.generation import GenerationRequest
from jobs.requests.inpaint import Inpaint
from jobs.settings import Settings
from jobs.store.jobs import JobStore

#: Stands in a field for a picture that is not stored yet.
UNSTORED = "inputs/unstored"


@dataclass
class Pictures:
    """What was sent, by field: ``image``, ``mask``, ``mix[0].image``."""

    contents: dict[str, str | bytes] = field(default_factory=dict)
    #: Names of the files of a form that were meant.
    used: set[str] = field(default_factory=set)
    #: Black is painted and white kept.
    mask_inverted: bool = False

    def fingerprint(self) -> str:
        """Equal for the same pictures in the same fields."""
        digest = hashlib.sha256(b"inverted" if self.mask_inverted else b"")
        for name, content in sorted(self.contents.items()):
            data = content if isinstance(content, bytes) else content.encode()
            digest.update(f"{name} {len(data)} ".encode() + data)
        return digest.hexdigest()


def take(values: dict[str, Any], uploads: Mapping[str, bytes]) -> Pictures:
    """Take the pictures out of checked fields and put :data:`UNSTORED` there; an empty text counts as none.

    Args:
        values: the fields, changed in place. Those of other servers' bodies may have ``mask_inverted``.
        uploads: files of a form by name.
    """
    pictures = Pictures(mask_inverted=bool(values.pop("mask_inverted", False)))

    def put(name: str, sent: Any, upload: str) -> str | None:
        if upload in uploads:
            pictures.used.add(upload)
            sent = uploads[upload]
        elif not sent:
            return None
        pictures.contents[name] = sent
        return UNSTORED

    for name in ("image", "mask"):
        values[name] = put(name, values.get(name), name)
    for index, part in enumerate(values.get("mix") or ()):
        part["image"] = put(f"mix[{index}].image", part.get("image"), part.get("image") or "")
    return pictures


def store(
    request: GenerationRequest, pictures: Pictures, *, settings: Settings, objects: ObjectStore, records: JobStore
) -> GenerationRequest:
    """The request with the keys of its stored pictures.

    Raises:
        InvalidRequest: one of them is no usable picture; names its field.
        Unavailable: the object store or Redis does not answer.
    """
    if not pictures.contents:
        return request
    # The output has the image's size then, and is written as large.
    large = Inpaint.of(request.inpaint).area == "masked"
    max_side_px = FORMATS[str(request.output_format)].max_side_px if large else 0
    found = {}
    for name, content in pictures.contents.items():
        found[name] = inputs.store_image(
            content, settings=settings, objects=objects, records=records, field=name,
            inverted=name == "mask" and pictures.mask_inverted, max_side_px=max_side_px if name == "image" else 0,
        )  # fmt: skip
    mix = [
        {**part, "image": found[f"mix[{index}].image"]} if "image" in part else part
        for index, part in enumerate(request.mix or ())
    ]
    return replace(request, image=found.get("image"), mask=found.get("mask"), mix=mix or None)
