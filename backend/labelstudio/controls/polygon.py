"""`<Polygon>` and `<PolygonLabels>`: masks as closed polygons.

A polygon has no holes: a slit without width joins each hole to the outline. Parts that do not touch become regions of
their own; those under 1 % of the object's area are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.controls.image_masks import MaskControl
from backend.labelstudio.edits import polygon_checksum
from backend.labelstudio.regions import PolygonValue
from video.contours import mask_to_polygons, polygon_to_mask
from video.masks import Mask


class PolygonControl(MaskControl):
    """A `<Polygon>` or `<PolygonLabels>` tag."""

    TAGS: ClassVar[tuple[str, ...]] = ("polygonlabels", "polygon")
    SHAPE: ClassVar[str] = "polygon"

    @classmethod
    def encode(cls, mask: Mask) -> Sequence[PolygonValue]:
        """Return one value for each part of the mask."""
        h, w = mask.shape
        return [
            {
                "points": [[round(float(x) / w * 100, 4), round(float(y) / h * 100, 4)] for x, y in points],
                "closed": True,
            }
            for points in mask_to_polygons(mask)
        ]

    @classmethod
    def empty_mask_value(cls, size: tuple[int, int]) -> PolygonValue:
        """Return a polygon without points."""
        return {"points": [], "closed": True}

    @classmethod
    def decode(cls, value: Mapping[str, Any], size: tuple[int, int]) -> Mask:
        """Return the filled polygon; nothing for one without points, which `empty_mask_value` made."""
        w, h = size
        if value["points"] == []:
            return np.zeros((h, w), np.bool_)
        percent: NDArray[np.float64] = np.array(value["points"], np.float64).reshape(-1, 2)
        points = percent * [w, h] / 100
        if len(points) < 3 or not np.isfinite(points).all():
            raise ValueError(f"a polygon has three points at least, got {len(points)}")
        return polygon_to_mask(points, (w, h))

    @classmethod
    def checksum(cls, value: Mapping[str, Any]) -> str:
        """Return the checksum of the points: a polygon that a person moves keeps its origin "prediction" (measured)."""
        return polygon_checksum(value["points"])

    @classmethod
    def is_user_edited(cls, region: Mapping[str, Any]) -> bool:
        """Return whether a person drew the polygon, or its points do not fit the checksum that it was written with."""
        if super().is_user_edited(region):
            return True
        points, meta = region["value"].get("points"), region.get("meta")
        check = meta.get("check") if isinstance(meta, Mapping) else None
        try:
            return bool(check and points) and check != polygon_checksum(points)
        except (TypeError, ValueError):
            return True  # such points were not written by this backend
