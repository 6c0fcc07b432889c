"""The pictures of a request: taken out of its fields, and stored after everything else has been checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from app import own_outputs
from app.media import inputs
from app.media.decoding import off_the_hub
from app.media.inputs import StoredImage
from app.media.pictures import Normalised
from app.problems import Problems
from jobs.errors import Unavailable
from jobs.formats import FORMATS
from jobs.objects.base import ObjectStore
from jobs.requests.generation import GenerationRequest
from jobs.requests.inpaint import Inpaint
from jobs.settings import Settings
from jobs.store.jobs import JobStore

#: Value of a field whose picture is not stored yet.
UNSTORED = "inputs/unstored"


@dataclass
class Pictures:
    """The pictures of a request."""

    #: ``job:<id>``, a link, a data URL, base64 or the bytes of an upload, by field: ``image``, ``mask``,
    #: ``mix[0].image``.
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

    for name in ("image", "mask"):
        values[name] = put(name, values.get(name), name)
    for index, part in enumerate(values.get("mix") or ()):
        part["image"] = put(f"mix[{index}].image", part.get("image"), part.get("image") or "")
    return pictures


@dataclass(frozen=True)
class StoredPictures:
    """Stored pictures by field, as in :class:`Pictures`."""

    by_field: Mapping[str, StoredImage] = field(default_factory=dict)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Width and height of the field ``image`` in pixels; None without one."""
        return self.by_field["image"].size if "image" in self.by_field else None

    def put_into(self, request: GenerationRequest) -> GenerationRequest:
        """Return the request with the keys of the pictures."""
        if not self.by_field:
            return request
        keys = {name: stored.key for name, stored in self.by_field.items()}
        mix = [
            {**part, "image": keys[f"mix[{index}].image"]} if "image" in part else part
            for index, part in enumerate(request.mix or ())
        ]
        return replace(request, image=keys.get("image"), mask=keys.get("mask"), mix=mix or None)


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
            image = _checked(pictures, name, settings, max_side_px if name == "image" else 0)
            if not problems:
                stored[name] = inputs.stored(image, objects, records)
    problems.check()
    return StoredPictures(stored)


def check(pictures: Pictures, problems: Problems, *, settings: Settings) -> None:
    """Add the problems of the pictures of a request that is refused for other fields."""
    for name in pictures.contents:
        with problems.collected(), suppress(Unavailable):  # the other problems are said now
            _checked(pictures, name, settings, 0)


def _checked(pictures: Pictures, name: str, settings: Settings, max_side_px: int) -> Normalised:
    """Return a picture as it is to be stored. Raises: InvalidRequest, Unavailable."""
    content = pictures.contents[name]
    picture = own_outputs.picture_of(content, name) if isinstance(content, str) else content
    return inputs.checked_image(
        picture, settings=settings, field=name, repainted=pictures.mask_repaints,
        inverted=name == "mask" and pictures.mask_inverted, max_side_px=max_side_px,
        may_be_animated=pictures.may_be_animated,
    )  # fmt: skip
