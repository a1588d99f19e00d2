"""Run and score a referring segmentation benchmark, and set the scores beside those that the paper reports.

A run keeps, below its folder OUT: settings.json; ROW/results.jsonl with one line for each expression, from which a
second start continues; ROW/Annotations/VIDEO/EXPRESSION/FRAME.png (0 or 255) and the same files in ROW/submission.zip,
as the server of Refer-YouTube-VOS expects them; table.md.
"""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from refam.evaluation.grounding_scores import ABLATION, OFF, SHIPPED
from refam.evaluation.samples import BenchmarkSample, Mask, visible_frames
from refam.grounding import GroundingOptions
from refam.pipeline.pipeline import FramePrompt, Pipeline, PipelineError, Target
from refam.pipeline.tracks import join_tracks
from video import masks, metrics
from video.atomic_files import write_beside, write_text
from video.errors import UserError
from video.formats.base import FormatError, read_json, write_json, write_png
from video.io.reader import open_sequence
from video.types import MaskTrack

if TYPE_CHECKING:
    from refam.grounder import Grounder
    from refam.grounder_group import GrounderGroup
    from video.io.reader import Clip

Start = Literal["words", "paper", "click"]
"""What a track starts from. words: the whole pipeline, with heatmaps fused over frames. paper: as in RefAM, a click at
the peak of the first frame's heatmap. click: no words, but a click at the deepest point of the ground truth on the
first frame that shows the object."""

_PACKAGES = ("torch", "diffusers", "transformers", "numpy", "opencv-python", "pycocotools")


class BenchmarkError(UserError):
    """A sample lacks the words or the ground truth that the start needs."""


@dataclass(frozen=True)
class SampleScore:
    """The scores of one sample, as one line of results.jsonl holds them. None means unknown, as without ground truth.

    Attributes:
        key: See `BenchmarkSample.key`.
        words: The expression.
        seconds: Wall time.
        score: The pipeline's own score of the track.
        frames: Number of frames.
        j: Region similarity, the mean over the scored frames (DAVIS).
        f: Boundary accuracy, the mean over the scored frames (DAVIS).
        hit: Whether the peak of the first frame's heatmap lies on the object; False for a flat heatmap, None where the
            object is not visible on that frame.
        inter: Intersection with the ground truth in pixels, summed over the scored frames.
        union: Union with the ground truth in pixels, summed over the scored frames.
        switches: How often the track changes from one annotated object to another.
        why: The pipeline's message if nothing was found; the masks are empty then.
    """

    key: str
    words: str
    seconds: float
    score: float
    frames: int
    j: float | None = None
    f: float | None = None
    hit: bool | None = None
    inter: int | None = None
    union: int | None = None
    switches: int | None = None
    why: str | None = None


@dataclass(frozen=True, eq=False)
class ScoredTrack:
    """A score and the track that it is of.

    Attributes:
        score: The score.
        track: None if nothing was found.
        size: (width, height) of the frames in pixels.
    """

    score: SampleScore
    track: MaskTrack | None
    size: tuple[int, int]

    def mask(self, k: int) -> Mask:
        """Return the predicted mask of frame `k`, (H, W) bool."""
        return _mask_on(self.track, k, self.size)


def evaluate_sample(
    sample: BenchmarkSample, pipeline: Pipeline, grounder: Callable[[], Grounder | GrounderGroup], start: Start
) -> ScoredTrack:
    """Track the object of one sample and score the track.

    Args:
        sample: The sample.
        pipeline: The pipeline to evaluate.
        grounder: Returns the pipeline's grounder; not called for the start `click`.
        start: What the track starts from.

    Raises:
        BenchmarkError: If the sample has no words, or no ground truth, and the start needs them.
        ClipError: If a frame cannot be read.
    """
    begin = time.perf_counter()
    clip = cast("Clip", open_sequence(sample.pictures))  # the same interface
    peak = None if start == "click" else _first_peak(sample, clip, grounder())
    target = _target(sample, start, peak)
    track, score, why = None, 0.0, None
    try:
        results = pipeline.run(clip, [target])
        track, score = join_tracks([result.track for result in results]), min(result.score for result in results)
    except PipelineError as error:
        why = str(error)
    seconds = round(time.perf_counter() - begin, 3)
    scored = SampleScore(sample.key, sample.words, seconds, round(score, 4), len(clip), why=why)
    if sample.truth is not None:
        scored = score_track(scored, sample, track, clip.size, peak, from_click=start == "click")
    return ScoredTrack(scored, track, clip.size)


