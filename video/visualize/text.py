"""Text and colours on images: dark letters on a light background, colours that colour-blind people can distinguish."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

INK: Colour = (28, 30, 34)
FAINT: Colour = (120, 124, 130)
PAPER: Colour = (248, 248, 246)
# Okabe and Ito, "Color Universal Design" (2008), without black; the strongest first.
_PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
)
_LIGHTER, _DARKER = 0.5, 0.6  # shares of white, and of the colour itself in black


def object_colors(n: int) -> list[Colour]:
    """Return `n` RGB colours; object i has the same for any n. From the eighth on they are lighter, then darker."""
    return [_shade(_PALETTE[i % len(_PALETTE)], i // len(_PALETTE) % 3) for i in range(n)]


def _shade(colour: Colour, variant: int) -> Colour:
    if variant == 0:
        return colour
    return mix_colors(colour, _LIGHTER) if variant == 1 else mix_colors(colour, 1 - _DARKER, ground=(0, 0, 0))


def mix_colors(colour: Colour, share: float, *, ground: Colour = (255, 255, 255)) -> Colour:
    """Return a colour with this share of `ground` mixed in."""
    r, g, b = (round(c * (1 - share) + w * share) for c, w in zip(colour, ground, strict=True))
    return r, g, b


@lru_cache(maxsize=512)
def render_text(text: str, px: int, *, swatch: Colour | None = None, paper: Colour = PAPER, ink: Colour = INK) -> Image:
    """Render a line of text on a light background.

    Args:
        text: The text. Pillow's own font has the Latin letters; a box stands for any other.
        px: The height of the letters in pixels.
        swatch: A square of this colour before the text.
        paper: The colour of the background.
        ink: The colour of the letters.

    Returns:
        (h, w, 3) uint8 RGB, read-only.
    """
    font = _font(px)
    pad = max(1, px // 4)
    height = px + 2 * pad
    text_left = px + pad if swatch is not None else 0
    width = text_left + round(font.getlength(text)) + 2 * pad
    picture = Pillow.new("RGB", (max(1, width), height), paper)
    draw = ImageDraw.Draw(picture)
    if swatch is not None:
        side = round(px * 0.7)
        top = (height - side) // 2
        draw.rectangle(
            (pad, top, pad + side, top + side), fill=swatch, outline=mix_colors(swatch, 0.4, ground=(0, 0, 0))
        )
    draw.text((pad + text_left, height // 2), text, fill=ink, font=font, anchor="lm")
    out = np.asarray(picture, np.uint8)
    out.setflags(write=False)
    return out


def fitting_size(text: str, px: int, width: int) -> int:
    """Return the largest size of letters, `px` at most and 1 at least, at which a rendered text is within `width`."""
    return next((size for size in range(px, 1, -1) if render_text(text, size).shape[1] <= width), 1)


def truncate_text(text: str, px: int, width: int) -> str:
    """Return a text, cut to `width` pixels with an ellipsis if it is longer."""
    font = _font(px)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


def paste(image: Image, patch: Image, x: int, y: int) -> None:
    """Copy a patch into an image with its top left at (x, y), moved so that as much of it as possible is inside."""
    h, w = patch.shape[:2]
    x, y = (max(0, min(at, side - size)) for at, side, size in ((x, image.shape[1], w), (y, image.shape[0], h)))
    target = image[y : y + h, x : x + w]
    target[:] = patch[: target.shape[0], : target.shape[1]]


@lru_cache(maxsize=32)
def _font(px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=px)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType, so it cannot draw letters of a size")
    return font
