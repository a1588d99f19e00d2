"""Cuts found in clips whose cuts are known: `video.sampling.detect_shots` beside PySceneDetect's detectors.

    make bench-shots DAVIS=DIR [ARGS="--videos DIR"]

Sets of clips, 24 frames a second: `cuts` real clips joined at random places in pieces of 12 to 40 frames; `fast` the
same of every third frame, so that everything moves three times as fast; `whole` real clips without a cut, of every,
every third and every fifth frame; `flash` real clips with one to three white frames; `drawn` the small model's scenes,
joined. A cut counts as found within one frame of where it is. PySceneDetect's detectors have their defaults but for the
shortest scene, which is the quarter of a second that is the shortest shot here (with theirs, 15 frames, they cannot
find what these clips hold); frames come to them as its own SceneManager gives them, shrunk to 256 pixels.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import cv2
import numpy as np
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector, HashDetector, HistogramDetector

from backend.benchmarks.davis_clips import clip_names
from refam.evaluation.synthetic import ArrayClip
from refam.tiny.scenes import draw_clip
from video.io.reader import open_clip
from video.sampling import detect_shots

FPS, SHORTEST, SIZE = 24.0, 6, (428, 240)


def footage(davis, videos):
    """Name -> (N, 240, 428, 3) uint8 RGB."""
    found = {}
    for name in clip_names(davis):
        files = sorted((davis / "JPEGImages" / name).glob("*.jpg"))
        found[name] = np.stack([cv2.resize(cv2.imread(str(f))[..., ::-1], SIZE) for f in files])
    for file in sorted(videos.glob("*.mp4")) if videos else ():
        parts = [[cv2.resize(i, SIZE) for i in images] for _, images in open_clip(file).batches(range(100))]
        found[file.stem] = np.stack(list(itertools.chain(*parts)))
    return found


def joined(pieces):
    """(frames, cuts): a cut is the first frame of what comes after it."""
    return np.concatenate(pieces), np.cumsum([len(p) for p in pieces])[:-1].tolist()


def montage(clips, rng, *, step=1, count=8):
    names = [str(n) for n in rng.permutation(sorted(clips))]
    pieces = []
    for name in itertools.islice(itertools.cycle(names), count):
        whole = clips[name][::step]
        n = min(int(rng.integers(12, 41)), len(whole))
        first = int(rng.integers(0, len(whole) - n + 1))
        pieces.append(whole[first : first + n])
    return joined(pieces)


def flashed(frames, rng):
    frames = frames.copy()
    for at in range(8, len(frames) - 8, 20):
        frames[at : at + int(rng.integers(1, 4))] = 250
    return frames, []


def sets_of(clips, rng):
    """Set -> [(frames, cuts)]."""
    scenes = [draw_clip(seed, size=SIZE, n_frames=20, count=3).frames for seed in range(8)]
    return {
        "cuts": [montage(clips, rng) for _ in range(6)],
        "fast": [montage(clips, rng, step=3) for _ in range(6)],
        "whole": [(c[::step], []) for c in clips.values() for step in (1, 3, 5)],
        "flash": [flashed(c, rng) for c in clips.values()],
        "drawn": [joined([scenes[i] for i in rng.permutation(len(scenes))]) for _ in range(3)],
    }


def ours(frames):
    return [first for first, _ in detect_shots(ArrayClip(frames, fps=FPS))[1:]]


def theirs(make):
    def run(frames):
        detector, found = make(min_scene_len=SHORTEST), []
        small = (256, round(256 * frames.shape[1] / frames.shape[2]))
        for i, frame in enumerate(frames):
            image = np.ascontiguousarray(cv2.resize(frame, small)[..., ::-1])
            found += detector.process_frame(FrameTimecode(i, FPS), image)
        found += detector.post_process(FrameTimecode(len(frames) - 1, FPS))
        return sorted({t.frame_num for t in found})

    return run


DETECTORS = {
    "video.sampling": ours,
    "ContentDetector": theirs(ContentDetector),
    "AdaptiveDetector": theirs(AdaptiveDetector),
    "HistogramDetector": theirs(HistogramDetector),
    "HashDetector": theirs(HashDetector),
}


def judge(found, cuts):
    """(hits, false alarms, misses): each cut is found at most once, within one frame."""
    free = list(found)
    hits = 0
    for cut in cuts:
        near = [f for f in free if abs(f - cut) <= 1]
        if near:
            free.remove(near[0])
            hits += 1
    return hits, len(free), len(cuts) - hits


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True)
    parser.add_argument("--videos", type=Path, help="directory of clips without cuts, *.mp4")
    args = parser.parse_args()
    sets = sets_of(footage(args.davis, args.videos), np.random.default_rng(0))
    print(f"{'':18s}" + "".join(f"{f'{name} ({sum(len(c) for _, c in of)})':>22s}" for name, of in sets.items()))
    print(f"{'':18s}" + f"{'found/missed/false':>22s}" * len(sets) + "  precision recall  ms a frame")
    for name, detect in DETECTORS.items():
        begin = time.perf_counter()
        told = {kind: np.sum([judge(detect(f), c) for f, c in of], axis=0) for kind, of in sets.items()}
        spent_s = time.perf_counter() - begin
        hits, false, missed = np.sum(list(told.values()), axis=0)
        frame_ms = 1000 * spent_s / sum(len(f) for of in sets.values() for f, _ in of)
        print(
            f"{name:18s}"
            + "".join(f"{f'{h}/{m}/{f}':>22s}" for h, f, m in told.values())
            + f"  {hits / max(1, hits + false):9.2f} {hits / max(1, hits + missed):6.2f}  {frame_ms:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
