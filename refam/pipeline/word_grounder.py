"""Grounding for the pipeline: words to heatmaps, a few frames at a time, looked up in the stage cache first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.stage_cache import heatmap_key
from refam.pipeline.stages import Progress, Stage, ignore_progress
from refam.pipeline.state import ObjectState
from refam.pipeline.types import PipelineError
from refam.text.expression import UnknownWordsError
from video.types import Heatmap

if TYPE_CHECKING:
    from refam.grounder import Grounder
    from refam.grounder_group import GrounderGroup

_BATCH_FRAMES = 4  # grounded between two calls of the progress callback


class WordGrounder:
    """Grounds the words of targets. The model is loaded when words first need it."""

    def __init__(self, load: Callable[[], Grounder | GrounderGroup] | None) -> None:
        self._load = load
        self._model: Grounder | GrounderGroup | None = None

    @property
    def name(self) -> str:
        """The backbone's name in the model version; "-" until words needed one."""
        return self._model.name if self._model is not None else "-"

    def name_for(self, words: str | None) -> str:
        """The name of the backbone that looked for some words: of a group's members the one that they choose."""
        return self.name if self._model is None or words is None else self._model.for_words(words).name

    @property
    def model(self) -> Grounder | GrounderGroup:
        """The grounder, loaded at first use. Raises PipelineError without one."""
        if self._model is None:
            if self._load is None:
                raise PipelineError("this pipeline was made without a model for words: give a point or a box")
            self._model = self._load()
        return self._model

    def check_words(self, state: ObjectState) -> bool:
        """Return whether a target's words can be grounded; otherwise the state gets a failure or a note.

        Words that the model does not know, and those that are read but not used, are noted too.
        """
        try:
            unknown = self.model.unknown_words(state.target.words or "")
            notes = self.model.reading_notes(state.target.words or "")
        except ValueError as error:  # GroundingError: its text is for people
            if not state.target.prompts:
                state.failure = str(error)
            else:
                reason = error.reason if isinstance(error, UnknownWordsError) else error
                state.notes.append(f"the words were not used: {reason}")
            return False
        state.notes += [f"the model does not know the word {word!r}" for word in unknown] + notes
        return True

    def ground(
        self,
        frames: Sequence[NDArray[np.uint8]],
        indices: Sequence[int],
        states: Sequence[ObjectState],
        progress: Progress = ignore_progress,
    ) -> list[list[Heatmap]]:
        """Ground the words of some targets in some frames of one clip.

        Args:
            frames: (H, W, 3) uint8 RGB, all of one size.
            indices: The frames' indices in the clip.
            states: The targets'; each brings the stage cache.
            progress: Called after each expression, in every few frames.

        Returns:
            Heatmaps, [state][frame].
        """
        heatmaps: list[list[Heatmap]] = [[] for _ in states]
        progress(Stage.GROUND, 0.0)
        for first in range(0, len(frames), _BATCH_FRAMES):
            batch, numbers = frames[first : first + _BATCH_FRAMES], indices[first : first + _BATCH_FRAMES]
            cached = [self._load_cached(state, numbers) for state in states]
            missing = [state for state, found in zip(states, cached, strict=True) if found is None]
            words = [state.target.words or "" for state in missing]

            def report(share: float, first: int = first, count: int = len(batch)) -> None:
                progress(Stage.GROUND, (first + share * count) / len(frames))

            computed = iter(self.model.ground(batch, words, indices=numbers, progress=report) if missing else [])
            for state, found, row in zip(states, cached, heatmaps, strict=True):
                row += found if found is not None else self._save(state, numbers, next(computed))
                state.notes += [n for n in getattr(self.model, "warnings", ()) if n not in state.notes]
            progress(Stage.GROUND, min(1.0, (first + _BATCH_FRAMES) / len(frames)))
        return heatmaps

    def _load_cached(self, state: ObjectState, indices: Sequence[int]) -> list[Heatmap] | None:
        """Return the heatmaps of frames that were grounded together earlier; None unless all are cached."""
        if state.cache is None:
            return None
        heatmaps = []
        for key in self._keys(state, indices):
            heatmap = state.cache.load_heatmap(key)
            if heatmap is None:
                return None
            heatmaps.append(heatmap)
        return heatmaps

    def _save(self, state: ObjectState, indices: Sequence[int], heatmaps: list[Heatmap]) -> list[Heatmap]:
        """Cache heatmaps, and return them."""
        if state.cache is not None:
            for key, heatmap in zip(self._keys(state, indices), heatmaps, strict=True):
                state.cache.save_heatmap(key, heatmap)
        return heatmaps

    def _keys(self, state: ObjectState, indices: Sequence[int]) -> list[tuple[object, ...]]:
        """The keys of the heatmaps of frames that are grounded together."""
        words = state.target.words or ""
        model = self.model.for_words(words)
        return [heatmap_key(words, model, indices, index) for index in indices]
