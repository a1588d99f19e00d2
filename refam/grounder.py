"""The public call: frames and expressions in, heatmaps out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from refam.attention import TextAttention
from refam.backbones import BackboneError, FluxBackbone, load_backbone, preset_for
from refam.expression import Expression, ExpressionError, Role, parse
from refam.heatmap import evidence, make_heatmap, normalise
from refam.spatial import PLACE_WORDS, spatial_prior
from refam.upsampling import joint_bilateral_upsample
from video.types import Heatmap

GroundingError = ExpressionError
_BATCH = 16  # frames x expressions x draws in one forward pass


@dataclass(frozen=True)
class GroundingOptions:
    """What the method does; each part can be switched off to see what it is worth.

    magnets: append attention magnets. stop_filter: leave stop words' maps out. spatial_bias: "left", "top", ... weigh
    the heatmap by position. edge_aware: the heatmap follows the picture's edges (joint bilateral upsampling); else it
    stays as coarse as the tokens. seed: of the noise; each frame of each draw gets its own.
    """

    magnets: bool = True
    stop_filter: bool = True
    spatial_bias: bool = True
    edge_aware: bool = True
    seed: int = 0


@dataclass(frozen=True, eq=False)
class TokenMaps:
    """What one forward pass said of one frame: how much each place attends to each token of the expression.

    maps: (T, h, w) float32, the mean over draws, T as in expression.tokens. draws: (D, T, h, w) float32, each draw of
    noise by itself. frame: its index.
    """

    frame: int
    expression: Expression
    maps: NDArray[np.float32]
    draws: NDArray[np.float32]

    def __repr__(self) -> str:
        t, h, w = self.maps.shape
        return (
            f"TokenMaps({self.expression.text!r}, frame={self.frame}, {t} tokens of {w}x{h}, {len(self.draws)} draws)"
        )


@dataclass(frozen=True, eq=False)
class Weighing:
    """How token maps became a heatmap, step by step.

    evidence: (h, w) the words' maps summed. fine: (h', w') evidence brought to the picture's edges. weighed: (h', w')
    after the spatial prior; the heatmap is this, scaled to [0, 1].
    """

    evidence: NDArray[np.float32]
    fine: NDArray[np.float32]
    weighed: NDArray[np.float32]
    heatmap: Heatmap


class Grounder:
    """Grounds expressions in frames with one backbone. Text is encoded once for each expression.

    The steps of `ground` can be called by themselves: `parse` (words -> roles), `read` (ONE forward pass -> token
    maps), `weigh` (token maps -> heatmap). Each takes other options than the grounder's own, so that what a switch
    does can be seen without a second forward pass: token maps depend on `magnets` and `seed` alone.
    """

    def __init__(self, backbone: FluxBackbone, options: GroundingOptions | None = None) -> None:
        self.backbone = backbone
        self.options = options or GroundingOptions()
        self.name = backbone.name
        self._texts: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def parse(self, expression: str, *, options: GroundingOptions | None = None) -> Expression:
        """The expression's tokens and their roles. Raises GroundingError."""
        options = options or self.options
        return parse(
            expression,
            self.backbone.tokenizer,
            max_tokens=self.backbone.preset.text_length,
            magnets=options.magnets,
            stop_filter=options.stop_filter,
            place_words=PLACE_WORDS if options.spatial_bias else frozenset(),
        )

    def unknown_words(self, expression: str) -> list[str]:
        """The words that this backbone's tokenizer does not know; they do not guide the search."""
        return list(self.parse(expression).unknown)

    def ground(
        self,
        frames: Sequence[NDArray[np.uint8]],
        expressions: Sequence[str],
        *,
        indices: Sequence[int] | None = None,
    ) -> list[list[Heatmap]]:
        """Heatmaps, [expression][frame].

        frames: (H, W, 3) uint8 RGB, all of one size. indices: what Heatmap.frame says (default: 0, 1, ...).
        Raises GroundingError for an expression that cannot be grounded.
        """
        return [
            [self.weigh(maps, frame).heatmap for maps, frame in zip(row, frames, strict=True)]
            for row in self.read(frames, expressions, indices=indices)
        ]

    def read(
        self,
        frames: Sequence[NDArray[np.uint8]],
        expressions: Sequence[str],
        *,
        indices: Sequence[int] | None = None,
        options: GroundingOptions | None = None,
    ) -> Iterator[list[TokenMaps]]:
        """For each expression the token maps of every frame; see `ground`. Checks its arguments before it yields."""
        indices = range(len(frames)) if indices is None else indices
        if len(indices) != len(frames):
            raise ValueError(f"{len(frames)} frames but {len(indices)} indices")
        shapes = {f.shape for f in frames}
        if len(shapes) > 1:
            raise ValueError(f"all frames of one call must have one size, got {sorted(shapes)}")
        options = options or self.options
        parsed = [self.parse(e, options=options) for e in expressions]
        for one in parsed:
            self._encoded(one.prompt)
        latents = self.backbone.encode_frames(frames)
        return (self._maps(one, latents, indices, options.seed) for one in parsed)

    def weigh(self, maps: TokenMaps, frame: NDArray[np.uint8], *, options: GroundingOptions | None = None) -> Weighing:
        """Token maps of one frame (H, W, 3) -> its heatmap, and the steps to it.

        options: other switches than the grounder's; the token maps must have been read with the same `magnets`.
        """
        parsed = maps.expression if options is None else self.parse(maps.expression.text, options=options)
        if parsed.prompt != maps.expression.prompt:
            raise ValueError(f"these maps are of {maps.expression.prompt!r}, not of {parsed.prompt!r}: read them again")
        options = options or self.options
        preset = self.backbone.preset
        words = parsed.content_words()
        grid = evidence(maps.maps, words, balanced=preset.balanced, smooth_tokens=preset.smooth_tokens)
        fine = joint_bilateral_upsample(grid, frame) if options.edge_aware else grid
        weighed = self._with_prior(parsed, fine)
        return Weighing(grid, fine, weighed, make_heatmap(maps.frame, weighed))

    def _with_prior(self, parsed: Expression, grid: NDArray[np.float32]) -> NDArray[np.float32]:
        places = [t.word for t in parsed.tokens if t.role is Role.PLACE and t.word]
        if not places:
            return grid
        return normalise(grid) * spatial_prior(places, (grid.shape[0], grid.shape[1]))

    def _encoded(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
        if prompt not in self._texts:
            self._texts[prompt] = self.backbone.encode_text([prompt])
        return self._texts[prompt]

    def _maps(self, parsed: Expression, latents: torch.Tensor, indices: Sequence[int], seed: int) -> list[TokenMaps]:
        """Token maps of each frame, all its draws of noise in one forward pass."""
        words, pooled = self._encoded(parsed.prompt)
        draws = self.backbone.preset.draws
        grid = (latents.shape[2] // 2, latents.shape[3] // 2)
        out = []
        per_pass = max(1, _BATCH // draws)
        for start in range(0, len(latents), per_pass):
            some, numbers = latents[start : start + per_pass], indices[start : start + per_pass]
            noise = torch.stack(
                [self._noise(index, draw, latents.shape[1:], seed) for index in numbers for draw in range(draws)]
            )
            reading: TextAttention = self.backbone.read(
                some.repeat_interleave(draws, 0),
                words.expand(len(noise), -1, -1),
                pooled.expand(len(noise), -1),
                noise.to(some),
                n_text=len(parsed.tokens),
            )
            each = reading.mean.unflatten(0, (len(some), draws))
            for index, mean, alone in zip(numbers, each.mean(1), each, strict=True):
                maps = mean.T.reshape(-1, *grid).cpu().numpy()
                by_draw = alone.transpose(1, 2).reshape(draws, -1, *grid).cpu().numpy()
                out.append(TokenMaps(index, parsed, maps, by_draw))
        return out

    def _noise(self, index: int, draw: int, shape: torch.Size, seed: int | None = None) -> torch.Tensor:
        """Drawn on the CPU from the frame's own seed: the same on every device, another for every frame.

        One noise for all frames would make their errors agree and take smoothing over time its gain (measured).
        """
        seed = self.options.seed if seed is None else seed
        generator = torch.Generator().manual_seed((seed * 1_000_003 + index) * 97 + draw)
        return torch.randn(shape, generator=generator)


def load_grounder(
    backbone: str = "tiny",
    *,
    device: str = "auto",
    options: GroundingOptions | None = None,
    noise: float | None = None,
) -> Grounder:
    """A grounder by preset name, pipeline directory or hub id. Raises BackboneError when it cannot be loaded."""
    preset = preset_for(backbone)
    if backbone == "tiny" and not Path(preset.source).is_dir():
        raise BackboneError("the small model's weights are missing from this checkout; `refam train-tiny` makes them")
    return Grounder(load_backbone(replace(preset, noise=noise or preset.noise), device=device), options)