def _first_peak(sample: BenchmarkSample, clip: Clip, grounder: Grounder | GrounderGroup) -> tuple[float, float] | None:
    """Return the peak of the first frame's heatmap; None if it is flat or the words cannot be parsed."""
    if not sample.words:
        raise BenchmarkError(f"{sample.key} has no words: only --start click can ask it")
    from refam.grounder import GroundingError

    try:
        ((heatmap,),) = grounder.ground([clip.frame(0)], [sample.words])
    except GroundingError:  # the pipeline raises it too, and its message is recorded there
        return None
    return heatmap.peak if heatmap.grid.max() > 0 else None


def _target(sample: BenchmarkSample, start: Start, peak: tuple[float, float] | None) -> Target:
    label = sample.words or sample.key
    if start == "click":
        if sample.truth is None:
            raise BenchmarkError(f"{sample.key} has no published truth: --start click has nothing to click on")
        frame = next(visible_frames(sample.truth, range(len(sample.pictures))), None)
        if frame is None:
            raise BenchmarkError(f"{sample.key} is seen on no picture: there is nothing to click on")
        point = masks.deepest_point(sample.truth.mask(frame))
        assert point is not None
        return Target(label, prompts=(FramePrompt(frame, (point,), (1,)),))
    if start == "paper" and peak is not None:
        return Target(label, prompts=(FramePrompt(0, (peak,), (1,)),))
    return Target(label, words=sample.words)


def score_track(
    score: SampleScore,
    sample: BenchmarkSample,
    track: MaskTrack | None,
    size: tuple[int, int],
    peak: tuple[float, float] | None,
    *,
    from_click: bool,
) -> SampleScore:
    """Compare a track with the ground truth of its sample.

    Args:
        score: The score to complete.
        sample: A sample with ground truth.
        track: The predicted track; None counts as empty masks.
        size: (width, height) of the frames in pixels.
        peak: (x, y), normalised, of the first frame's heatmap.
        from_click: Whether the track started from a click on the ground truth, so that there is no peak to score.

    Raises:
        FormatError: If the annotation has another size than the frames.
    """
    truth = sample.truth
    assert truth is not None
    js, fs, overlaps = [], [], []
    inter = union = 0
    for k in sample.scored_frames:
        mask, expected, void = _mask_on(track, k, size), truth.mask(k), truth.void(k)
        if expected.shape != mask.shape:
            (h, w), (height, width) = expected.shape, mask.shape
            raise FormatError(f"{sample.key}: the annotation is {w}x{h}, its picture {width}x{height}")
        js.append(metrics.region_similarity(mask, expected, void=void))
        fs.append(metrics.boundary_accuracy(mask, expected, void=void))
        valid = np.ones_like(expected) if void is None else ~void
        inter += int((mask & expected & valid).sum())
        union += int(((mask | expected) & valid).sum())
        objects = (expected, *truth.others(k))
        overlaps.append(np.array([[masks.iou(mask, other) if other.any() else 0.0 for other in objects]]))
    first = truth.mask(0)
    return replace(
        score,
        j=round(float(np.mean(js)), 6),
        f=round(float(np.mean(fs)), 6),
        hit=None if from_click or not first.any() else peak is not None and metrics.point_hit(peak, first),
        inter=inter,
        union=union,
        switches=metrics.identity_switches(overlaps),
    )


