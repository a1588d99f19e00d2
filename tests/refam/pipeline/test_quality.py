"""How closely videos are looked at. What that costs and gives is measured elsewhere; here, that it is as it is said."""

from __future__ import annotations

import numpy as np
import pytest

from backend.runtime import Runtime
from backend.service.model import RefAMBackend
from backend.settings import SettingsError, load_settings
from refam.evaluation.synthetic import red_star_and_blue_ring
from refam.pipeline.pipeline import Pipeline
from refam.pipeline.types import FramePrompt, Target
from refam.segmenters.grabcut import GrabCutSegmenter
from tests.backend.predict_requests import VIDEO_CONFIG
from tests.doubles import ColourGrounder
from tests.media import cfr, picture
from video import masks
from video.io.reader import make_view, open_clip, open_sequence
from video.masks import box_iou, box_of

SIZE = (960, 540)
N = 3


class Watched(Runtime):
    """Real models beside the words; sizes: of the frames that were looked at."""

    def __init__(self, settings):
        super().__init__(settings, grounder=ColourGrounder)
        self.sizes = []

    def pipeline(self):
        pipeline = super().pipeline()
        run = type(pipeline).run

        def watched(clip, *args, **how):
            self.sizes.append(clip.size)
            return run(pipeline, clip, *args, **how)

        pipeline.run = watched
        return pipeline


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    frames, truth = red_star_and_blue_ring(N, size=SIZE)
    return cfr(tmp_path_factory.mktemp("media") / "clip.mp4", frames), truth[0]


def answered(clip, tmp_path, quality, *, task_id=1):
    path, truth = clip
    runtime = Watched(
        load_settings(
            media_root=path.parent,
            cache_dir=tmp_path / "cache",
            data_dir=tmp_path / "data",
            sam2="grabcut",
            quality=quality,
            deadline_s=95,
            page_deadline_s=95,
        )
    )
    try:
        task = {"id": task_id, "data": {"video": path.name, "prompt": "the red star", "fps": 25}}
        (prediction,) = RefAMBackend(runtime=runtime).predict([task], label_config=VIDEO_CONFIG, project="1.1")
    finally:
        runtime.close()
    first = prediction["result"][0]["value"]["sequence"][0]
    box = np.array([first["x"], first["y"], first["x"] + first["width"], first["y"] + first["height"]]) / 100
    assert box_iou(box[None], np.array([box_of(truth[0])]))[0] > 0.85
    assert prediction["model_version"] == runtime.model_version
    return runtime


@pytest.mark.slow
def test_each_quality_makes_a_prediction_of_its_own(clip, tmp_path):
    """One data directory: what one quality keeps is not taken for another's."""
    for quality, size, tail in [("fast", (640, 360), ":fast"), ("normal", SIZE, "/dis-flow"), ("best", SIZE, ":best")]:
        runtime = answered(clip, tmp_path, quality)
        assert runtime.sizes == [size]
        assert runtime.model_version.endswith(tail)
    # Another task of the same content: the same one, asked again within seconds, is told that it was answered just now.
    assert answered(clip, tmp_path, "fast", task_id=2).sizes == [], "known"


def test_an_unknown_quality_is_refused():
    with pytest.raises(SettingsError, match=r"(?i)quality.*fast"):
        load_settings(quality="great")


class Slow(GrabCutSegmenter):
    """As SAM2 on a CPU: too slow for every frame. looked: the images that it was called on."""

    is_fast = False

    def __init__(self):
        super().__init__()
        self.looked = set()

    def segment(self, image, prompt, *, frame=0):
        self.looked.add(image.tobytes())
        return super().segment(image, prompt, frame=frame)


@pytest.mark.parametrize(
    ("seen", "looks"),
    [
        (lambda video, _: video, 20 // 5),
        (lambda video, _: make_view(video, every=2), 10 // round(5 / 2)),  # as far apart in time, not in frames
        (lambda video, _: make_view(video, every=7), 3),  # never less often than there are frames
        (lambda _, pictures: pictures, 20),  # nobody knows how far these are apart, and a mask on each is wanted
    ],
    ids=["video", "every second frame", "every seventh", "pictures"],
)
def test_refits_are_as_far_apart_whatever_is_left_out(tmp_path, seen, looks):
    frames, truth = red_star_and_blue_ring(60, size=(192, 108))
    frames = frames[:21]
    files = [picture(tmp_path / f"{i:02d}.png", frame) for i, frame in enumerate(frames)]
    clip = seen(open_clip(cfr(tmp_path / "clip.mp4", frames)), open_sequence(files))
    segmenter = Slow()
    prompt = FramePrompt(0, mask=masks.encode(truth[0][0]))
    (found,) = Pipeline(segmenter, grounder=ColourGrounder).run(clip, [Target("star", prompts=(prompt,))])
    assert found.track.visible.all()
    assert len(segmenter.looked) == looks
