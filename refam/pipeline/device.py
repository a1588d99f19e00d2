"""Check that a device is there before anything is loaded."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from refam.pipeline.errors import PromptError

_DEVICE = re.compile(r"auto|cpu|mps|cuda(?::(\d+))?")
_NOT_BUILT = re.compile(r"^cuda\b.*=\s*None\s*$", re.MULTILINE)
_NOT_BUILT_FOR_AMD = re.compile(r"^hip\b.*=\s*None\s*$", re.MULTILINE)


def is_device_name(device: str) -> bool:
    """Return whether a text names a device, whether it is there or not."""
    return _DEVICE.fullmatch(device) is not None


def require_device(device: str) -> None:
    """Check that a device exists and that torch can use it.

    Args:
        device: "auto", "cpu", "mps", "cuda" or one GPU of several such as "cuda:1".

    Raises:
        PromptError: If it does not.
    """
    match = _DEVICE.fullmatch(device)
    if match is None:
        raise PromptError(f"device must be auto, cpu, mps, cuda or cuda:N, got {device!r}")
    if device in ("auto", "cpu"):
        return
    instead = "use auto or cpu"
    if device != "mps" and _is_built_for_cpu():  # told without importing torch, which takes seconds
        raise PromptError(f"device {device!r}: this torch was built without CUDA; {instead}, or install one with it")
    import torch

    if device == "mps":
        if not torch.backends.mps.is_available():
            raise PromptError(f"device 'mps': torch {torch.__version__} sees no Apple GPU; {instead}")
        return
    if not torch.cuda.is_available():
        raise PromptError(f"device {device!r}: torch {torch.__version__} sees no CUDA device; {instead}")
    count = torch.cuda.device_count()
    if match[1] is not None and int(match[1]) >= count:
        raise PromptError(f"device {device!r}: there are {count} CUDA devices, cuda:0 to cuda:{count - 1}")


def _is_built_for_cpu() -> bool:
    """Return whether torch's own version file says that it was built for no GPU of NVIDIA or AMD."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    file = Path(spec.origin).with_name("version.py")
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return _NOT_BUILT.search(text) is not None and _NOT_BUILT_FOR_AMD.search(text) is not None
