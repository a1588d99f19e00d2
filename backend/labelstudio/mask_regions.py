"""Tracks -> one region per object and frame, for projects that show a list of pictures.

The editor has three ways to keep a mask: brush strokes (its own run-length code), polygons, and bitmaps (a PNG whose
opaque pixels are the mask). A polygon has no holes: a slit without width joins each hole to the outline. Parts that
do not touch become regions of their own; those under 1 % of the object's area are left out.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.edits import polygon_checksum
from backend.labelstudio.label_config import LabelConfig, LabelConfigError, MaskControl
from backend.labelstudio.timeline import round_score
from video.contours import polygons_of
from video.masks import decode

if TYPE_CHECKING:
    from refam.pipeline.pipeline import TrackResult

Mask = NDArray[np.bool_]


def mask_regions_of(
    results: Sequence[TrackResult], config: LabelConfig, *, region_ids: Sequence[str]
) -> list[dict[str, Any]]:
    """A region for each result and frame on which it is visible; a polygon's parts make several.

    region_ids: one per result; "-FRAME" is added, and "-PART" from the second part on, so that asking again replaces.
    A mask that a person drew is in the editor already, and stays there because no region replaces it.
    """
    control = config.masks
    if control is None:
        raise LabelConfigError("the label config has no tag that takes masks")
    if len(region_ids) != len(results):
        raise ValueError(f"{len(results)} results need as many region ids, got {len(region_ids)}")
    regions: list[dict[str, Any]] = []
    for result, region_id in zip(results, region_ids, strict=True):
        track = result.track
        drawn = {prompt.frame for prompt in result.target.prompts if prompt.mask is not None}
        for row, frame in enumerate(track.frames):
            if not track.visible[row] or int(frame) in drawn:
                continue
            shapes = shapes_of(decode(track.rles[row]), control.shape)
            for part, shape in enumerate(shapes):
                base: dict[str, Any] = {
                    "id": f"{region_id}-{frame}" + (f"-{part}" if part else ""),
                    "to_name": config.video,
                    "origin": "prediction",
                    "item_index": int(frame),
                    "original_width": track.size[0],
                    "original_height": track.size[1],
                    "image_rotation": 0,
                    "score": round_score(track.scores[row]),
                }
                meta: dict[str, Any] = {"text": [result.target.words]} if result.target.words else {}
                if "points" in shape:  # a polygon that a person moves keeps its origin "prediction" (measured)
                    meta["check"] = polygon_checksum(shape["points"])
                if meta:  # the text is shown when the region is selected
                    base["meta"] = meta
                regions += labelled(base, shape, control, result.target.label, bool(config.labels))
    return regions


def labelled(
    base: dict[str, Any], shape: dict[str, Any], control: MaskControl, label: str, has_labels: bool
) -> Iterator[dict[str, Any]]:
    """One region's results: its shape with the label in it, or the shape and the label one after the other."""
    if control.own_labels:
        yield {**base, "from_name": control.name, "type": control.kind, "value": {**shape, control.kind: [label]}}
        return
    yield {**base, "from_name": control.name, "type": control.kind, "value": shape}
    if control.labels_name and has_labels:  # the editor joins results of one id: the shape, and its label
        yield {**base, "from_name": control.labels_name, "type": "labels", "value": {**shape, "labels": [label]}}


def shapes_of(mask: Mask, shape: str, *, keep_empty: bool = False) -> list[dict[str, Any]]:
    """A mask (H, W) as the values of regions: "brush", "polygon" or "bitmask".

    An empty mask has none, unless keep_empty, and then as a brush or a bitmask only.
    """
    if not mask.any() and not keep_empty:
        return []
    if shape == "brush":
        from label_studio_sdk.converter.brush import mask2rle

        return [{"format": "rle", "rle": mask2rle(mask.astype(np.uint8) * 255)}]
    if shape == "bitmask":
        return [{"imageDataURL": _png(mask)}]
    h, w = mask.shape
    return [
        {"points": [[round(float(x) / w * 100, 4), round(float(y) / h * 100, 4)] for x, y in points], "closed": True}
        for points in polygons_of(mask)
    ]


def _png(mask: Mask) -> str:
    """White where the mask is, clear elsewhere: the editor takes the opaque pixels and paints them itself."""
    ok, coded = cv2.imencode(".png", np.repeat(mask[..., None].astype(np.uint8) * 255, 4, axis=-1))
    if not ok:
        raise RuntimeError("OpenCV could not write a PNG")
    return "data:image/png;base64," + base64.b64encode(coded.tobytes()).decode()
