"""Dense features of many pictures, computed once and kept on disk for training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from refam.photos.efficientnet import N_CLASSES, STRIDE, EfficientNetLite, load_published
from video.errors import UserError

TRAINING_SIDE = 320
"""Side in pixels of the square that pictures are resized to for training; half of it for very small pictures."""
_BATCH = 8


@dataclass(frozen=True, eq=False)
class PhotoFeatures:
    """Features of N pictures.

    Attributes:
        files: Their paths.
        maps: (N, side / 16, side / 16, C) float16, the encoder's features; memory-mapped.
        logits: (N, 1000) float16, ImageNet's classes for the whole picture.
    """

    files: tuple[str, ...]
    maps: NDArray[np.float16]
    logits: NDArray[np.float16]


def read_picture(file: Path) -> NDArray[np.uint8]:
    """Read a picture as (H, W, 3) uint8 RGB.

    Raises:
        UserError: If the file is missing, or no picture that OpenCV can read.
    """
    try:
        data = np.fromfile(file, np.uint8) if file.is_file() else np.zeros(0, np.uint8)
    except OSError as error:  # a name that is too long, a file without rights
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if picture is None:
        raise UserError(f"{file} cannot be read as a picture; use JPEG or PNG files")
    return np.ascontiguousarray(picture[..., ::-1], np.uint8)


def read_square(file: Path, side: int) -> NDArray[np.uint8]:
    """Read a picture and resize it to a square, (side, side, 3) uint8 RGB.

    Raises:
        UserError: If the file is no picture that OpenCV can read.
    """
    picture = read_picture(file)
    shrink = max(picture.shape[:2]) > side
    square = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
    return np.asarray(square, np.uint8)


def to_pixels(pictures: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """Return pictures (H, W, 3) uint8 as (B, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1


@torch.inference_mode()
def extract_features(
    files: Sequence[Path],
    directory: Path,
    *,
    side: int = TRAINING_SIDE,
    variant: str = "lite0",
    log: Callable[[str], None] = print,
) -> PhotoFeatures:
    """Compute the features of pictures, or go on where an interrupted call ended.

    Args:
        files: The pictures. A call with others than those of the directory is refused.
        directory: Where the features are kept.
        side: Side in pixels of the square that pictures are resized to, a multiple of 16.
        variant: One of `refam.photos.efficientnet.VARIANTS`.
        log: Called with a line now and then.

    Raises:
        UserError: If the directory holds the features of other pictures, or if a picture cannot be read.
    """
    directory.mkdir(parents=True, exist_ok=True)
    listing, progress = directory / "files.json", directory / "done.txt"
    names = [str(f) for f in files]
    network = load_published(variant)
    shape = (len(files), side // STRIDE, side // STRIDE, sum(network.channels))
    known = {"variant": variant, "side": side, "files": names}
    fresh = not listing.is_file()
    if not fresh and json.loads(listing.read_text("utf-8")) != known:
        raise UserError(f"{directory} holds the features of other pictures; name another directory or empty it")
    mode = "w+" if fresh else "r+"
    maps = np.lib.format.open_memmap(directory / "maps.npy", mode, np.float16, shape)
    logits = np.lib.format.open_memmap(directory / "logits.npy", mode, np.float16, (len(files), N_CLASSES))
    listing.write_text(json.dumps(known), "utf-8")
    start = int(progress.read_text()) if progress.is_file() else 0
    for first in range(start, len(files), _BATCH):
        some = files[first : first + _BATCH]
        features, classes = _features_of(network, some, side)
        maps[first : first + len(some)], logits[first : first + len(some)] = features, classes
        if (first // _BATCH) % 50 == 0 or first + _BATCH >= len(files):
            maps.flush()
            logits.flush()
            progress.write_text(str(first + len(some)))
            log(f"features: {first + len(some)} of {len(files)} pictures")
    return PhotoFeatures(tuple(names), maps, logits)


def _features_of(
    network: EfficientNetLite, files: Sequence[Path], side: int
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    features = network(to_pixels([read_square(f, side) for f in files]))
    classes = network.classify(features, pooled=True)
    return features.permute(0, 2, 3, 1).half().numpy(), classes.half().numpy()
