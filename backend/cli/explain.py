"""`refam explain`: a page that shows how words became a mask."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from refam.explain.page import ExplainedFrame, render_page
from refam.explain.steps import Explanation, explain
from refam.pipeline.stages import Stage
from refam.pipeline.types import PipelineOptions
from video.errors import UserError
from video.heatmap_fusion import fuse_heatmaps, link_frames
from video.io.reader import open_clip
from video.sampling import plan_frames
from video.types import Prompt, Segmenter

if TYPE_CHECKING:
    from refam.grounder import Grounder
    from video.io.reader import Clip

_MOST_CANDIDATES = 6


class ExplainError(UserError):
    """There is nothing to explain; the message says why."""


def make_page(
    video: Path,
    words: str,
    *,
    frame: int | None,
    grounder: Grounder,
    segmenter: Segmenter,
    progress: Callable[[str, float], None],
) -> str:
    """HTML for one frame of a video (None: the planned one on which the words are surest). Raises ExplainError."""
    progress("open", 0.0)
    clip = open_clip(video)
    progress("open", 1.0)
    if frame is not None and frame >= len(clip):
        raise ExplainError(f"there is no frame {frame}; {video.name} has frames 0 to {len(clip) - 1}")
    frames = _explained_frames(clip, words, grounder, progress)
    if frame is None:
        frame = max((f.heatmap for f in frames), key=lambda h: h.confidence).frame
    image = clip.frame(frame)
    found = explain(grounder, image, words, frame=frame)
    progress(Stage.MASK, 0.0)
    started = time.perf_counter()
    flat = found.heatmap.grid.max() <= 0
    candidates = [] if flat else segmenter.segment(image, Prompt(prior=found.heatmap.grid), frame=frame)
    mask_s = time.perf_counter() - started
    progress(Stage.MASK, 1.0)
    return render_page(
        found,
        source=video.name,
        time_s=float(clip.times[frame]),
        candidates=candidates[:_MOST_CANDIDATES],
        frames=frames,
        facts=_facts(grounder, segmenter, found, mask_s),
    )


def _explained_frames(
    clip: Clip, words: str, grounder: Grounder, progress: Callable[[str, float], None]
) -> list[ExplainedFrame]:
    planned = plan_frames(clip, count=PipelineOptions().grounded_frames).tolist()
    progress(Stage.GROUND, 0.0)
    frames = [image for _, images in clip.batches(planned) for image in images]
    (heatmaps,) = grounder.ground(frames, [words], indices=planned)
    progress(Stage.GROUND, 1.0)
    progress(Stage.CONSENSUS, 0.0)
    agreed = fuse_heatmaps(heatmaps, link_frames(clip, planned)).heatmaps
    progress(Stage.CONSENSUS, 1.0)
    return [ExplainedFrame(float(clip.times[h.frame]), image, h) for image, h in zip(frames, agreed, strict=True)]


def _facts(grounder: Grounder, segmenter: Segmenter, found: Explanation, mask_s: float) -> list[tuple[str, str]]:
    preset, options = grounder.backbone.preset, grounder.options
    h, w = found.words[0].grid.shape
    blocks = "all" if preset.blocks is None else ", ".join(map(str, preset.blocks))
    on = [name.replace("_", " ") for name, value in vars(options).items() if value is True]
    off = [name.replace("_", " ") for name, value in vars(options).items() if value is False]
    return [
        ("Backbone", grounder.name),
        ("Licence", preset.licence or "see its model card"),
        ("Segmenter", segmenter.name),
        ("Blocks read", blocks),
        ("Noise level", f"{preset.noise:g}, {preset.draws} draw{'s' * (preset.draws > 1)}, seed {options.seed}"),
        ("Map", f"{w} x {h} tokens"),
        ("Switched on", ", ".join(on) or "nothing"),
        ("Switched off", ", ".join(off) or "nothing"),
        (
            "One frame took",
            f"{found.attention_s:.2f} s to read, {found.heatmap_s:.2f} s to weigh, {mask_s:.2f} s for the mask",
        ),
        ("Device", str(grounder.backbone.device)),
    ]
