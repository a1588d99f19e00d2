"""Outlines that a real Label Studio stores for a project with `<VideoVector>`, drawn by its rule, beside the
truth.

Label Studio's open source package has no editor for the tag: this shows what it stores and gives back, not a picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.demo.local_studio import LocalStudio
from backend.labelstudio.connect import connect
from backend.labelstudio.controls.video_vector import VectorKeyframes, VideoVectorControl
from backend.labelstudio.label_config import parse_label_config
from backend.service.app import BackgroundServer
from refam.evaluation.synthetic import RED, red_star_and_blue_ring
from tests.media import cfr
from tests.studio import settings_beside
from video.contours import polygon_to_mask
from video.masks import iou

pytestmark = pytest.mark.e2e

_SIZE = (320, 180)
_LABELS = '<Labels name="labels" toName="video"><Label value="Object"/></Labels>'
_VIDEO = '<Video name="video" value="$video" frameRate="$fps"/>'
_LABEL_CONFIGS = {
    "videovector": f'<View>{_LABELS}{_VIDEO}<VideoVector name="line" toName="video" closable="true"/></View>',
    "videovectorlabels": f'<View>{_VIDEO}<VideoVectorLabels name="line" toName="video" closable="true">'
    '<Label value="Object"/></VideoVectorLabels></View>',
}


@pytest.mark.parametrize("kind", _LABEL_CONFIGS)
def test_outlines_of_a_video_are_stored(studio: LocalStudio, tmp_path: Path, kind: str) -> None:
    frames, truth = red_star_and_blue_ring(24, size=_SIZE)
    video = cfr(tmp_path / "clip.mp4", frames)
    project, (address,) = studio.create_project(kind, _LABEL_CONFIGS[kind], [video])
    (task,) = studio.import_tasks(project, [{"video": address, "prompt": RED, "fps": 25}])
    settings = settings_beside(studio, tmp_path)
    with BackgroundServer(settings) as backend:
        findings = [f.text for f in connect(settings, project, url=backend.url)]
        tag = "VideoVector" if kind == "videovector" else "VideoVectorLabels"
        assert any(f'outlines go to <{tag} name="line">' in text for text in findings), findings
        studio.retrieve_predictions(project)
        assert studio.wait_for_predictions([task], timeout_s=600)
    (prediction,) = studio.predictions(task)
    (region,) = prediction["result"]
    config = parse_label_config(_LABEL_CONFIGS[kind])
    assert isinstance(config.control, VideoVectorControl)
    assert (region["type"], region["from_name"], region["to_name"]) == (kind, "line", "video")
    assert region["value"]["labels"] == ["Object"]
    outline = VectorKeyframes(region["value"]["sequence"])
    ious = [iou(polygon_to_mask(outline.points(row + 1) * _SIZE, _SIZE), truth[0][row]) for row in range(24)]
    assert np.mean(ious) > 0.75, ious
