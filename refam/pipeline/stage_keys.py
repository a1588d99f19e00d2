"""What the pipeline's stages are known by: everything that their results depend on, beside the clip itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from refam import __version__
from video.masks import encode
from video.types import Heatmap

if TYPE_CHECKING:
    from refam.grounder import Grounder
    from refam.pipeline.anchors import ObjectState
    from video.tracking.propagate import TrackStart


def remembered_heatmaps(work: ObjectState, model: Grounder, indices: Sequence[int]) -> list[Heatmap] | None:
    """The heatmaps of these frames, grounded together earlier; None unless all are known."""
    if work.memo is None:
        return None
    found = []
    for index in indices:
        heatmap = work.memo.heatmap(_heatmap_key(work, model, indices, index))
        if heatmap is None:
            return None
        found.append(heatmap)
    return found


def keep_heatmaps(work: ObjectState, model: Grounder, indices: Sequence[int], heatmaps: list[Heatmap]) -> list[Heatmap]:
    """Keeps what was grounded just now, and gives it back."""
    if work.memo is not None:
        for index, heatmap in zip(indices, heatmaps, strict=True):
            work.memo.keep_heatmap(_heatmap_key(work, model, indices, index), heatmap)
    return heatmaps


def start_key(start: TrackStart) -> tuple[object, ...]:
    """A start's label and masks."""
    masks = [(f, hashlib.sha256(encode(m).counts).hexdigest()) for f, m in sorted(start.anchors.items())]
    return (start.label, *masks)


def _heatmap_key(work: ObjectState, model: Grounder, indices: Sequence[int], index: int) -> tuple[object, ...]:
    # Frames that are grounded together may see each other (a clip backbone), so they belong to the key.
    together = tuple(int(i) for i in indices)
    return (__version__, model.name, getattr(model, "options", None), work.target.words, together, int(index))
