"""What tests beside a real Label Studio begin with: settings for a backend, a task of pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from backend.cli.main import app
from backend.demo.local_studio import LocalStudio, free_port
from backend.settings import Settings, load_settings


def settings_beside(studio: LocalStudio, folder: Path, **more: Any) -> Settings:
    """For a backend of this Label Studio, on a port of its own; jobs and media are kept in `folder`.

    It answers as late as Label Studio waits (100 s), unless `more` says otherwise: a busy machine fails no test.
    """
    deadlines = {"deadline_s": 90.0, "page_deadline_s": 90.0}
    return load_settings(
        label_studio_url=studio.url,
        label_studio_api_key=studio.login.token,
        port=free_port(),
        cache_dir=folder / "cache",
        data_dir=folder / "data",
        **deadlines | more,
    )


def picture_task(studio: LocalStudio, video: Path, name: str, *, every: int, words: str, shape: str) -> tuple[int, int]:
    """(project, task) of a clip that `refam frames` has cut for masks of a shape; `name` is the folder's alone."""
    out = studio.media_dir / name
    address = f"/data/local-files/?d={out.relative_to(studio.data_dir)}/frames"
    args = ["--every", str(every), "--words", words, "--masks", shape, "--url", address]
    ran = CliRunner().invoke(app, ["frames", str(video), "--out", str(out), *args])
    assert ran.exit_code == 0, ran.output
    config = (out / "label_config.xml").read_text()
    project = int(studio.api("POST", "/api/projects/", json={"title": shape, "label_config": config})["id"])
    storage = {"project": project, "path": str(out / "frames"), "use_blob_urls": True}
    studio.api("POST", "/api/storages/localfiles", json=storage)
    (task,) = studio.import_tasks(project, [json.loads((out / "tasks.json").read_text())[0]["data"]])
    return project, task
