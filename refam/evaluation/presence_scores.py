"""Whether expressions whose object is not there can be told from those whose object is: on drawn pictures and clips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.evaluation.grounding_scores import expected_calibration_error
from refam.evaluation.synthetic import as_clip
from refam.pipeline.pipeline import Pipeline, PipelineError
from refam.pipeline.types import Target
from refam.presence import PresenceModel, WordAttention, fit_presence
from refam.tiny.heldout import CHOICE_SEED
from refam.tiny.scenes import draw_moving_scene, set_in_motion
from refam.tiny.statements import ABSENT_KINDS, Statement, sample_scene, sample_statements, stated_scenes
from video.metrics import auroc, estimate_share

if TYPE_CHECKING:
    from refam.grounder import Grounder

Progress = Callable[[float], None]
_CLIP_FRAMES, _CLIP_SIZE, _CLIP_EXTENT, _FPS, _SPEED = 24, (228, 128), (114.0, 64.0), 24.0, 0.6


@dataclass(frozen=True)
class StatementScore:
    """What was said about a statement whose truth is known.

    Attributes:
        statement: The statement.
        score: In [0, 1]; larger where its object is more likely there.
        found: Whether a region was returned.
    """

    statement: Statement
    score: float
    found: bool


def calibrate_presence(grounder: Grounder, count: int, *, progress: Progress) -> PresenceModel:
    """Fit the presence model of a grounder on statements about `count` drawn pictures, none of which is held out."""
    asked = (
        (stated.picture, [(statement.text, statement.is_present) for statement in stated.statements])
        for stated in stated_scenes(count, CHOICE_SEED)
    )
    return fit_on_pictures(grounder, asked, count, seed=CHOICE_SEED, progress=progress)


def fit_on_pictures(
    grounder: Grounder,
    asked: Iterable[tuple[NDArray[np.uint8], Sequence[tuple[str, bool]]]],
    count: int,
    *,
    seed: int,
    progress: Progress,
) -> PresenceModel:
    """Fit the presence model of a grounder on pictures.

    Args:
        grounder: What grounds the expressions.
        asked: Pictures (h, w, 3) uint8 RGB, each with expressions and whether it has what they name.
        count: How many pictures these are.
        seed: That chose them, for the record.
        progress: Called with the share that is done.
    """
    attentions: list[WordAttention] = []
    present: list[bool] = []
    for i, (picture, expressions) in enumerate(asked):
        rows = grounder.read_token_maps([picture], [text for text, _ in expressions], indices=[i])
        for (_, is_there), maps in zip(expressions, rows, strict=True):
            attentions.append(grounder.compute_heatmap(maps[0], picture).word_attention)
            present.append(is_there)
        progress((i + 1) / count)
    return fit_presence(attentions, np.array(present), made_with=grounder.heatmap_settings(), seed=seed)


def score_pictures(
    grounder: Grounder, count: int, seed: int, *, least: float, progress: Progress
) -> list[StatementScore]:
    """Score statements about drawn pictures by the presence of their heatmaps, or the confidence where that is unknown.

    Args:
        grounder: The grounder to evaluate.
        count: Number of pictures.
        seed: Seed of the pictures.
        least: The presence from which on an object is said to be there.
        progress: Called with the share of pictures that are done.
    """
    scores = []
    for i, stated in enumerate(stated_scenes(count, seed)):
        texts = [statement.text for statement in stated.statements]
        for statement, (heatmap,) in zip(
            stated.statements, grounder.ground([stated.picture], texts, indices=[i]), strict=True
        ):
            found = heatmap.presence is None or heatmap.certainty >= least
            scores.append(StatementScore(statement, heatmap.certainty, found))
        progress((i + 1) / count)
    return scores


def score_clips(pipeline: Pipeline, count: int, seed: int, *, progress: Progress) -> list[StatementScore]:
    """Score statements about drawn clips by the scores of their tracks; 0 where nothing is found.

    Args:
        pipeline: The pipeline to evaluate.
        count: Number of clips.
        seed: Seed of the clips.
        progress: Called with the share of clips that are done.
    """
    scores = []
    for i, (frames, statements) in enumerate(_stated_clips(count, seed)):
        with as_clip(frames, fps=_FPS) as clip:
            for statement in statements:
                try:
                    (result,) = pipeline.run(clip, [Target("object", statement.text)])
                except PipelineError:
                    scores.append(StatementScore(statement, 0.0, False))
                else:
                    scores.append(StatementScore(statement, result.score, bool(result.visible.any())))
        progress((i + 1) / count)
    return scores


def _stated_clips(count: int, seed: int) -> Iterator[tuple[NDArray[np.uint8], tuple[Statement, ...]]]:
    """Yield the frames (N, h, w, 3) of clips of one to four moving objects, and statements about them."""
    rng = np.random.default_rng([seed, 3])
    for _ in range(count):
        scene = sample_scene(rng, _CLIP_EXTENT)
        statements = sample_statements(rng, scene)
        frames, _ = draw_moving_scene(set_in_motion(scene, rng, speed=_SPEED), _CLIP_SIZE, n_frames=_CLIP_FRAMES)
        yield frames, statements


def presence_table(scores: Sequence[StatementScore]) -> str:
    """Return Markdown: the AUROC of present against absent, of all kinds and of each, and what is said to be there.

    Raises:
        ValueError: If all statements are of one kind.
    """
    values = np.array([s.score for s in scores])
    found = np.array([s.found for s in scores])
    present = np.array([s.statement.is_present for s in scores])
    lines = [
        f"{int(present.sum())} expressions whose object is there, {int((~present).sum())} whose object is not",
        "",
        "| what is wrong | expressions | AUROC against those that are there | found all the same |",
        "|---|---|---|---|",
    ]
    rows = {"all of these": ~present}
    rows |= {text: np.array([s.statement.kind == kind for s in scores]) for kind, text in ABSENT_KINDS.items()}
    for name, absent in rows.items():
        if absent.any() or absent is rows["all of these"]:
            both = present | absent
            row = f"| {name} | {int(absent.sum())} | {auroc(values[both], present[both])} "
            lines.append(f"{row}| {estimate_share(found[absent])} |")
    lines += ["", f"found where it is there: {estimate_share(found[present])}"]
    lines.append(f"expected calibration error of the score: {expected_calibration_error(values, present):.3f}")
    return "\n".join(lines)
