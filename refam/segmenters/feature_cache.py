"""A cache on disk for what image encoders make of frames, so that no frame is encoded twice."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import torch

from refam.backbones.identity import hash_files
from refam.disk_cache import evict_oldest

Levels = list[torch.Tensor]  # a feature pyramid, (1, c, h, w) each, the finest first
_WEIGHT_FILES = ("*.safetensors", "*.onnx", "*.bin", "*.pt")


class FeatureCache:
    """Feature pyramids by the content of their image, at half precision; those unused longest are evicted first.

    Args:
        folder: Shared by all models and processes; each model's features are in a folder of their own.
        model: What `weights_id` says of the model.
        max_bytes: Of all models together.

    Raises:
        ValueError: For a cache without room.
    """

    def __init__(self, folder: Path, *, model: str, max_bytes: int) -> None:
        if max_bytes < 1:
            raise ValueError(f"a store of {max_bytes} bytes keeps nothing: give 1 or more")
        self._root, self._folder, self._max_bytes = folder, folder / model, max_bytes
        self._folder.mkdir(parents=True, exist_ok=True)

    def load(self, key: str) -> Levels | None:
        """Return the feature pyramid, float32; None if it is not cached, or its file is damaged."""
        path = self._folder / f"{key}.pt"
        try:
            levels = [level.float() for level in torch.load(path, weights_only=True)]
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, EOFError, ValueError, TypeError, pickle.UnpicklingError):  # damaged
            path.unlink(missing_ok=True)
            return None
        return levels

    def save(self, key: str, levels: Levels) -> None:
        """Store a feature pyramid whole or not at all: a full disk costs time, but no result."""
        part = self._folder / f"{key}.{os.getpid()}.half"
        try:
            torch.save([level.half().cpu() for level in levels], part)
            part.replace(self._folder / f"{key}.pt")
        except (OSError, RuntimeError):  # torch raises either on a full disk
            part.unlink(missing_ok=True)
        evict_oldest(self._root.glob("*/*"), max_bytes=self._max_bytes)


def image_key(shape: tuple[int, ...], content: bytes) -> str:
    """Return the key of an image of this shape with these bytes."""
    return hashlib.blake2b(content + bytes(str(shape), "ascii"), digest_size=16).hexdigest()


def weights_id(name_or_dir: str) -> str:
    """Return a folder name that identifies weights: their name and, for a directory, a hash of its weight files."""
    folder = Path(name_or_dir).expanduser()
    files = sorted(path for kind in _WEIGHT_FILES for path in folder.glob(kind)) if folder.is_dir() else []
    name = "".join(c if c.isalnum() or c in "-._" else "-" for c in (folder.name or name_or_dir)).lstrip(".")
    return f"{name}-{hash_files((path.name, path) for path in files)}" if files else name
