"""Texts for training: true captions, and lists of nouns of which it is known whether the picture has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from refam.photos import TEXT_LENGTH

MAGNETS = ("with", "to", ".", "of")
"""Words that may follow any text, so that attention magnets are nothing new when words are grounded."""
_END_ID = 1
_MOST_IN_CAPTION = 3


@dataclass
class TrainingText:
    """One text of a picture.

    Attributes:
        ids: (T,) token ids, padded.
        asked: For each token of a noun: its position, the noun's column, and its truth and weight.
        is_true: Whether the text describes the picture, so that the flow loss applies.
    """

    ids: list[int] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)
    is_true: bool = True


class TextSampler:
    """Sample texts for pictures.

    Args:
        names: The V nouns and colours of the labels' columns.
        word_ids: The tokenizer's id of each word.
        commonness: (V,) how often each is drawn as an absent one, relatively.
        rng: Source of randomness.
    """

    def __init__(
        self,
        names: Sequence[str],
        word_ids: Mapping[str, int],
        commonness: NDArray[np.floating],
        rng: np.random.Generator,
    ) -> None:
        self._names, self._word_ids, self._commonness, self._rng = names, word_ids, commonness, rng

    def caption(self, present: NDArray[np.integer]) -> TrainingText:
        """A true text: "a dog and the car ." names up to three of the nouns that are there."""
        rng, text = self._rng, TrainingText()
        words: list[str | int] = []
        for k, column in enumerate(rng.permutation(present)[:_MOST_IN_CAPTION]):
            words += [*(["and"] if k else []), str(rng.choice(["a", "the"])), int(column)]
        if rng.random() < 0.3:
            words = ["photo", "of", *words]
        return self._finish(text, words, magnets=rng.random() < 0.5)

    def single(self, column: int, *, is_true: bool) -> TrainingText:
        """One noun, as annotators type it, with magnets behind it."""
        words: list[str | int] = [str(self._rng.choice(["a", "the"])), int(column)]
        return self._finish(TrainingText(is_true=is_true), words, magnets=True)

    def nouns(self, present: NDArray[np.integer], absent: NDArray[np.integer]) -> TrainingText:
        """A list of 4 to 14 nouns, up to three of which are there."""
        rng = self._rng
        count = int(rng.integers(4, 15))
        chosen = [int(c) for c in rng.permutation(present)[:3]]
        if len(absent):
            share = self._commonness[absent] / self._commonness[absent].sum()
            missing = min(max(0, count - len(chosen)), int((share > 0).sum()))
            chosen += [int(c) for c in rng.choice(absent, missing, replace=False, p=share)]
        return self._finish(TrainingText(is_true=False), list(rng.permutation(chosen)), magnets=rng.random() < 0.7)

    def _finish(self, text: TrainingText, words: Sequence[str | int], *, magnets: bool) -> TrainingText:
        rng = self._rng
        spelled: list[str | int] = list(words)
        if magnets:
            spelled += [str(m) for m in rng.permutation(MAGNETS)[: rng.integers(0, len(MAGNETS) + 1)]]
        for word in spelled:
            pieces = [word] if isinstance(word, str) else self._names[word].split()
            if len(text.ids) + len(pieces) > TEXT_LENGTH - 1:
                break
            for piece in pieces:
                if not isinstance(word, str):
                    text.asked.append((len(text.ids), int(word)))
                text.ids.append(self._word_ids[piece])
        text.ids += [_END_ID, *[0] * (TEXT_LENGTH - 1 - len(text.ids))]
        return text
