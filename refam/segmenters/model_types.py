"""The checkpoints of the SAM family that are read, by the `model_type` of their config.json, and what reads each.

`sam3_video` is the layout of facebook/sam3: detector, tracker and the image encoder that both share, in one folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from refam.backbones.weights import is_hub_id
from refam.segmenters.download import first_line

SAM3_HUB = "facebook/sam3"
SAM3_ACCESS = (
    f"SAM3's weights are given to those who accept Meta's SAM License at https://huggingface.co/{SAM3_HUB}; then "
    f"`hf auth login`, `hf download {SAM3_HUB} --local-dir DIR`, and give DIR as the segmenter"
)


class Normalisation(NamedTuple):
    """What is subtracted from pixels in [0, 1], and what they are then divided by, channel by channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SYMMETRIC = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # to [-1, 1]


@dataclass(frozen=True)
class ModelType:
    """What reads a kind of checkpoint; the classes are transformers'.

    Attributes:
        image: The class of the part that looks at one image. It may be the video model, which holds all of it.
        video: The class with the video memory; None where the checkpoint has none.
        session: The class of the video model's inference session.
        tracker: Which tracker the video memory is, as in `refam.segmenters.load.TrackerKind`.
        normalisation: Of its images.
        has_detector: Whether it also holds SAM3's detector, which finds what a noun phrase names.
    """

    image: str
    video: str | None = None
    session: str | None = None
    tracker: str = "sam2-video"
    normalisation: Normalisation = IMAGENET
    has_detector: bool = False


_SAM3_VIDEO = "Sam3TrackerVideoModel", "Sam3TrackerVideoModel", "Sam3TrackerVideoInferenceSession", "sam3-video"
MODEL_TYPES = {
    "sam2": ModelType("Sam2Model"),
    "sam2_video": ModelType("Sam2Model", "Sam2VideoModel", "Sam2VideoInferenceSession"),
    "edgetam": ModelType("EdgeTamModel"),
    "edgetam_video": ModelType("EdgeTamModel", "EdgeTamVideoModel", "EdgeTamVideoInferenceSession"),
    "sam3_tracker": ModelType("Sam3TrackerModel", normalisation=SYMMETRIC),
    # transformers 5.24 loads Sam3TrackerModel from facebook/sam3's layout without its prompt encoder and mask decoder.
    "sam3_tracker_video": ModelType(*_SAM3_VIDEO, SYMMETRIC),
    "sam3_video": ModelType(*_SAM3_VIDEO, SYMMETRIC, has_detector=True),
}


def read_model_type(source: str) -> str | None:
    """Return the `model_type` of a directory, or of a name on the hub that is cached here; None where it has none."""
    file = Path(source).expanduser() / "config.json"
    if not file.is_file() and is_hub_id(source):
        file = cached_config(source) or file
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def cached_config(source: str) -> Path | None:
    """Return the config.json of a model on the hub if it is in the hub's cache on this machine."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(source, "config.json")
    return Path(cached) if isinstance(cached, str) else None


def describe_unreadable(source: str, model_type: str | None) -> str:
    """Say that a checkpoint of this `model_type`, None if it is not known, draws no masks, and what would."""
    if model_type is None:
        return f"{source} has no config.json with the model_type of SAM2, EdgeTAM or SAM3"
    if model_type == "sam3":
        return (
            f"{source} holds SAM3's detector alone, which takes no points: give the whole of {SAM3_HUB}. {SAM3_ACCESS}"
        )
    return f"{source} holds a {model_type!r} model, not SAM2, EdgeTAM or SAM3's tracker"


def describe_incomplete(source: str, count: int) -> str:
    """Say that so many tensors of a model are missing."""
    return f"{source} is not complete: {count} tensors of its model are missing"


def describe_load_error(source: str, error: Exception, *, what: str = "SAM2 or SAM3 model") -> str:
    """Say why no model could be loaded, and how to get weights that are only given to those who accept a licence.

    Args:
        source: A directory, or a name on the hub.
        error: transformers', or of a library that it uses.
        what: What was to be loaded.
    """
    if not isinstance(error, (OSError, ValueError, ImportError)):
        return f"no {what} can be loaded from {source}, whose files are damaged or do not match: {first_line(error)}"
    where = "this directory" if Path(source).expanduser().is_dir() else "this directory or hub id"
    said = f"no {what} at {source} ({where}): {first_line(error)}"
    return f"{said.rstrip('.')}. {SAM3_ACCESS}" if source == SAM3_HUB else said
