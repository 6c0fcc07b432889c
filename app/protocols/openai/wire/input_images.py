"""The images that a request contains: uploads, and the forms in which JSON names them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from app.problems import Problems
from jobs.errors import Problem

#: Fields with images, each of which may be repeated. A form may contain texts where files are meant.
IMAGE_FIELDS = ("image", "image[]", "images", "images[]", "url", "url[]")
MASK_FIELDS = ("mask",)
#: Names under which an object of JSON has its image.
_PARTS = ("image_url", "video_url", "url", "b64_json", "image")


@dataclass(frozen=True)
class InputImage:
    """An image as it was sent."""

    #: Name of its field.
    field: str
    #: A link, a data URL, base64, ``job:<id>``, or the bytes of an upload.
    content: str | bytes


def taken(
    body: Mapping[str, Any], names: Collection[str], problems: Problems, what: str = "an image"
) -> list[InputImage]:  # fmt: skip
    """Return the images of some fields; of values that are no images, the problems.

    Args:
        body: fields of a JSON body, or of a form with lists of values.
        names: the fields.
        problems: receives a problem for each field with something else.
        what: what the fields contain, for the problems.
    """
    found = []
    for name in names:
        value = body.get(name)
        for one in value if isinstance(value, list) else [value]:
            content = _content(one)
            if content:
                found.append(InputImage(name, content))
            elif one not in (None, "", b""):
                problems.add([Problem(name, f"must be {what}: an upload, a link, a data URL or base64")])
            elif one == b"":
                problems.add([Problem(name, "must not be empty")])
    return found


def _content(value: Any) -> str | bytes | None:
    """Return the image of a value; None if it has none."""
    if isinstance(value, Mapping):
        inner = next((value[name] for name in _PARTS if value.get(name)), None)
        return _content(inner) if isinstance(inner, str | bytes) or _is_url_object(inner) else None
    if isinstance(value, str):
        return value if value.strip() else None
    return value if isinstance(value, bytes) else None


def _is_url_object(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("url"), str)
