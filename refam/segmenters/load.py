"""Which segmenter to use, and which tracker goes with it: the best that is present, unless one is named."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from refam.segmenters.grabcut import GrabCutSegmenter
from refam.segmenters.sam2_weights import SAM2_WEIGHTS, SegmenterError, find, is_for_onnx
from video.types import Candidate, Prompt, Segmenter

if TYPE_CHECKING:
    from refam.segmenters.sam2 import Sam2Segmenter

__all__ = ["GrabCutSegmenter", "SegmenterChoice", "SegmenterError", "choose_segmenter", "load_segmenter"]

TrackerKind = Literal["auto", "flow", "memory", "sam2-video"]
GRABCUT = "grabcut"
_TRACKERS = {"flow": "dis-flow", "memory": "memory", "sam2-video": "sam2-video"}  # as the trackers call themselves


@dataclass(frozen=True)
class SegmenterChoice:
    """What would be loaded, known without loading it.

    source: a directory or a hub id; None: GrabCut, which needs no weights. tracker: never "auto". why: for people.
    """

    source: str | None
    tracker: TrackerKind
    why: str

    @property
    def name(self) -> str:
        """As the loaded segmenter calls itself."""
        return GRABCUT if self.source is None else Path(self.source).expanduser().name or self.source

    @property
    def version(self) -> str:
        """Segmenter and tracker as the model version names them."""
        return f"{self.name}/{_TRACKERS[self.tracker]}"


@dataclass(frozen=True, eq=False)
class MasksAlone:
    """A `Segmenter` whose features nobody is to use: its masks are followed by flow."""

    segmenter: Sam2Segmenter

    @property
    def name(self) -> str:
        """Of the segmenter within."""
        return self.segmenter.name

    @property
    def refit_every(self) -> int:
        """Of the segmenter within."""
        return self.segmenter.refit_every

    def segment(self, image: NDArray[np.uint8], prompt: Prompt, *, frame: int = 0) -> list[Candidate]:
        """See `Segmenter.segment`."""
        return self.segmenter.segment(image, prompt, frame=frame)


def choose_segmenter(
    named: str | None, *, models: Path | None = None, device: str = "auto", tracker: TrackerKind = "auto"
) -> SegmenterChoice:
    """named: "grabcut", a name of `SAM2_WEIGHTS`, a directory or a hub id. None or "": the best one in `models`.

    models: the folder that weights are fetched into; None: nothing was fetched. tracker: what is to follow the masks;
    "auto": SAM2's own video memory where the weights have it and a GPU runs it, else the memory of features, else flow.
    Loads nothing, asks no network and does not fail: what cannot be is told by `load_segmenter`.
    """
    source, why = _source(named, models)
    return SegmenterChoice(source, _tracker(source, device) if tracker == "auto" else tracker, why)


def load_segmenter(
    named: str | None,
    *,
    models: Path | None = None,
    device: str = "auto",
    tracker: TrackerKind = "auto",
    cache: Path | None = None,
    cache_mb: float = 2000,
) -> Segmenter:
    """What `choose_segmenter` chooses. cache: a directory for what SAM2 makes of frames, no more than `cache_mb`.

    Raises SegmenterError when the weights cannot be loaded, and for a tracker that they do not allow: what was asked
    for is never quietly replaced.
    """
    choice = choose_segmenter(named, models=models, device=device, tracker=tracker)
    if choice.source is None:
        if choice.tracker != "flow":
            raise SegmenterError(
                f"the tracker {choice.tracker!r} needs SAM2, and the segmenter is GrabCut ({choice.why}); "
                "say auto or flow, or fetch SAM2: refam models pull sam2-tiny"
            )
        return GrabCutSegmenter()
    if choice.source in SAM2_WEIGHTS:
        raise SegmenterError(f"{choice.source} is not on this machine: refam models pull {choice.source}")
    if choice.tracker == "sam2-video":
        from refam.segmenters.sam2_video import Sam2VideoSegmenter

        return Sam2VideoSegmenter.load(choice.source, device=device, cache=cache, cache_mb=cache_mb)
    from refam.segmenters.sam2 import Sam2Segmenter

    segmenter = Sam2Segmenter.load(choice.source, device=device, cache=cache, cache_mb=cache_mb)
    return MasksAlone(segmenter) if choice.tracker == "flow" else segmenter


def _source(named: str | None, models: Path | None) -> tuple[str | None, str]:
    if named == GRABCUT:
        return None, "asked for"
    if named:
        found = find(named, models) if models is not None and named in SAM2_WEIGHTS else None
        return str(found or named), "asked for"
    without = "no SAM2 is on this machine; refam models pull sam2-tiny fetches one"
    for name in SAM2_WEIGHTS if models is not None else ():
        folder = None if models is None else find(name, models)
        if folder is not None and is_for_onnx(folder) and importlib.util.find_spec("onnxruntime") is None:
            without = f"{name} is on this machine, but onnxruntime, which it needs, is not: pip install onnxruntime"
        elif folder is not None:
            return str(folder), "the best that is on this machine"
    return None, without


def _tracker(source: str | None, device: str) -> TrackerKind:
    if source is None:
        return "flow"
    if device == "cpu" or not has_video_memory(source):
        return "memory"
    if device == "auto":
        import torch

        return "sam2-video" if torch.cuda.is_available() else "memory"
    return "sam2-video" if device.startswith("cuda") else "memory"


def has_video_memory(source: str) -> bool:
    """Whether the configuration of this directory or hub id (if its cache has it) is a video model's."""
    file = Path(source).expanduser() / "config.json"
    if not file.is_file() and source.count("/") == 1:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(source, "config.json")
        file = Path(cached) if isinstance(cached, str) else file
    try:
        return str(json.loads(file.read_text(encoding="utf-8")).get("model_type", "")).endswith("_video")
    except (OSError, ValueError, AttributeError):
        return False
