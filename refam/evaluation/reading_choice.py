"""Which way of reading the attention gains: today's, contrast, head weights, prototypes; of video models also frames.

All readings see the same pictures with the same noise, each with forward passes of its own, so that gains are paired
and seconds are comparable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.backbones.weights import quiet_libraries
from refam.evaluation.grounding_scores import format_gain
from refam.evaluation.photos import LEAST_AREA, OutlinedPicture, is_at, score_first_mask
from refam.photos.features import read_picture
from refam.reading import BACKGROUND, Reading
from refam.text.expression import ExpressionError
from refam.tiny.heldout import HeldOutClip, HeldOutScene
from video.errors import UserError
from video.metrics import Estimate, estimate_mean, estimate_share
from video.types import Segmenter

if TYPE_CHECKING:
    from refam.grounder import Grounder

TODAY = "today's reading"
_STRENGTH = 0.5  # of 0.25, 0.5 and 1 on 144 nouns of photographs; on drawn scenes less loses less
_SEEDS = 0.05  # of 0.02, 0.05 and 0.1 on 150 drawn scenes of the seed that settings are chosen on
_MOST_OTHERS = 4  # nouns in one second text, which must fit the text encoder


@dataclass(frozen=True, eq=False)
class ReadingCase:
    """Frames that are read together, and what their words mean.

    Attributes:
        frames: (H, W, 3) uint8 RGB, all of one size.
        indices: Of the frames, which decide the noise.
        words: The expression.
        objects: For each frame the masks (h, w) of the objects that the words may mean, all of one size and of the
            frame's shape.
        others: What else is in the scene, from its truth: "the dog".
    """

    frames: tuple[NDArray[np.uint8], ...]
    indices: tuple[int, ...]
    words: str
    objects: tuple[tuple[NDArray[np.bool_], ...], ...]
    others: tuple[str, ...]


@dataclass(frozen=True)
class ReadingScore:
    """One case with one reading, the mean over its frames.

    Attributes:
        hit: Share of the frames whose peak lies on an object.
        j: IoU of the mask with the object that it fits best.
        seconds: For a frame, from its pixels to its heatmap.
    """

    hit: float
    j: float
    seconds: float


def readings_to_compare(*, is_video: bool) -> dict[str, Callable[[ReadingCase], Reading]]:
    """Return the readings by name, today's first; some depend on what else is in the scene."""
    with_background = Reading(contrast=_STRENGTH)
    readings: dict[str, Callable[[ReadingCase], Reading]] = {
        TODAY: lambda case: Reading(),
        f"contrast: {BACKGROUND}": lambda case: with_background,
        f"contrast: {BACKGROUND} and the scene's other nouns": lambda case: replace(
            with_background, contrast_texts=(BACKGROUND, *case.others)
        ),
        "heads weighted by their peak": lambda case: Reading(head_weights="peak"),
        f"prototypes, {_SEEDS:.0%} of the tokens as seeds": lambda case: Reading(prototypes=_SEEDS),
    }
    if is_video:
        readings["each frame alone"] = lambda case: Reading(frames="alone")
        readings["clip and frame averaged"] = lambda case: Reading(frames="both")
    return readings


def compare_readings(
    grounder: Grounder,
    cases: Iterable[ReadingCase],
    segmenter: Segmenter,
    *,
    count: int,
    progress: Callable[[float], None] = lambda _: None,
) -> str:
    """Read every case in each way before the next one, so that other load on the machine affects all ways alike.

    Args:
        grounder: Whose backbone is read.
        cases: The cases.
        segmenter: Makes masks of the heatmaps.
        count: How many cases there are, for `progress`.
        progress: Called with the share that is done.

    Returns:
        Markdown: for each reading its point accuracy, J, their paired gains over today's, with intervals of 95 %, and
        the median of the seconds a frame.

    Raises:
        UserError: If there are no cases.
    """
    readings = readings_to_compare(is_video=grounder.backbone.is_video)
    unknown = not _can_contrast(grounder)
    if unknown:
        readings = {name: make for name, make in readings.items() if BACKGROUND not in name}
    scores: dict[str, list[ReadingScore]] = {name: [] for name in readings}
    frames = 0
    with quiet_libraries():  # of CLIP, which gives FLUX one pooled vector, and cuts long prompts
        for done, case in enumerate(cases, start=1):
            masks: dict[bytes, float] = {}
            for name, make in readings.items():
                scores[name].append(_score(grounder, case, make(case), segmenter, masks))
            frames += len(case.frames)
            progress(done / count)
    if not frames:
        raise UserError("there is nothing to read: no picture has an object whose noun the model knows")
    note = f"\n\nWithout contrast: the model does not know {BACKGROUND!r}." if unknown else ""
    return f"{_describe_count(scores[TODAY], frames)}\n\n{reading_table(scores)}{note}"


