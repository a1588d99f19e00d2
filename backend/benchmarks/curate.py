"""What `refam curate` costs beside a plain loop, and what each stage of a clip costs.

    python -m backend.benchmarks.curate [--clips 8] [--frames 40] [--workers 1 2] [--out DIR]

The same drawn clips, one after another in this process, then through Ray with 1 and 2 workers. "from the first result"
leaves out the start of Ray and of the models, which a long run pays once: n - 1 results divided by the time since the
first one. Each worker has one thread.
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
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench(Path(folder), asked.clips, asked.frames, asked.workers)


def bench(folder, clips, n_frames, crews):
    frames, _ = red_star_and_blue_ring(n_frames, size=(640, 360))
    rows = []
    for i in range(clips):
        path = write_video(folder / f"{i}.mp4", frames, fps=25)
        rows.append(ManifestRow(i + 1, "", str(path), (RED,), ("star",)))
    settings = worker_settings(load_settings(device="cpu", sam2="grabcut"))
    began = time.perf_counter()
    work = ClipWorker(settings)
    ended, stages = [], Counter()
    for row in rows:
        stages.update(work(row)["stages_s"])
        ended.append(time.perf_counter())
    plain = pace(ended)
    print(f"{clips} clips of {n_frames} frames, 640x360, {n_frames / 25:.1f} s each; {os.cpu_count()} CPU cores")
    whole, decoding = ended[-1] - began, time.perf_counter()
    for _ in open_clip(folder / "0.mp4").batches():
        pass
    alone = time.perf_counter() - decoding
    film_s = clips * n_frames / 25
    print("\n| stage | seconds per second of video | share |\n|---|---|---|")
    for stage, seconds in stages.most_common():
        print(f"| {stage} | {seconds / film_s:.3f} | {seconds / sum(stages.values()):.0%} |")
    print(f"| all | {sum(stages.values()) / film_s:.3f} | 100% |")
    print(f"\nOpening and decoding every frame once, alone: {alone / (n_frames / 25):.3f} s per second of video.")
    print("\n| | clips per hour, from the first result | beside the loop | whole run |\n|---|---|---|---|")
    print(f"| plain loop, one process | {plain:.0f} | 1 | {whole:.1f} s |")
    for workers in crews:
        out, ended, began = folder / f"out{workers}", [], time.perf_counter()
        run(
            Manifest(tuple(rows), 0, ()),
            "bench",
            out,
            plan=WorkerPlan(workers, cpus=1),
            settings=settings,
            model_version="bench",
            progress=lambda done, failed, of, ended=ended: ended.append(time.perf_counter()) if done else None,
        )
        found = summarize_results(out)
        assert found.statuses == {"done": clips}, found.statuses
        whole = time.perf_counter() - began
        print(f"| refam curate, {workers} worker(s) | {pace(ended):.0f} | {pace(ended) / plain:.2f} | {whole:.1f} s |")
    held = sum(p.stat().st_size for p in (out / "parts").glob("*"))
    print(f"Results: {held / film_s / 1e3:.1f} kB per second of video.")


def pace(ended):
    """Clips per hour."""
    return 3600 * (len(ended) - 1) / (ended[-1] - ended[0])


if __name__ == "__main__":
    main()
