"""Counted operations and parameters against torch's and diffusers' own, mostly on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from refam.backbones import cost
from refam.backbones.cost import ARCHITECTURES, ENCODER_FLOPS, Architecture, Blocks
from refam.backbones.presets import PRESETS

ROWS, COLUMNS, TEXT, CHANNELS = 16, 24, 64, 16  # image tokens, text tokens and the width of their embeddings


def count(function: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function()
    return counter.get_total_flops()


def image(channels: int, patch: int) -> torch.Tensor:
    return torch.randn(1, channels, ROWS * patch, COLUMNS * patch)


def text(**more: Any) -> dict[str, Any]:
    return {"encoder_hidden_states": torch.randn(1, TEXT, CHANNELS), "timestep": torch.rand(1), **more}


def prx() -> tuple[Any, dict[str, Any], tuple[Blocks, ...]]:
    model = diffusers.PRXTransformer2DModel(depth=2, context_in_dim=CHANNELS)
    return model, text(hidden_states=image(16, 2)), cost.prx_blocks(hidden_size=1792, depth=2, mlp_ratio=3.5)


def pixart() -> tuple[Any, dict[str, Any], tuple[Blocks, ...]]:
    model = diffusers.PixArtTransformer2DModel(num_layers=2, sample_size=64, caption_channels=CHANNELS)
    inputs = text(hidden_states=image(4, 2), added_cond_kwargs={"resolution": None, "aspect_ratio": None})
    return model, inputs, cost.pixart_blocks(width=1152, num_layers=2)


def sana() -> tuple[Any, dict[str, Any], tuple[Blocks, ...]]:
    model = diffusers.SanaTransformer2DModel(num_layers=2, caption_channels=CHANNELS)
    blocks = cost.sana_blocks(width=2240, num_layers=2, head_width=32, mlp_ratio=2.5)
    return model, text(hidden_states=image(32, 1)), blocks


def lumina2() -> tuple[Any, dict[str, Any], tuple[Blocks, ...]]:
    model = diffusers.Lumina2Transformer2DModel(
        hidden_size=192, num_attention_heads=6, num_kv_heads=2, num_layers=2, num_refiner_layers=1, in_channels=4,
        cap_feat_dim=CHANNELS, axes_dim_rope=(8, 12, 12),
    )  # fmt: skip
    blocks = cost.lumina2_blocks(hidden_size=192, num_layers=2, num_refiner_layers=1, kv_share=1 / 3, multiple_of=256)
    mask = torch.ones(1, TEXT, dtype=torch.int64)
    return model, text(hidden_states=image(4, 2), encoder_attention_mask=mask), blocks


def z_image() -> tuple[Any, dict[str, Any], tuple[Blocks, ...]]:
    model = diffusers.ZImageTransformer2DModel(
        dim=192, n_layers=2, n_refiner_layers=1, n_heads=4, n_kv_heads=4, in_channels=4, cap_feat_dim=CHANNELS,
        axes_dims=[16, 16, 16],
    )  # fmt: skip
    inputs = {"x": [image(4, 2)[0, :, None]], "cap_feats": [torch.randn(TEXT, CHANNELS)], "t": torch.rand(1)}
    return model, inputs, cost.z_image_blocks(dim=192, n_layers=2, n_refiner_layers=1)


def wan(kind: Any) -> tuple[Any, dict[str, Any], tuple[Blocks, ...]]:
    model = kind(num_layers=2, num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, text_dim=CHANNELS)
    inputs = text(hidden_states=image(16, 2)[:, :, None])
    return model, inputs, cost.wan_blocks(width=1536, ffn_dim=8960, num_layers=2)


@pytest.mark.parametrize(
    ("device", "make"),
    [
        pytest.param("meta", prx, id="PRX"),
        pytest.param("meta", pixart, id="PixArt-Sigma"),
        pytest.param("meta", sana, id="Sana"),
        pytest.param("cpu", lumina2, id="Lumina-Image-2.0"),  # these two read lengths and positions
        pytest.param("cpu", z_image, id="Z-Image"),
        pytest.param("meta", lambda: wan(diffusers.WanTransformer3DModel), id="Wan"),
        pytest.param("meta", lambda: wan(diffusers.SkyReelsV2Transformer3DModel), id="SkyReels-V2"),
    ],
)
def test_a_transformer_is_counted_as_torch_counts_it(
    device: str, make: Callable[[], tuple[Any, dict[str, Any], tuple[Blocks, ...]]]
) -> None:
    with torch.device(device), sdpa_kernel(SDPBackend.MATH):  # the counter does not know the fused kernel on CPUs
        model, inputs, blocks = make()
        measured = count(lambda: model(**inputs))
    counted = sum(one.count_flops(ROWS * COLUMNS, TEXT) for one in blocks)
    assert counted == pytest.approx(measured, rel=0.03)


def kl() -> Any:
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=16,
    )


def dc() -> Any:
    return diffusers.AutoencoderDC(
        encoder_block_types=("ResBlock",) * 3 + ("EfficientViTBlock",) * 3, encoder_layers_per_block=(2, 2, 2, 3, 3, 3),
        encoder_block_out_channels=(128, 256, 512, 512, 1024, 1024),
        encoder_qkv_multiscales=((), (), (), (5,), (5,), (5,)),
    )  # fmt: skip


@pytest.mark.parametrize(("name", "make"), [("AutoencoderKL", kl), ("AutoencoderDC", dc)])
def test_an_autoencoder_is_counted_as_torch_counts_it(name: str, make: Callable[[], Any]) -> None:
    with torch.device("meta"):
        vae = make()
        measured = count(lambda: vae.encode(torch.randn(1, 3, 64, 64))) / 64**2
    assert ENCODER_FLOPS[name] == pytest.approx(measured, rel=0.03)


def test_wans_autoencoder_is_counted_for_a_clip_of_eight_frames() -> None:
    """Each frame after the first is repeated to fill a latent frame of four."""
    with torch.device("meta"):
        vae = diffusers.AutoencoderKLWan()
        one, two = (count(lambda f=f: vae.encode(torch.randn(1, 3, f, 64, 64))) / 64**2 for f in (1, 5))
    assert ENCODER_FLOPS["AutoencoderKLWan"] == pytest.approx((one + 7 * (two - one)) / 8, rel=0.03)


def test_frames_of_a_clip_share_its_operations() -> None:
    blocks = (Blocks(2, 8, 100, 0, "image"),)
    frame, clip = (Architecture(blocks, 16, 0.0, is_video=video) for video in (False, True))
    # One frame of 4 x 2 tokens and no text: 2 blocks x (2 x 100 weights x 8 tokens + 4 x 8 channels x 8 x 8 scores).
    assert frame.count_frame_flops(64, 32, text_length=0) == 2 * (2 * 100 * 8 + 4 * 8 * 64)
    assert clip.count_frame_flops(64, 32, text_length=0) == 2 * (2 * 100 * 8 + 4 * 8 * 8 * 64)  # 8 times as many keys


def test_only_presets_are_counted() -> None:
    assert set(ARCHITECTURES) <= set(PRESETS)
