"""The choice without a clip never looks at that clip."""

from __future__ import annotations

import numpy as np
import pytest

from backend.benchmarks.held_out import DEFAULTS, choose_without, settings
from video.tracking import memory_tracker
from video.tracking.memory_bank import MemoryBankOptions
from video.tracking.memory_tracker import MemoryTrackerOptions

SCORES = np.array([[0.9, 0.9, 0.9], [1.0, 0.8, 0.8], [0.2, 0.95, 0.95]])


@pytest.mark.parametrize(("left_out", "chosen"), [(0, 2), (1, 0), (2, 0)])
def test_the_best_setting_of_the_other_clips_is_chosen(left_out, chosen):
    assert choose_without(SCORES, left_out) == chosen
    changed = SCORES.copy()
    changed[:, left_out] = [0, 5, 7]
    assert choose_without(changed, left_out) == chosen


def test_of_equal_settings_the_defaults_are_chosen():
    assert next(iter(settings())) == DEFAULTS
    assert choose_without(np.ones((3, 2)), 0) == 0


def test_every_setting_is_another_value_of_something_that_exists():
    for label, (option, value) in settings().items():
        if option.startswith("_"):
            default = getattr(memory_tracker, option)
        else:
            memory = option.startswith("memory.")
            options = MemoryBankOptions() if memory else MemoryTrackerOptions()
            default = getattr(options, option.removeprefix("memory."))
        assert (value == default) == (label == DEFAULTS), label
