"""What finds every instance of a concept: of the thing that a short noun phrase names, as "brown dog"."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from video.types import Candidate, Segmenter


class ConceptDetector(Protocol):
    """Finds every instance of a concept in an image. It reads no words of place, size or number."""

    @property
    def name(self) -> str:
        """What notes for people call it."""
        ...

    def detect(self, image: NDArray[np.uint8], noun_phrase: str, *, frame: int = 0) -> list[Candidate]:
        """Outline every instance.

        Args:
            image: (H, W, 3) uint8 RGB.
            noun_phrase: A noun, and what it is like.
            frame: What `Candidate.frame` says.

        Returns:
            One mask for each instance, the surest first; none where there is none.
        """
        ...


@runtime_checkable
class ConceptSource(Protocol):
    """A segmenter whose model may also have a detector of concepts."""

    @property
    def concepts(self) -> ConceptDetector | None:
        """The detector, if there is one."""
        ...


def concepts_of(segmenter: Segmenter) -> ConceptDetector | None:
    """Return a segmenter's detector of concepts; None if it has none."""
    return segmenter.concepts if isinstance(segmenter, ConceptSource) else None
