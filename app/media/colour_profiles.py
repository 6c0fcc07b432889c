"""Converts pictures with a colour profile to sRGB, which models and browsers assume of pictures without one."""

from __future__ import annotations

import io
from typing import Final

from PIL import Image, ImageCms

#: Modes of Pillow in which LittleCMS reads pixels, by the colour space of the profile.
_MODES: Final = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "LAB": "LAB"}


def to_srgb(image: Image.Image) -> Image.Image:
    """Return the picture in sRGB, without its profile.

    The mode becomes RGB or RGBA if pixels are converted. A picture without a profile, with sRGB's own, or with a
    profile that cannot be used, is returned as it is.
    """
    profile = _profile_of(image)
    if profile is None:
        return image
    mode = _MODES.get(profile.profile.xcolor_space.strip())
    if mode is None:
        return image
    try:
        colours = image if image.mode == mode else image.convert(mode)
        converted = ImageCms.profileToProfile(
            colours, profile, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )  # fmt: skip
    except (ImageCms.PyCMSError, ValueError):
        return image
    if converted is None:
        return image
    if image.has_transparency_data:
        converted.putalpha(image.convert("RGBA").getchannel("A"))
    converted.info.pop("icc_profile", None)
    return converted


def has_other_colours(image: Image.Image) -> bool:
    """Return whether :func:`to_srgb` may change the picture."""
    return _profile_of(image) is not None


def _profile_of(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """Return the profile of a picture; None if there is none, it is sRGB's or it is damaged."""
    content = image.info.get("icc_profile")
    if not content:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
        name = ImageCms.getProfileDescription(profile)
    except (OSError, ImageCms.PyCMSError):
        return None
    return None if "srgb" in name.lower() else profile
