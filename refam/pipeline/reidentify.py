"""What flow lost or ran over to, found again by its template (see `video.tracking.template_match`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.gaps import mask_at
from refam.pipeline.grounded_masks import DriftedSegment, between
from video import masks
from video.masks import Mask
from video.tracking.template_match import ObjectTemplate, TemplateMatch
from video.types import MaskTrack, Prompt, Segmenter

if TYPE_CHECKING:
    from video.io.reader import Clip

# Chosen on 98 drawn objects (462 of 8820 frames below IoU .7) and seen on no others: of 30 frames found at .9 or more
# where the track's mask was there but another, and of 23 where it had none, all were better than it; of 7 elsewhere 6.
_SURE = 0.9
_SAME = 0.7  # IoU of the track's mask with the portrait in its place, from which on they mean the same
_TWIN = 0.8  # a second place as like the portrait on its own frame: which is which cannot be told
# Chosen on three drawn objects that touch others of their colour. On 23 frames each of 12 others the two found 257
# places; none had an IoU below .6 with the object.
_CLOSE, _WORTH_IT = 0.7, 0.5  # how much of it is there, looked at closely, and from which score on that is worth while
_OUTLINED = 0.75  # IoU of an outline with the portrait in its place
_EVERY, _MOST = 4, 60  # frames between two that are looked at, and how many are


def reidentify(
    clip: Clip, known: Mapping[int, Mask], segmenter: Segmenter, track: MaskTrack, others: Sequence[MaskTrack]
) -> list[DriftedSegment]:
    """The stretches to follow again: those in which the known object is found where the track does not show it.

    known: masks by frame. others: tracks of other objects, whose places are taken. Raises ReadingError.
    """
    frame = max(known, key=lambda f: (int(known[f].sum()), -f))
    image = clip.frame(frame)
    portrait = ObjectTemplate.of(image, known[frame])
    if portrait is None or len(_sightings(portrait, image, _TWIN)) != 1:
        return []
    rows = np.arange(0, len(track.frames), max(_EVERY, -(-len(track.frames) // _MOST)))
    asked = [int(f) for f in track.frames[rows] if int(f) not in known]
    right, wrong = dict(known), {}
    for indices, images in clip.batches(asked):
        for at, picture in zip(map(int, indices), images, strict=True):
            found = _sightings(portrait, picture, _SURE)
            if len(found) != 1:
                continue  # not to be seen, or more than one
            place, own = portrait.place(found[0]), mask_at(track, at)
            if own is not None and masks.iou(own, place) >= _SAME:
                right[at] = own
                continue
            taken = [mask for other in others if (mask := mask_at(other, at)) is not None]
            box = masks.box_of(place)
            if box is None or any(masks.iou(mask, place) > 0.3 for mask in taken):
                continue
            prompt = Prompt(prior=masks.rim_prior(place), box=masks.pad_box(box, 0.15, least=0.01))
            outlines = [(masks.iou(c.mask, place), c.mask) for c in segmenter.segment(picture, prompt, frame=at)]
            best = max(outlines, key=lambda o: o[0], default=None)
            if best is not None and best[0] >= _OUTLINED:
                wrong[at] = best[1]
    return between(right, wrong, track)


def _sightings(portrait: ObjectTemplate, picture: NDArray[np.uint8], least: float) -> list[TemplateMatch]:
    """Where the thing is to be seen: where its shape is, or, among things of its colours, its very pixels."""
    found = []
    for match in portrait.find(picture):
        close = portrait.closely(picture, match) if match.score >= _WORTH_IT else None
        if close is not None and close.score >= _CLOSE:
            found.append(close)
        elif match.score >= least:
            found.append(match)
    return found
