"""The public call: frames and expressions in, heatmaps out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from refam.attention import TextAttention
from refam.attention_sinks import find_sinks_in_samples
from refam.backbones import Backbone, BackboneError, ClipBackbone, Loading, TextCondition, load_backbone, preset_for
from refam.calibration import Calibration, calibration_path, load_calibration
from refam.grounding import GroundingOptions, GroundingTrace, TokenMaps, ground_maps
from refam.oom import FrameLatents, OutOfMemoryGuard, resized
from refam.text.expression import Expression, ExpressionError, parse
from video.types import Heatmap

__all__ = ["Grounder", "GroundingError", "GroundingOptions", "GroundingTrace", "TokenMaps", "load_grounder"]

GroundingError = ExpressionError
_BATCH = 16  # frames x expressions x draws in one forward pass


class Grounder:
    """Grounds expressions in frames with one backbone. Text is encoded once for each expression.

    The steps of `ground` can be called by themselves: `parse` (words -> roles), `read` (ONE forward pass -> token
    maps), `ground_maps` (token maps -> heatmap). Each takes other options than the grounder's own, so that what a
    switch
    does can be seen without a second forward pass: token maps depend on `magnets` and `seed` alone
    (and know of sinks where `sinks` is on).
    """

    def __init__(
        self, backbone: Backbone, options: GroundingOptions | None = None, *, calibration: Calibration | None = None
    ) -> None:
        self.backbone = backbone
        self.options = options or GroundingOptions()
        self.name = backbone.name
        self._calibration = calibration
        self._room = OutOfMemoryGuard(backbone, batch=_BATCH)
        self._texts: dict[str, TextCondition] = {}

    def parse(self, expression: str, *, options: GroundingOptions | None = None) -> Expression:
        """The expression's tokens and their roles. Raises GroundingError."""
        options = options or self.options
        return parse(
            expression,
            self.backbone.tokenizer,
            max_tokens=self.backbone.max_tokens,
            magnets=options.magnet_words if options.magnets else None,
            stop_filter=options.stop_filter,
            spatial_bias=options.spatial_bias,
            noun_phrase=options.noun_phrase,
        )

    def settings(self, options: GroundingOptions | None = None) -> dict[str, Any]:
        """What heatmaps depend on beside the frame and the words: a calibration holds for these alone."""
        preset, options = self.backbone.preset, options or self.options
        return {
            "weights": self.name.rpartition("@")[2],
            "noise": preset.noise,
            "blocks": list(preset.blocks) if preset.blocks else None,
            "short_side_px": preset.short_side_px,
            "draws": preset.draws,
            "balanced": preset.balanced,
            "smooth_tokens": preset.smooth_tokens,
            **{k: v for k, v in asdict(options).items() if k != "seed"},
            "magnet_words": str(options.magnet_words),
        }

    def calibration(self, options: GroundingOptions | None = None) -> Calibration | None:
        """What turns signs into a probability, where one was fitted with these very weights and settings."""
        if self._calibration is None or self._calibration.made_with != self.settings(options):
            return None
        return self._calibration

    @property
    def notes(self) -> list[str]:
        """What had to be given up for want of memory, as sentences."""
        return self._room.notes

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
            [self.ground_maps(maps, frame).heatmap for maps, frame in zip(row, frames, strict=True)]
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
        if not frames:
            raise ValueError("there are no frames to ground words in")
        for frame in frames:
            if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
                raise ValueError(f"a frame must be (H, W, 3) uint8 RGB, got {frame.shape} {frame.dtype}")
        shapes = {f.shape for f in frames}
        if len(shapes) > 1:
            raise ValueError(f"all frames of one call must have one size, got {sorted(shapes)}")
        options = options or self.options
        parsed = [self.parse(e, options=options) for e in expressions]
        for one in parsed:
            self._room.run(partial(self._encoded, one.prompt))
        self.backbone.texts_done()
        latents = FrameLatents(self.backbone, frames)
        self._room.run(latents.at_this_size)
        return (self._room.run(partial(self._maps, one, latents, indices, options)) for one in parsed)

    def ground_maps(
        self, maps: TokenMaps, frame: NDArray[np.uint8], *, options: GroundingOptions | None = None
    ) -> GroundingTrace:
        """Token maps of one frame (H, W, 3) -> its heatmap, and the steps to it.

        options: other switches than the grounder's; the token maps must have been read with the same `magnets`.
        """
        parsed = maps.expression if options is None else self.parse(maps.expression.text, options=options)
        if parsed.prompt != maps.expression.prompt:
            raise ValueError(f"these maps are of {maps.expression.prompt!r}, not of {parsed.prompt!r}: read them again")
        preset = self.backbone.preset
        found = ground_maps(
            maps,
            frame,
            parsed,
            options or self.options,
            balanced=preset.balanced,
            smooth_tokens=preset.smooth_tokens,
        )
        calibration = self.calibration(options)
        return found if calibration is None else found.calibrated(calibration)

    def _encoded(self, prompt: str) -> TextCondition:
        if prompt not in self._texts:
            self._texts[prompt] = self.backbone.encode_text([prompt])
        return self._texts[prompt]

    def _maps(
        self, parsed: Expression, encoded: FrameLatents, indices: Sequence[int], options: GroundingOptions
    ) -> list[TokenMaps]:
        """Token maps of each frame, of the grid that was asked for."""
        latents = encoded.at_this_size()
        if isinstance(self.backbone, ClipBackbone):
            maps = self._clip_maps(self.backbone, parsed, latents, indices, options)
        else:
            maps = self._frame_maps(parsed, latents, indices, options)
        if self._room.asked_px is None:
            return maps
        # Frames that were read before memory ran out have larger maps, and are to vote with these.
        grid = self.backbone.tokens_for(*encoded.size, short_side_px=self._room.asked_px)
        return [replace(m, maps=resized(m.maps, grid), draws=resized(m.draws, grid)) for m in maps]

    def _frame_maps(
        self, parsed: Expression, latents: torch.Tensor, indices: Sequence[int], options: GroundingOptions
    ) -> list[TokenMaps]:
        """All draws of noise of a frame in one forward pass."""
        draws = self.backbone.preset.draws
        out = []
        per_pass = max(1, self._room.batch // draws)
        for start in range(0, len(latents), per_pass):
            some, numbers = latents[start : start + per_pass], indices[start : start + per_pass]
            noise = torch.stack(
                [
                    self._noise(index, draw, latents.shape[1:], options.seed)
                    for index in numbers
                    for draw in range(draws)
                ]
            )
            reading = self._read(parsed, some.repeat_interleave(draws, 0), noise, sinks=options.sinks)
            each = reading.mean.unflatten(0, (len(some), draws))
            grid = self.backbone.grid(latents)[1:]
            for i, (index, mean, alone) in enumerate(zip(numbers, each.mean(1), each, strict=True)):
                sinks = find_sinks_in_samples([reading.sink_stats], range(i * draws, (i + 1) * draws))
                out.append(TokenMaps(index, parsed, _planes(mean, grid), _planes(alone, grid), sinks))
        return out

    def _clip_maps(
        self,
        backbone: ClipBackbone,
        parsed: Expression,
        latents: torch.Tensor,
        indices: Sequence[int],
        options: GroundingOptions,
    ) -> list[TokenMaps]:
        """The same of a clip: one forward pass for each draw, each latent frame with the noise of its first frame."""
        held = backbone.latent_frames(len(indices))
        first = [indices[held.index(i)] if i in held else indices[-1] for i in range(held[-1] + 1)]
        first = first[:1] * (latents.shape[2] - len(first)) + first
        shape = torch.Size([latents.shape[1], *latents.shape[3:]])
        readings = []
        for draw in range(backbone.preset.draws):
            noise = torch.stack([self._noise(i, draw, shape, options.seed) for i in first], 1)[None]
            readings.append(self._read(parsed, latents, noise, sinks=options.sinks))
        each = torch.cat([r.mean for r in readings])
        sinks = find_sinks_in_samples(
            [r.sink_stats for r in readings], [0]
        )  # the clip is one sequence: the same in all frames
        grid = backbone.grid(latents)
        mean, draws = _planes(each.mean(0), grid), _planes(each, grid)
        frames = backbone.token_frames(len(indices))
        return [TokenMaps(i, parsed, mean[:, t], draws[:, :, t], sinks) for i, t in zip(indices, frames, strict=True)]

    def _read(self, parsed: Expression, latents: torch.Tensor, noise: torch.Tensor, *, sinks: bool) -> TextAttention:
        """ONE forward pass over B samples."""
        text = self._encoded(parsed.prompt).expand(len(latents))
        return self.backbone.read(latents, text, noise.to(latents), n_text=len(parsed.tokens), sink_stats=sinks)

    def _noise(self, index: int, draw: int, shape: torch.Size, seed: int | None = None) -> torch.Tensor:
        """Drawn on the CPU from the frame's own seed: the same on every device, another for every frame.

        One noise for all frames would make their errors agree and take smoothing over time its gain (measured).
        """
        seed = self.options.seed if seed is None else seed
        generator = torch.Generator().manual_seed((seed * 1_000_003 + index) * 97 + draw)
        return torch.randn(shape, generator=generator)


def _planes(maps: torch.Tensor, grid: tuple[int, ...]) -> NDArray[np.float32]:
    """(..., N, T) -> (..., T, *grid)."""
    return maps.transpose(-1, -2).unflatten(-1, grid).cpu().numpy()


def load_grounder(
    backbone: str = "tiny",
    *,
    device: str = "auto",
    options: GroundingOptions | None = None,
    like: str | None = None,
    loading: Loading | None = None,
) -> Grounder:
    """A grounder by preset name, pipeline directory or hub id. Raises BackboneError when it cannot be loaded.

    loading: how weights are held, and whether they may be downloaded. like: a preset whose settings (blocks, noise,
    sizes) are taken, for a directory of the same kind of model.
    """
    preset = preset_for(backbone)
    if backbone == "tiny" and not Path(preset.source).is_dir():
        raise BackboneError("the small model's weights are missing from this checkout; `refam train-tiny` makes them")
    if like is not None:
        preset = replace(preset_for(like), name=preset.name, source=preset.source, licence=preset.licence)
    return Grounder(
        load_backbone(preset, device=device, loading=loading),
        options,
        calibration=load_calibration(calibration_path(preset.source)),
    )
