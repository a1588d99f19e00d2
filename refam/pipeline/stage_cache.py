"""Finished stages, kept by content: video, words, models, settings. What was computed once is never computed again.

A stage's key names everything that its result depends on, so nothing has to be invalidated. Files are written under
another name first: a half one is never read, and what cannot be read is computed anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refam import __version__
from refam.disk_cache import make_room
from refam.pipeline.types import Target, TrackResult
from video.masks import encode
from video.tracking.state import CheckpointStore
from video.types import Heatmap, Keyframe, MaskTrack, Rle

if TYPE_CHECKING:
    from refam.grounder import Grounder
    from refam.pipeline.anchors import ObjectState
    from video.tracking.propagate import TrackStart

log = logging.getLogger("refam.jobs")

_HASH_CHUNK = 1 << 20


def content_of(path: Path) -> str:
    """What a file holds, as a hash: the same video under two addresses is one video."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()[:32]


class StageCache:
    """Results of stages of one video. folder: shared by all videos; content: of this one."""

    def __init__(self, folder: Path, content: str) -> None:
        self._folder, self._content = folder, content

    def heatmap(self, key: Sequence[object]) -> Heatmap | None:
        """A grounded frame."""
        stored = self._read("heatmap", key)
        if stored is None:
            return None
        grid = np.frombuffer(bytes.fromhex(stored["grid"]), np.float32).reshape(stored["shape"])
        return Heatmap(stored["frame"], grid.copy(), tuple(stored["peak"]), stored["confidence"])

    def keep_heatmap(self, key: Sequence[object], heatmap: Heatmap) -> None:
        """Keeps a grounded frame."""
        grid = np.ascontiguousarray(heatmap.grid, np.float32)
        content = {
            "frame": int(heatmap.frame),
            "shape": grid.shape,
            "grid": grid.tobytes().hex(),
            "peak": [float(v) for v in heatmap.peak],
            "confidence": float(heatmap.confidence),
        }
        self._write("heatmap", key, content)

    def outline(self, key: Sequence[object]) -> tuple[Rle, float] | None:
        """The mask that a heatmap led to, empty where it led to none, and the segmenter's score."""
        stored = self._read("outline", key)
        return None if stored is None else (_rle(stored["size"], stored["counts"]), float(stored["score"]))

    def keep_outline(self, key: Sequence[object], mask: Rle, score: float) -> None:
        """Keeps the mask of a heatmap."""
        self._write("outline", key, {"size": mask.size, "counts": mask.counts.decode("ascii"), "score": score})

    def tracks(self, key: Sequence[object]) -> list[MaskTrack] | None:
        """Tracks of objects that were followed together."""
        stored = self._read("tracks", key)
        return None if stored is None else [_track(item) for item in stored]

    def keep_tracks(self, key: Sequence[object], tracks: Sequence[MaskTrack]) -> None:
        """Keeps tracks, and no longer the passes that led to them."""
        self._write("tracks", key, [_track_json(track) for track in tracks])
        self._path("pass", key).unlink(missing_ok=True)

    def checkpoints(self, key: Sequence[object]) -> CheckpointStore:
        """Where passes on the way to the tracks of this key are kept."""
        return _Passes(self, self._path("pass", key))

    def results(self, key: Sequence[object], targets: Sequence[Target]) -> list[TrackResult] | None:
        """All that was found for targets."""
        stored = self._read("results", key)
        if stored is None:
            return None
        return [
            TrackResult(
                target=target,
                track=_track(item["track"]),
                keyframes=tuple(
                    Keyframe(k["frame"], tuple(k["box"]), k["enabled"], k["score"]) for k in item["keyframes"]
                ),
                score=item["score"],
                anchor=item["anchor"],
                notes=tuple(item["notes"]),
                signs=item.get("signs", {}),
                elsewhere=tuple(item.get("elsewhere", ())),
            )
            for target, item in zip(targets, stored, strict=True)
        ]

    def keep_results(self, key: Sequence[object], results: Sequence[TrackResult]) -> None:
        """Keeps all that was found."""
        content = [
            {
                "track": _track_json(result.track),
                "keyframes": [asdict(keyframe) for keyframe in result.keyframes],
                "score": result.score,
                "anchor": result.anchor,
                "notes": list(result.notes),
                "signs": dict(result.signs),
                "elsewhere": list(result.elsewhere),
            }
            for result in results
        ]
        self._write("results", key, content)

    def _path(self, stage: str, key: Sequence[object]) -> Path:
        text = repr((self._content, stage, *key))
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.{stage}"

    def _read(self, stage: str, key: Sequence[object]) -> Any:
        path = self._path(stage, key)
        content = self._get(path)
        try:
            return None if content is None else json.loads(content)
        except ValueError:
            path.unlink(missing_ok=True)
            return None

    def _get(self, path: Path) -> bytes | None:
        try:
            content = zlib.decompress(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, zlib.error):  # damaged: as if it had never been
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return content

    def _write(self, stage: str, key: Sequence[object], content: Any) -> None:
        self._put(stage, self._path(stage, key), json.dumps(content, default=_plain).encode())

    def _put(self, stage: str, path: Path, content: bytes) -> None:
        packed = zlib.compress(content, 1)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".part-", delete=False) as file:
                part = Path(file.name)
                try:
                    file.write(packed)
                    file.flush()
                    part.replace(path)
                except OSError:
                    part.unlink(missing_ok=True)
                    raise
        except OSError as error:  # the work is done all the same: it is only not remembered
            log.warning("the results of the stage %r cannot be kept in %s: %s", stage, self._folder, error.strerror)


