"""Grounding: frames and expressions in, heatmaps out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from refam.attention import TextAttention
from refam.attention_sinks import find_sinks_in_samples
from refam.backbones import (
    Backbone,
    TextCondition,
    VideoBackbone,
)
from refam.calibration import Calibration
from refam.contrast import ContrastMaps, join_texts
from refam.grounding import GroundingOptions, GroundingTrace, TokenMaps, average_readings, compute_heatmap
from refam.head_weights import PeakWeights
from refam.oom import FrameLatents, OutOfMemoryGuard, resize_maps
from refam.presence import PresenceModel
from refam.text.expression import Expression, ExpressionError, require_known_head
from refam.text.lexicon import GENERIC_NOUNS
from refam.text.rewording import parse_reworded
from video.types import Heatmap, MaskChoice

__all__ = ["Grounder", "GroundingError", "GroundingOptions", "GroundingTrace", "TokenMaps"]

GroundingError = ExpressionError
Texts = tuple[Expression, ...]
"""What is read in one forward pass: the expression, and the contrast's text if there is one."""
_BATCH = 16  # frames x noise samples in one forward pass


class Grounder:
    """Grounds expressions in frames with one backbone; the text of an expression is encoded once.

    The steps of `ground` can be called by themselves: `parse` (words -> roles), `read_token_maps` (ONE forward pass ->
    token maps) and `compute_heatmap` (token maps -> heatmap). Each takes other options than the grounder's own, so that
    the effect of a switch can be seen without another forward pass. Token maps depend on `magnets` and `seed` alone,
    and know of sinks only if `sinks` was on.

    Attributes:
        backbone: The diffusion transformer that is read.
        options: The parts of the method to use.
        name: Name of the backbone, with its weights, and a hash of the reading if that is not today's.

    Raises:
        GroundingError: For a reading of clips with a backbone that reads single frames.
    """

    def __init__(
        self,
        backbone: Backbone,
        options: GroundingOptions | None = None,
        *,
        calibration: Calibration | None = None,
        presence: PresenceModel | None = None,
    ) -> None:
        self.backbone = backbone
        self.options = options or GroundingOptions()
        self.name = backbone.name + self.options.reading.version_suffix
        self._check_reading(self.options)
        self._calibration, self._presence = calibration, presence
        self._memory_guard = OutOfMemoryGuard(backbone, batch=_BATCH)
        self._encoded_texts: dict[tuple[str, ...], TextCondition] = {}

    def _check_reading(self, options: GroundingOptions) -> None:
        """Raise GroundingError for a reading of clips with a backbone that reads single frames."""
        if options.reading.frames != "together" and not self.backbone.is_video:
            raise GroundingError(
                f"{self.name} reads each frame by itself, not clips: leave out frames={options.reading.frames!r}"
            )

    def for_words(self, expression: str) -> Grounder:
        """Return the grounder that looks for an expression: this one. A `GrounderGroup` returns one of its members."""
        return self

    def members(self) -> list[Grounder]:
        """Return this grounder alone; see `GrounderGroup.members`."""
        return [self]

    def with_options(self, options: GroundingOptions) -> Grounder:
        """Return a grounder with other options that shares the backbone and what was fitted."""
        return Grounder(self.backbone, options, calibration=self._calibration, presence=self._presence)

    @property
    def warnings(self) -> list[str]:
        """What had to be given up because the GPU's memory was full, as sentences."""
        return self._memory_guard.warnings

    def parse(self, expression: str, *, options: GroundingOptions | None = None) -> Expression:
        """Parse an expression into tokens and their roles.

        Raises:
            GroundingError: If it cannot be grounded.
        """
        options = options or self.options
        return parse_reworded(
            expression,
            self.backbone.reword,
            self.backbone.tokenizer,
            max_tokens=self.backbone.max_tokens,
            magnets=options.magnet_words if options.magnets else None,
            stop_filter=options.stop_filter,
            spatial_bias=options.spatial_bias,
            noun_phrase=options.noun_phrase,
        )

    def parse_contrast(self, options: GroundingOptions) -> tuple[Expression, ...]:
        """Parse the second text of a contrast, all of whose words count; empty if the reading has no contrast.

        Raises:
            GroundingError: If the model knows none of its words, or if there are too many.
        """
        if not options.reading.contrast:
            return ()
        every_word = replace(options, noun_phrase=False, spatial_bias=False)
        return (self.parse(join_texts(options.reading.contrast_texts), options=every_word),)

    def unknown_words(self, expression: str) -> list[str]:
        """Return the words that the backbone's tokenizer does not know; they do not guide the search.

        Raises:
            GroundingError: If the expression cannot be grounded, or if its head noun is one of them: what is looked for
                is not known then. (`ground` makes a heatmap of the other words all the same, with confidence 0.)
        """
        parsed = self.parse(expression)
        require_known_head(parsed, self.backbone.tokenizer)
        return [word for word in parsed.unknown if word not in GENERIC_NOUNS]

    def reading_notes(self, expression: str) -> list[str]:
        """Return what people should know of how an expression is read, such as which of its words are not used.

        Raises:
            GroundingError: If it cannot be grounded.
        """
        return self.parse(expression).notes

    def heatmap_settings(self, options: GroundingOptions | None = None) -> dict[str, Any]:
        """Return all that heatmaps depend on, except the frame and the words; a calibration is valid for it only."""
        preset, options = self.backbone.preset, options or self.options
        return {
            "weights": self.name.rpartition("@")[2],
            "noise": preset.noise,
            "blocks": list(preset.blocks) if preset.blocks else None,
            "short_side_px": preset.short_side_px,
            "draws": preset.draws,
            "balanced": preset.balanced,
            "smooth_tokens": preset.smooth_tokens,
            **{k: v for k, v in asdict(options).items() if k not in ("seed", "reading")},
            "magnet_words": str(options.magnet_words),
            **({"reading": reading} if (reading := options.reading.settings()) else {}),
        }

    def valid_calibration(self, options: GroundingOptions | None = None) -> Calibration | None:
        """Return the calibration if it was fitted with these very weights and settings, else None."""
        if self._calibration is None or self._calibration.made_with != self.heatmap_settings(options):
            return None
        return self._calibration

    def valid_presence(self, options: GroundingOptions | None = None) -> PresenceModel | None:
        """Return the presence model if it was fitted with these very weights and settings, else None."""
        if self._presence is None or self._presence.made_with != self.heatmap_settings(options):
            return None
        return self._presence

    def ground(
        self,
        frames: Sequence[NDArray[np.uint8]],
        expressions: Sequence[str],
        *,
        indices: Sequence[int] | None = None,
        progress: Callable[[float], object] | None = None,
    ) -> list[list[Heatmap]]:
        """Ground expressions in frames.

        Args:
            frames: (H, W, 3) uint8 RGB, all of one size.
            expressions: What to look for.
            indices: Indices of the frames, for `Heatmap.frame` and for the noise; None is 0, 1, ...
            progress: Called after each expression, with the share that is done, in [0, 1].

        Returns:
            The heatmaps, as [expression][frame].

        Raises:
            GroundingError: If an expression cannot be grounded.
            BackboneError: If the frames do not fit into memory.
            ValueError: If the frames are not what they should be.
        """
        heatmaps: list[list[Heatmap]] = []
        for row in self.read_token_maps(frames, expressions, indices=indices):
            heatmaps.append([self.compute_heatmap(maps, f).heatmap for maps, f in zip(row, frames, strict=True)])
            if progress is not None:
                progress(len(heatmaps) / len(expressions))
        return heatmaps

    def read_token_maps(
        self,
        frames: Sequence[NDArray[np.uint8]],
        expressions: Sequence[str],
        *,
        indices: Sequence[int] | None = None,
        options: GroundingOptions | None = None,
    ) -> Iterator[list[TokenMaps]]:
        """Read the attention of every frame to the tokens of each expression.

        Arguments and errors are those of `ground`; they are checked at once.

        Args:
            frames: See `ground`.
            expressions: See `ground`.
            indices: See `ground`.
            options: None takes the grounder's own.

        Returns:
            An iterator over the expressions, with the token maps of all frames.
        """
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
        self._check_reading(options)
        contrast = self.parse_contrast(options)
        parsed = [(self.parse(e, options=options), *contrast) for e in expressions]
        for texts in parsed:
            self._memory_guard.run(partial(self._encode_texts, texts))
        self.backbone.release_text_encoders()
        latents = FrameLatents(self.backbone, frames)
        self._memory_guard.run(latents.encode)
        return (self._memory_guard.run(partial(self._token_maps, texts, latents, indices, options)) for texts in parsed)

    def compute_heatmap(
        self, maps: TokenMaps, frame: NDArray[np.uint8], *, options: GroundingOptions | None = None
    ) -> GroundingTrace:
        """Compute the heatmap of one frame from its token maps.

        Args:
            maps: Token maps of the frame; they must have been read with the same `magnets`.
            frame: (H, W, 3) uint8 RGB.
            options: None takes the grounder's own.

        Raises:
            ValueError: If the maps are of another prompt, or were read without looking for sinks that are to be
                suppressed.
        """
        expression = maps.expression if options is None else self.parse(maps.expression.text, options=options)
        if expression.prompt != maps.expression.prompt:
            raise ValueError(
                f"these maps are of {maps.expression.prompt!r}, not of {expression.prompt!r}: read them again"
            )
        preset = self.backbone.preset
        trace = compute_heatmap(
            maps,
            frame,
            expression,
            options or self.options,
            balanced=preset.balanced,
            smooth_tokens=preset.smooth_tokens,
        )
        # words of place have chosen among the modes
        choice = MaskChoice(preset.whole_bias, mode_level=1.0 if expression.cues else preset.mode_level)
        trace = replace(trace, heatmap=replace(trace.heatmap, mask_choice=choice))
        calibration, presence = self.valid_calibration(options), self.valid_presence(options)
        trace = trace if calibration is None else trace.calibrate(calibration)
        return trace if presence is None else trace.judge_presence(presence)

    # --- forward passes

    def _encode_texts(self, texts: Texts) -> TextCondition:
        """The expression's prompt, and that of the contrast if there is one; encoded together, to be of one length."""
        prompts = tuple(text.prompt for text in texts)
        if prompts not in self._encoded_texts:
            self._encoded_texts[prompts] = self.backbone.encode_text(prompts)
        return self._encoded_texts[prompts]

    def _token_maps(
        self, texts: Texts, frame_latents: FrameLatents, indices: Sequence[int], options: GroundingOptions
    ) -> list[TokenMaps]:
        """Token maps of each frame, on the grid of the size that was requested."""
        if isinstance(self.backbone, VideoBackbone):
            maps = self._clip_token_maps(self.backbone, texts, frame_latents, indices, options)
        else:
            maps = self._image_token_maps(texts, frame_latents.encode(), indices, options)
        if self._memory_guard.requested_px is None:
            return maps
        # Frames that were read before memory ran out have larger maps, with which these must be comparable.
        grid = self.backbone.tokens_for(*frame_latents.size, short_side_px=self._memory_guard.requested_px)
        return [_resize(m, grid) for m in maps]

    def _image_token_maps(
        self, texts: Texts, latents: torch.Tensor, indices: Sequence[int], options: GroundingOptions
    ) -> list[TokenMaps]:
        """Each frame by itself; all noise samples of a frame in one forward pass."""
        draws = self.backbone.preset.draws
        token_maps = []
        per_pass = max(1, self._memory_guard.batch // (draws * len(texts)))
        grid = self.backbone.grid(latents)[1:]
        for start in range(0, len(latents), per_pass):
            some_latents, some_indices = latents[start : start + per_pass], indices[start : start + per_pass]
            noise = torch.stack(
                [
                    self._sample_noise(index, draw, latents.shape[1:], options.seed)
                    for index in some_indices
                    for draw in range(draws)
                ]
            )
            attention, *others = self._read_attention(texts, some_latents.repeat_interleave(draws, 0), noise, options)
            by_frame = attention.mean.unflatten(0, (len(some_latents), draws))  # (F, D, N, T)
            for i, (index, mean, by_draw) in enumerate(zip(some_indices, by_frame.mean(1), by_frame, strict=True)):
                samples = slice(i * draws, (i + 1) * draws)
                sinks = find_sinks_in_samples([attention.sink_stats], range(samples.start, samples.stop))
                other = _to_maps(others[0].mean[samples].mean(0), grid) if others else None
                kept = attention.features
                features = None if kept is None else _to_maps(kept[samples].mean(0), grid)
                maps = (_to_maps(mean, grid), _to_maps(by_draw, grid))
                token_maps.append(TokenMaps(index, texts[0], *maps, sinks, _contrast_maps(texts, other), features))
        return token_maps

    def _clip_token_maps(
        self,
        backbone: VideoBackbone,
        texts: Texts,
        frame_latents: FrameLatents,
        indices: Sequence[int],
        options: GroundingOptions,
    ) -> list[TokenMaps]:
        """All frames as one clip, each as a clip of its own, or both, averaged."""
        frames = options.reading.frames
        together, alone = [], []
        if frames != "alone":
            together = self._video_token_maps(backbone, texts, frame_latents.encode(), indices, options)
        if frames != "together":
            for latents, index in zip(frame_latents.encode_each(), indices, strict=True):
                alone += self._video_token_maps(backbone, texts, latents, [index], options)
        return (
            [average_readings(a, b) for a, b in zip(together, alone, strict=True)]
            if frames == "both"
            else (together or alone)
        )

    def _video_token_maps(
        self,
        backbone: VideoBackbone,
        texts: Texts,
        latents: torch.Tensor,
        indices: Sequence[int],
        options: GroundingOptions,
    ) -> list[TokenMaps]:
        """All frames as one clip, one forward pass for each noise sample.

        Each latent frame gets the noise of the first frame that it holds.
        """
        latent_frames = backbone.latent_frames(len(indices))
        noise_indices = [
            indices[latent_frames.index(i)] if i in latent_frames else indices[-1] for i in range(latent_frames[-1] + 1)
        ]
        noise_indices = noise_indices[:1] * (latents.shape[2] - len(noise_indices)) + noise_indices
        shape = torch.Size([latents.shape[1], *latents.shape[3:]])
        passes = []
        for draw in range(backbone.preset.draws):
            noise = torch.stack([self._sample_noise(i, draw, shape, options.seed) for i in noise_indices], 1)[None]
            passes.append(self._read_attention(texts, latents, noise, options))
        by_draw = torch.cat([attention.mean for attention, *_ in passes])
        # The clip is one sequence, so that its sinks are the same in all frames.
        sinks = find_sinks_in_samples([attention.sink_stats for attention, *_ in passes], [0])
        grid = backbone.grid(latents)
        mean, draws = _to_maps(by_draw.mean(0), grid), _to_maps(by_draw, grid)
        others = [reading[1].mean for reading in passes if len(texts) > 1]
        other = _to_maps(torch.cat(others).mean(0), grid) if others else None
        kept = [attention.features for attention, *_ in passes if attention.features is not None]
        features = _to_maps(torch.cat(kept).mean(0), grid) if kept else None
        token_maps = []
        for index, t in zip(indices, backbone.token_frames(len(indices)), strict=True):
            contrast = _contrast_maps(texts, None if other is None else other[:, t])
            of_frame = None if features is None else features[:, t]
            token_maps.append(TokenMaps(index, texts[0], mean[:, t], draws[:, :, t], sinks, contrast, of_frame))
        return token_maps

    def _read_attention(
        self, texts: Texts, latents: torch.Tensor, noise: torch.Tensor, options: GroundingOptions
    ) -> list[TextAttention]:
        """ONE forward pass over a batch of latents, with each text; the attention to each of them."""
        n, reading = len(latents), options.reading
        text = self._encode_texts(texts).expand(n)
        weights = None
        if reading.head_weights == "peak":
            content = [tuple(p for word in text.content_words() for p in word) for text in texts]
            weights = PeakWeights(tuple(positions for positions in content for _ in range(n)))
        batch = torch.cat([latents] * len(texts)) if len(texts) > 1 else latents
        noise = torch.cat([noise] * len(texts)) if len(texts) > 1 else noise  # the same for each text
        attention = self.backbone.read_attention(
            batch,
            text,
            noise.to(latents),
            n_text=max(len(text.tokens) for text in texts),
            sink_stats=options.sinks,
            head_weights=weights,
            features=reading.prototypes > 0,
        )
        if len(texts) == 1:
            return [attention]
        return [
            attention.take_samples(slice(i * n, (i + 1) * n)).slice_text([0] * n, len(text.tokens))
            for i, text in enumerate(texts)
        ]

    def _sample_noise(self, index: int, draw: int, shape: torch.Size, seed: int | None = None) -> torch.Tensor:
        """Noise from the frame's own seed, sampled on the CPU: the same on every device, another for every frame.

        With the same noise in all frames their errors would agree, and smoothing over time would gain nothing.
        """
        seed = self.options.seed if seed is None else seed
        generator = torch.Generator().manual_seed((seed * 1_000_003 + index) * 97 + draw)
        return torch.randn(shape, generator=generator)


def _contrast_maps(texts: Texts, maps: NDArray[np.float32] | None) -> ContrastMaps | None:
    """The maps of the second text, if there is one."""
    return None if maps is None else ContrastMaps(texts[1], maps)


def _resize(maps: TokenMaps, grid: tuple[int, int]) -> TokenMaps:
    """The same on a grid of (w, h) tokens."""
    return replace(
        maps,
        maps=resize_maps(maps.maps, grid),
        draws=resize_maps(maps.draws, grid),
        contrast=maps.contrast and replace(maps.contrast, maps=resize_maps(maps.contrast.maps, grid)),
        features=None if maps.features is None else resize_maps(maps.features, grid),
    )


def _to_maps(attention: torch.Tensor, grid: tuple[int, ...]) -> NDArray[np.float32]:
    """(..., N, T) -> (..., T, *grid), where the grid has N tokens."""
    return attention.transpose(-1, -2).unflatten(-1, grid).cpu().numpy()
