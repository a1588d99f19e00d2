"""How closely videos are looked at: `refam label --quality`, and REFAM_QUALITY for the service and for `refam curate`.

            frames grounded   SAM2 looks at         GrabCut refits   searches of each gap   longer side (no --max-size)
    fast    4                 where flow may fail   every 8th        1                      640 px
    normal  8                 where flow may fail   every frame      2                      the video's own
    best    16                every frame           every frame      4                      the video's own

`video.tracking.schedule` says where flow may fail; "fast" tolerates more. On a GPU "normal" looks at every frame too.
Strides are counted in the video's own frames, whatever `--every` leaves out. Pictures (tasks that hold a list of them)
are never reduced, and each is looked at. Any quality but "normal" is part of the model version, so that
asking again with another quality makes another prediction.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refam.pipeline.pipeline import Pipeline
    from refam.pipeline.preview import Preview
    from refam.pipeline.stage_cache import StageCache
    from refam.pipeline.stages import Progress
    from refam.pipeline.types import PipelineOptions, Target, TrackResult
    from video.io.reader import Clip

_FAST_SIDE_PX = 640


class Quality(StrEnum):
    """How much time a prediction may take."""

    FAST = "fast"
    NORMAL = "normal"
    BEST = "best"

    def options(self, base: PipelineOptions | None = None) -> PipelineOptions:
        """Return the pipeline's options for this quality; what it does not set is as in `base`."""
        from refam.pipeline.types import PipelineOptions
        from video.tracking.schedule import EVERY_FRAME, FAST_SCHEDULE

        base = base or PipelineOptions()
        if self is Quality.FAST:
            return replace(base, grounded_frames=4, schedule=FAST_SCHEDULE, refit_every=8, redetect_rounds=1)
        if self is Quality.BEST:
            return replace(base, grounded_frames=16, schedule=EVERY_FRAME, refit_every=1, redetect_rounds=4)
        return base

    @property
    def max_side_px(self) -> int | None:
        """What the longer side of frames is reduced to; None leaves frames as they are."""
        return _FAST_SIDE_PX if self is Quality.FAST else None

    @property
    def version_suffix(self) -> str:
        """What the model version and the keys of cached stages end with."""
        return "" if self is Quality.NORMAL else f":{self}"

    def run(
        self,
        pipeline: Pipeline,
        clip: Clip,
        targets: Sequence[Target],
        *,
        progress: Progress | None = None,
        cache: StageCache | None = None,
        preview: Preview | None = None,
    ) -> list[TrackResult]:
        """Run a pipeline that was made with the options of this quality, on frames of this quality's size.

        Args:
            pipeline: The pipeline.
            clip: The whole video.
            targets: The objects to find.
            progress: Called with the stage's name and its finished fraction.
            cache: Where finished stages of this clip at this quality are stored and looked up.
            preview: See `Pipeline.run`.

        Returns:
            The results, see `Pipeline.run`, on the clip's own frames and in its size.

        Raises:
            PipelineError: If no target could be found.
            ReadingError: If nothing could be read.
        """
        from refam.pipeline.pipeline import run_in_region
        from refam.pipeline.roi import RegionOfInterest
        from video.io.reader import Clip

        if self.max_side_px is None or not isinstance(clip, Clip) or max(clip.size) <= self.max_side_px:
            return pipeline.run(clip, targets, progress=progress, cache=cache, preview=preview)
        region = RegionOfInterest(max_side_px=self.max_side_px)
        return run_in_region(pipeline, clip, targets, region, progress=progress, cache=cache, preview=preview)
