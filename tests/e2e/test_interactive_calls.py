"""Whose boxes count when a real Label Studio makes an interactive call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.demo.local_studio import LocalStudio
from backend.labelstudio.import_tasks import build_label_config
from backend.service.app import BackgroundServer
from refam.evaluation.synthetic import RED, red_star_and_blue_ring
from tests.media import cfr
from tests.studio import settings_beside

pytestmark = pytest.mark.e2e

TEXT = {"id": "typed", "type": "textarea", "from_name": "words", "to_name": "video", "value": {"text": [RED]}}
SIDES = {"x": 31.5, "y": 42.25, "width": 20.0, "height": 30.0, "rotation": 0}


def _drawn(identity: str) -> dict[str, Any]:
    item = {"frame": 3, "time": 0.08, "enabled": True, **SIDES}
    value = {"framesCount": 24, "duration": 0.96, "labels": ["Object"], "sequence": [item]}
    kind = {"type": "videorectangle", "from_name": "box", "to_name": "video", "origin": "manual"}
    return {"id": identity, **kind, "value": value}


def test_only_the_callers_own_draft_or_open_annotation_counts(studio: LocalStudio, tmp_path: Path) -> None:
    frames, _ = red_star_and_blue_ring(24, size=(192, 108))
    video = cfr(tmp_path / "clip.mp4", frames)
    project, (address,) = studio.create_project("calls", build_label_config(["Object"]), [video])
    (task,) = studio.import_tasks(project, [{"video": address, "prompt": RED, "fps": 25}])
    path = f"/api/tasks/{task}/annotations/"
    for skipped in (True, False):
        studio.api("POST", path, json={"result": [_drawn("others")], "was_cancelled": skipped})
    with BackgroundServer(settings_beside(studio, tmp_path, draft_wait_s=0.5)) as backend:
        model = int(studio.connect(project, backend.url)["id"])

        def answer() -> dict[str, Any]:
            result = studio.predict_interactively(model, task, [TEXT])["result"]
            (region,) = [r for r in result if r["type"] == "videorectangle"]
            return region

        def keeps_the_box(region: dict[str, Any]) -> bool:
            kept = [k for k in region["value"]["sequence"] if k["frame"] == 3]
            return any({side: k[side] for side in SIDES} == SIDES for k in kept)

        region = answer()
        assert region["id"].startswith("refam-")
        assert not keeps_the_box(region)
        draft = studio.save_draft(task, [_drawn("mine")])
        region = answer()
        assert region["id"] == "mine"
        assert keeps_the_box(region)
        studio.api("DELETE", f"/api/drafts/{draft}/")
        studio.api("POST", path, json={"result": [_drawn("open"), TEXT]})  # what the text stands in is open
        region = answer()
        assert region["id"] == "open"
        assert keeps_the_box(region)
