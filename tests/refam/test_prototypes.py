"""Prototypes: tokens are labelled by what they resemble."""

from __future__ import annotations

import numpy as np
import pytest

from refam.prototypes import label_tokens

REGION = np.zeros((8, 10), bool)
REGION[2:6, 3:9] = True


def clusters(noise: float, offset: float = 0.0) -> np.ndarray:
    """(16, 8, 10): one direction inside the region, another one outside, and an offset that all tokens share."""
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=(2, 16))
    features = np.where(REGION, inside[:, None, None], outside[:, None, None]) + offset
    return (features + noise * rng.normal(size=features.shape)).astype(np.float32)


def heat_of_a_part() -> np.ndarray:
    """Warm in one corner of the region only, and slightly warm beside it."""
    heat = np.zeros(REGION.shape, np.float32)
    heat[2:4, 3:5] = 1
    heat[7, 0] = 0.3
    return heat


@pytest.mark.parametrize(("noise", "offset"), [(0.0, 0.0), (0.3, 0.0), (0.3, 50.0)], ids=["exact", "noisy", "shifted"])
@pytest.mark.parametrize("share", [0.02, 0.05])
def test_the_whole_region_is_recovered_from_heat_on_a_part_of_it(noise: float, offset: float, share: float) -> None:
    labels = label_tokens(heat_of_a_part(), clusters(noise, offset), share=share)
    assert ((labels > 0) == REGION).all()
    assert (labels.shape, labels.dtype) == (REGION.shape, np.float32)
    assert np.abs(labels).max() <= 2


def test_the_scale_of_features_does_not_matter() -> None:
    heat, features = heat_of_a_part(), clusters(0.3)
    np.testing.assert_allclose(
        label_tokens(heat, 1000 * features, share=0.05), label_tokens(heat, features, share=0.05), atol=1e-5
    )


def test_equal_features_belong_to_neither() -> None:
    assert not label_tokens(heat_of_a_part(), np.ones((4, 8, 10), np.float32), share=0.05).any()


def test_features_of_another_grid_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \(C, 8, 10\), got \(16, 10, 8\)"):
        label_tokens(heat_of_a_part(), clusters(0).transpose(0, 2, 1), share=0.05)
