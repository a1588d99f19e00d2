"""What the pipeline knows about one target while it runs."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from refam.pipeline.types import Target
from refam.text.quantity import ONE, Quantity, read_quantity
from video.heatmap_fusion import FusedHeatmaps
from video.io.probe import ReadingError
from video.masks import Box, Mask, wholeness
from video.tracking.appearance import ColorModel
from video.types import Heatmap, MaskTrack

if TYPE_CHECKING:
    from refam.pipeline.stage_cache import StageCache
    from video.io.reader import Clip


@dataclass
class ObjectState:
    """What is known so far about one target.

    Attributes:
        target: What was asked for.
        word_anchors: Masks (H, W) bool by frame that the words led to.
        prompt_anchors: Masks by frame that a person's prompts led to; they overrule the words'.
        refined_frames: Frames of the prompts' anchors that change what was tracked to there, by the points' piece only.
        prompt_boxes: The boxes that a person drew, by frame: x0, y0, x1, y1 as fractions of the frame.
        anchor_frame: The frame from which tracking starts.
        evidence: In [0, 1]: how certain the anchor is.
        confidence: In [0, 1]: of the heatmap on the anchor's frame.
        max_score: In [0, 1]: what the scores of the track are limited to.
        presence: In [0, 1]: how likely the video has what the words name; 1 where that is not known.
        rival_ratio: In [0, 1]: how well the words fit another thing, relative to this one; 0 where clearly less.
        appearance: The object's colours on the words' anchor.
        consensus: The heatmaps of the grounded frames, fused over time; None without words.
        track: The object's track, once it was tracked.
        notes: Sentences for people.
        failure: Why the object was given up; None while it was not.
        guess: Where words that the video does not bear out point: x and y as fractions of the frame, and the frame
            of the video; None where they are borne out.
        cache: Finished stages of this clip.
        read_errors: Where the clip could not be read.
        grounded_masks: The masks of the grounded frames, the anchor's first.
        instance: Which of the objects of its target it is, from 1.
    """

    target: Target
    word_anchors: dict[int, Mask] = field(default_factory=dict)
    prompt_anchors: dict[int, Mask] = field(default_factory=dict)
    refined_frames: set[int] = field(default_factory=set)
    prompt_boxes: dict[int, Box] = field(default_factory=dict)
    anchor_frame: int = 0
    evidence: float = 0.0
    confidence: float = 0.0
    max_score: float = 1.0
    presence: float = 1.0
    rival_ratio: float = 0.0
    appearance: ColorModel | None = None
    consensus: FusedHeatmaps | None = None
    track: MaskTrack | None = None
    notes: list[str] = field(default_factory=list)
    failure: str | None = None
    guess: tuple[float, float, int] | None = None
    cache: StageCache | None = None
    read_errors: list[ReadingError] = field(default_factory=list)
    grounded_masks: tuple[GroundedMask, ...] = ()
    instance: int = 1

    @functools.cached_property
    def quantity(self) -> Quantity:
        """How many objects the words mean."""
        return read_quantity(self.target.words) if self.target.words else ONE

    @property
    def means_several(self) -> bool:
        """Whether several objects are looked for. What a person drew on is one object, whatever the words say."""
        return self.quantity.is_plural and not self.target.prompts

    def limit_score(self, score: float) -> float:
        """Return a score of the object, in [0, 1], lowered where another thing may be meant, and limited."""
        if not self.target.prompts:
            score /= 1 + self.rival_ratio  # of two things that fit equally well either is meant as often
        return min(score, self.max_score)

    def read_frame(self, clip: Clip, frame: int) -> NDArray[np.uint8] | None:
        """Return a frame, (H, W, 3) uint8 RGB; None, with the error noted, if it cannot be read."""
        try:
            return clip.frame(frame)
        except ReadingError as error:
            self.read_errors.append(error)
            return None


@dataclass(frozen=True, eq=False)
class GroundedMask:
    """The mask that the words lead to on one frame.

    Attributes:
        heatmap: Where the words point in the frame.
        mask: (H, W) bool.
        appearance: The colours under the mask.
        certainty: In [0, 1]: of the words on this frame.
        agreement: In [0, 1]: of the heatmap with those of the neighbouring frames.
        score: In [0, 1]: the segmenter's score of the mask.
    """

    heatmap: Heatmap
    mask: Mask
    appearance: ColorModel
    certainty: float
    agreement: float
    score: float

    @property
    def frame(self) -> int:
        """The frame of the clip."""
        return self.heatmap.frame

    @property
    def evidence(self) -> float:
        """How well the words bear the mask out, in [0, 1]."""
        return combine_evidence(self.heatmap.confidence, self.agreement, self.score)

    @property
    def fill(self) -> float:
        """The mean heat under the mask, in [0, 1]. A mask that runs over a neighbour has little on that part."""
        return mean_heat(self.heatmap.grid, self.mask)

    @functools.cached_property
    def quality(self) -> float:
        """How good an anchor the mask is, in [0, 1].

        Where larger masks are preferred within a frame, they are so among frames: the heat is strongest on parts, so
        that its mean is highest under a mask of a part.
        On 180 objects of drawn clips the mask that ranks first by this has a mean IoU of .941, the most certain one
        .924; .939 and .906 of them have .8 or more. The similarity to the masks of other frames adds nothing.
        """
        bias = self.heatmap.mask_choice.whole_bias
        fit = self.fill if bias == 0 else self.score * wholeness(self.mask, bias)
        return self.certainty**3 * fit


def combine_evidence(confidence: float, agreement: float, score: float) -> float:
    """Return the geometric mean, each taken for .05 at least: none alone can carry an answer or sink it."""
    return float((max(confidence, 0.05) * max(agreement, 0.05) * max(score, 0.05)) ** (1 / 3))


def mean_heat(grid: NDArray[np.float32], mask: Mask) -> float:
    """Return the mean of a heatmap (h, w) under a mask (H, W) bool, in [0, 1]."""
    h, w = mask.shape
    heat = cv2.resize(grid, (w, h), interpolation=cv2.INTER_LINEAR)
    return float(np.clip(heat[mask].mean(), 0, 1))


def appearance_similarity(a: ColorModel, b: ColorModel) -> float:
    """Return the similarity of two masks' colours times the ratio of their areas, in [0, 1]."""
    return a.similarity(b) * min(a.area, b.area) / max(a.area, b.area)
