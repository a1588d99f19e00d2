"""`<Bitmask>` and `<BitmaskLabels>`: masks as PNG pictures whose opaque pixels are the mask."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from backend.labelstudio.controls.image_masks import MaskControl
from backend.labelstudio.regions import BitmaskValue
from video.images import encode_png
from video.masks import Mask


class BitmaskControl(MaskControl):
    """A `<Bitmask>` or `<BitmaskLabels>` tag."""

    TAGS: ClassVar[tuple[str, ...]] = ("bitmasklabels", "bitmask")
    SHAPE: ClassVar[str] = "bitmask"

    @classmethod
    def encode(cls, mask: Mask) -> Sequence[BitmaskValue]:
        """Return one value."""
        return [{"imageDataURL": _png(mask)}] if mask.any() else []

    @classmethod
    def empty_mask_value(cls, size: tuple[int, int]) -> BitmaskValue:
        """Return a picture without an opaque pixel."""
        return {"imageDataURL": _png(np.zeros(size[::-1], np.bool_))}

    @classmethod
    def decode(cls, value: Mapping[str, Any], size: tuple[int, int]) -> Mask:
        """Return the pixels that are at least half opaque."""
        w, h = size
        _, _, data = str(value["imageDataURL"]).partition("base64,")
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
            if picture.size != (w, h):
                raise ValueError(f"it is {picture.size[0]}x{picture.size[1]}, the picture {w}x{h}")
            return np.asarray(np.asarray(picture.convert("RGBA"))[..., 3] >= 128, np.bool_)


def _png(mask: Mask) -> str:
    """Return a data URL: white where the mask is, clear elsewhere. The editor paints the opaque pixels itself."""
    png = encode_png(np.repeat(mask[..., None].astype(np.uint8) * 255, 4, axis=-1))
    return "data:image/png;base64," + base64.b64encode(png).decode()
