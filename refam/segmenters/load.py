"""Which segmenter is used, and which tracker goes with it: the best on this machine, unless one is named."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from refam.backbones.weights import is_hub_id
from refam.segmenters.concepts import ConceptDetector
from refam.segmenters.grabcut import GrabCutSegmenter
from refam.segmenters.model_types import MODEL_TYPES, SAM3_ACCESS, SAM3_HUB, cached_config, read_model_type
from refam.segmenters.sam2_weights import (
    DEFAULT_WEIGHTS,
    SAM2_WEIGHTS,
    SegmenterError,
    describe_missing,
    find_weights,
    is_for_onnx,
)
from video.types import Candidate, Prompt, Segmenter

if TYPE_CHECKING:
    from refam.segmenters.sam2 import Sam2Segmenter
    from refam.segmenters.sam2_engines import TorchEngine

__all__ = ["GrabCutSegmenter", "SegmenterChoice", "SegmenterError", "choose_segmenter", "load_segmenter"]

TrackerKind = Literal["auto", "flow", "memory", "sam2-video", "sam3-video"]
VIDEO_MEMORIES = ("sam2-video", "sam3-video")
GRABCUT = "grabcut"


@dataclass(frozen=True)
class SegmenterChoice:
    """A segmenter and a tracker that can be loaded.

    Attributes:
        source: A directory, or a name on the hub; None for GrabCut, which needs no weights.
        tracker: Never "auto".
        why: The reason for the choice, for people.
    """

    source: str | None
    tracker: TrackerKind
    why: str

    @property
    def name(self) -> str:
        """The name of the loaded segmenter."""
        return GRABCUT if self.source is None else Path(self.source).expanduser().name or self.source

    @property
    def version(self) -> str:
        """Segmenter and tracker as the model version names them."""
        return f"{self.name}/{'dis-flow' if self.tracker == 'flow' else self.tracker}"


@dataclass(frozen=True, eq=False)
class MaskOnlySegmenter:
    """A SAM2 or SAM3 segmenter without its features, so that its masks are tracked by optical flow."""

    segmenter: Sam2Segmenter

    @property
    def name(self) -> str:
        """The name of the segmenter."""
        return self.segmenter.name

    @property
    def is_fast(self) -> bool:
        """Whether a tracker may call it on every frame."""
        return self.segmenter.is_fast

    @property
    def concepts(self) -> ConceptDetector | None:
        """See `Sam2Segmenter.concepts`."""
        return self.segmenter.concepts

    def segment(self, image: NDArray[np.uint8], prompt: Prompt, *, frame: int = 0) -> list[Candidate]:
        """Outline an object in an image; see `Sam2Segmenter.segment`."""
        return self.segmenter.segment(image, prompt, frame=frame)


def choose_segmenter(
    named: str | None,
    *,
    models: Path | None = None,
    device: str = "auto",
    tracker: TrackerKind = "auto",
    why_no_weights: str | None = None,
) -> SegmenterChoice:
    """Choose a segmenter and a tracker, without loading anything or using a network.

    It does not fail: `load_segmenter` says what cannot be loaded.

    Args:
        named: "grabcut", a name of `SAM2_WEIGHTS`, a directory, or a name on the hub. None or "" chooses the best one
            in `models`, else GrabCut.
        models: The folder with fetched weights; None if nothing was fetched.
        device: "auto", or a torch device.
        tracker: "auto" chooses SAM2's or SAM3's own video memory if the weights have it and a GPU runs it, else the
            memory of features, else flow.
        why_no_weights: The reason given for GrabCut where no weights are in `models`: what
            `refam.segmenters.sam2_weights.fetch_default_weights` has returned.
    """
    source, why = _choose_source(named, models, why_no_weights)
    return SegmenterChoice(source, _choose_tracker(source, device) if tracker == "auto" else tracker, why)


def load_segmenter(
    named: str | None,
    *,
    models: Path | None = None,
    device: str = "auto",
    tracker: TrackerKind = "auto",
    cache: Path | None = None,
    cache_mb: float = 2000,
    offline: bool = False,
) -> Segmenter:
    """Load what `choose_segmenter` chooses.

    Args:
        named: See `choose_segmenter`.
        models: See `choose_segmenter`.
        device: See `choose_segmenter`.
        tracker: See `choose_segmenter`.
        cache: A directory for SAM2's features of frames.
        cache_mb: What it may hold.
        offline: Send no request to the hub: a name there must be in its cache on this machine.

    Raises:
        SegmenterError: If there is no such segmenter or tracker, if the weights cannot be loaded, or if they do not
            allow the tracker. What was asked for is never replaced silently.
    """
    trackers = get_args(TrackerKind)
    if tracker not in trackers:
        raise SegmenterError(f"there is no tracker {tracker!r}: give {', '.join(trackers[:-1])} or {trackers[-1]}")
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
    _require_source(choice.source, offline=offline)
    options: dict[str, Any] = {"device": device, "cache": cache, "cache_mb": cache_mb, "local_files_only": offline}
    if choice.tracker in VIDEO_MEMORIES:
        if (kind := read_video_memory(choice.source)) not in (None, choice.tracker):
            raise SegmenterError(f"{choice.source} has another tracker than {choice.tracker}: say auto or {kind}")
        from refam.segmenters.sam2_video import Sam2VideoSegmenter

        return _with_concepts(Sam2VideoSegmenter.load(choice.source, **options), choice.source, offline=offline)
    from refam.segmenters.sam2 import Sam2Segmenter

    segmenter = _with_concepts(Sam2Segmenter.load(choice.source, **options), choice.source, offline=offline)
    return MaskOnlySegmenter(segmenter) if choice.tracker == "flow" else segmenter


def _with_concepts(segmenter: Sam2Segmenter, source: str, *, offline: bool) -> Sam2Segmenter:
    """Give a segmenter the detector of concepts that its weights have, if they do."""
    kind = MODEL_TYPES.get(read_model_type(source) or "")
    if kind is not None and kind.has_detector:
        from refam.segmenters.sam3 import Sam3Detector

        engine = cast("TorchEngine", segmenter.engine)
        backbone = engine.model.vision_encoder.backbone
        segmenter.concepts = Sam3Detector.load(
            source, device=engine.device, local_files_only=offline, backbone=backbone
        )
    return segmenter


def _require_source(source: str, *, offline: bool) -> None:
    """Raise SegmenterError unless a source is a directory or a name on the hub, and here if it may not be fetched."""
    if Path(source).expanduser().is_dir():
        return
    if source.lower() == "sam3":
        raise SegmenterError(f"there is no segmenter {source!r} to fetch: {SAM3_ACCESS}")
    if not is_hub_id(source):
        names = ", ".join(SAM2_WEIGHTS)
        raise SegmenterError(
            f"there is no segmenter {source!r}: give {GRABCUT}, {names}, the directory of a SAM2 or SAM3 model, "
            "or its name on the hub (owner/name)"
        )
    if offline and cached_config(source) is None:
        how = f". {SAM3_ACCESS}" if source == SAM3_HUB else ""
        raise SegmenterError(describe_missing(source, "", offline=True, pull=False) + how)


def read_video_memory(source: str) -> TrackerKind | None:
    """Return the tracker of a directory, or a name on the hub that is cached here; None without a video memory."""
    kind = MODEL_TYPES.get(read_model_type(source) or "")
    return None if kind is None or kind.video is None else cast("TrackerKind", kind.tracker)


def _choose_source(named: str | None, models: Path | None, why_no_weights: str | None) -> tuple[str | None, str]:
    """Return the source of the weights (None for GrabCut) and the reason."""
    if named == GRABCUT:
        return None, "asked for"
    if named:
        found = find_weights(named, models) if models is not None and named in SAM2_WEIGHTS else None
        return str(found or named), "asked for"
    why_none = why_no_weights or f"no SAM2 is on this machine; refam models pull {DEFAULT_WEIGHTS} fetches one"
    for name in SAM2_WEIGHTS if models is not None else ():
        folder = None if models is None else find_weights(name, models)
        if folder is not None and is_for_onnx(folder) and importlib.util.find_spec("onnxruntime") is None:
            why_none = f"{name} is on this machine, but onnxruntime, which it needs, is not: pip install onnxruntime"
        elif folder is not None:
            return str(folder), "the best that is on this machine"
    return None, why_none


def _choose_tracker(source: str | None, device: str) -> TrackerKind:
    if source is None:
        return "flow"
    video_memory = read_video_memory(source)
    if device == "cpu" or video_memory is None:
        return "memory"
    if device == "auto":
        import torch

        return video_memory if torch.cuda.is_available() else "memory"
    return video_memory if device.startswith("cuda") else "memory"
