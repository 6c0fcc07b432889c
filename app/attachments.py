"""The input files of a request: taken out of its fields, and stored after everything else has been checked."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from app import own_outputs
from app.media import inputs
from app.media.decoding import off_the_hub
from app.media.inputs import StoredInput
from app.media.pictures import Normalised
from app.problems import Problems
from jobs.errors import Unavailable
from jobs.formats import FORMATS
from jobs.objects.base import ObjectStore
from jobs.requests.generation import GenerationRequest
from jobs.requests.inpaint import Inpaint
from jobs.requests.inputs import FILES, LISTS, PARTS, Measured
from jobs.settings import Settings
from jobs.store.jobs import JobStore

#: Value of a field whose picture is not stored yet.
UNSTORED = "inputs/unstored"
#: Fields with one picture, and fields with a list of pictures.
_ONE, _SEVERAL = FILES, LISTS
#: Fields of a form that are lists, and may therefore be repeated.
REPEATED = _SEVERAL


@dataclass
class Pictures:
    """The pictures of a request."""

    #: ``job:<id>``, a link, a data URL, base64 or the bytes of an upload, by field: ``image``, ``mask``,
    #: ``images[0]``, ``mix[0].image``, ``controls[0].image``, ``passed_images[0].image``.
    contents: dict[str, str | bytes] = field(default_factory=dict)
    #: Names of the uploaded files that fields refer to.
    used: set[str] = field(default_factory=set)
    #: Which pixels of a mask with transparency are repainted, ``opaque`` or ``transparent``, whatever their colour; ''
    #: for white ones.
    mask_repaints: str = ""
    #: Whether black is repainted and white is kept.
    mask_inverted: bool = False
    #: Whether GIFs and other animations are accepted, of which the first picture counts.
    may_be_animated: bool = False

    def add(self, values: dict[str, Any], name: str, content: str | bytes) -> None:
        """Put a picture into a field, or at the end of a field that has a list, with :data:`UNSTORED` in the values."""
        if name in _SEVERAL:
            listed = values.setdefault(name, [])
            self.contents[f"{name}[{len(listed)}]"] = content
            listed.append(UNSTORED)
        else:
            self.contents[name], values[name] = content, UNSTORED

    def fingerprint(self) -> str:
        """Return a digest that is equal for the same pictures in the same fields."""
        return off_the_hub(self._digest) if self.contents else self._digest()

    def _digest(self) -> str:
        digest = hashlib.sha256(b"inverted" if self.mask_inverted else b"")
        for name, content in sorted(self.contents.items()):
            data = content if isinstance(content, bytes) else content.encode()
            digest.update(f"{name} {len(data)} ".encode())
            digest.update(data)
        return digest.hexdigest()


def uploads_of(body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the fields of a form with :data:`UNSTORED` for each uploaded file, and the files by field."""
    uploads: dict[str, bytes] = {}

    def taken(name: str, value: Any) -> Any:
        if not isinstance(value, bytes):
            return value
        uploads[name] = value
        return UNSTORED

    fields = dict(body)
    for name, value in body.items():
        if name in _SEVERAL and isinstance(value, list):
            fields[name] = [taken(f"{name}[{index}]", one) for index, one in enumerate(value)]
        else:
            fields[name] = taken(name, value)
    return fields, uploads


def assume(values: dict[str, Any], refused: Collection[str]) -> None:
    """Put :data:`UNSTORED` into refused fields of pictures: wrong inputs are inputs, too, and decide about the kind."""
    values |= {name: UNSTORED for name in _ONE if name in refused}
    values |= {name: [UNSTORED] for name in _SEVERAL if name in refused}


def take(values: dict[str, Any], uploads: Mapping[str, bytes]) -> Pictures:
    """Replace the pictures in checked fields by :data:`UNSTORED`; an empty text counts as no picture.

    Args:
        values: the fields, changed in place. Bodies of other servers' protocols may have ``mask_repaints``,
            ``mask_inverted`` and ``may_be_animated``.
        uploads: contents of uploaded files by name.

    Returns:
        The pictures.
    """
    pictures = Pictures(
        mask_repaints=values.pop("mask_repaints", ""),
        mask_inverted=bool(values.pop("mask_inverted", False)),
        may_be_animated=bool(values.pop("may_be_animated", False)),
    )

    def put(name: str, content: Any, upload: str) -> str | None:
        if upload in uploads:
            pictures.used.add(upload)
            content = uploads[upload]
        elif not content:
            return None
        if isinstance(content, str | bytes):  # else its type was refused, while the other fields are still checked
            pictures.contents[name] = content
        return UNSTORED

    for name in _ONE:
        values[name] = put(name, values.get(name), name)
    for name in _SEVERAL:
        listed = [put(f"{name}[{index}]", one, f"{name}[{index}]") for index, one in enumerate(values.get(name) or ())]
        values[name] = [one for one in listed if one is not None] or None
    for name in PARTS:
        for index, part in enumerate(values.get(name) or ()):
            part["image"] = put(f"{name}[{index}].image", part.get("image"), part.get("image") or "")
    return pictures


