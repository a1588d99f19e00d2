"""Attention magnets: words appended to an expression that draw attention away from its content words.

Source: RefAM, arXiv 2509.22650. The appended stop words and the colour that the scene does not have redistribute the
attention of the background: it splits into several small clusters on the magnets, instead of one that leaks into the
content words. The maps of the magnets are then dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from refam.text.lexicon import COLOURS

_SPARE_STOP_WORDS = ("of", "in", "and", "on", "at", "is")
_SPARE_COLOURS = ("pink", "cyan", "purple", "orange", "brown")


@dataclass(frozen=True)
class Magnets:
    """The words to append; by default the paper's: `.` `a` `with` `to` and `pink`.

    A magnet that the expression contains is replaced by a spare of its kind, since a colour that is mentioned would
    draw attention to the object.

    Attributes:
        words: The magnets, in the order in which they are appended.
        spare_stop: Replacements for words that are no colours.
        spare_colours: Replacements for colours.

    Raises:
        ValueError: If there are no magnets, or if one is not a single word.
    """

    words: tuple[str, ...] = (".", "a", "with", "to", "pink")
    spare_stop: tuple[str, ...] = _SPARE_STOP_WORDS
    spare_colours: tuple[str, ...] = _SPARE_COLOURS

    def __post_init__(self) -> None:
        if not self.words:
            raise ValueError("no magnets: give at least one word, such as: with to . pink")
        for word in (*self.words, *self.spare_stop, *self.spare_colours):
            if len(word.split()) != 1:
                raise ValueError(f"a magnet is one word, got {word!r}; write them apart, such as: with to . pink")

    @classmethod
    def parse(cls, text: str) -> Magnets:
        """Make magnets from words with spaces between them, such as "with to . pink"."""
        return cls(tuple(text.lower().split()))

    def __str__(self) -> str:
        return " ".join(self.words)

    def choose_for(self, words: Iterable[str]) -> tuple[str, ...]:
        """Choose the magnets to append to an expression.

        Args:
            words: Words of the expression, lower case.

        Returns:
            The magnets; one that is in the expression and has no spare is left out.
        """
        used = set(words)
        chosen: list[str] = []
        for word in self.words:
            spares = self.spare_colours if word in COLOURS else self.spare_stop if word.isalnum() else ()
            free = next((w for w in (word, *spares) if w not in used), None)
            free = word if free is None and not word.isalnum() else free  # punctuation may be repeated
            if free is not None:
                chosen.append(free)
                used.add(free)
        return tuple(chosen)
