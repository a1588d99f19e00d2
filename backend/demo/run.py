"""`make demo`: a real Label Studio with videos whose objects this backend has found. `--check` verifies them and ends.

python -m backend.demo.run [--check] [--port 8080] [--data DIR]

It starts Label Studio and the backend on loopback and creates a project with two kinds of videos: two excerpts of real
video, in one of which the object is found by words and in the other followed from a box on the first frame; and three
drawn scenes, whose truth is known, in which it is found by words. SAM2 is fetched first where it is needed and allowed.
The address is printed as soon as Label Studio is open. A task whose job makes no progress gets its box later. Ctrl-C
stops everything, and another `make demo` takes up what was computed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from backend.demo.labelling import (
    JobWatch,
    LabelledTask,
    NotReady,
    ask_by_box,
    ask_by_words,
    look,
    wait_for,
)
from backend.demo.local_studio import LocalStudio, StudioError, free_port
from backend.demo.real_clips import RealClip, load_real_clips
from backend.demo.synthetic_videos import LABEL, SyntheticVideo, draw_videos
from backend.labelstudio.import_tasks import build_label_config
from backend.labelstudio.timeline import clip_frame_of_editor, editor_frame_count
from backend.logging import configure_logging
from backend.runtime import Runtime
from backend.service.app import BackgroundServer
from backend.settings import Settings, SettingsError, load_settings
from video.keyframes import interpolate_boxes
from video.masks import box_iou
from video.types import Keyframe

MIN_MEAN_IOU, MIN_TASK_IOU = 0.8, 0.65  # of the drawn scenes
MIN_REAL_IOU = 0.8  # mean of each real clip
_SCENES = ((204, 24), (205, 25), (203, 30))  # seed of the drawing, frames per second
_LATE_POLL_S = 5.0
_GOES_ON = "Another `make demo` takes up what was computed."
_STUDIO_PORT, _BACKEND_PORT = 8080, 9090  # if they are free


class TimedVideo(Protocol):
    """What `box_ious` must know of a video. times: (N,) seconds of its frames; fps: of the editor's timeline."""

    @property
    def times(self) -> NDArray[np.float64]:
        """Presentation times in seconds."""

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""

    @property
    def fps(self) -> float:
        """Frames per second."""


