"""The public API: a model that tracks, grounds and segments, and the functions that load and use one."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from refam.backbones.presets import DEFAULT_BACKBONE
from refam.pipeline.arguments import (
    FrameBox,
    FrameMask,
    FramePoint,
    check_mask_sizes,
    require_image,
    require_path,
    require_text,
    require_whole,
    to_image_prompt,
    to_prompts,
    to_region,
    to_targets,
)
from refam.pipeline.concepts import outline_words
from refam.pipeline.device import require_device
from refam.pipeline.load_arguments import (
    is_offline_by_environment,
    require_blocks,
    require_choice,
    to_magnets,
    to_reading,
)
from refam.pipeline.pipeline import Pipeline, run_in_region
from refam.pipeline.quality import Quality
from refam.pipeline.roi import RegionOfInterest
from refam.pipeline.stages import Progress
from refam.pipeline.types import PipelineOptions, PromptError, Target, TrackResult
from refam.pipeline.word_check import check_targets
from refam.reading import Reading
from refam.segmenters.load import SegmenterError, TrackerKind, load_segmenter
from refam.segmenters.sam2_weights import describe_missing, fetch_default_weights
from refam.text.magnets import Magnets
from video.io.folder import open_video
from video.io.reader import Clip
from video.types import Candidate, Heatmap, Segmenter

log = logging.getLogger("refam.model")

if TYPE_CHECKING:
    from refam.grounder import Grounder
    from refam.grounder_group import GrounderGroup
    from refam.pipeline.preview import Preview
    from refam.pipeline.stage_cache import StageCache

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Quantisation = Literal["bnb-4bit", "bnb-8bit", "int8"]


class Model:
    """A segmenter, a tracker and a backbone for words, held for many videos. One call at a time.

    Most users get one from `load`.

    Args:
        segmenter: What outlines objects; it also decides which tracker is used.
        grounder: Loads what grounds words; called once, when words first need it.
        check_targets: Raises WordsError for targets none of which can be looked for, without loading anything. None
            leaves that to the grounder.
        quality: How closely videos are looked at: "fast", "normal" or "best".
        options: What else may be tuned; the quality overrules it.

    Raises:
        PromptError: If there is no such quality.

    Example:
        >>> model = refam.load()
        >>> for path in paths:
        ...     dog, ball = model.track(path, ["the dog", "the ball"])
    """

    def __init__(
        self,
        segmenter: Segmenter,
        grounder: Callable[[], Grounder | GrounderGroup],
        *,
        check_targets: Callable[[Sequence[Target]], None] | None = None,
        quality: Quality | str = Quality.NORMAL,
        options: PipelineOptions | None = None,
    ) -> None:
        self.segmenter = segmenter
        self._check_targets = check_targets
        require_choice("quality", quality, list(Quality))
        self.quality = Quality(quality)
        self._load_grounder = functools.cache(grounder)
        self.pipeline = Pipeline(segmenter, grounder=self._load_grounder, options=self.quality.options(options))

    @property
    def model_version(self) -> str:
        """What predictions are made with: package, backbone (`-` until words needed one), segmenter and tracker."""
        return self.pipeline.model_version

    @property
    def grounder(self) -> Grounder | GrounderGroup:
        """What grounds words; loaded at first use."""
        return self._load_grounder()

    def track(
        self,
        video: str | Path | Clip,
        words: str | Sequence[str] = (),
        *,
        points: Sequence[FramePoint] = (),
        negative_points: Sequence[FramePoint] = (),
        boxes: Sequence[FrameBox] = (),
        masks: Sequence[FrameMask] = (),
        frame_range: str = "",
        every: int = 1,
        max_side_px: int | None = None,
        progress: Progress | None = None,
    ) -> list[TrackResult]:
        """Find objects in a video, and track them.

        Points, boxes and masks describe one object: the one that the words mean if there are any, else one of its own.
        They are kept as they are, and overrule the words.

        Args:
            video: A file, a folder of pictures, or a clip from `video.io.folder.open_video`.
            words: A referring expression, or several: one object each, or all that a plural means ("the two dogs").
            points: (x, y, frame) on the object; x and y are fractions of the frame from its top left, frames are
                counted from 0.
            negative_points: (x, y, frame) off the object.
            boxes: (x0, y0, x1, y1, frame) around the object, as fractions of the frame.
            masks: (mask, frame), the mask (H, W) bool in the frame's size.
            frame_range: FROM-TO, both included: frames ("100-250") or seconds ("2.5s-4s"); "" for the whole video.
            every: Look at every n-th frame; masks between them are interpolated.
            max_side_px: Look at frames that are reduced to this longer side; masks come in full size.
            progress: Called with the stage's name and its finished fraction.

        Returns:
            One result for each object, in the order of the words; those of a plural from left to right, as they stand
            on the frame that shows most of them (`instance` counts them from 1, `label` is the same). Each has
            `frames`, `boxes`, `masks`, `visible`, `keyframes`, `score` and `notes`. The rows of `boxes`, `masks` and
            `visible` are the frames of the range, those between the n-th too: row i is frame `result.frames[i]` of the
            video. An object that was not found is visible nowhere, and its notes say why.

        Raises:
            PromptError: If an argument is malformed or out of range.
            ClipError: If the file cannot be read.
            PipelineError: If none of the objects was found, and also if they were given by words alone and the
                backbone cannot be loaded.
            ReadingError: If no frame could be read.

        Example:
            >>> (dog,) = model.track("clip.mp4", "the dog on the left")
            >>> dog.boxes[dog.visible].mean(0)
            >>> (ball,) = model.track("clip.mp4", points=[(0.42, 0.61, 0)])
            >>> [person.score for person in model.track("clip.mp4", "every person")]
        """
        prompts = to_prompts(points, negative_points, boxes, masks)
        targets = to_targets(words, prompts)
        region = to_region(frame_range, every, max_side_px, default_side_px=self.quality.max_side_px)
        if not isinstance(video, Clip):
            video = require_path("video", video, "a video file or a folder of pictures")
        if self._check_targets is not None:
            self._check_targets(targets)
        clip = video if isinstance(video, Clip) else open_video(video, partial=True)
        return self.run(clip, targets, region=region, progress=progress)

    def run(
        self,
        clip: Clip,
        targets: Sequence[Target],
        *,
        region: RegionOfInterest | None = None,
        progress: Progress | None = None,
        cache: StageCache | None = None,
        preview: Preview | None = None,
    ) -> list[TrackResult]:
        """Track targets in an open clip: what `track` does, for callers with targets and a cache of their own.

        Args:
            clip: The video.
            targets: The objects to find.
            region: The frames to look at, and their size; as the quality says unless given.
            progress: Called with the stage's name and its finished fraction.
            cache: Where finished stages of this clip, region and quality are stored and looked up.
            preview: Called once before tracking, with the mask from which each object will be tracked; see
                `refam.pipeline.preview`. What it raises ends the run.

        Returns:
            The results, see `Pipeline.run`, on the clip's own frames and in its size.

        Raises:
            PromptError: If a region or a prompt does not fit the clip.
            PipelineError: If none of the targets was found; see `track`.
            ReadingError: If no frame could be read.
        """
        check_mask_sizes(targets, clip.size)
        if region is None:
            return self.quality.run(self.pipeline, clip, targets, progress=progress, cache=cache, preview=preview)
        return run_in_region(self.pipeline, clip, targets, region, progress=progress, cache=cache, preview=preview)

    def ground(self, image: NDArray[np.uint8], words: str) -> Heatmap:
        """Find where words point in an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            words: A referring expression.

        Returns:
            The heatmap: `grid` (h, w) float32 in [0, 1], `peak` (x, y) as fractions of the image, `confidence`.

        Raises:
            PromptError: If the image is not RGB, or if the words are no text.
            GroundingError: If the words cannot be grounded.
            BackboneError: If the backbone cannot be loaded.

        Example:
            >>> heatmap = model.ground(image, "the dog on the left")
            >>> heatmap.peak
            (0.31, 0.58)
        """
        require_image(image)
        require_text("words", words, "the dog on the left")
        return self.grounder.ground([image], [words])[0][0]

    def segment(
        self,
        image: NDArray[np.uint8],
        words: str | None = None,
        *,
        points: Sequence[tuple[float, float]] = (),
        negative_points: Sequence[tuple[float, float]] = (),
        box: tuple[float, float, float, float] | None = None,
        prior: NDArray[np.float32] | None = None,
    ) -> list[Candidate]:
        """Outline an object in an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            words: A referring expression; its heatmap becomes the prior. With SAM3, and without points or a box, it
                chooses among the instances of what the words name.
            points: (x, y) on the object, as fractions of the image.
            negative_points: (x, y) off the object.
            box: x0, y0, x1, y1 around the object, as fractions of the image.
            prior: (h, w) float32 in [0, 1]: a heatmap or a mask to be refined, at any resolution.

        Returns:
            Candidates, the best first: `mask` (H, W) bool and `score` in [0, 1]. Empty if nothing stands out.

        Raises:
            PromptError: If neither words, points, a box nor a prior are given, if one of them is malformed or out of
                range, or if the image is not RGB.
            GroundingError: If the words cannot be grounded.
            BackboneError: If words are given and the backbone cannot be loaded.

        Example:
            >>> best = model.segment(image, points=[(0.42, 0.61)])[0]
            >>> best.mask.sum(), best.score
        """
        require_image(image)
        if words is None:
            return self.segmenter.segment(image, to_image_prompt(points, negative_points, box, prior))
        if prior is not None:
            raise PromptError("give words or a prior, not both: the words' heatmap is the prior")
        heatmap = self.ground(image, words)
        prompt = to_image_prompt(points, negative_points, box, heatmap.grid)
        if not len(prompt.points) and prompt.box is None:
            return outline_words(image, words, heatmap, self.segmenter)
        return self.segmenter.segment(image, replace(prompt, mask_choice=heatmap.mask_choice))


def load(
    backbone: str = DEFAULT_BACKBONE,
    segmenter: str | None = None,
    *,
    device: str = "auto",
    quality: Quality | str = Quality.NORMAL,
    tracker: TrackerKind = "auto",
    magnets: str | Magnets | None = None,
    reading: str | Reading = "",
    blocks: str | None = None,
    seed: int = 0,
    dtype: Dtype = "auto",
    offload: bool = False,
    quantise: Quantisation | None = None,
    free_text: bool = False,
    download: bool = False,
    offline: bool | None = None,
    models_dir: Path | None = None,
    feature_cache: Path | None = None,
    feature_cache_mb: float = 2000,
) -> Model:
    """Load a model that is held for many videos.

    The backbone is loaded when words first need it. If it cannot be loaded, `Model.ground` and `Model.segment`
    raise BackboneError, and `Model.track` raises PipelineError, which quotes that error.

    Args:
        backbone: What grounds words: "small", which ships and knows drawn shapes and everyday nouns, another preset
            ("flux-schnell", ...), the directory of a diffusers pipeline, or its name on the hub.
        segmenter: What outlines objects: "grabcut", which needs no weights, "sam2-tiny" and the like, a directory of
            SAM2 or SAM3, or a name on the hub. None takes the best that is on this machine; if there is none,
            "sam2-tiny" is fetched (about 156 MB), or "grabcut" taken where it cannot be, which the log says.
        device: "auto", "cpu", "mps", "cuda" or one GPU of several such as "cuda:1"; for both. "auto" is CUDA if there
            is any, else the CPU.
        quality: "fast", "normal" or "best": how closely videos are looked at.
        tracker: "flow", "memory", "sam2-video" or "sam3-video"; "auto" takes the best that the segmenter allows.
        magnets: The words that take up stray attention, with spaces between them; the paper's unless given.
        reading: Other ways of reading the attention, such as "contrast=0.5 heads=peak", see `refam.reading`.
        blocks: The transformer blocks to read, such as "14-17" or "all"; None takes the preset's.
        seed: Random seed of the noise that words are grounded with.
        dtype: Type of the backbone's weights: "float32", "bfloat16" or "float16"; "auto" is the preset's on CUDA, and
            float32 elsewhere.
        offload: Keep the backbone's parts in main memory, and bring each to the GPU when it is needed.
        quantise: Hold the backbone's weights in 4 or 8 bits: "bnb-4bit", "bnb-8bit" or "int8"; needs CUDA. None leaves
            them as they are.
        free_text: Free the text encoders once words are encoded, and load them again for new ones.
        download: Fetch a backbone that is not on this machine.
        offline: Fetch nothing; by default if the variable REFAM_OFFLINE is set.
        models_dir: Where SAM2's weights are; by default where `refam models pull` puts them.
        feature_cache: A directory for SAM2's features of frames, so that none is encoded twice.
        feature_cache_mb: What that directory may hold, in MB; 2000 unless given.

    Returns:
        The model.

    Raises:
        PromptError: If an argument is malformed, if there is no such quality, dtype or quantisation, or if the device
            is none that torch can use.
        SegmenterError: If the segmenter cannot be loaded, or if there is no such tracker.

    Example:
        >>> model = refam.load(backbone="flux-schnell", segmenter="sam2-tiny", download=True)
    """
    require_text("backbone", backbone, DEFAULT_BACKBONE)
    if segmenter is not None and segmenter != "":
        require_text("segmenter", segmenter, "sam2-tiny")
    require_device(require_text("device", device, "auto"))
    require_whole("seed", seed, least=0)
    require_choice("quality", quality, list(Quality))
    require_choice("dtype", dtype, get_args(Dtype))
    if quantise is not None:
        require_choice("quantise", quantise, get_args(Quantisation))
    magnet_words, how_read = to_magnets(magnets), to_reading(reading)
    require_blocks(blocks)

    def load_words() -> Grounder | GrounderGroup:
        from refam.backbones import LoadOptions
        from refam.grounder import GroundingOptions
        from refam.grounder_loading import load_grounder_or_group

        options = GroundingOptions(seed=seed, magnet_words=magnet_words, reading=how_read)
        loading = LoadOptions(
            dtype=dtype, offload=offload, quantise=quantise, free_text=free_text, download=download, blocks=blocks
        )
        return load_grounder_or_group(backbone, device=device, options=options, loading=loading)

    models = default_models_dir() if models_dir is None else require_path("models_dir", models_dir, "a folder")
    offline = is_offline_by_environment() if offline is None else offline
    why_no_weights = fetch_default_weights(segmenter, models, offline=offline, report=log.warning)
    if why_no_weights is not None and segmenter:
        raise SegmenterError(describe_missing(segmenter, why_no_weights, offline=offline))
    if why_no_weights is not None and not offline:
        log.warning("masks are drawn by GrabCut: %s", why_no_weights)
    loaded = load_segmenter(
        segmenter,
        models=models,
        device=device,
        tracker=tracker,
        cache=feature_cache,
        cache_mb=feature_cache_mb,
        offline=offline,
    )
    check = functools.partial(check_targets, backbone=backbone, magnets=magnet_words, download=download)
    return Model(loaded, load_words, check_targets=check, quality=quality)


def track(
    video: str | Path | Clip,
    words: str | Sequence[str] = (),
    *,
    points: Sequence[FramePoint] = (),
    negative_points: Sequence[FramePoint] = (),
    boxes: Sequence[FrameBox] = (),
    masks: Sequence[FrameMask] = (),
    frame_range: str = "",
    every: int = 1,
    backbone: str = DEFAULT_BACKBONE,
    segmenter: str | None = None,
    device: str = "auto",
    quality: Quality | str = Quality.NORMAL,
    download: bool = False,
    offline: bool | None = None,
    progress: Progress | None = None,
) -> list[TrackResult]:
    """Find objects in one video, and track them. For several videos, `load` a model once and call its `track`.

    Args:
        video: A file, a folder of pictures, or a clip from `video.io.folder.open_video`.
        words: A referring expression, or several: one object each, or all that a plural means ("the two dogs").
        points: (x, y, frame) on the object; x and y are fractions of the frame, frames are counted from 0.
        negative_points: (x, y, frame) off the object.
        boxes: (x0, y0, x1, y1, frame) around the object, as fractions of the frame.
        masks: (mask, frame), the mask (H, W) bool in the frame's size.
        frame_range: FROM-TO, both included: frames ("100-250") or seconds ("2.5s-4s"); "" for the whole video.
        every: Look at every n-th frame; masks between them are interpolated.
        backbone: What grounds words; see `load`.
        segmenter: What outlines objects; see `load`.
        device: "auto", "cpu", "mps", "cuda" or one GPU of several such as "cuda:1".
        quality: "fast", "normal" or "best".
        download: Fetch a backbone that is not on this machine.
        offline: Fetch nothing; see `load`.
        progress: Called with the stage's name and its finished fraction.

    Returns:
        One result for each object, in the order of the words; those of a plural from left to right. The rows
        of `boxes` and `masks` are the frames of the range: row i is frame `result.frames[i]`. See `Model.track`.

    Raises:
        PromptError: If an argument is malformed or out of range.
        ClipError: If the file cannot be read.
        PipelineError: If none of the objects was found, and also if they were given by words alone and the backbone
            cannot be loaded.
        ReadingError: If no frame could be read.
        SegmenterError: If the segmenter cannot be loaded.

    Example:
        >>> (dog,) = refam.track("clip.mp4", "the dog on the left")
        >>> dog.boxes, dog.masks[0], dog.keyframes, dog.score
    """
    model = load(backbone, segmenter, device=device, quality=quality, download=download, offline=offline)
    return model.track(
        video,
        words,
        points=points,
        negative_points=negative_points,
        boxes=boxes,
        masks=masks,
        frame_range=frame_range,
        every=every,
        progress=progress,
    )


def default_models_dir() -> Path:
    """Return where `refam models pull` puts SAM2's weights: below REFAM_DATA_DIR, or the user's data directory."""
    return Path(os.environ.get("REFAM_DATA_DIR") or "~/.local/share/refam").expanduser() / "models"