def _mask_on(track: MaskTrack | None, k: int, size: tuple[int, int]) -> Mask:
    empty: Mask = np.zeros((size[1], size[0]), np.bool_)
    if track is None:
        return empty
    row = int(np.searchsorted(track.frames, k))
    visible = row < len(track.frames) and track.frames[row] == k and track.visible[row]
    return masks.decode(track.rles[row]) if visible else empty


# --- a run in its folder ---------------------------------------------------------------------------------------------


class EvaluationRun:
    """One row of the table: its records and masks in a folder of their own.

    Args:
        out: The folder of the whole run.
        row: Name of the row.
        masks: Whether to write masks.

    Attributes:
        scores: The scores recorded so far, by the key of their sample.
    """

    def __init__(self, out: Path, row: str, *, masks: bool) -> None:
        self._folder = out / row.lower().replace(" + ", "-").replace(" ", "-")
        self._results = self._folder / "results.jsonl"
        self._masks = masks
        self.scores = {score.key: score for score in self._read()}

    def add(self, sample: BenchmarkSample, scored: ScoredTrack) -> None:
        """Write the masks of a sample, then its record, so that whatever is recorded is complete."""
        if self._masks:
            for k, name in enumerate(sample.frames):
                path = self._folder / "Annotations" / sample.video / sample.expression / f"{name}.png"
                write_png(path, scored.mask(k).astype(np.uint8) * 255)
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(scored.score), ensure_ascii=False) + "\n")
        self.scores[sample.key] = scored.score

    def write_submission(self, samples: Sequence[BenchmarkSample]) -> Path | None:
        """Pack the masks of these samples into submission.zip; return its path, or None if no masks are written."""
        if not self._masks:
            return None
        path = self._folder / "submission.zip"
        with (
            write_beside(path) as part,
            zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive,  # PNG is compressed already
        ):
            for sample in samples:
                for name in sample.frames:
                    member = f"Annotations/{sample.video}/{sample.expression}/{name}.png"
                    archive.write(self._folder / member, member)
        return path

    def _read(self) -> Iterator[SampleScore]:
        if not self._results.is_file():
            return
        lines = self._results.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                yield SampleScore(**json.loads(line))
            except (ValueError, TypeError):
                if number < len(lines):  # only the last line may have been cut off
                    raise FormatError(f"{self._results}, line {number} is no record of this program") from None
                complete = "".join(f"{kept}\n" for kept in lines[:-1])
                write_text(self._results, complete)


def record_settings(out: Path, settings: dict[str, Any], *, package: str) -> None:
    """Write OUT/settings.json: the settings of a run and the versions of the packages that it uses.

    Args:
        out: The folder of the run.
        settings: Must equal those that an earlier run recorded there.
        package: The distribution that this module is installed with; its version is recorded first.

    Raises:
        FormatError: If the folder holds results of other settings.
    """
    path = out / "settings.json"
    if path.is_file():
        before = read_json(path).get("settings", {})
        different = [k for k in sorted(before.keys() | settings.keys()) if before.get(k) != settings.get(k)]
        if different:
            name = different[0]
            raise FormatError(
                f"{out} holds results of other settings ({name}: {before.get(name)!r}, now {settings.get(name)!r}); "
                "choose another --out"
            )
    versions = {name: _version(name) for name in (package, *_PACKAGES)}
    write_json(path, {"settings": settings, "versions": versions})


def _version(package: str) -> str | None:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return None


# --- the paper's figures ---------------------------------------------------------------------------------------------
# Source: "RefAM: Attention Magnets for Zero-Shot Referral Segmentation", arXiv 2509.22650: its tables on Ref-DAVIS17
# (methods, and the ablation of magnets AM, noun phrases NP and spatial bias SB) and on RefCOCO, RefCOCO+ and RefCOCOg.
# In percent, with the weights and data that the paper used.

Figures = tuple[float | None, float | None, float | None, float | None]

