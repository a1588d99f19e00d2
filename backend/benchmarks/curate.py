"""Compare `refam curate` with a plain loop over the same clips, and time the stages of a clip.

    make bench-curate [ARGS="--clips 8 --frames 40 --workers 1 2"]

The same drawn clips are labelled one after another in this process, then through Ray with 1 and 2 workers of one thread
each. Prints the seconds of each stage per second of video, clips per hour, and the size of the results. "from the first
result" leaves out the start of Ray and of the models, which a long run pays once: n - 1 results divided by the time
since the first one.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from backend.batch.clips import ClipWorker, worker_settings
from backend.batch.manifest import Manifest, ManifestRow
from backend.batch.results import summarize_results
from backend.batch.run import WorkerPlan, run
from backend.settings import load_settings
from refam.evaluation.synthetic import RED, red_star_and_blue_ring, write_video
from video.io.reader import open_clip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run_benchmark(Path(folder), args.clips, args.frames, args.workers)


def run_benchmark(folder, clips, n_frames, worker_counts):
    """Label the clips in both ways and print the tables."""
    frames, _ = red_star_and_blue_ring(n_frames, size=(640, 360))
    rows = []
    for i in range(clips):
        path = write_video(folder / f"{i}.mp4", frames, fps=25)
        rows.append(ManifestRow(i + 1, "", str(path), (RED,), ("star",)))
    settings = worker_settings(load_settings(device="cpu", sam2="grabcut"))
    start_s = time.perf_counter()
    worker = ClipWorker(settings)
    ended_s, stages = [], Counter()
    for row in rows:
        stages.update(worker(row)["stages_s"])
        ended_s.append(time.perf_counter())
    loop_rate = clips_per_hour(ended_s)
    print(f"{clips} clips of {n_frames} frames, 640x360, {n_frames / 25:.1f} s each; {os.cpu_count()} CPU cores")
    total_s, decode_start_s = ended_s[-1] - start_s, time.perf_counter()
    for _ in open_clip(folder / "0.mp4").batches():
        pass
    decoding_s = time.perf_counter() - decode_start_s
    video_s = clips * n_frames / 25
    print("\n| stage | seconds per second of video | share |\n|---|---|---|")
    for stage, seconds in stages.most_common():
        print(f"| {stage} | {seconds / video_s:.3f} | {seconds / sum(stages.values()):.0%} |")
    print(f"| all | {sum(stages.values()) / video_s:.3f} | 100% |")
    print(f"\nOpening and decoding every frame once, alone: {decoding_s / (n_frames / 25):.3f} s per second of video.")
    print("\n| | clips per hour, from the first result | beside the loop | whole run |\n|---|---|---|---|")
    print(f"| plain loop, one process | {loop_rate:.0f} | 1 | {total_s:.1f} s |")
    for workers in worker_counts:
        out, ended_s, start_s = folder / f"out{workers}", [], time.perf_counter()
        run(
            Manifest(tuple(rows), 0, ()),
            "bench",
            out,
            plan=WorkerPlan(workers, cpus=1),
            settings=settings,
            model_version="bench",
            progress=lambda done, failed, of, ended_s=ended_s: ended_s.append(time.perf_counter()) if done else None,
        )
        summary = summarize_results(out)
        assert summary.statuses == {"done": clips}, summary.statuses
        total_s = time.perf_counter() - start_s
        rate = clips_per_hour(ended_s)
        print(f"| refam curate, {workers} worker(s) | {rate:.0f} | {rate / loop_rate:.2f} | {total_s:.1f} s |")
    stored_bytes = sum(p.stat().st_size for p in (out / "parts").glob("*"))
    print(f"Results: {stored_bytes / video_s / 1e3:.1f} kB per second of video.")


def clips_per_hour(ended_s):
    """Return clips per hour from the times at which clips were done, without the first."""
    return 3600 * (len(ended_s) - 1) / (ended_s[-1] - ended_s[0])


if __name__ == "__main__":
    main()
