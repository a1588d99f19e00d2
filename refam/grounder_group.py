"""Several grounders of which the words of an expression choose one: the default knows drawn shapes and photographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refam.backbones.word_reader import GroupReader
from refam.grounder import Grounder
from refam.grounding import GroundingOptions
from refam.reading import Reading
from refam.text.expression import Expression
from video.types import Heatmap


class GrounderGroup:
    """Grounds each expression with the member that knows its words. A member is loaded when words first choose it.

    Attributes:
        name: Name of the group, with a hash of its members' weights, and one of the reading if that is not today's.

    Args:
        name: See above, without the reading.
        reader: Chooses a member by words, without loading any.
        members: By name, what loads them.
        reading: How the members read attention.
    """

    def __init__(
        self,
        name: str,
        reader: GroupReader,
        members: Mapping[str, Callable[[], Grounder]],
        *,
        reading: Reading = Reading(),  # noqa: B008 - frozen
    ) -> None:
        self.name = name + reading.version_suffix
        self._plain_name = name
        self._reader = reader
        self._members = members
        self._loaded: dict[str, Grounder] = {}

    def with_options(self, options: GroundingOptions) -> GrounderGroup:
        """Return a group with other options that shares the members' backbones."""
        changed = {name: partial(self._load_with, options, name) for name in self._members}
        return GrounderGroup(self._plain_name, self._reader, changed, reading=options.reading)

    @property
    def warnings(self) -> list[str]:
        """See `Grounder.warnings`; of all members that are loaded."""
        return [sentence for grounder in self._loaded.values() for sentence in grounder.warnings]

    def members(self) -> list[Grounder]:
        """Return all members, loaded. Raises BackboneError if one cannot be."""
        return [self._load(name) for name in self._members]

    def for_words(self, expression: str) -> Grounder:
        """Return the member that the words choose, see `refam.text.model_choice`. Raises GroundingError if none can."""
        return self._load(self._reader.choose(expression))

    def parse(self, expression: str, *, options: GroundingOptions | None = None) -> Expression:
        """See `Grounder.parse`."""
        name = self._reader.choose(expression)
        return self._reader.note_choice(name, self._load(name).parse(expression, options=options))

    def unknown_words(self, expression: str) -> list[str]:
        """See `Grounder.unknown_words`."""
        return self.for_words(expression).unknown_words(expression)

    def reading_notes(self, expression: str) -> list[str]:
        """See `Grounder.reading_notes`."""
        return self.parse(expression).notes

    def ground(
        self,
        frames: Sequence[NDArray[np.uint8]],
        expressions: Sequence[str],
        *,
        indices: Sequence[int] | None = None,
        progress: Callable[[float], object] | None = None,
    ) -> list[list[Heatmap]]:
        """See `Grounder.ground`; each member grounds its expressions in one call."""

        def report(share: float, count: int) -> None:
            if progress is not None:
                progress((len(heatmaps) + share * count) / len(expressions))

        chosen = [self._reader.choose(expression) for expression in expressions]
        heatmaps: dict[int, list[Heatmap]] = {}
        for name in dict.fromkeys(chosen):
            numbers = [i for i, other in enumerate(chosen) if other == name]
            some = [expressions[i] for i in numbers]
            rows = self._load(name).ground(frames, some, indices=indices, progress=partial(report, count=len(some)))
            heatmaps |= dict(zip(numbers, rows, strict=True))
        return [heatmaps[i] for i in range(len(expressions))]

    def _load(self, name: str) -> Grounder:
        if name not in self._loaded:
            self._loaded[name] = self._members[name]()
        return self._loaded[name]

    def _load_with(self, options: GroundingOptions, name: str) -> Grounder:
        return self._load(name).with_options(options)
