"""Ways to make an opaque picture of one with transparency: input images, and masks."""

from __future__ import annotations

from PIL import Image, ImageOps

#: Darkest grey of a mask that is repainted, as workers read it.
_WHITE = 128


def on_white(image: Image.Image) -> Image.Image:
    """Return an RGBA image on white."""
    return _on(image, "white")


def white_or_strokes(image: Image.Image) -> Image.Image:
    """Return an RGBA mask on black: its white is repainted. If nothing is white, strokes of any colour are."""
    flat = _on(image, "black")
    has_white = flat.convert("L").point(lambda grey: 255 * (grey >= _WHITE)).getbbox() is not None
    return flat if has_white else by_alpha(image)


def by_alpha(image: Image.Image) -> Image.Image:
    """Return an RGBA mask as AUTOMATIC1111 reads it: if anything is transparent, all that is opaque is repainted."""
    alpha = image.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return image.convert("RGB")
    return Image.merge("RGB", (alpha, alpha, alpha))


def by_transparency(image: Image.Image) -> Image.Image:
    """Return an RGBA mask as OpenAI reads it: if anything is transparent, that is repainted, more or less."""
    alpha = image.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return image.convert("RGB")
    holes = ImageOps.invert(alpha)
    return Image.merge("RGB", (holes, holes, holes))


#: Ways to read a mask with transparency, by the part of it that is repainted; '' for its white.
OF_MASKS = {"": white_or_strokes, "opaque": by_alpha, "transparent": by_transparency}


def _on(image: Image.Image, backdrop: str) -> Image.Image:
    flat = Image.new("RGB", image.size, backdrop)
    flat.paste(image, mask=image)
    return flat
