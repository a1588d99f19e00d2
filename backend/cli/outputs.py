"""What `refam label` leaves in its folder. Masks stay run-length codes until each is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from backend.labelstudio.import_tasks import importable_task
from refam.pipeline.pipeline import TrackResult
from video.errors import UserError
from video.io.reader import Clip
from video.masks import decode
from video.types import MaskTrack
from video.visualize.overlay import write_overlay
from video.visualize.review_sheet import frames_to_review, write_sheet

if TYPE_CHECKING:
    from refam.pipeline.stage_cache import StageCache

FORMAT = 1  # of tracks.json
_KEPT = ".unfinished"


class OutputError(UserError):
    """The folder cannot be written as asked; a sentence for people."""


@dataclass(frozen=True)
class Outputs:
    """Where everything is."""

    masks: Path
    tracks: Path
    task: Path
    config: Path
    overlay: Path
    sheet: Path  # is there only where frames need a look


def places(out: Path) -> Outputs:
    """Where everything goes in `out`; checks that nothing foreign is in the way. Raises OutputError."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; --out names a folder")
    there = Outputs(
        masks=out / "masks",
        tracks=out / "tracks.json",
        task=out / "label_studio.json",
        config=out / "label_config.xml",
        overlay=out / "overlay.mp4",
        sheet=out / "needs_a_look.jpg",
    )
    # An earlier run's masks are replaced as a whole, or its longer clip's last masks would stay. Nobody else's are.
    if there.masks.exists() and not there.tracks.exists():
        raise OutputError(f"{there.masks} is there already and is not from an earlier run; choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be made: {error.strerror}") from error
    return there


def kept_work(out: Path, video: Path, asked: object, *, again: bool) -> StageCache:
    """Where a run keeps what it finished until all is written, so that one that was stopped can go on from there.

    asked: what the frames and options were; of another question nothing is taken. again: forgets what is kept.
    """
    from refam.pipeline.stage_cache import StageCache, hash_file

    if again:
        forget_work(out)
    return StageCache(out / _KEPT, f"{hash_file(video)} {asked!r}")


def forget_work(out: Path) -> None:
    """What was kept is in the written files now."""
    shutil.rmtree(out / _KEPT, ignore_errors=True)


def write_all(
    out: Path,
    clip: Clip,
    results: Sequence[TrackResult],
    *,
    model_version: str,
    video: str,
    fps: float,
    progress: Callable[[str, float], None],
) -> Outputs:
    """Writes every file. video: the address that the task is to name. Raises OutputError, ClipError."""
    there = places(out)
    if not any(r.track.visible.any() for r in results):
        raise OutputError("no object is visible in any frame, so there is nothing to write")
    words = ", ".join(r.target.words for r in results if r.target.words)
    task, config = importable_task(results, clip, video=video, words=words, fps=fps, model_version=model_version)
    # tracks.json comes first: it marks the folder as ours, should this be stopped half way.
    _write_json(there.tracks, tracks_json(clip, results, model_version=model_version))
    _write_json(there.task, [task])
    there.config.write_text(config, encoding="utf-8")
    _write_masks(there.masks, clip, [r.track for r in results], progress)
    progress("overlay", 0.0)
    keyframes = [[key.frame for key in r.keyframes] for r in results]
    write_overlay(clip, [r.track for r in results], there.overlay, keyframes=keyframes)
    there.sheet.unlink(missing_ok=True)  # an earlier run's
    if looks := frames_to_review([r.track for r in results], clip.times, elsewhere=[r.disagreements for r in results]):
        write_sheet(clip, [r.track for r in results], looks, there.sheet)
    progress("overlay", 1.0)
    return there


def tracks_json(clip: Clip, results: Sequence[TrackResult], *, model_version: str) -> dict[str, Any]:
    """Everything that is known, for scripts: boxes xyxy in fractions of the frame, frames 0-based, masks COCO RLE."""
    return {
        "format": FORMAT,
        "model_version": model_version,
        "video": {
            "name": clip.path.name,
            "width": clip.size[0],
            "height": clip.size[1],
            "frames": len(clip),
            "duration_s": round(clip.duration_s, 6),
            "average_fps": round(clip.average_fps, 6),
            "rotation": clip.rotation,
        },
        "objects": [_object_json(k, clip, r) for k, r in enumerate(results)],
    }


def spans(track: MaskTrack, clip: Clip) -> list[tuple[float, float]]:
    """The stretches of time in which the object is seen: [(first, last) time in seconds of their frames]."""
    seen = np.zeros(len(clip) + 2, bool)
    seen[track.frames[track.visible] + 1] = True
    edges = np.flatnonzero(np.diff(seen))
    return [(float(clip.times[a]), float(clip.times[b - 1])) for a, b in edges.reshape(-1, 2)]


def _object_json(k: int, clip: Clip, result: TrackResult) -> dict[str, Any]:
    track, between = result.track.to_dict(), set(result.interpolated)
    mask_size = [result.track.size[1], result.track.size[0]]
    return {
        "object": k,
        "label": result.target.label,
        "words": result.target.words,
        "score": round(result.score, 4),
        "anchor": result.anchor_frame,
        "notes": list(result.notes),
        "seen_s": [[round(a, 6), round(b, 6)] for a, b in spans(result.track, clip)],
        "keyframes": [
            {
                "frame": key.frame,
                "time_s": round(float(clip.times[key.frame]), 6),
                "box": [round(float(c), 6) for c in key.box],
                "enabled": bool(key.enabled),
                "score": round(float(key.score), 4),
            }
            for key in result.keyframes
        ],
        "frames": [
            {
                "frame": frame,
                "time_s": round(float(clip.times[frame]), 6),
                "visible": visible,
                "interpolated": frame in between,
                "score": round(score, 4),
                "box": [round(c, 6) for c in box],
                "mask": {"size": mask_size, "counts": counts},
            }
            for frame, visible, score, box, counts in zip(
                *(track[name] for name in ("frames", "visible", "scores", "boxes", "rles")), strict=True
            )
        ],
    }


def _write_masks(folder: Path, clip: Clip, tracks: Sequence[MaskTrack], progress: Callable[[str, float], None]) -> None:
    part = folder.with_name(".masks.part")
    shutil.rmtree(part, ignore_errors=True)
    nothing = _png(np.zeros((clip.size[1], clip.size[0]), np.bool_))
    for k, track in enumerate(tracks):
        (part / str(k)).mkdir(parents=True)
        row_of = {int(frame): row for row, frame in enumerate(track.frames) if track.visible[row]}
        for frame in range(len(clip)):
            row = row_of.get(frame)
            data = nothing if row is None else _png(decode(track.rles[row]))
            (part / str(k) / f"{frame:05d}.png").write_bytes(data)
            progress("masks", (k + (frame + 1) / len(clip)) / len(tracks))
    if folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)


def _png(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> bytes:
    """(H, W) bool -> an 8-bit grey PNG of 0 and 255."""
    ok, data = cv2.imencode(".png", mask.astype(np.uint8) * 255)
    if not ok:
        raise OutputError(f"a mask of {mask.shape} could not be written as PNG")
    return data.tobytes()


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8")
