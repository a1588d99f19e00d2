"""What is kept of a mask that the segmenter found."""

from __future__ import annotations

import numpy as np
import pytest

from video.tracking.mask_evidence import drop_new_far_parts


def mask_of(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Boxes (x0, y0, x1, y1) in pixels of a 200x100 frame."""
    mask = np.zeros((100, 200), np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


OBJECT = (20, 30, 60, 70)  # 40x40
FAR = (150, 40, 160, 50)
TAIL = (70, 40, 80, 50)  # 10 pixels from the object, as behind a pole


@pytest.mark.parametrize(
    ("found", "before", "kept"),
    [
        pytest.param([OBJECT], [OBJECT], [OBJECT], id="one part"),
        pytest.param([OBJECT, FAR], [OBJECT], [OBJECT], id="new and far"),
        pytest.param([OBJECT, FAR], [OBJECT, FAR], [OBJECT, FAR], id="it was there before"),
        pytest.param([OBJECT, TAIL], [OBJECT], [OBJECT, TAIL], id="new, but near"),
        pytest.param([OBJECT, (130, 30, 170, 70)], [OBJECT], [OBJECT, (130, 30, 170, 70)], id="as large as the object"),
        pytest.param([OBJECT, TAIL, FAR, (0, 90, 3, 93)], [OBJECT], [OBJECT, TAIL], id="several"),
        pytest.param([], [OBJECT], [], id="nothing"),
    ],
)
def test_new_parts_far_from_the_object_are_dropped(found, before, kept):
    assert np.array_equal(drop_new_far_parts(mask_of(*found), mask_of(*before), 1600), mask_of(*kept))


@pytest.mark.parametrize(("whole_area", "is_kept"), [(1600, False), (2000, False), (3200, True)])
def test_what_a_hidden_object_lacks_may_come_out_anywhere(whole_area, is_kept):
    kept = drop_new_far_parts(mask_of(OBJECT, FAR), mask_of(OBJECT), whole_area)
    assert np.array_equal(kept, mask_of(OBJECT, FAR) if is_kept else mask_of(OBJECT))
