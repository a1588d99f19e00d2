"""The transformer blocks that are read: as people write them, and as publications name them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from refam.backbones.weights import BackboneError


@dataclass(frozen=True)
class BlockPrior:
    """Blocks that a publication reads. They were found with another readout or on other data: compare before use.

    Attributes:
        blocks: Their numbers, in the order in which they run.
        source: The publication.
    """

    blocks: tuple[int, ...]
    source: str


def parse_blocks(text: str) -> tuple[int, ...] | None:
    """Read blocks as people write them: numbers and ranges, "0,14-17"; None for "all".

    Raises:
        BackboneError: If it is something else.
    """
    if text == "all":
        return None
    if not re.fullmatch(r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*", text):
        raise BackboneError(f"blocks are numbers and ranges, as in 9 or 14-17 or 0,2-3, or all; not {text[:60]!r}")
    blocks: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if int(last or first) < int(first):
            raise BackboneError(f"blocks are numbers and ranges, as in 9 or 14-17 or 0,2-3, or all; not {text!r}")
        blocks |= set(range(int(first), int(last or first) + 1))
    return tuple(sorted(blocks))
