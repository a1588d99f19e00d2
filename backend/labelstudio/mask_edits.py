"""Masks that a person drew or changed in a list of pictures, read back as what the track is held to.

The editor marks a region that it got from us with the origin "prediction", one that a person then touched with
"prediction-changed" (but for polygons, which keep "prediction": seen in Label Studio 1.23.2; ours carry a check), and
one drawn anew with "manual". What a person touched stays in the editor as it is: the answer
holds no region for that object on that picture, and the editor keeps what has no successor of its id.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from backend.labelstudio.edits import polygon_checksum
from backend.labelstudio.label_config import MaskControl
from refam.pipeline.types import FramePrompt, Target
from video.contours import filled
from video.errors import UserError
from video.masks import Mask, encode

_A_PERSONS = ("manual", "prediction-changed")


class MaskError(UserError):
    """A region that cannot be read as a mask; a sentence for people."""


def with_drawn_masks(
    targets: Sequence[Target], region_ids: Sequence[str], task: Mapping[str, Any], control: MaskControl
) -> tuple[Target, ...]:
    """The targets, each with the masks that a person drew of it as prompts.

    region_ids: one per target, of which the regions on the pictures have theirs. A region of another id belongs to the
    first target of its label, or to the only one. Raises MaskError for a region that cannot be read.
    """
    regions = _newest(task, control)
    out = list(targets)
    for k, target in enumerate(targets):
        own = [r for r in regions if _belongs(r, k, targets, region_ids, control)]
        touched = {r["item_index"] for r in own if is_user_edited(r)}
        prompts = []
        for frame in sorted(touched):
            parts = [mask_of(r, control.shape) for r in own if r["item_index"] == frame]
            if len({part.shape for part in parts}) > 1:
                raise MaskError(f"picture {frame}: the parts of {target.label!r} differ in size")
            mask = np.logical_or.reduce(parts)
            if mask.any():
                prompts.append(FramePrompt(frame, mask=encode(np.asarray(mask, np.bool_))))
        out[k] = replace(target, prompts=(*target.prompts, *prompts))
    return tuple(out)


def is_user_edited(region: Mapping[str, Any]) -> bool:
    """Whether a person drew or changed this mask. A polygon's points are compared with the check that we gave it."""
    if region.get("origin") in _A_PERSONS:
        return True
    points, meta = region["value"].get("points"), region.get("meta")
    check = meta.get("check") if isinstance(meta, Mapping) else None
    try:
        return bool(check and points) and check != polygon_checksum(points)
    except (TypeError, ValueError):
        return True  # whatever it is, we did not write it


def mask_of(region: Mapping[str, Any], shape: str) -> Mask:
    """(H, W) bool of a region's value. shape: "brush", "bitmask" or "polygon". Raises MaskError."""
    value = region["value"]
    size = (region.get("original_width"), region.get("original_height"))
    w, h = (v if isinstance(v, int) and not isinstance(v, bool) and v > 0 else 0 for v in size)
    if not w or not h:
        raise MaskError(f"region {region.get('id')}: original_width and original_height must be pixels, got {size}")
    try:
        mask = {"brush": _brush, "bitmask": _bitmask, "polygon": _polygon}[shape](value, w, h)
    except (ValueError, TypeError, KeyError, IndexError, binascii.Error, UnidentifiedImageError, OSError) as error:
        raise MaskError(f"region {region.get('id')} cannot be read as a {shape}: {error}") from error
    if mask.shape != (h, w):
        raise MaskError(
            f"region {region.get('id')}: its mask is {mask.shape[1]}x{mask.shape[0]}, the picture is {w}x{h}"
        )
    return mask


def _brush(value: Mapping[str, Any], w: int, h: int) -> Mask:
    from label_studio_sdk.converter.brush import decode_rle

    flat = np.asarray(decode_rle(list(value["rle"])), np.uint8)
    if len(flat) != 4 * w * h:
        raise ValueError(f"it holds {len(flat) // 4} pixels, the picture {w * h}")
    return np.asarray(flat.reshape(h, w, 4)[..., 3] >= 128, np.bool_)


def _bitmask(value: Mapping[str, Any], w: int, h: int) -> Mask:
    _, _, data = str(value["imageDataURL"]).partition("base64,")
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
        if picture.size != (w, h):
            raise ValueError(f"it is {picture.size[0]}x{picture.size[1]}, the picture {w}x{h}")
        return np.asarray(np.asarray(picture.convert("RGBA"))[..., 3] >= 128, np.bool_)


def _polygon(value: Mapping[str, Any], w: int, h: int) -> Mask:
    if value["points"] == []:  # one that was emptied, see backend.labelstudio.empty_regions
        return np.zeros((h, w), np.bool_)
    points: NDArray[np.float64] = np.array(value["points"], np.float64).reshape(-1, 2) / 100 * [w, h]
    if len(points) < 3 or not np.isfinite(points).all():
        raise ValueError(f"a polygon has three points at least, got {len(points)}")
    return filled(points, (w, h))


def _newest(task: Mapping[str, Any], control: MaskControl) -> list[Mapping[str, Any]]:
    """The mask regions of the newest draft that has any, else of the newest annotation."""
    for kind in ("drafts", "annotations"):
        for source in _by_age(task, kind):
            found = list(_masks_in(source.get("result"), control))
            if found:
                return found
    return []


def shown_in(task: Mapping[str, Any], control: MaskControl) -> list[Mapping[str, Any]]:
    """The mask regions that the annotator sees: of the newest draft, else annotation, else prediction.

    A draft without any counts: its person has deleted them.
    """
    for kind in ("drafts", "annotations", "predictions"):
        if listed := _by_age(task, kind):
            return list(_masks_in(listed[0].get("result"), control))
    return []


def _by_age(task: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """The newest first."""
    sources = task.get(kind)
    listed = [s for s in sources if isinstance(s, Mapping)] if isinstance(sources, list) else []
    return sorted(listed, key=lambda s: str(s.get("updated_at") or s.get("created_at") or ""), reverse=True)


def _masks_in(result: Any, control: MaskControl) -> Iterator[Mapping[str, Any]]:
    for region in result if isinstance(result, list) else []:
        if (
            isinstance(region, Mapping)
            and region.get("type") == control.kind
            and region.get("from_name") == control.name
            and isinstance(region.get("item_index"), int)
            and region["item_index"] >= 0
            and isinstance(region.get("value"), Mapping)
        ):
            labels = _labels_of(result, region, control)
            yield {**region, "labels": labels}


def _labels_of(result: Sequence[Any], region: Mapping[str, Any], control: MaskControl) -> list[str]:
    """The region's own labels, or those of the result of the same id that carries them."""
    kinds = (control.kind, "labels")
    same = [r for r in result if isinstance(r, Mapping) and r.get("id") == region.get("id")]
    values = [r["value"].get(kind) for r in (region, *same) if isinstance(r.get("value"), Mapping) for kind in kinds]
    return [label for value in values if isinstance(value, list) for label in value if isinstance(label, str)]


def _belongs(
    region: Mapping[str, Any],
    k: int,
    targets: Sequence[Target],
    region_ids: Sequence[str],
    control: MaskControl,
) -> bool:
    named = [i for i, region_id in enumerate(region_ids) if str(region.get("id")).startswith(f"{region_id}-")]
    if not named:
        named = [i for i, target in enumerate(targets) if target.label in region["labels"]]
    if not named and len(targets) == 1 and not region["labels"]:
        named = [0]
    return named[:1] == [k]
