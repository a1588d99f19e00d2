"""Which backbone suits this machine: what fits into its memory, and is not too slow for its processor."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from refam.backbones.cost import ARCHITECTURES
from refam.backbones.presets import PRESETS, Preset

FRAME_PX = (16 / 9, 1.0)
"""Width and height of the frame that seconds are told for, in short sides."""
_MAX_FRAME_S = 60.0  # eight frames are grounded for a clip: with more than this, words take longer than drawing by hand
_WORKING_GB = 2.0  # beside the weights: activations, one decoded clip, Python itself
_MEASURE_S = 0.2


@dataclass(frozen=True)
class Machine:
    """What a backbone would run on.

    Attributes:
        name: "CPU", or the name of the GPU.
        is_gpu: Whether it is one.
        free_gb: Free memory in 10**9 bytes: the GPU's, or the main memory.
        flops: Operations of a matrix product in a second, in the type that weights would be held in.
        bytes_per_parameter: Of that type.
    """

    name: str
    is_gpu: bool
    free_gb: float
    flops: float
    bytes_per_parameter: int


def read_machine(dtype: str) -> Machine:
    """Look at this machine, and time a matrix product (0.2 s).

    Args:
        dtype: REFAM_DTYPE: "auto", "float32", "bfloat16" or "float16".
    """
    import torch

    is_gpu = torch.cuda.is_available()
    kind = getattr(torch, dtype) if dtype != "auto" else torch.bfloat16 if is_gpu else torch.float32
    device = "cuda" if is_gpu else "cpu"
    free = torch.cuda.mem_get_info()[0] if is_gpu else _free_main_memory()
    name = torch.cuda.get_device_name() if is_gpu else "CPU"
    side = 4096 if is_gpu else 1024
    matrix = torch.ones(side, side, dtype=kind, device=device)
    best, end = float("inf"), time.perf_counter() + _MEASURE_S
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        matrix @ matrix
        if is_gpu:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return Machine(name, is_gpu, free / 1e9, 2 * side**3 / best, kind.itemsize)


def _free_main_memory() -> int:
    """Bytes that a program can get without swapping; where the system does not say, what nothing uses at all."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def frame_seconds(preset: Preset, machine: Machine) -> float | None:
    """Return the seconds that one 16:9 frame takes at the speed of a matrix product, or None if it is not counted.

    Other work comes on top: expect up to twice as much.
    """
    architecture = ARCHITECTURES.get(preset.name)
    if architecture is None:
        return None
    width, height = (round(side * preset.short_side_px) for side in FRAME_PX)
    return architecture.count_frame_flops(width, height, text_length=preset.text_length) / machine.flops


@dataclass(frozen=True)
class Choice:
    """The backbone that suits a machine.

    Attributes:
        preset: The backbone, or None if none fits. It may be too slow, see `is_slow`.
        offload: Whether it fits only with REFAM_OFFLOAD=1.
        seconds: See `frame_seconds`.
    """

    preset: Preset | None
    offload: bool = False
    seconds: float = 0.0

    @property
    def is_slow(self) -> bool:
        """Whether a frame takes more than a minute."""
        return self.seconds > _MAX_FRAME_S


def choose_backbone(machine: Machine) -> Choice:
    """Choose the backbone with the most parameters that fits into memory and reads a frame within a minute.

    If all are slower, the fastest that fits. Only those are considered whose operations are counted, which need no
    login, and whose licence is not known to forbid commercial use, since a person may not look.
    """
    fitting: list[tuple[float, Choice]] = []
    for preset in PRESETS.values():
        seconds, sizes = frame_seconds(preset, machine), preset.billion_parameters
        if seconds is not None and sizes is not None and _reason_against(preset, machine) is None:
            offload = _memory_gb(sum(sizes), machine) > machine.free_gb
            fitting.append((sizes[0], Choice(preset, offload, seconds)))
    quick = [(size, choice) for size, choice in fitting if not choice.is_slow]
    if quick:
        return max(quick, key=lambda pair: pair[0])[1]
    return min((choice for _, choice in fitting), key=lambda choice: choice.seconds, default=Choice(None))


def _memory_gb(billion_parameters: float, machine: Machine) -> float:
    return machine.bytes_per_parameter * billion_parameters + _WORKING_GB


def _reason_against(preset: Preset, machine: Machine) -> str | None:
    """Return why a backbone whose parameters are counted is not chosen for this machine, whatever its speed."""
    if preset.gated:
        return "to accept on the hub"
    if "non-commercial" in preset.licence:
        return "for non-commercial use only"
    sizes = preset.billion_parameters or ()
    needed = _memory_gb(max(sizes) if machine.is_gpu else sum(sizes), machine)
    if needed > machine.free_gb:
        return f"{needed:.0f} GB, at {machine.bytes_per_parameter} bytes a parameter"
    return None


def _describe_faster(choice: Choice, machine: Machine) -> str:
    """Return a sentence that says why those that are faster were not chosen; empty where there are none."""
    names_by_reason: dict[str, list[str]] = {}
    for preset in PRESETS.values():
        seconds, reason = frame_seconds(preset, machine), _reason_against(preset, machine)
        if seconds is not None and reason is not None and seconds < choice.seconds:
            names_by_reason.setdefault(reason, []).append(preset.name)
    listed = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in names_by_reason.items())
    return f" Faster, but left out: {listed}." if listed else ""


def describe_choice(choice: Choice, machine: Machine) -> str:
    """Say what suits this machine, and what to type."""
    where = f"{machine.name}, {machine.free_gb:.0f} GB free, {machine.flops / 1e9:.0f} GFLOP/s in matrix products"
    if choice.preset is None:
        return f"This machine ({where}): none of those that are counted fits. Keep the default, small."
    preset = choice.preset
    if choice.is_slow:
        return (
            f"This machine ({where}): keep the default, small. {preset.name} is the fastest of the others that fit "
            f"and are not known to forbid commercial use, and would take {choice.seconds / 60:.0f} min a frame."
            f"{_describe_faster(choice, machine)}"
        )
    setting = "REFAM_OFFLOAD=1 " if choice.offload else ""
    return (
        f"This machine ({where}): of those whose seconds are counted, {preset.name} is the largest that fits, "
        f"{max(choice.seconds, 0.1):.1f} s a frame or more. Licence, as far as known: {preset.licence}. Type:\n"
        f"  refam models pull {preset.name}\n"
        f'  {setting}refam label VIDEO "the dog on the left" --backbone {preset.name}\n'
        "Its accuracy was not measured here: try it on a few clips of yours before you trust it."
    )
