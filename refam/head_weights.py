"""Weigh the attention heads of a block by their peak, since a head whose map is level says nothing of any place.

Source: DecAF (arXiv 2510.19592), where heads are weighted by the maximum of their attention to what is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PeakWeights:
    """How to weigh heads in one forward pass.

    Attributes:
        tokens: For each sample the positions, among the text tokens that are read, of the words that are looked for.
        samples_per_picture: So many samples, one after the other, are parts of one picture and share their weights.

    Raises:
        ValueError: If the samples are not whole pictures, or if one has no tokens.
    """

    tokens: tuple[tuple[int, ...], ...]
    samples_per_picture: int = 1

    def __post_init__(self) -> None:
        if not self.tokens or not all(self.tokens):
            raise ValueError("heads are weighed by the tokens that are looked for: each sample must have some")
        if self.samples_per_picture < 1 or len(self.tokens) % self.samples_per_picture:
            raise ValueError(f"{len(self.tokens)} samples are not pictures of {self.samples_per_picture} samples each")

    def shift(self, offsets: Sequence[int]) -> PeakWeights:
        """Return the same with each sample's tokens so many positions further on."""
        moved = (tuple(t + by for t in tokens) for tokens, by in zip(self.tokens, offsets, strict=True))
        return PeakWeights(tuple(moved), self.samples_per_picture)

    def split_pictures(self, parts: int) -> PeakWeights:
        """Return the weights for the same pictures, each sample of which is read as so many parts."""
        return PeakWeights(
            tuple(tokens for tokens in self.tokens for _ in range(parts)), self.samples_per_picture * parts
        )

    def weigh(self, probabilities: torch.Tensor, *, first: int = 0) -> torch.Tensor:
        """Compute the peak of each head: the largest attention of any place to all tokens that are looked for.

        Args:
            probabilities: (B, H, N, T) attention of N image tokens to the T text tokens that are read.
            first: Which sample of the pass the first one is, where samples are attended to one at a time.

        Returns:
            (B, H) in [0, 1].
        """
        samples = self.tokens[first : first + len(probabilities)]
        peaks = torch.stack(
            [sample[..., list(tokens)].sum(-1).amax(-1) for sample, tokens in zip(probabilities, samples, strict=True)]
        )
        if self.samples_per_picture > 1:
            of_pictures = peaks.unflatten(0, (-1, self.samples_per_picture)).amax(1)
            peaks = of_pictures.repeat_interleave(self.samples_per_picture, 0)
        return peaks
