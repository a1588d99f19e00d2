"""`<Brush>` and `<BrushLabels>`: masks as brush strokes, in Label Studio's own run-length code of RGBA pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from backend.labelstudio.controls.image_masks import MaskControl
from backend.labelstudio.regions import BrushValue
from video.masks import Mask


class BrushControl(MaskControl):
    """A `<Brush>` or `<BrushLabels>` tag."""

    TAGS: ClassVar[tuple[str, ...]] = ("brushlabels", "brush")
    SHAPE: ClassVar[str] = "brush"

    @classmethod
    def encode(cls, mask: Mask) -> Sequence[BrushValue]:
        """Return one value."""
        return [_encode(mask)] if mask.any() else []

    @classmethod
    def empty_mask_value(cls, size: tuple[int, int]) -> BrushValue:
        """Return strokes without a pixel."""
        return _encode(np.zeros(size[::-1], np.bool_))

    @classmethod
    def decode(cls, value: Mapping[str, Any], size: tuple[int, int]) -> Mask:
        """Return the pixels that are at least half opaque."""
        from label_studio_sdk.converter.brush import decode_rle

        w, h = size
        flat = np.asarray(decode_rle(list(value["rle"])), np.uint8)
        if len(flat) != 4 * w * h:
            raise ValueError(f"it holds {len(flat) // 4} pixels, the picture {w * h}")
        return np.asarray(flat.reshape(h, w, 4)[..., 3] >= 128, np.bool_)

    def is_locked(self, region: Mapping[str, Any]) -> bool:
        """Return whether a person painted in the region: the editor keeps the strokes beside whatever replaces it."""
        return self.is_user_edited(region)


def _encode(mask: Mask) -> BrushValue:
    from label_studio_sdk.converter.brush import mask2rle

    return {"format": "rle", "rle": mask2rle(mask.astype(np.uint8) * 255)}
