"""RefAM: find and track objects in videos by words, without training (arXiv 2509.22650).

Words are grounded by reading the attention of a diffusion transformer; the object is segmented and tracked from there.

Example:
    >>> import refam
    >>> tracks = refam.track("clip.mp4", ["the dog on the left"])
    >>> tracks[0].boxes, tracks[0].masks, tracks[0].keyframes, tracks[0].score
    >>> model = refam.load(backbone="flux-schnell", segmenter="sam2-tiny")  # held, for many videos
    >>> model.track("clip.mp4", points=[(0.42, 0.61, 0)])  # x, y, frame
    >>> model.ground(image, "the dog on the left")  # a heatmap
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from refam.version import __version__

if TYPE_CHECKING:
    from refam.model import Model, load, track
    from refam.pipeline.types import FramePrompt, PipelineError, PromptError, TrackResult

__all__ = ["FramePrompt", "Model", "PipelineError", "PromptError", "TrackResult", "__version__", "load", "track"]

_MODULE_OF = {
    "Model": "refam.model",
    "load": "refam.model",
    "track": "refam.model",
    "FramePrompt": "refam.pipeline.types",
    "PipelineError": "refam.pipeline.types",
    "PromptError": "refam.pipeline.types",
    "TrackResult": "refam.pipeline.types",
}


def __getattr__(name: str) -> Any:
    """Import the public names at first use: `import refam` alone loads neither torch nor OpenCV."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
