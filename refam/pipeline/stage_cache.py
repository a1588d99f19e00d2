"""Finished stages on disk, keyed by content: the video, the words, the models and the settings.

A stage's key names everything that its result depends on, so nothing has to be invalidated. Files are written under
another name first: a half-written one is never read, and one that cannot be read is computed anew.
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

from refam.disk_cache import evict_oldest
from refam.pipeline.types import Target, TrackResult, target_positions
from refam.version import __version__
from video.masks import decode, encode
from video.tracking.state import CheckpointStore
from video.types import Candidate, Heatmap, Keyframe, MaskChoice, MaskTrack, Mode, Presence, Rle

if TYPE_CHECKING:
    from refam.grounder import Grounder
    from video.tracking.propagate import TrackStart

log = logging.getLogger("refam.jobs")

_HASH_CHUNK = 1 << 20
_FORMAT = 5  # counted up when what is stored, or what it is computed from, changes


def hash_file(path: Path) -> str:
    """Return a hash of a file's content: the same video under two addresses is one video."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()[:32]


class StageCache:
    """The finished stages of one video.

    Args:
        folder: The cache directory, shared by all videos.
        content: The hash of this video, and whatever else all its stages depend on.
    """

    def __init__(self, folder: Path, content: str) -> None:
        self._folder, self._content = folder, content

    def load_heatmap(self, key: Sequence[object]) -> Heatmap | None:
        """Return the heatmap of a grounded frame, or None."""
        stored = self._read("heatmap", key)
        if stored is None:
            return None
        grid = np.frombuffer(bytes.fromhex(stored["grid"]), np.float32).reshape(stored["shape"])
        presence = Presence(*stored["presence"]) if stored["presence"] is not None else None
        choice = MaskChoice(**stored["mask_choice"])
        modes = tuple(Mode(*mode) for mode in stored["modes"])
        return Heatmap(
            stored["frame"], grid.copy(), tuple(stored["peak"]), stored["confidence"], presence, choice, modes
        )

    def save_heatmap(self, key: Sequence[object], heatmap: Heatmap) -> None:
        """Store the heatmap of a grounded frame."""
        grid = np.ascontiguousarray(heatmap.grid, np.float32)
        content = {
            "frame": int(heatmap.frame),
            "shape": grid.shape,
            "grid": grid.tobytes().hex(),
            "peak": [float(v) for v in heatmap.peak],
            "confidence": float(heatmap.confidence),
            "mask_choice": asdict(heatmap.mask_choice),
            "modes": [list(map(float, mode)) for mode in heatmap.modes],
            "presence": None if heatmap.presence is None else [heatmap.presence.probability, heatmap.presence.weakest],
        }
        self._write("heatmap", key, content)

    def load_mask(self, key: Sequence[object]) -> tuple[Rle, float] | None:
        """Return the mask that a heatmap led to (empty if it led to none) and the segmenter's score, or None."""
        stored = self._read("outline", key)
        return None if stored is None else (_to_rle(stored["size"], stored["counts"]), float(stored["score"]))

    def save_mask(self, key: Sequence[object], mask: Rle, score: float) -> None:
        """Store the mask that a heatmap led to, and the segmenter's score."""
        self._write("outline", key, {"size": mask.size, "counts": mask.counts.decode("ascii"), "score": score})

    def load_instances(self, key: Sequence[object]) -> list[Candidate] | None:
        """Return the instances of a concept in a frame, or None."""
        stored = self._read("instances", key)
        if stored is None:
            return None
        rles = [_to_rle(stored["size"], counts) for counts in stored["counts"]]
        return [
            Candidate(stored["frame"], decode(rle), score) for rle, score in zip(rles, stored["scores"], strict=True)
        ]

    def save_instances(self, key: Sequence[object], found: Sequence[Candidate]) -> None:
        """Store the instances of a concept in a frame, of which there may be none."""
        rles = [encode(one.mask) for one in found]
        content = {
            "frame": found[0].frame if found else 0,
            "size": rles[0].size if rles else (0, 0),
            "counts": [rle.counts.decode("ascii") for rle in rles],
            "scores": [one.score for one in found],
        }
        self._write("instances", key, content)

    def load_tracks(self, key: Sequence[object]) -> list[MaskTrack] | None:
        """Return the tracks of objects that were tracked together, or None."""
        stored = self._read("tracks", key)
        return None if stored is None else [MaskTrack.from_dict(item) for item in stored]

    def save_tracks(self, key: Sequence[object], tracks: Sequence[MaskTrack]) -> None:
        """Store tracks, and delete the checkpoints on the way to them."""
        self._write("tracks", key, [track.to_dict() for track in tracks])
        self._path("pass", key).unlink(missing_ok=True)

    def checkpoints(self, key: Sequence[object]) -> CheckpointStore:
        """Return where the checkpoints on the way to the tracks of this key are stored."""
        return _CachedCheckpoints(self, self._path("pass", key))

    def load_results(self, key: Sequence[object], targets: Sequence[Target]) -> list[TrackResult] | None:
        """Return the results of targets, or None."""
        stored = self._read("results", key)
        if stored is None:
            return None
        return [
            TrackResult(
                target=targets[item["target"]],
                instance=item["instance"],
                track=MaskTrack.from_dict(item["track"]),
                keyframes=tuple(
                    Keyframe(k["frame"], tuple(k["box"]), k["enabled"], k["score"]) for k in item["keyframes"]
                ),
                score=item["score"],
                anchor_frame=item["anchor"],
                notes=tuple(item["notes"]),
                features=item.get("signs", {}),
                disagreements=tuple(item.get("elsewhere", ())),
            )
            for item in stored
        ]

    def save_results(self, key: Sequence[object], results: Sequence[TrackResult]) -> None:
        """Store the results of targets."""
        content = [
            {
                "target": position,
                "instance": result.instance,
                "track": result.track.to_dict(),
                "keyframes": [asdict(keyframe) for keyframe in result.keyframes],
                "score": result.score,
                "anchor": result.anchor_frame,
                "notes": list(result.notes),
                "signs": dict(result.features),
                "elsewhere": list(result.disagreements),
            }
            for position, result in zip(target_positions(results), results, strict=True)
        ]
        self._write("results", key, content)

    def _path(self, stage: str, key: Sequence[object]) -> Path:
        text = repr((_FORMAT, self._content, stage, *key))
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
        except (OSError, zlib.error):  # damaged: computed anew
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return content

    def _write(self, stage: str, key: Sequence[object], content: Any) -> None:
        self._put(stage, self._path(stage, key), json.dumps(content, default=_to_plain).encode())

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
        except OSError as error:  # the result is right all the same: it is only not stored
            log.warning("the results of the stage %r cannot be kept in %s: %s", stage, self._folder, error.strerror)