@dataclass(frozen=True)
class DemoProject:
    """The project and its tasks, in the order of the videos."""

    number: int
    real: tuple[int, ...]
    drawn: tuple[int, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code: 1 if something failed or the check found wrong boxes, else 0."""
    parser = argparse.ArgumentParser(prog="python -m backend.demo.run", description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare the predictions with the truth, then end")
    parser.add_argument("--port", type=int, help="Label Studio's port (default: 8080, or a free one if it is taken)")
    parser.add_argument("--data", type=Path, default=Path("demo-data"), help="where everything is kept")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt_once)
    try:
        with ExitStack() as stack:
            data = options.data
            if options.check:  # a fresh account and nothing left behind
                data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="refam-demo-")))
            return _demo(stack, data, port=options.port, check=options.check)
    except (StudioError, SettingsError) as error:
        print(f"demo: {error}", file=sys.stderr)
        if not options.check:
            print(_GOES_ON, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if not options.check:
            print(_GOES_ON)
        return 130 if options.check else 0


def _interrupt_once(*_: object) -> None:
    """End as Ctrl-C does. `kill %1` sends two signals, one of them through make: the second changes nothing."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def box_ious(prediction: dict[str, Any], truth: NDArray[np.float64], video: TimedVideo) -> NDArray[np.float64]:
    """Compare the first region of a stored prediction, as the editor draws it, with the truth.

    Args:
        prediction: A prediction of Label Studio.
        truth: (N, 4) normalised xyxy by clip frame, NaN where the object is hidden or nothing is known.
        video: The video.

    Returns:
        (m,) IoU by editor frame whose truth is a box; 0 where the region is hidden.
    """
    n = editor_frame_count(video.duration_s, video.fps)
    expected = truth[clip_frame_of_editor(video.times, n, video.fps)]
    sequence = prediction["result"][0]["value"]["sequence"]
    boxes, visible = interpolate_boxes([_keyframe(item) for item in sequence], np.arange(n))
    shows_object = ~np.isnan(expected[:, 0])
    return np.where(visible, box_iou(boxes, expected), 0.0)[shows_object]


def _demo(stack: ExitStack, data: Path, *, port: int | None, check: bool) -> int:
    data.mkdir(parents=True, exist_ok=True)
    segmenter = _fetch_segmenter()
    print("drawing videos ...")
    scenes, clips = list(draw_videos(data / "videos", _SCENES)), load_real_clips()
    print("starting Label Studio (the first start takes half a minute) ...")
    studio = stack.enter_context(LocalStudio(data / "label-studio", port=port or free_port(_STUDIO_PORT)))
    settings = load_settings(
        label_studio_url=studio.url,
        label_studio_api_key=studio.login.token,
        port=free_port(_BACKEND_PORT),
        cache_dir=data.absolute() / "cache",
        data_dir=data.absolute() / "jobs",
        sam2=segmenter,
    )
    configure_logging(settings, data / "backend.log")
    runtime = Runtime(settings)
    backend = stack.enter_context(BackgroundServer(settings, runtime))
    stack.callback(print, "\nending Label Studio and the backend, after the step that runs ...", flush=True)
    project = create_demo_project(studio, clips, scenes, jobs_page=f"{backend.url}/")
    model = int(studio.connect(project.number, backend.url)["id"])
    jobs = JobWatch(runtime.queue.records)
    started = time.monotonic()
    if not check:
        _print_address(studio, backend.url, project)
    late: list[LabelledTask] = []
    for number, clip in zip(project.real, clips, strict=True):
        if clip.by_words:
            print(f"finding {clip.words!r}, by these words alone, in {clip.path.name} ...", flush=True)
            asked = ask_by_words(studio, project.number, [(number, clip.path.name)])
        else:
            print(f"following {clip.words} in {clip.path.name} from a box on the first frame ...", flush=True)
            asked = [ask_by_box(studio, model, number, clip)]
        late += _wait_for_all(asked, jobs)
    if not check:  # the drawn scenes take longer than a first look can wait
        _print_instructions(project, clips, scenes)
    print(f"finding objects by words in {len(scenes)} drawn scenes ...", flush=True)
    names = [(number, scene.path.name) for number, scene in zip(project.drawn, scenes, strict=True)]
    late += _wait_for_all(ask_by_words(studio, project.number, names), jobs)
    if not late:
        print(f"predictions stored after {time.monotonic() - started:.0f} s", flush=True)
    if check:
        return _check(studio, project, clips, scenes, settings, log=data / "backend.log")
    while studio.running:
        late = [task for task in late if not _report(task, look(task, jobs), late=True)]
        time.sleep(_LATE_POLL_S if late else 0.5)
    raise StudioError(f"Label Studio has ended by itself: see {studio.log}")


def _wait_for_all(tasks: Sequence[LabelledTask], jobs: JobWatch) -> list[LabelledTask]:
    """Wait for one task after the other, say which are not ready, and return those that may still come."""
    return [task for task in tasks if not _report(task, wait_for(task, jobs, say=partial(print, flush=True)))]


def _report(task: LabelledTask, missing: NotReady | None, *, late: bool = False) -> bool:
    """Say how a task ended; return False where its prediction may still come. late: whether that was said before."""
    if missing is None:
        if late:
            print(f"task {task.number}, {task.name}, is ready now", flush=True)
    elif missing.final:
        print(f"task {task.number}, {task.name}, has no box: {missing.why}", flush=True)
    elif not late:
        print(
            f"task {task.number}, {task.name}, is not ready: {missing.why}. Its box comes when it is done.", flush=True
        )
    return missing is None or missing.final


def _fetch_segmenter() -> str:
    """Return the segmenter to use, after fetching SAM2 where it is needed and allowed. Raises SettingsError."""
    wanted = load_settings()
    console = Console(stderr=True, highlight=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("fetch SAM2", total=1.0, visible=False)
        why = wanted.fetch_segmenter(
            wanted.sam2,
            report=lambda line: console.print(line, markup=False, soft_wrap=True),
            progress=lambda fraction: progress.update(bar, completed=fraction, visible=True),
        )
    choice = wanted.segmenter_choice(wanted.sam2, device=wanted.device, why_no_weights=why)
    print(f"masks and tracks by {choice.version}: {choice.why}", flush=True)
    return choice.source or choice.name


def create_demo_project(
    studio: LocalStudio, clips: Sequence[RealClip], scenes: Sequence[SyntheticVideo], *, jobs_page: str
) -> DemoProject:
    """Create a project with a task for each real clip, and one for the first object of each drawn scene.

    Args:
        studio: The Label Studio.
        clips: The real clips.
        scenes: The drawn scenes.
        jobs_page: Address of the backend's list of jobs.
    """
    videos = [*(clip.path for clip in clips), *(scene.path for scene in scenes)]
    project, addresses = studio.create_project("RefAM demo", build_label_config([LABEL], jobs_page=jobs_page), videos)
    words = [*(clip.words for clip in clips), *(scene.expressions[0] for scene in scenes)]
    rates = [*(clip.fps for clip in clips), *(scene.fps for scene in scenes)]
    data = [
        {"video": address, "prompt": prompt, "fps": fps}
        for address, prompt, fps in zip(addresses, words, rates, strict=True)
    ]
    tasks = studio.import_tasks(project, data)
    return DemoProject(project, tuple(tasks[: len(clips)]), tuple(tasks[len(clips) :]))


def _check(
    studio: LocalStudio,
    project: DemoProject,
    clips: Sequence[RealClip],
    scenes: Sequence[SyntheticVideo],
    settings: Settings,
    *,
    log: Path,
) -> int:
    """Print a table of box IoUs; return 0 if they are good enough, else 1."""
    print(f"\n{'task':>5}  {'object':<28} {'compared':>8} {'keyframes':>9} {'score':>6} {'mean IoU':>9} {'worst':>6}")
    real = [
        _print_ious(studio, task, clip.words, clip.boxes, clip) for task, clip in zip(project.real, clips, strict=True)
    ]
    drawn = [
        _print_ious(studio, task, scene.expressions[0], scene.boxes[0], scene)
        for task, scene in zip(project.drawn, scenes, strict=True)
    ]
    mean, worst = float(np.mean(drawn)), min(drawn)
    good = mean >= MIN_MEAN_IOU and worst >= MIN_TASK_IOU
    if settings.sam2 == "grabcut":
        print(f"\nreal video, followed without SAM2: mean {np.mean(real):.3f}, which is not judged")
    else:
        print(f"\nreal video: worst clip {min(real):.3f} (at least {MIN_REAL_IOU})")
        good = good and min(real) >= MIN_REAL_IOU
    print(f"drawn scenes: mean {mean:.3f} (at least {MIN_MEAN_IOU}), worst {worst:.3f} (at least {MIN_TASK_IOU})")
    print("good" if good else f"NOT good; the end of the backend's log:\n{_tail(log)}")
    return 0 if good else 1


def _print_ious(studio: LocalStudio, task: int, words: str, truth: NDArray[np.float64], video: TimedVideo) -> float:
    """Print the line of one task; return the mean IoU of its only prediction, 0 if it has none or several."""
    stored = [p for p in studio.predictions(task) if p["result"]]
    if len(stored) != 1:
        print(f"{task:>5}  {words:<28} {len(stored)} predictions stored, expected 1")
        return 0.0
    ious = box_ious(stored[0], truth, video)
    keyframes = len(stored[0]["result"][0]["value"]["sequence"])
    print(
        f"{task:>5}  {words:<28} {len(ious):>8} {keyframes:>9} {stored[0]['score']:>6.2f} "
        f"{ious.mean():>9.3f} {ious.min():>6.3f}"
    )
    return float(ious.mean())


def _print_address(studio: LocalStudio, backend_url: str, project: DemoProject) -> None:
    print(f"\nLabel Studio   {studio.url}/projects/{project.number}/data")
    print(f"log in as      {studio.login.user}   password  {studio.login.password}")
    print(f"the jobs       {backend_url}/\n")
    print(
        "The real videos are labelled first; the page of the jobs shows how far they are. What to try is printed then."
    )
    print("Ctrl-C ends Label Studio and the backend.\n", flush=True)


def _print_instructions(project: DemoProject, clips: Sequence[RealClip], scenes: Sequence[SyntheticVideo]) -> None:
    print("\nReal video:")
    for task, clip in zip(project.real, clips, strict=True):
        how = "found by the words above the video" if clip.by_words else "followed from a box on the first frame"
        print(f"  task {task}: {clip.words}, {how}")
    print("To correct it, put the box right on any frame, switch Auto-Annotation on (below the video), add a ';' to")
    print("the words and press Enter: the track follows your box. `refam words` lists the words that are known.\n")
    print("Drawn scenes, which are labelled now, one after the other: the page of the jobs shows how far. The box is")
    print(
        "found from the words above the video. Once a task has its box, type other words into the text field and press"
    )
    print("Enter; the box moves to the other object. For example:")
    for task, scene in zip(project.drawn, scenes, strict=True):
        print(f"  task {task}: {scene.expressions[0]!r}; try {' or '.join(map(repr, scene.expressions[1:]))}")
    print(flush=True)


def _keyframe(item: dict[str, Any]) -> Keyframe:
    x, y, w, h = (float(item[side]) / 100 for side in ("x", "y", "width", "height"))
    return Keyframe(int(item["frame"]) - 1, (x, y, x + w, y + h), bool(item["enabled"]), float(item.get("score", 1)))


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


if __name__ == "__main__":
    sys.exit(main())
