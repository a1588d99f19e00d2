"""A square of the features is of this frame, the rest of the frame before; without an outline all is encoded."""

from __future__ import annotations

import numpy as np
import pytest

from backend.benchmarks.cropped_sam2 import CroppedSam2
from refam.segmenters.sam2 import Sam2Segmenter
from refam.segmenters.sam2_engines import TorchEngine
from tests.refam.segmenters.small_sam2 import SIDE, small_image_model
from video.types import Candidate, Prompt

CLICK = Prompt(points=np.array([[0.5, 0.5]]), labels=np.array([1]))


@pytest.fixture(scope="module")
def engine():
    return TorchEngine(small_image_model())


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


def mask_of(x0, y0, x1, y1):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y0:y1, x0:x1] = True
    return [Candidate(frame=0, mask=mask, score=1.0)]


def outline(monkeypatch, segmenter, frame, found):
    """Click on a frame, where a certain mask is outlined."""
    with monkeypatch.context() as patched:
        patched.setattr(Sam2Segmenter, "segment", lambda self, image, prompt, *, frame: found)
        segmenter.segment(frame, CLICK)


def test_features_are_new_in_the_square_and_old_elsewhere(engine, frames, monkeypatch):
    segmenter = CroppedSam2(engine, crop_px=SIDE // 2)
    before = segmenter.features(frames[0])
    outline(monkeypatch, segmenter, frames[0], mask_of(0, 0, SIDE // 8, SIDE // 8))
    now = segmenter.features(frames[1])
    half = len(now) // 2
    assert segmenter.crops == 1
    assert np.array_equal(now[half:], before[half:])
    assert np.array_equal(now[:, half:], before[:, half:])
    assert not np.isclose(now[:half, :half], before[:half, :half]).any(axis=2).all()


@pytest.mark.parametrize(
    ("found", "crops"),
    [([], 0), (mask_of(0, 0, SIDE, SIDE // 8), 0), (mask_of(SIDE // 2, SIDE // 2, SIDE - 16, SIDE - 16), 1)],
    ids=["nothing outlined", "larger than the square", "fits into the square"],
)
def test_all_is_encoded_unless_the_object_fits(engine, frames, monkeypatch, found, crops):
    segmenter = CroppedSam2(engine, crop_px=SIDE // 2)
    segmenter.features(frames[0])
    outline(monkeypatch, segmenter, frames[0], found)
    given = segmenter.features(frames[1])
    assert segmenter.crops == crops
    whole = Sam2Segmenter(engine, name="sam2").features(frames[1])
    assert np.allclose(given, whole, atol=1e-5) == (crops == 0)
