"""Colours of pictures whose pixels are known."""

from __future__ import annotations

import numpy as np
import pytest

from refam.photos.colours import COLOURS, colour_shares

EXAMPLES = {
    "red": [(220, 20, 20), (150, 10, 20)],
    "orange": [(255, 140, 0), (240, 120, 20)],
    "yellow": [(250, 230, 30), (255, 255, 0)],
    "green": [(30, 160, 40), (0, 100, 0)],
    "blue": [(30, 60, 220), (100, 150, 230)],
    "purple": [(128, 0, 200), (110, 40, 160)],
    "pink": [(255, 105, 180), (255, 180, 190)],
    "brown": [(110, 70, 30), (90, 55, 30)],
    "white": [(255, 255, 255), (235, 235, 230)],
    "grey": [(128, 128, 128), (90, 90, 92)],
    "black": [(0, 0, 0), (20, 22, 25)],
}


@pytest.mark.parametrize(("name", "rgb"), [(n, rgb) for n, shades in EXAMPLES.items() for rgb in shades])
def test_a_picture_of_one_colour(name, rgb):
    shares = colour_shares(np.full((40, 60, 3), rgb, np.uint8))
    assert dict(zip(COLOURS, shares, strict=True))[name] == 1.0
    assert shares.sum() == pytest.approx(1.0)


def test_shares_are_areas():
    picture = np.zeros((128, 128, 3), np.uint8)
    picture[:, :32] = (220, 20, 20)
    picture[:, 32:64] = (30, 60, 220)
    shares = dict(zip(COLOURS, colour_shares(picture), strict=True))
    assert (shares["red"], shares["blue"], shares["black"]) == pytest.approx((0.25, 0.25, 0.5))
