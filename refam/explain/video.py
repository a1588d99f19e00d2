"""Explain one frame of a video: the page that `refam explain` writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from refam.explain.page import ExplainedFrame, render_page
from refam.explain.steps import Explanation, explain
from refam.pipeline.concepts import outline_words
from refam.pipeline.stages import Stage
from refam.pipeline.types import PipelineOptions
from video.heatmap_fusion import fuse_heatmaps, link_frames
from video.sampling import plan_frames
from video.types import Segmenter

if TYPE_CHECKING:
    from refam.grounder import Grounder
    from refam.grounder_group import GrounderGroup
    from video.io.reader import Clip

_MAX_CANDIDATES = 6


def explain_video(
    clip: Clip,
    words: str,
    *,
    source: str,
    frame: int | None,
    grounder: Grounder | GrounderGroup,
    segmenter: Segmenter,
    progress: Callable[[str, float], None],
) -> str:
    """Ground words in one frame of a video and show every step on an HTML page.

    Args:
        clip: The video, or a list of pictures.
        words: The expression.
        source: What the page calls the video.
        frame: 0-based, one that the clip has; None for the planned frame with the most confident heatmap.
        grounder: Grounds the words.
        segmenter: Makes masks of the heatmap.
        progress: Called with the name of a stage and the share of it that is done.

    Returns:
        The page as self-contained HTML.

    Raises:
        ClipError: If a frame cannot be read.
    """
    grounder = grounder.for_words(words)
    frames = _explained_frames(clip, words, grounder, progress)
    if frame is None:
        frame = max((f.heatmap for f in frames), key=lambda h: h.confidence).frame
    image = clip.frame(frame)
    explanation = explain(grounder, image, words, frame=frame)
    progress(Stage.MASK, 0.0)
    start = time.perf_counter()
    is_flat = explanation.heatmap.grid.max() <= 0
    candidates = [] if is_flat else outline_words(image, words, explanation.heatmap, segmenter)
    mask_s = time.perf_counter() - start
    progress(Stage.MASK, 1.0)
    return render_page(
        explanation,
        source=source,
        time_s=float(clip.times[frame]),
        candidates=candidates[:_MAX_CANDIDATES],
        frames=frames,
        facts=_facts(grounder, segmenter, explanation, mask_s),
        pixel_aspect=clip.pixel_aspect,
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
    fused = fuse_heatmaps(heatmaps, link_frames(clip, planned)).heatmaps
    progress(Stage.CONSENSUS, 1.0)
    return [ExplainedFrame(float(clip.times[h.frame]), image, h) for image, h in zip(frames, fused, strict=True)]


def _facts(grounder: Grounder, segmenter: Segmenter, explanation: Explanation, mask_s: float) -> list[tuple[str, str]]:
    preset, options = grounder.backbone.preset, grounder.options
    h, w = explanation.words[0].grid.shape
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
            f"{explanation.attention_s:.2f} s to read, {explanation.heatmap_s:.2f} s to weigh, "
            f"{mask_s:.2f} s for the mask",
        ),
        ("Device", str(grounder.backbone.device)),
    ]
