"""Videos cut into the pictures of a task."""

from __future__ import annotations

from fractions import Fraction

import pytest
from PIL import Image

from backend.labelstudio.picture_tasks import write_frames
from tests import media
from video.io.reader import open_clip


@pytest.mark.parametrize(("pixel_aspect", "size"), [(1, (160, 96)), (2, (320, 96)), (Fraction(8, 9), (160, 108))])
def test_pictures_have_the_shape_of_the_film(pixel_aspect, size, tmp_path):
    frames = media.numbered_frames(4)
    clip = open_clip(media.anamorphic(tmp_path / "clip.mp4", frames, pixel_aspect=Fraction(pixel_aspect)))
    assert write_frames(clip, [0, 3], tmp_path / "out") == ["000000.jpg", "000003.jpg"]
    for name in ("000000.jpg", "000003.jpg"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.size == size
