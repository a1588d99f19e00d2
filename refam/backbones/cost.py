"""What reading one frame costs: floating-point operations, counted from the published configurations.

A product of (m, k) and (k, n) matrices counts 2 m k n operations, as in `torch.utils.flop_counter`. Left out is what is
done once for a sample instead of for each token, such as modulation: below 1 % at these sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

_CLIP_FRAMES = 8  # a clip is grounded by about so many frames


@dataclass(frozen=True)
class Blocks:
    """Equal blocks of a transformer.

    Attributes:
        count: How many.
        width: Channels over all heads.
        image_weights: Weights that one image token is multiplied with in one block.
        text_weights: The same of one text token.
        attention: "joint": all tokens attend to all; "image": image tokens attend to all; "linear": image tokens attend
            to text, and to each other by linear attention; "within": tokens attend to those of their own kind.
        head_width: Channels of a head of linear attention.
    """

    count: int
    width: int
    image_weights: int
    text_weights: int
    attention: Literal["joint", "image", "linear", "within"]
    head_width: int = 0

    def count_flops(self, n_image: int, n_text: int) -> int:
        """Count the operations of one sample with so many tokens."""
        scores = {
            "joint": (n_image + n_text) ** 2,
            "image": n_image * (n_image + n_text),
            "linear": n_image * (n_text + self.head_width + 1),
            "within": (n_image**2 if self.image_weights else 0) + (n_text**2 if self.text_weights else 0),
        }[self.attention]
        weights = self.image_weights * n_image + self.text_weights * n_text
        return self.count * (2 * weights + 4 * self.width * scores)


@dataclass(frozen=True)
class Architecture:
    """What a frame passes through.

    Attributes:
        blocks: The transformer's.
        pixels_per_token: Side of an image token.
        encoder_flops: Operations of the autoencoder for one pixel of a frame, see `ENCODER_FLOPS`.
        is_video: Whether the frames of a clip attend to each other.
    """

    blocks: tuple[Blocks, ...]
    pixels_per_token: int
    encoder_flops: float
    is_video: bool = False

    def count_frame_flops(self, width_px: int, height_px: int, *, text_length: int) -> float:
        """Count the operations for one frame; of a clip of 8, if frames are read as clips."""
        frames = _CLIP_FRAMES if self.is_video else 1
        n_image = frames * round(width_px / self.pixels_per_token) * round(height_px / self.pixels_per_token)
        transformer = sum(blocks.count_flops(n_image, text_length) for blocks in self.blocks)
        return transformer / frames + self.encoder_flops * width_px * height_px


def prx_blocks(*, hidden_size: int, depth: int, mlp_ratio: float) -> tuple[Blocks, ...]:
    """Blocks of PRXTransformer2DModel: queries, keys, values, output and a gated MLP; keys and values of the text."""
    d = hidden_size
    return (Blocks(depth, d, 4 * d * d + 3 * d * int(d * mlp_ratio), 2 * d * d, "image"),)


def pixart_blocks(*, width: int, num_layers: int) -> tuple[Blocks, ...]:
    """Blocks of PixArtTransformer2DModel: self-attention, cross-attention and an MLP of four times the width."""
    return (Blocks(num_layers, width, 14 * width**2, 2 * width**2, "image"),)


def sana_blocks(*, width: int, num_layers: int, head_width: int, mlp_ratio: float) -> tuple[Blocks, ...]:
    """Blocks of SanaTransformer2DModel: linear self-attention, cross-attention, a gated MLP with 3x3 convolutions."""
    inner = int(mlp_ratio * width)
    weights = 6 * width**2 + 3 * inner * width + 9 * 2 * inner
    return (Blocks(num_layers, width, weights, 2 * width**2, "linear", head_width),)


def lumina2_blocks(
    *, hidden_size: int, num_layers: int, num_refiner_layers: int, kv_share: float, multiple_of: int
) -> tuple[Blocks, ...]:
    """Blocks of Lumina2Transformer2DModel; `kv_share` is key and value heads / heads."""
    d = hidden_size
    inner = multiple_of * -(-4 * d // multiple_of)
    weights = 2 * d * d + round(2 * d * d * kv_share) + 3 * d * inner
    return _joint_and_refiners(num_layers, num_refiner_layers, d, weights)


def z_image_blocks(*, dim: int, n_layers: int, n_refiner_layers: int) -> tuple[Blocks, ...]:
    """Blocks of ZImageTransformer2DModel."""
    return _joint_and_refiners(n_layers, n_refiner_layers, dim, 4 * dim**2 + 3 * dim * int(dim / 3 * 8))


def _joint_and_refiners(layers: int, refiners: int, width: int, weights: int) -> tuple[Blocks, ...]:
    return (
        Blocks(layers, width, weights, weights, "joint"),
        Blocks(refiners, width, weights, 0, "within"),
        Blocks(refiners, width, 0, weights, "within"),
    )


def wan_blocks(*, width: int, ffn_dim: int, num_layers: int) -> tuple[Blocks, ...]:
    """Blocks of WanTransformer3DModel and SkyReelsV2Transformer3DModel: self-attention, cross-attention, MLP."""
    return (Blocks(num_layers, width, 6 * width**2 + 2 * width * ffn_dim, 2 * width**2, "image"),)


# Operations for one pixel of a frame, counted by torch's FlopCounterMode on the published configurations (tests count
# again). Wan's encodes the first frame of a clip by 6.7e6, and each later one four times by 5.0e6: here of 8 frames.
ENCODER_FLOPS: Mapping[str, float] = {"AutoencoderKL": 4.2e6, "AutoencoderDC": 4.9e6, "AutoencoderKLWan": 18.4e6}

_KL, _DC, _WAN = (ENCODER_FLOPS[name] for name in ("AutoencoderKL", "AutoencoderDC", "AutoencoderKLWan"))

# Widths and depths are those of transformer/config.json in each repository; where diffusers' class has the same
# defaults, tests compare the parameters of both.
ARCHITECTURES: Mapping[str, Architecture] = {
    "prx-512": Architecture(prx_blocks(hidden_size=1792, depth=16, mlp_ratio=3.5), 16, _KL),
    "pixart-sigma": Architecture(pixart_blocks(width=1152, num_layers=28), 16, _KL),
    "sana-0.6b": Architecture(sana_blocks(width=1152, num_layers=28, head_width=32, mlp_ratio=2.5), 32, _DC),
    "sana-1.6b": Architecture(sana_blocks(width=2240, num_layers=20, head_width=32, mlp_ratio=2.5), 32, _DC),
    "lumina-image-2": Architecture(
        lumina2_blocks(hidden_size=2304, num_layers=26, num_refiner_layers=2, kv_share=1 / 3, multiple_of=256), 16, _KL
    ),
    "z-image-turbo": Architecture(z_image_blocks(dim=3840, n_layers=30, n_refiner_layers=2), 16, _KL),
    "wan-1.3b": Architecture(wan_blocks(width=1536, ffn_dim=8960, num_layers=30), 16, _WAN, is_video=True),
    "wan-14b": Architecture(wan_blocks(width=5120, ffn_dim=13824, num_layers=40), 16, _WAN, is_video=True),
    "skyreels-1.3b": Architecture(wan_blocks(width=1536, ffn_dim=8960, num_layers=30), 16, _WAN, is_video=True),
    "skyreels-14b": Architecture(wan_blocks(width=5120, ffn_dim=13824, num_layers=40), 16, _WAN, is_video=True),
}
"""Of presets, those that are counted."""