def _can_contrast(grounder: Grounder) -> bool:
    try:
        return bool(grounder.parse_contrast(replace(grounder.options, reading=Reading(contrast=_STRENGTH))))
    except ExpressionError:  # the model does not know the word
        return False


def _describe_count(scores: Sequence[ReadingScore], frames: int) -> str:
    return f"{len(scores)} expressions" if len(scores) == frames else f"{len(scores)} clips, {frames} frames"


def _score(
    grounder: Grounder, case: ReadingCase, reading: Reading, segmenter: Segmenter, masks: dict[bytes, float]
) -> ReadingScore:
    """Score one case with one reading. masks: J by heatmap, since readings may end in the same one."""
    options = replace(grounder.options, reading=reading)
    started = time.perf_counter()
    (row,) = grounder.read_token_maps(case.frames, [case.words], indices=case.indices, options=options)
    heatmaps = [
        grounder.compute_heatmap(maps, frame, options=options).heatmap
        for maps, frame in zip(row, case.frames, strict=True)
    ]
    seconds = (time.perf_counter() - started) / len(case.frames)
    hits, js = [], []
    for heatmap, frame, objects in zip(heatmaps, case.frames, case.objects, strict=True):
        content = b"%d" % heatmap.frame + heatmap.grid.tobytes()
        if content not in masks:
            masks[content] = score_first_mask(segmenter, frame, heatmap, objects)
        js.append(masks[content])
        hits.append(heatmap.grid.max() > 0 and is_at(np.logical_or.reduce(objects), *heatmap.peak))
    return ReadingScore(float(np.mean(hits)), float(np.mean(js)), seconds)


def reading_table(scores: Mapping[str, Sequence[ReadingScore]]) -> str:
    """Return Markdown: each reading's scores, and its paired gains over the first."""
    first = next(iter(scores.values()))
    lines = ["| reading | point accuracy | gain | J of the mask | gain | s a frame |", "|---|---|---|---|---|---|"]
    for name, row in scores.items():
        hits, j = _estimate([s.hit for s in row]), estimate_mean([s.j for s in row], within=(0, 1))
        gains = ["", ""]
        if row is not first:
            pairs = list(zip(row, first, strict=True))
            differences = ([a.hit - b.hit for a, b in pairs], [a.j - b.j for a, b in pairs])
            gains = [format_gain(estimate_mean(d)) for d in differences]
        seconds = np.median([s.seconds for s in row])
        lines.append(f"| {name} | {hits} | {gains[0]} | {j} | {gains[1]} | {seconds:.3f} |")
    return "\n".join(lines)


def _estimate(hits: Sequence[float]) -> Estimate:
    """Of shares of frames, or of single frames that hit or miss."""
    single = all(hit in (0, 1) for hit in hits)
    return estimate_share([bool(hit) for hit in hits]) if single else estimate_mean(list(hits), within=(0, 1))


# --- cases ------------------------------------------------------------------------------------------------------------


def scene_cases(scenes: Iterable[HeldOutScene]) -> Iterator[ReadingCase]:
    """Yield drawn scenes; each has noise of its own."""
    for i, scene in enumerate(scenes):
        yield ReadingCase((scene.picture,), (i,), scene.referral.text, ((scene.truth,),), scene.others)


def clip_cases(clips: Iterable[HeldOutClip]) -> Iterator[ReadingCase]:
    """Yield the planned frames of drawn clips, for a backbone that reads clips."""
    for k, clip in enumerate(clips):
        scenes = clip.planned_scenes()
        yield ReadingCase(
            tuple(scene.picture for scene in scenes),
            tuple(1000 * k + i for i in clip.planned),
            clip.referral.text,
            tuple((scene.truth,) for scene in scenes),
            clip.others,
        )


def photo_cases(pictures: Sequence[OutlinedPicture], known: Callable[[str], bool]) -> Iterator[ReadingCase]:
    """Yield each noun of outlined photographs that the model knows and that fills at least `LEAST_AREA` of the picture.

    Args:
        pictures: The pictures.
        known: Whether a noun is in the model's vocabulary; other nouns are not read either.
    """
    for index, picture in enumerate(pictures):
        nouns = [noun for noun, mask in picture.masks.items() if known(noun) and mask.mean() >= LEAST_AREA]
        if not nouns:
            continue
        image = read_picture(picture.file)
        for noun in nouns:
            others = [f"the {other}" for other in picture.masks if other != noun and known(other)]
            yield ReadingCase(
                (image,), (index,), f"the {noun}", (tuple(picture.objects[noun]),), tuple(others[:_MOST_OTHERS])
            )


def count_photo_cases(pictures: Sequence[OutlinedPicture], known: Callable[[str], bool]) -> int:
    """Return how many cases `photo_cases` yields."""
    return sum(known(n) and m.mean() >= LEAST_AREA for p in pictures for n, m in p.masks.items())
