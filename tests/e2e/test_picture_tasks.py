"""Masks that a real Label Studio stores for a clip cut into pictures, decoded and compared with the truth."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from numpy.typing import NDArray

from backend.demo.local_studio import LocalStudio
from backend.labelstudio.connect import connect
from backend.service.app import BackgroundServer
from refam.evaluation.synthetic import RED, red_star_and_blue_ring
from tests.media import cfr
from tests.studio import picture_task, settings_beside

pytestmark = pytest.mark.e2e

_SIZE = (320, 180)
_EVERY = 3


def read_mask(region: dict[str, Any]) -> NDArray[np.bool_]:
    w, h = region["original_width"], region["original_height"]
    value = region["value"]
    if "rle" in value:
        return np.asarray(decode_rle(value["rle"]).reshape(h, w, 4)[..., 3] > 127)
    if "imageDataURL" in value:
        png = base64.b64decode(value["imageDataURL"].split(",")[1])
        picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
        return np.asarray(picture[..., 3] > 127)
    corners = np.round(np.array(value["points"]) / 100 * [w, h]).astype(np.int32)
    return np.asarray(cv2.fillPoly(np.zeros((h, w), np.uint8), [corners], 1) > 0)


@pytest.mark.parametrize("masks", ["brush", "polygon", "bitmask"])
def test_masks_of_a_cut_clip_are_stored(studio: LocalStudio, tmp_path: Path, masks: str) -> None:
    frames, truth = red_star_and_blue_ring(24, size=_SIZE)
    video = cfr(tmp_path / "clip.mp4", frames)
    project, task = picture_task(studio, video, f"cut-{masks}", every=_EVERY, words=RED, shape=masks)
    settings = settings_beside(studio, tmp_path)
    with BackgroundServer(settings) as backend:
        notes = {f.text for f in connect(settings, project, url=backend.url) if f.state == "note"}
        assert any("Auto-Accept Suggestions" in text for text in notes), notes
        studio.retrieve_predictions(project)
        assert studio.wait_for_predictions([task], timeout_s=600)
    (prediction,) = studio.predictions(task)
    expected = truth[0][::_EVERY]
    stored = np.zeros_like(expected)
    for region in prediction["result"]:
        assert region["type"] == f"{masks}labels"
        assert (region["original_width"], region["original_height"]) == _SIZE
        stored[region["item_index"]] |= read_mask(region)
    ious = [(a & b).sum() / (a | b).sum() for a, b in zip(stored, expected, strict=True)]
    assert np.mean(ious) > 0.8, ious
