"""`make demo`: a real Label Studio with videos whose objects were found by words. `--check` verifies them and ends.

python -m backend.demo.run [--check] [--port 8080] [--data DIR]

It draws scenes whose truth is known, starts Label Studio and the backend on loopback, creates a project, imports the
videos with their words, connects the backend in interactive mode and retrieves predictions. Ctrl-C stops both.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.demo.local_studio import LocalStudio, StudioError, free_port
from backend.demo.synthetic_videos import LABEL, SyntheticVideo, draw_videos
from backend.labelstudio.import_tasks import build_label_config
from backend.labelstudio.timeline import clip_frame_of_editor, editor_frame_count
from backend.logging import configure_logging
from backend.service.app import BackgroundServer
from backend.settings import SettingsError, load_settings
from video.keyframes import interpolate_boxes
from video.masks import box_iou
from video.types import Keyframe

MIN_MEAN_IOU, MIN_TASK_IOU = 0.8, 0.65
_SCENES = ((204, 24), (205, 25), (203, 30))  # seed of the drawing, frames per second


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code: 1 if something failed or the check found wrong boxes, else 0."""
    parser = argparse.ArgumentParser(prog="python -m backend.demo.run", description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare the predictions with the truth, then end")
    parser.add_argument("--port", type=int, help="Label Studio's port (default: a free one)")
    parser.add_argument("--data", type=Path, default=Path("demo-data"), help="where everything is kept")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    try:
        with ExitStack() as stack:
            data = options.data
            if options.check:  # a fresh account and nothing left behind
                data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="refam-demo-")))
            return _demo(stack, data, port=options.port, check=options.check)
    except (StudioError, SettingsError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nended.")
        return 130 if options.check else 0


def box_ious(prediction: dict[str, Any], truth: NDArray[np.float64], video: SyntheticVideo) -> NDArray[np.float64]:
    """Compare the first region of a stored prediction, as the editor draws it, with the truth.

    Args:
        prediction: A prediction of Label Studio.
        truth: (N, 4) normalised xyxy by clip frame, NaN where the object is hidden.
        video: The video.

    Returns:
        (m,) IoU by editor frame that shows the object; 0 where the region is hidden.
    """
    n = editor_frame_count(video.duration_s, video.fps)
    expected = truth[clip_frame_of_editor(video.times, n, video.fps)]
    sequence = prediction["result"][0]["value"]["sequence"]
    boxes, visible = interpolate_boxes([_keyframe(item) for item in sequence], np.arange(n))
    shows_object = ~np.isnan(expected[:, 0])
    return np.where(visible, box_iou(boxes, expected), 0.0)[shows_object]


def _demo(stack: ExitStack, data: Path, *, port: int | None, check: bool) -> int:
    data.mkdir(parents=True, exist_ok=True)
    print("drawing videos ...")
    videos = list(draw_videos(data / "videos", _SCENES))
    print("starting Label Studio (the first start takes half a minute) ...")
    studio = stack.enter_context(LocalStudio(data / "label-studio", port=port))
    settings = load_settings(
        label_studio_url=studio.url,
        label_studio_api_key=studio.login.token,
        port=free_port(),
        cache_dir=data.absolute() / "cache",
        data_dir=data.absolute() / "jobs",
        sam2="grabcut",  # the same masks on every machine, whatever was pulled there
    )
    configure_logging(settings, data / "backend.log")
    backend = stack.enter_context(BackgroundServer(settings))
    project, tasks = create_demo_project(studio, videos)
    studio.connect(project, backend.url)
    print(f"finding objects in {len(tasks)} videos ...")
    started = time.monotonic()
    studio.retrieve_predictions(project)
    if not studio.wait_for_predictions(tasks, timeout_s=900):  # what missed the deadline is pushed when it is done
        raise StudioError(f"not every task has a prediction after 15 minutes: see {data / 'backend.log'}")
    print(f"predictions stored after {time.monotonic() - started:.0f} s")
    if check:
        return _check(studio, tasks, videos, log=data / "backend.log")
    _print_instructions(studio, backend.url, project, tasks, videos)
    while studio.running:
        time.sleep(0.5)
    raise StudioError(f"Label Studio has ended by itself: see {studio.log}")


def create_demo_project(studio: LocalStudio, videos: Sequence[SyntheticVideo]) -> tuple[int, list[int]]:
    """Create a project with a task for the first object of each video; return the project and the tasks."""
    project, addresses = studio.create_project("RefAM demo", build_label_config([LABEL]), [v.path for v in videos])
    data = [
        {"video": address, "prompt": video.expressions[0], "fps": video.fps}
        for address, video in zip(addresses, videos, strict=True)
    ]
    return project, studio.import_tasks(project, data)


def _check(studio: LocalStudio, tasks: Sequence[int], videos: Sequence[SyntheticVideo], *, log: Path) -> int:
    """Print a table of box IoUs; return 0 if they are good enough, else 1."""
    means = []
    print(f"\n{'task':>5}  {'words':<28} {'keyframes':>9} {'score':>6} {'mean IoU':>9} {'worst':>6}")
    for task, video in zip(tasks, videos, strict=True):
        stored = [p for p in studio.predictions(task) if p["result"]]
        if len(stored) != 1:
            print(f"{task:>5}  {video.expressions[0]:<28} {len(stored)} predictions stored, expected 1")
            means.append(0.0)
            continue
        ious = box_ious(stored[0], video.boxes[0], video)
        keyframes = len(stored[0]["result"][0]["value"]["sequence"])
        score = stored[0]["score"]
        means.append(float(ious.mean()))
        print(
            f"{task:>5}  {video.expressions[0]:<28} {keyframes:>9} {score:>6.2f} {means[-1]:>9.3f} {ious.min():>6.3f}"
        )
    mean, worst = float(np.mean(means)), min(means)
    good = mean >= MIN_MEAN_IOU and worst >= MIN_TASK_IOU
    print(f"\nmean {mean:.3f} (at least {MIN_MEAN_IOU}), worst task {worst:.3f} (at least {MIN_TASK_IOU}): ", end="")
    print("good" if good else f"NOT good; the end of the backend's log:\n{_tail(log)}")
    return 0 if good else 1


def _print_instructions(
    studio: LocalStudio, backend_url: str, project: int, tasks: Sequence[int], videos: Sequence[SyntheticVideo]
) -> None:
    print(f"\nLabel Studio   {studio.url}/projects/{project}/data")
    print(f"log in as      {studio.login.user}   password  {studio.login.password}")
    print(f"the jobs       {backend_url}/\n")
    print("Open a video: the box was found from the words above it. Then switch Auto-Annotation on (below the video),")
    print("type other words into the text field and press Enter; the box moves to the other object. For example:")
    for task, video in zip(tasks, videos, strict=True):
        print(f"  task {task}: found {video.expressions[0]!r}; try {' or '.join(map(repr, video.expressions[1:]))}")
    print("Put a box right on some frame, add a ';' to the words and press Enter: the track follows your box.")
    print("\nCtrl-C ends Label Studio and the backend.", flush=True)


def _keyframe(item: dict[str, Any]) -> Keyframe:
    x, y, w, h = (float(item[side]) / 100 for side in ("x", "y", "width", "height"))
    return Keyframe(int(item["frame"]) - 1, (x, y, x + w, y + h), bool(item["enabled"]), float(item.get("score", 1)))


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


if __name__ == "__main__":
    sys.exit(main())
