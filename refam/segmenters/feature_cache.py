"""What image encoders made of frames, kept on disk by content, so that no frame is encoded twice: bounded in bytes."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import torch

from refam.backbones.identity import hash_files
from refam.disk_cache import evict_oldest

Levels = list[torch.Tensor]
_WEIGHTS = ("*.safetensors", "*.onnx", "*.bin", "*.pt")


class FeatureStore:
    """Embeddings by the content of their image, at half precision; those unused longest go first.

    folder: shared by all models and processes; each model's are in a folder of its own, and one written is there whole
    or not at all. model: `model_id`. most_bytes: of all models together. An embedding that cannot be read is made anew.
    """

    def __init__(self, folder: Path, *, model: str, most_bytes: int) -> None:
        if most_bytes < 1:
            raise ValueError(f"a store of {most_bytes} bytes keeps nothing: give 1 or more")
        self._whole, self._folder, self._most = folder, folder / model, most_bytes
        self._folder.mkdir(parents=True, exist_ok=True)

    def recall(self, key: str) -> Levels | None:
        """float32, or None for what is not there."""
        path = self._folder / f"{key}.pt"
        try:
            levels = [level.float() for level in torch.load(path, weights_only=True)]
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, EOFError, ValueError, TypeError, pickle.UnpicklingError):  # rotten
            path.unlink(missing_ok=True)
            return None
        return levels

    def keep(self, key: str, levels: Levels) -> None:
        """Keeps them and makes room. A disk that is full keeps nothing, which costs time and no answer."""
        half = self._folder / f"{key}.{os.getpid()}.half"
        try:
            torch.save([level.half().cpu() for level in levels], half)
            half.replace(self._folder / f"{key}.pt")
        except (OSError, RuntimeError):  # torch tells a full disk as either
            half.unlink(missing_ok=True)
        evict_oldest(self._whole.glob("*/*"), max_bytes=self._most)


def image_key(shape: tuple[int, ...], content: bytes) -> str:
    """Of an image's bytes and shape."""
    return hashlib.blake2b(content + bytes(str(shape), "ascii"), digest_size=16).hexdigest()


def model_id(name_or_dir: str) -> str:
    """A folder's name for the weights: what they are called, and an id of the files where they are a directory's."""
    folder = Path(name_or_dir).expanduser()
    files = sorted(path for kind in _WEIGHTS for path in folder.glob(kind)) if folder.is_dir() else []
    called = "".join(c if c.isalnum() or c in "-._" else "-" for c in (folder.name or name_or_dir))
    return f"{called.lstrip('.')}-{hash_files((path.name, path) for path in files)}" if files else called.lstrip(".")
