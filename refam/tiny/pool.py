"""Pools of drawn training scenes, in a few picture shapes so that positions generalise."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from refam.tiny.language import sample_training_scene
from refam.tiny.scenes import Scene, draw_scene


@dataclass(frozen=True)
class Bucket:
    """One picture shape.

    Attributes:
        size: (w, h), in pixels and in units alike.
        counts: Numbers of objects to choose from.
        batch: Pictures in a training step.
        share: Share of the training steps.
    """

    size: tuple[int, int]
    counts: tuple[int, ...]
    batch: int
    share: float


BUCKETS = (
    Bucket((48, 48), (1, 2, 3), 128, 0.5),
    Bucket((64, 48), (1, 2, 3, 4), 96, 0.2),
    Bucket((64, 64), (2, 3, 4), 72, 0.15),
    Bucket((112, 64), (2, 3, 4), 40, 0.15),
)


@dataclass(frozen=True, eq=False)
class ScenePool:
    """Scenes of one bucket, and their pictures (n, h, w, 3) uint8 RGB."""

    bucket: Bucket
    scenes: tuple[Scene, ...]
    pictures: NDArray[np.uint8]

    def sample(self, rng: np.random.Generator, batch: int | None = None) -> tuple[list[Scene], torch.Tensor]:
        """Sample scenes and their pictures (B, 3, h, w) float32 in [-1, 1]; half of them are mirrored, places too."""
        chosen = rng.integers(0, len(self.scenes), batch or self.bucket.batch)
        mirrored = rng.random(len(chosen)) < 0.5
        pictures = self.pictures[chosen]
        pictures[mirrored] = pictures[mirrored][:, :, ::-1]
        scenes = [mirror_scene(self.scenes[i]) if m else self.scenes[i] for i, m in zip(chosen, mirrored, strict=True)]
        return scenes, torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def mirror_scene(scene: Scene) -> Scene:
    """Return the scene with left and right exchanged."""
    return replace(scene, objects=tuple(replace(t, x=scene.extent[0] - t.x) for t in scene.objects))


def _draw_chunk(job: tuple[int, int, Bucket]) -> tuple[list[Scene], NDArray[np.uint8]]:
    cv2.setNumThreads(0)
    seed, count, bucket = job
    rng = np.random.default_rng(seed)
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = sample_training_scene(rng, (float(bucket.size[0]), float(bucket.size[1])), bucket.counts)
        if scene.objects:
            scenes.append(scene)
    return scenes, np.stack([draw_scene(s, bucket.size)[0] for s in scenes])


def draw_pool(bucket: Bucket, count: int, seed: int, *, workers: int) -> ScenePool:
    """Draw `count` scenes, which depend on the seed alone and not on the number of workers."""
    step = 500
    jobs = [(seed + 1_000_003 * k, min(step, count - k * step), bucket) for k in range(-(-count // step))]
    with multiprocessing.get_context("fork").Pool(workers) as processes:
        parts = processes.map(_draw_chunk, jobs)
    scenes: Sequence[Scene] = [s for part, _ in parts for s in part]
    return ScenePool(bucket, tuple(scenes), np.concatenate([p for _, p in parts]))