class _CachedCheckpoints:
    """A `CheckpointStore` beside the finished stages."""

    def __init__(self, cache: StageCache, path: Path) -> None:
        self._cache, self._path = cache, path

    def load(self) -> bytes | None:
        """Return the state that was stored last, or None."""
        return self._cache._get(self._path)

    def save(self, state: bytes) -> None:
        """Store a state in place of the one before."""
        self._cache._put("pass", self._path, state)


def trim_cache(folder: Path, *, most_bytes: int) -> None:
    """Delete the stages that were unused longest until the rest fits into so many bytes."""
    evict_oldest(folder.glob("*"), max_bytes=most_bytes)


def _to_rle(size: Sequence[int], counts: str) -> Rle:
    return Rle((int(size[0]), int(size[1])), counts.encode("ascii"))


def _to_plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be stored")


def heatmap_key(words: str | None, model: Grounder, indices: Sequence[int], index: int) -> tuple[object, ...]:
    """Return the key of one frame's heatmap.

    Args:
        words: The referring expression.
        model: The grounder.
        indices: All frames that are grounded together: with a video backbone they attend to each other.
        index: The frame.
    """
    together = tuple(int(i) for i in indices)
    return (__version__, model.name, getattr(model, "options", None), words, together, int(index))


def track_start_key(start: TrackStart) -> tuple[object, ...]:
    """Return the part of a key that stands for an object's label and anchors."""
    anchors = [(frame, hashlib.sha256(encode(m).counts).hexdigest()) for frame, m in sorted(start.anchors.items())]
    return (start.label, *anchors)
