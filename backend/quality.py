"""How closely videos are looked at, for `refam label --quality`.

            frames grounded   masks looked at again   searches for what was lost   longer side, unless --max-size
    fast    4                 every 8th frame         1                            640 px
    normal  8                 as the segmenter asks   2                            the video's own
    best    16                every frame             4                            the video's own

The service looks as "normal" does.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backend.targets import PipelineOptions

_FAST_PX = 640


class Quality(StrEnum):
    """How much time an answer may take."""

    FAST = "fast"
    NORMAL = "normal"
    BEST = "best"

    def options(self, base: PipelineOptions | None = None) -> PipelineOptions:
        """The pipeline's options of this quality; all that it does not set as in `base`."""
        from backend.targets import PipelineOptions

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