class _Passes:
    """`CheckpointStore` beside finished stages."""

    def __init__(self, memo: StageCache, path: Path) -> None:
        self._memo, self._path = memo, path

    def load(self) -> bytes | None:
        """The state that was kept last."""
        return self._memo._get(self._path)

    def keep(self, state: bytes) -> None:
        """In place of the one before."""
        self._memo._put("pass", self._path, state)


def trim(folder: Path, *, most_bytes: int) -> None:
    """Removes the longest unused results of stages until the rest fits."""
    make_room(folder.glob("*"), most_bytes=most_bytes)


def _track_json(track: MaskTrack) -> dict[str, Any]:
    return {
        "label": track.label,
        "size": track.size,
        "frames": track.frames.tolist(),
        "rles": [rle.counts.decode("ascii") for rle in track.rles],
        "boxes": track.boxes.tolist(),
        "scores": track.scores.tolist(),
        "visible": track.visible.tolist(),
    }


def _track(stored: dict[str, Any]) -> MaskTrack:
    size = (int(stored["size"][0]), int(stored["size"][1]))
    return MaskTrack(
        label=stored["label"],
        size=size,
        frames=np.array(stored["frames"], np.int64),
        rles=tuple(_rle(size, counts) for counts in stored["rles"]),
        boxes=np.array(stored["boxes"], np.float64).reshape(-1, 4),
        scores=np.array(stored["scores"], np.float64),
        visible=np.array(stored["visible"], np.bool_),
    )


def _rle(size: Sequence[int], counts: str) -> Rle:
    return Rle((int(size[0]), int(size[1])), counts.encode("ascii"))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be stored")


def remembered_heatmaps(work: ObjectState, model: Grounder, indices: Sequence[int]) -> list[Heatmap] | None:
    """The heatmaps of these frames, grounded together earlier; None unless all are known."""
    if work.memo is None:
        return None
    found = []
    for index in indices:
        heatmap = work.memo.heatmap(_heatmap_key(work, model, indices, index))
        if heatmap is None:
            return None
        found.append(heatmap)
    return found


def keep_heatmaps(work: ObjectState, model: Grounder, indices: Sequence[int], heatmaps: list[Heatmap]) -> list[Heatmap]:
    """Keeps what was grounded just now, and gives it back."""
    if work.memo is not None:
        for index, heatmap in zip(indices, heatmaps, strict=True):
            work.memo.keep_heatmap(_heatmap_key(work, model, indices, index), heatmap)
    return heatmaps


def start_key(start: TrackStart) -> tuple[object, ...]:
    """A start's label and masks."""
    masks = [(f, hashlib.sha256(encode(m).counts).hexdigest()) for f, m in sorted(start.anchors.items())]
    return (start.label, *masks)


def _heatmap_key(work: ObjectState, model: Grounder, indices: Sequence[int], index: int) -> tuple[object, ...]:
    # Frames that are grounded together may see each other (a clip backbone), so they belong to the key.
    together = tuple(int(i) for i in indices)
    return (__version__, model.name, getattr(model, "options", None), work.target.words, together, int(index))
