"""The public call: frames and expressions in, heatmaps out."""

from __future__ import annotations

from collections.abc import Sequence
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


class Grounder:
    """Grounds expressions in frames with one backbone. Text is encoded once for each expression."""

    def __init__(self, backbone: FluxBackbone, options: GroundingOptions | None = None) -> None:
        self.backbone = backbone
        self.options = options or GroundingOptions()
        self.name = backbone.name
        self._texts: dict[str, tuple[Expression, torch.Tensor, torch.Tensor]] = {}

    def parse(self, expression: str) -> Expression:
        """The expression's tokens and their roles. Raises GroundingError."""
        return parse(
            expression,
            self.backbone.tokenizer,
            max_tokens=self.backbone.preset.text_length,
            magnets=self.options.magnets,
            stop_filter=self.options.stop_filter,
            place_words=PLACE_WORDS if self.options.spatial_bias else frozenset(),
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
        indices = range(len(frames)) if indices is None else indices
        if len(indices) != len(frames):
            raise ValueError(f"{len(frames)} frames but {len(indices)} indices")
        shapes = {f.shape for f in frames}
        if len(shapes) > 1:
            raise ValueError(f"all frames of one call must have one size, got {sorted(shapes)}")
        texts = [self._text(e) for e in expressions]
        latents = self.backbone.encode_frames(frames)
        rows = []
        for text in texts:
            maps = self._maps(text, latents, indices)
            rows.append([self._heatmap(text[0], *of) for of in zip(maps, frames, indices, strict=True)])
        return rows

    def _text(self, expression: str) -> tuple[Expression, torch.Tensor, torch.Tensor]:
        if expression not in self._texts:
            parsed = self.parse(expression)
            words, pooled = self.backbone.encode_text([parsed.prompt])
            self._texts[expression] = (parsed, words, pooled)
        return self._texts[expression]

    def _maps(
        self,
        text: tuple[Expression, torch.Tensor, torch.Tensor],
        latents: torch.Tensor,
        indices: Sequence[int],
    ) -> list[NDArray[np.float32]]:
        """One (T, h, w) stack of token maps for each frame, averaged over the draws of noise."""
        parsed, words, pooled = text
        draws = self.backbone.preset.draws
        grid = (latents.shape[2] // 2, latents.shape[3] // 2)
        out = []
        per_pass = max(1, _BATCH // draws)
        for start in range(0, len(latents), per_pass):
            some = latents[start : start + per_pass]
            noise = torch.stack(
                [
                    self._noise(index, draw, latents.shape[1:])
                    for index in indices[start : start + per_pass]
                    for draw in range(draws)
                ]
            )
            reading: TextAttention = self.backbone.read(
                some.repeat_interleave(draws, 0),
                words.expand(len(noise), -1, -1),
                pooled.expand(len(noise), -1),
                noise.to(some),
                n_text=len(parsed.tokens),
            )
            mean = reading.mean.unflatten(0, (len(some), draws)).mean(1)
            out += [m.T.reshape(-1, *grid).cpu().numpy() for m in mean]
        return out

    def _noise(self, index: int, draw: int, shape: torch.Size) -> torch.Tensor:
        """Drawn on the CPU from the frame's own seed: the same on every device, another for every frame.

        One noise for all frames would make their errors agree and take smoothing over time its gain (measured).
        """
        generator = torch.Generator().manual_seed((self.options.seed * 1_000_003 + index) * 97 + draw)
        return torch.randn(shape, generator=generator)

    def _heatmap(self, parsed: Expression, maps: NDArray[np.float32], frame: NDArray[np.uint8], index: int) -> Heatmap:
        preset = self.backbone.preset
        words = parsed.content_words()
        grid = evidence(maps, words, balanced=preset.balanced, smooth_tokens=preset.smooth_tokens)
        if self.options.edge_aware:
            grid = joint_bilateral_upsample(grid, frame)
        places = [t.word for t in parsed.tokens if t.role is Role.PLACE and t.word]
        if places:
            grid = normalise(grid) * spatial_prior(places, (grid.shape[0], grid.shape[1]))
        return make_heatmap(index, grid)


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
