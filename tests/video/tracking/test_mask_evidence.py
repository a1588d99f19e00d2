"""Which parts of a mask are pieces of the object, and which are crumbs."""

import numpy as np
import pytest

from video import masks
from video.tracking.mask_evidence import supported

SIZE = (64, 48)  # of the frame; the grid of beliefs has a place for each 8x8 pixels
BODY, TAIL, HALF = (24, 8, 56, 40), (8, 16, 16, 20), (8, 8, 20, 40)


def drawn(*boxes):
    mask = np.zeros(SIZE[::-1], np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def belief(value_at_tail):
    grid = masks.resize_map(drawn(BODY), (8, 6))
    grid[2, 1] = value_at_tail
    return grid


@pytest.mark.parametrize(
    ("mask", "believed", "expected"),
    [
        pytest.param(drawn(BODY, TAIL), 0.9, drawn(BODY, TAIL), id="a tail behind a pole that is believed in"),
        pytest.param(drawn(BODY, TAIL), 0.5, drawn(BODY, TAIL), id="just so"),
        pytest.param(drawn(BODY, TAIL), 0.4, drawn(BODY), id="a crumb"),
        pytest.param(drawn(BODY, HALF), 0.0, drawn(BODY, HALF), id="a half stands for itself"),
        pytest.param(drawn(BODY, (9, 17, 10, 19)), 1.0, drawn(BODY), id="two pixels are never a piece"),
        pytest.param(drawn(TAIL), 0.0, drawn(TAIL), id="one part is all there is"),
        pytest.param(drawn(), 1.0, drawn(), id="nothing"),
    ],
)
def test_pieces_and_crumbs(mask, believed, expected):
    np.testing.assert_array_equal(supported(mask, belief(believed)), expected)


@pytest.mark.parametrize(
    ("before", "stays"), [(None, False), (drawn(BODY), False), (drawn(BODY, TAIL), True), (drawn(), False)]
)
def test_what_is_carried_keeps_pieces_as_small_as_it_had(before, stays):
    np.testing.assert_array_equal(
        masks.main_parts(drawn(BODY, TAIL), before=before), drawn(BODY, TAIL) if stays else drawn(BODY)
    )
