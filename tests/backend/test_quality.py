"""REFAM_QUALITY: what it costs and gives is measured elsewhere; here, that an answer is of the quality it says."""

from __future__ import annotations

import numpy as np
import pytest

from backend.model import RefAMBackend
from backend.services import Services
from backend.settings import SettingsError, load_settings
from tests.backend.doubles import ColourGrounder
from tests.backend.test_server import XML
from tests.media import cfr
from tests.scenes import red_star_and_blue_ring
from video.masks import box_iou, box_of

SIZE = (1280, 720)
N = 10


class Watched(Services):
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
    services = Watched(
        load_settings(
            media_root=path.parent,
            cache_dir=tmp_path / "cache",
            data_dir=tmp_path / "data",
            sam2="grabcut",
            quality=quality,
        )
    )
    try:
        task = {"id": task_id, "data": {"video": path.name, "prompt": "the red star", "fps": 25}}
        (prediction,) = RefAMBackend(services=services).predict([task], label_config=XML, project="1.1")
    finally:
        services.close()
    first = prediction["result"][0]["value"]["sequence"][0]
    box = np.array([first["x"], first["y"], first["x"] + first["width"], first["y"] + first["height"]]) / 100
    assert box_iou(box[None], np.array([box_of(truth[0])]))[0] > 0.85
    assert prediction["model_version"] == services.model_version
    return services


def test_each_quality_is_an_answer_of_its_own(clip, tmp_path):
    """One data directory: what one quality keeps is not taken for another's."""
    for quality, size, tail in [("fast", (640, 360), ":fast"), ("normal", SIZE, "/dis-flow"), ("best", SIZE, ":best")]:
        services = answered(clip, tmp_path, quality)
        assert services.sizes == [size]
        assert services.model_version.endswith(tail)
    # Another task of the same content: the same one, asked again within seconds, is told that it is stored already.
    assert answered(clip, tmp_path, "fast", task_id=2).sizes == [], "known"


def test_an_unknown_quality_is_refused_in_words():
    with pytest.raises(SettingsError, match=r"(?i)quality.*fast"):
        load_settings(quality="great")