@dataclass(frozen=True)
class StoredPictures:
    """Stored pictures by field, as in :class:`Pictures`."""

    by_field: Mapping[str, StoredInput] = field(default_factory=dict)

    @property
    def measured(self) -> Measured:
        """What the inputs decide about the output."""
        deciding = (self.by_field.get(name) for name in ("image", "images[0]", "video"))
        shape = next((stored.size for stored in deciding if stored), None)
        seconds = self.by_field["video"].seconds if "video" in self.by_field else None
        controls = {name: stored.size for name, stored in self.by_field.items() if name.startswith("controls[")}
        sizes = (controls.get(f"controls[{index}].image") for index in range(_after_last(controls)))
        return Measured(shape, seconds, tuple(sizes))

    def put_into(self, request: GenerationRequest) -> GenerationRequest:
        """Return the request with the keys of the pictures."""
        if not self.by_field:
            return request
        keys = {name: stored.key for name, stored in self.by_field.items()}
        parts: dict[str, Any] = {
            name: [
                {**part, "image": keys[f"{name}[{index}].image"]} if "image" in part else part
                for index, part in enumerate(getattr(request, name) or ())
            ]
            or None
            for name in PARTS
        }
        # A request for edit has its only image in either field.
        images = [keys.get(f"images[{index}]") or keys["image"] for index in range(len(request.images or ()))]
        one: dict[str, Any] = {name: keys.get(name) for name in _ONE}
        if len(images) > len([name for name in keys if name.startswith("images[")]):
            one["image"] = None
        return replace(request, **one, images=images or None, **parts)


def _after_last(names: Collection[str]) -> int:
    """Return the number of entries of a list, some of whose fields are named like ``controls[1].image``."""
    return max((int(name.partition("[")[2].partition("]")[0]) + 1 for name in names), default=0)


def store(
    request: GenerationRequest, pictures: Pictures, *, settings: Settings, objects: ObjectStore, records: JobStore
) -> StoredPictures:
    """Store the pictures of a request.

    Raises:
        InvalidRequest: pictures cannot be used; names their fields.
        Unavailable: the object store or Redis does not answer.
    """
    problems = Problems()
    # With area ``masked`` the output has the size of the image, which its format must be able to hold.
    as_large_as_image = Inpaint.of(request.inpaint).area == "masked"
    max_side_px = FORMATS[str(request.output_format)].max_side_px if as_large_as_image else 0
    stored = {}
    for name in pictures.contents:
        with problems.collected():
            file = _checked(pictures, name, settings, max_side_px if name == "image" else 0)
            if not problems:
                stored[name] = inputs.stored(file, objects, records, _kind_of(name))
    problems.check()
    return StoredPictures(stored)


def _kind_of(name: str) -> str:
    """Return what a field takes: ``image``, ``video`` or ``audio``."""
    return name if name in ("video", "audio") else "image"


def check(pictures: Pictures, problems: Problems, *, settings: Settings) -> None:
    """Add the problems of the pictures of a request that is refused for other fields."""
    for name in pictures.contents:
        with problems.collected(), suppress(Unavailable):  # the other problems are said now
            _checked(pictures, name, settings, 0)


def _checked(pictures: Pictures, name: str, settings: Settings, max_side_px: int) -> Normalised:
    """Return a file as it is to be stored. Raises: InvalidRequest, Unavailable."""
    content, kind = pictures.contents[name], _kind_of(name)
    picture = own_outputs.content_of(content, name, kind) if isinstance(content, str) else content
    if kind != "image":
        return inputs.checked_recording(picture, kind, settings=settings, field=name)
    return inputs.checked_image(
        picture, settings=settings, field=name, repainted=pictures.mask_repaints,
        inverted=name == "mask" and pictures.mask_inverted, max_side_px=max_side_px,
        may_be_animated=pictures.may_be_animated, as_sent=name.startswith("passed_images["),
    )  # fmt: skip
