"""Masks that a real Label Studio stores for a clip cut into pictures, decoded and compared with the truth."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from numpy.typing import NDArray
from typer.testing import CliRunner

from backend.cli import app
from backend.local_studio import LocalStudio, free_port
from backend.server import BackgroundServer
from backend.settings import load_settings
from tests.media import cfr
from tests.scenes import RED, red_star_and_blue_ring

pytestmark = pytest.mark.e2e

_SIZE = (320, 180)
_EVERY = 3


def _mask(region: dict[str, Any]) -> NDArray[np.bool_]:
    w, h = region["original_width"], region["original_height"]
    value = region["value"]
    if "rle" in value:
        return np.asarray(decode_rle(value["rle"]).reshape(h, w, 4)[..., 3] > 127)
    if "imageDataURL" in value:
        coded = base64.b64decode(value["imageDataURL"].split(",")[1])
        picture = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_UNCHANGED)
        return np.asarray(picture[..., 3] > 127)
    corners = np.round(np.array(value["points"]) / 100 * [w, h]).astype(np.int32)
    return np.asarray(cv2.fillPoly(np.zeros((h, w), np.uint8), [corners], 1) > 0)


@pytest.mark.parametrize("masks", ["brush", "polygon", "bitmask"])
def test_masks_of_a_cut_clip_are_stored(studio: LocalStudio, tmp_path: Path, masks: str) -> None:
    frames, truth = red_star_and_blue_ring(24, size=_SIZE)
    out = studio.media_dir / f"cut-{masks}"
    folder = f"/data/local-files/?d={out.relative_to(studio.data_dir)}/frames"
    video = cfr(tmp_path / "clip.mp4", frames)
    args = ["frames", str(video), "--out", str(out), "--every", str(_EVERY), "--words", RED, "--masks", masks]
    ran = CliRunner().invoke(app, [*args, "--url", folder])
    assert ran.exit_code == 0, ran.output
    project = int(
        studio.api(
            "POST",
            "/api/projects/",
            json={"title": masks, "label_config": (out / "label_config.xml").read_text()},
        )["id"]
    )
    storage = {"project": project, "path": str(out / "frames"), "use_blob_urls": True}
    studio.api("POST", "/api/storages/localfiles", json=storage)
    (task,) = studio.import_tasks(project, [json.loads((out / "tasks.json").read_text())[0]["data"]])
    settings = load_settings(
        label_studio_url=studio.url,
        label_studio_api_key=studio.login.token,
        port=free_port(),
        cache_dir=tmp_path / "cache",
        data_dir=tmp_path / "jobs",
    )
    with BackgroundServer(settings) as backend:
        studio.connect(project, backend.url)
        studio.retrieve_predictions(project)
        assert studio.wait_for_predictions([task], most_s=90)
    (prediction,) = studio.predictions(task)
    shown = truth[0][::_EVERY]
    stored = np.zeros_like(shown)
    for region in prediction["result"]:
        assert region["type"] == f"{masks}labels"
        assert (region["original_width"], region["original_height"]) == _SIZE
        stored[region["item_index"]] |= _mask(region)
    ious = [(a & b).sum() / (a | b).sum() for a, b in zip(stored, shown, strict=True)]
    assert np.mean(ious) > 0.8, ious