_PUBLISHED_REF_DAVIS17: dict[str, Figures] = {
    "none": (50.0, 46.8, 53.2, 52.5),
    "NP": (53.1, 49.5, 56.7, 60.2),
    "NP + SB": (54.4, 50.9, 57.6, 59.8),
    "AM + NP": (55.1, 52.2, 58.0, 67.2),
    "AM + NP + SB": (57.6, 54.5, 60.6, 68.9),  # RefAM
}
_PUBLISHED_OVERALL_IOU: dict[str, dict[str, float]] = {
    "refcoco": {"val": 46.91, "testA": 52.30, "testB": 43.88},
    "refcoco+": {"val": 38.57, "testA": 42.66, "testB": 34.90},
    "refcocog": {"val": 45.53, "test": 44.45},
}

ABLATION_ROWS: dict[str, GroundingOptions] = {
    "none": OFF,
    "NP": ABLATION["NP"],
    "NP + SB": ABLATION["NP + SB"],
    "AM + NP": ABLATION["AM + NP"],
    "AM + NP + SB": ABLATION["AM + NP + SB"],
    "as it ships": SHIPPED,
}
"""The rows of the paper's ablation as grounding options; "as it ships" adds sinks and edges."""


def published_figures(dataset: str, split: str, row: str) -> tuple[Figures, float | None]:
    """Return what the paper reports for a row: (J&F, J, F, point accuracy) and oIoU, in percent; None for the rest."""
    method = row if row in _PUBLISHED_REF_DAVIS17 else "AM + NP + SB"
    if dataset == "ref-davis17" and split in ("val", "valid"):
        return _PUBLISHED_REF_DAVIS17[method], None
    if method == "AM + NP + SB":
        return (None, None, None, None), _PUBLISHED_OVERALL_IOU.get(dataset, {}).get(split)
    return (None, None, None, None), None


# --- the table -------------------------------------------------------------------------------------------------------


def results_table(dataset: str, split: str, rows: Mapping[str, Sequence[SampleScore]]) -> str:
    """Return a Markdown table in percent with 95 % intervals; below each row, what the paper reports for it."""
    lines = [
        f"| {dataset}, {split} | expressions | J&F | J | F | point accuracy | oIoU | mIoU | P@0.5 | switches |",
        "|---" * 10 + "|",
    ]
    for row, scores in rows.items():
        lines.append(_table_row(row, scores))
        figures, overall = published_figures(dataset, split, row)
        if any(v is not None for v in (*figures, overall)):
            cells = [*("" if v is None else f"{v:.1f}" for v in figures), "" if overall is None else f"{overall:.2f}"]
            name = "RefAM, as published" if row == "as it ships" else f"{row}, as published"
            lines.append(f"| {name} | | " + " | ".join(cells) + " | | | |")
    return "\n".join(lines)


def _table_row(row: str, scores: Sequence[SampleScore]) -> str:
    scored = [s for s in scores if s.j is not None and s.f is not None]
    if not scored:
        return f"| {row} | {len(scores)} |" + " not published |" + " |" * 7
    js, fs = [s.j or 0.0 for s in scored], [s.f or 0.0 for s in scored]
    hits = [s.hit for s in scored if s.hit is not None]
    both = [(j + f) / 2 for j, f in zip(js, fs, strict=True)]
    overall = sum(s.inter or 0 for s in scored) / max(1, sum(s.union or 0 for s in scored))
    cells = [_percent(metrics.estimate_mean(values, within=(0, 1))) for values in (both, js, fs)]
    cells += [
        _percent(metrics.estimate_share(hits)) if hits else "",
        f"{100 * overall:.1f}",
        f"{100 * float(np.mean(js)):.1f}",
    ]
    cells += [f"{100 * metrics.precision_at(js, 0.5):.1f}", str(sum(s.switches or 0 for s in scored))]
    return f"| {row} | {len(scored)} | " + " | ".join(cells) + " |"


def _percent(value: metrics.Estimate) -> str:
    return f"{100 * value.value:.1f} ({100 * value.low:.1f} - {100 * value.high:.1f})"
