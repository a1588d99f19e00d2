"""Which backbone `refam models` recommends, for machines whose memory and speed are given."""

from __future__ import annotations

import pytest

from backend.cli.model_choice import Machine, choose_backbone, describe_choice, frame_seconds, read_machine
from refam.backbones import PRESETS

LAPTOP = Machine("CPU", False, 32.0, 400e9, 4)


@pytest.mark.parametrize(
    ("machine", "name", "offload"),
    [
        (LAPTOP, "lumina-image-2", False),  # 5.3 billion parameters x 4 bytes = 21 GB; z-image needs 41
        (Machine("CPU", False, 20.0, 400e9, 4), "prx-512", False),  # 15.4 GB
        (Machine("CPU", False, 14.0, 400e9, 4), None, False),  # with 2 GB to work, not even that
        (Machine("CPU", False, 14.0, 400e9, 2), "lumina-image-2", False),  # 10.6 GB in bfloat16
        (Machine("GPU", True, 24.0, 100e12, 2), "z-image-turbo", False),  # 20.5 GB
        (Machine("GPU", True, 16.0, 100e12, 2), "z-image-turbo", True),  # 12.3 GB of them at a time
        (Machine("GPU", True, 80.0, 400e12, 2), "wan-14b", False),
        (Machine("CPU", False, 32.0, 10e9, 4), "pixart-sigma", False),  # too slow, but the fastest with its licence
    ],
)
def test_the_largest_that_fits_and_is_quick_enough_is_chosen(machine: Machine, name: str | None, offload: bool) -> None:
    choice = choose_backbone(machine)
    assert (choice.preset and choice.preset.name, choice.offload) == (name, offload)
    text = describe_choice(choice, machine)
    if name is None or choice.is_slow:
        assert "eep the default, small" in text
        assert "refam models pull" not in text
    else:
        assert f"refam models pull {name}\n" in text
        assert f"--backbone {name}" in text
        assert ("REFAM_OFFLOAD=1" in text) == offload
        assert PRESETS[name].licence in text


@pytest.mark.parametrize(
    ("free_gb", "flops", "said"),
    [
        # PixArt-Sigma has 0.61 + 4.84 billion parameters: 21.8 GB in float32, and 2 GB to work
        (20.0, 10e9, "Faster, but left out: pixart-sigma (24 GB, at 4 bytes a parameter); sana-0.6b, sana-1.6b (for "),
        (32.0, 10e9, "Faster, but left out: sana-0.6b, sana-1.6b (for non-commercial use only)."),
        (32.0, 400e9, ""),
    ],
)
def test_those_that_are_faster_are_left_out_for_a_reason(free_gb: float, flops: float, said: str) -> None:
    machine = Machine("CPU", False, free_gb, flops, 4)
    text = describe_choice(choose_backbone(machine), machine)
    assert (said in text, "left out" in text) == (True, bool(said)), text


def test_seconds_are_operations_by_speed() -> None:
    """PRX on 910 x 512 pixels: 57 x 32 image tokens, 256 text tokens, 16 blocks of width 1792, by hand."""
    seconds = frame_seconds(PRESETS["prx-512"], LAPTOP)
    image, text, d = 57 * 32, 256, 1792
    weights = image * (4 + 3 * 3.5) * d * d + text * 2 * d * d
    transformer = 16 * (2 * weights + 4 * d * image * (image + text))
    assert seconds == pytest.approx((transformer + 4.2e6 * 910 * 512) / 400e9)
    assert frame_seconds(PRESETS["flux-dev"], LAPTOP) is None


def test_no_login_and_no_known_restriction_is_chosen_for_anyone() -> None:
    for free in (10, 20, 40, 80, 160):
        preset = choose_backbone(Machine("GPU", True, free, 1e15, 2)).preset
        assert preset is None or not (preset.gated or "non-commercial" in preset.licence)


def test_this_machine_is_looked_at() -> None:
    machine = read_machine("auto")
    assert machine.free_gb > 0.1
    assert machine.flops > 1e8
    assert machine.bytes_per_parameter == (2 if machine.is_gpu else 4)
