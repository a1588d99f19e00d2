"""Compare `video.sampling.detect_shots` with PySceneDetect's detectors on clips whose cuts are known.

    make bench-shots DAVIS=DIR [ARGS="--videos DIR"]

The sets of clips, at 24 frames a second:

    cuts    pieces of 12 to 40 frames of real clips, joined
    fast    the same of every third frame, so that everything moves three times as fast
    whole   real clips without a cut: every frame, every third and every fifth
    flash   real clips with one to three white frames
    drawn   the small model's scenes, joined

Prints found, missed and false cuts of each set, precision, recall and milliseconds a frame. A cut is found if it is
detected within one frame. PySceneDetect's detectors have their defaults except for the shortest scene: a quarter of a
second as here, since their 15 frames are longer than shots of these clips. Frames are shrunk to 256 pixels for them, as
its SceneManager does.
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


def read_clips(davis, videos):
    """Return name -> frames, (N, 240, 428, 3) uint8 RGB."""
    clips = {}
    for name in clip_names(davis):
        files = sorted((davis / "JPEGImages" / name).glob("*.jpg"))
        clips[name] = np.stack([cv2.resize(cv2.imread(str(f))[..., ::-1], SIZE) for f in files])
    for file in sorted(videos.glob("*.mp4")) if videos else ():
        parts = [[cv2.resize(i, SIZE) for i in images] for _, images in open_clip(file).batches(range(100))]
        clips[file.stem] = np.stack(list(itertools.chain(*parts)))
    return clips


def concatenate(pieces):
    """Return (frames, cuts) of the joined pieces; a cut is the first frame after it."""
    return np.concatenate(pieces), np.cumsum([len(p) for p in pieces])[:-1].tolist()


def montage(clips, rng, *, step=1, count=8):
    names = [str(n) for n in rng.permutation(sorted(clips))]
    pieces = []
    for name in itertools.islice(itertools.cycle(names), count):
        frames = clips[name][::step]
        n = min(int(rng.integers(12, 41)), len(frames))
        first = int(rng.integers(0, len(frames) - n + 1))
        pieces.append(frames[first : first + n])
    return concatenate(pieces)


def add_flashes(frames, rng):
    frames = frames.copy()
    for at in range(8, len(frames) - 8, 20):
        frames[at : at + int(rng.integers(1, 4))] = 250
    return frames, []


def build_sets(clips, rng):
    """Return name of the set -> [(frames, cuts)]."""
    scenes = [draw_clip(seed, size=SIZE, n_frames=20, count=3).frames for seed in range(8)]
    return {
        "cuts": [montage(clips, rng) for _ in range(6)],
        "fast": [montage(clips, rng, step=3) for _ in range(6)],
        "whole": [(c[::step], []) for c in clips.values() for step in (1, 3, 5)],
        "flash": [add_flashes(c, rng) for c in clips.values()],
        "drawn": [concatenate([scenes[i] for i in rng.permutation(len(scenes))]) for _ in range(3)],
    }


def detect_ours(frames):
    return [first for first, _ in detect_shots(ArrayClip(frames, fps=FPS))[1:]]


def make_detector(make):
    def run(frames):
        detector, cuts = make(min_scene_len=SHORTEST), []
        small = (256, round(256 * frames.shape[1] / frames.shape[2]))
        for i, frame in enumerate(frames):
            image = np.ascontiguousarray(cv2.resize(frame, small)[..., ::-1])
            cuts += detector.process_frame(FrameTimecode(i, FPS), image)
        cuts += detector.post_process(FrameTimecode(len(frames) - 1, FPS))
        return sorted({t.frame_num for t in cuts})

    return run


DETECTORS = {
    "video.sampling": detect_ours,
    "ContentDetector": make_detector(ContentDetector),
    "AdaptiveDetector": make_detector(AdaptiveDetector),
    "HistogramDetector": make_detector(HistogramDetector),
    "HashDetector": make_detector(HashDetector),
}


def count_cuts(found, cuts):
    """Return (hits, false alarms, misses); each cut is found at most once, within one frame."""
    free = list(found)
    hits = 0
    for cut in cuts:
        matches = [f for f in free if abs(f - cut) <= 1]
        if matches:
            free.remove(matches[0])
            hits += 1
    return hits, len(free), len(cuts) - hits


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True)
    parser.add_argument("--videos", type=Path, help="directory of clips without cuts, *.mp4")
    args = parser.parse_args()
    sets = build_sets(read_clips(args.davis, args.videos), np.random.default_rng(0))
    print(f"{'':18s}" + "".join(f"{f'{name} ({sum(len(c) for _, c in of)})':>22s}" for name, of in sets.items()))
    print(f"{'':18s}" + f"{'found/missed/false':>22s}" * len(sets) + "  precision recall  ms a frame")
    for name, detect in DETECTORS.items():
        begin = time.perf_counter()
        counts = {kind: np.sum([count_cuts(detect(f), c) for f, c in of], axis=0) for kind, of in sets.items()}
        spent_s = time.perf_counter() - begin
        hits, false, missed = np.sum(list(counts.values()), axis=0)
        frame_ms = 1000 * spent_s / sum(len(f) for of in sets.values() for f, _ in of)
        print(
            f"{name:18s}"
            + "".join(f"{f'{h}/{m}/{f}':>22s}" for h, f, m in counts.values())
            + f"  {hits / max(1, hits + false):9.2f} {hits / max(1, hits + missed):6.2f}  {frame_ms:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
