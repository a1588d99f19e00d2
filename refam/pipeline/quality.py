"""How closely videos are looked at: `refam label --quality`, and REFAM_QUALITY for the service and for `refam curate`.

            frames grounded   masks looked at again   searches for what was lost   longer side, unless --max-size
    fast    4                 every 8th frame         1                            640 px
    normal  8                 as the segmenter asks   2                            the video's own
    best    16                every frame             4                            the video's own

Looks are counted in the video's own frames, whatever `--every` leaves out. Pictures (tasks that hold a list of them)
are never brought down, and each of them is looked at. What is not "normal" stands in the model version, so asking again
with another quality makes another prediction.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from refam.pipeline.pipeline import Pipeline
    from refam.pipeline.stage_cache import StageCache
    from refam.pipeline.types import PipelineOptions, Target, TrackResult
    from video.io.reader import Clip

_FAST_PX = 640


class Quality(StrEnum):
    """How much time an answer may take."""

    FAST = "fast"
    NORMAL = "normal"
    BEST = "best"

    def options(self, base: PipelineOptions | None = None) -> PipelineOptions:
        """The pipeline's options of this quality; all that it does not set as in `base`."""
        from refam.pipeline.types import PipelineOptions

        base = base or PipelineOptions()
        if self is Quality.FAST:
            return replace(base, planned_frames=4, look_every=8, rescues=1)
        if self is Quality.BEST:
            return replace(base, planned_frames=16, look_every=1, rescues=4)
        return base

    @property
    def most_px(self) -> int | None:
        """What the longer side of frames is brought down to; None: frames stay as they are."""
        return _FAST_PX if self is Quality.FAST else None

    @property
    def tail(self) -> str:
        """What the model version ends with, and stages that are kept are told apart by."""
        return "" if self is Quality.NORMAL else f":{self}"

    def run(
        self,
        pipeline: Pipeline,
        clip: Clip,
        targets: Sequence[Target],
        *,
        progress: Callable[[str, float], None],
        memo: StageCache | None = None,
    ) -> list[TrackResult]:
        """What the pipeline (with the options of this quality) finds in the clip, on its own frames, in its size.

        Raises PipelineError.
        """
        from refam.pipeline.roi import RegionOfInterest, brought_back, seen_in
        from video.io.reader import Clip

        if self.most_px is None or not isinstance(clip, Clip) or max(clip.size) <= self.most_px:
            return pipeline.run(clip, targets, progress=progress, memo=memo)
        view = RegionOfInterest(most_px=self.most_px).view(clip, targets)
        found = pipeline.run(view, seen_in(view, targets), progress=progress, memo=memo)
        return brought_back(found, view, targets)
