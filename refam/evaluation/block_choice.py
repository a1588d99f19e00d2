"""Which blocks to read: published priors beside plain thirds, compared on outlined pictures of a person's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from refam.attention_layouts import attention_modules
from refam.evaluation.photos import LEAST_AREA, OutlinedPicture, is_at
from refam.photos.features import read_picture
from video.errors import UserError
from video.metrics import estimate_share

if TYPE_CHECKING:
    from refam.backbones.presets import Preset
    from refam.grounder import Grounder


@dataclass(frozen=True)
class BlockCandidate:
    """Blocks that may be read.

    Attributes:
        blocks: Their numbers, in the order in which they run; None for all.
        source: Why they are considered.
    """

    blocks: tuple[int, ...] | None
    source: str

    def __str__(self) -> str:
        return "all" if self.blocks is None else format_blocks(self.blocks)


def format_blocks(blocks: Sequence[int]) -> str:
    """Write neighbouring blocks as a range: "14-17", as REFAM_BLOCKS takes it."""
    return str(blocks[0]) if len(blocks) == 1 else f"{blocks[0]}-{blocks[-1]}"


def block_candidates(preset: Preset, n_blocks: int) -> list[BlockCandidate]:
    """Return the blocks to compare: the current ones, those that were published, all, and thirds of the depth.

    Args:
        preset: The backbone's.
        n_blocks: How many blocks its transformer has.
    """
    third = max(1, round(n_blocks / 3))
    ranges = [range(third), range(third, n_blocks - third), range(n_blocks - third, n_blocks), range(third, n_blocks)]
    ranges.append(range(n_blocks - third))
    candidates = [
        BlockCandidate(preset.blocks, "current"),
        *(BlockCandidate(prior.blocks, prior.source) for prior in preset.block_priors if max(prior.blocks) < n_blocks),
        BlockCandidate(None, "all"),
        *(BlockCandidate(tuple(blocks), "thirds of the depth") for blocks in ranges if len(blocks)),
    ]
    by_blocks: dict[tuple[int, ...], BlockCandidate] = {}
    for candidate in candidates:
        by_blocks.setdefault(candidate.blocks or tuple(range(n_blocks)), candidate)
    return list(by_blocks.values())


def compare_blocks(
    grounder: Grounder,
    pictures: Sequence[OutlinedPicture],
    known: Callable[[str], bool],
    *,
    progress: Callable[[float], None] = lambda _: None,
) -> str:
    """Ground the nouns of pictures with each candidate's blocks.

    Args:
        grounder: What grounds them; it is left as it was.
        pictures: The pictures.
        known: Whether a noun is in the model's vocabulary; others are left out.
        progress: Called with the share that is done.

    Returns:
        Markdown: the share of peaks on the object for each candidate, the best first, and what to set.

    Raises:
        UserError: If no picture has an object whose noun is known.
    """
    backbone = grounder.backbone
    preset = backbone.preset
    candidates = block_candidates(preset, len(attention_modules(backbone.transformer)))
    pairs = [[n for n, mask in p.masks.items() if known(n) and mask.mean() >= LEAST_AREA] for p in pictures]
    if not any(pairs):
        raise UserError(f"no picture has an object that fills {LEAST_AREA:.0%} of it and whose noun the model knows")
    hits: list[list[bool]] = [[] for _ in candidates]
    try:
        for index, (picture, nouns) in enumerate(zip(pictures, pairs, strict=True)):
            pixels = read_picture(picture.file)
            for candidate, its_hits in zip(candidates, hits, strict=True):
                backbone.preset = replace(preset, blocks=candidate.blocks)
                rows = grounder.ground([pixels], [f"the {noun}" for noun in nouns], indices=[index]) if nouns else []
                its_hits += [is_at(picture.masks[n], *row[0].peak) for n, row in zip(nouns, rows, strict=True)]
            progress((index + 1) / len(pictures))
    finally:
        backbone.preset = preset
    order = sorted(range(len(candidates)), key=lambda i: -sum(hits[i]))  # stable: the current ones win ties
    lines = ["| blocks | from | peak on the object |", "|---|---|---|"]
    lines += [f"| {candidates[i]} | {candidates[i].source} | {estimate_share(hits[i])} |" for i in order]
    best = candidates[order[0]]
    advice = "Keep the current blocks."
    if order[0] != 0:
        advice = f"To read these: REFAM_BLOCKS={best}. Compare the intervals first: {len(hits[0])} objects tell little."
    return "\n".join([*lines, "", advice])
