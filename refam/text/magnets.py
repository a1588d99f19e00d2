"""Attention magnets: words appended to an expression, on which the background's attention gathers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from refam.text.lexicon import COLOURS

_SPARE_STOP = ("of", "in", "and", "on", "at", "is")
_SPARE_COLOURS = ("pink", "cyan", "purple", "orange", "brown")


@dataclass(frozen=True)
class Magnets:
    """Words to append. Default: the paper's (RefAM, arXiv 2509.22650): `.` `a` `with` `to` and `pink`.

    A magnet that the expression has is replaced by another of its kind (a colour that is said would draw attention to
    what is meant): a colour by the next of `spare_colours`, another word by the next of `spare_stop`. Raises ValueError
    for what is not one word, and for none at all.
    """

    words: tuple[str, ...] = (".", "a", "with", "to", "pink")
    spare_stop: tuple[str, ...] = _SPARE_STOP
    spare_colours: tuple[str, ...] = _SPARE_COLOURS

    def __post_init__(self) -> None:
        if not self.words:
            raise ValueError("no magnets: give at least one word, such as: with to . pink")
        for word in (*self.words, *self.spare_stop, *self.spare_colours):
            if len(word.split()) != 1:
                raise ValueError(f"a magnet is one word, got {word!r}; write them apart, such as: with to . pink")

    @classmethod
    def read(cls, text: str) -> Magnets:
        """From words with spaces between them: "with to . pink"."""
        return cls(tuple(text.lower().split()))

    def __str__(self) -> str:
        return " ".join(self.words)

    def beside(self, said: Iterable[str]) -> tuple[str, ...]:
        """The magnets to append to an expression of these words (lower case). One without a spare is left out."""
        taken = set(said)
        chosen: list[str] = []
        for word in self.words:
            alike = self.spare_colours if word in COLOURS else self.spare_stop if word.isalnum() else ()
            free = next((w for w in (word, *alike) if w not in taken), None)
            free = word if free is None and not word.isalnum() else free  # punctuation says nothing twice either
            if free is not None:
                chosen.append(free)
                taken.add(free)
        return tuple(chosen)
