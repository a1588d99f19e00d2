"""Measure memory and speed on an hour of video at 1920x1080.

    make bench-scale [ARGS="--minutes 60 --track-minutes 4 --keyframe-limit 300"]

The clip repeats the packets of a short encoded piece, without encoding again; 60 minutes are 108,000 frames. Prints the
resident memory (RSS) and the speed of both decoders, of opening, decoding, tracking and writing the result, at several
shares of the work, so that growth with the length shows. Tracking (flow and GrabCut, longer side 320 px) runs for
--track-minutes and prints how far it came. Keyframes are selected in a process of their own, which is terminated after
--keyframe-limit seconds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import tempfile
import time
from pathlib import Path
from queue import Empty

import av
import numpy as np

from backend.cli.outputs import tracks_json
from refam.pipeline.types import Target, TrackResult
from refam.segmenters.grabcut import GrabCutSegmenter
from video import masks
from video.io.decode import read_decord, read_pyav
from video.io.probe import probe
from video.io.reader import make_view, open_clip
from video.keyframes import select_keyframes
from video.tracking.propagate import TrackStart, propagate_all
from video.types import MaskTrack

FPS, PIECE = 30, 300
WIDTH, HEIGHT, RADIUS_PX = 1920, 1080, 120
SHARES = (0.10, 0.25, 0.50, 0.75, 1.00)
LENGTHS = (1_000, 10_000, 108_000)


class _TimeUpError(Exception):
    """Raised when the time for tracking is over."""


def rss_mb():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this benchmark reads /proc/self/status: run it on Linux")


def disc_mask(frame):
    """Return a disc, (HEIGHT, WIDTH) bool, that moves round once per piece, so that repeats join without a jump."""
    angle = 2 * np.pi * frame / PIECE
    x, y = WIDTH / 2 + 400 * np.cos(angle), HEIGHT / 2 + 250 * np.sin(angle)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    return (columns - x) ** 2 + (rows - y) ** 2 <= RADIUS_PX**2


def write_piece(path):
    texture = np.random.default_rng(0).integers(70, 110, (HEIGHT // 40, WIDTH // 40, 3), np.uint8)
    ground = np.kron(texture, np.ones((40, 40, 1), np.uint8))
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "tune": "fastdecode", "crf": "28", "g": "60", "bf": "0"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(PIECE):
            image = ground.copy()
            image[disc_mask(i)] = (220, 60, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def repeat_packets(piece, path, times):
    """Write the packets of the piece `times` times, with shifted time stamps."""
    with av.open(str(piece)) as source, av.open(str(path), "w") as out:
        stream = source.streams.video[0]
        target = out.add_stream_from_template(stream)
        step = round(PIECE / FPS / stream.time_base)
        for k in range(times):
            source.seek(0)
            for packet in source.demux(stream):
                if packet.size == 0:  # the end
                    continue
                packet.pts, packet.dts = packet.pts + k * step, packet.dts + k * step
                packet.stream = target
                out.mux(packet)


def checkpoints(total):
    return {max(1, round(share * total)): share for share in SHARES}


def print_progress(stage, share, done, began):
    took_s = time.perf_counter() - began
    print(f"  {stage:<10}{share:>5.0%}{done:>10,} frames{rss_mb():>9.0f} MB{done / took_s:>9.0f} frames/s", flush=True)


def time_decoding(clip):
    reports, done, began = checkpoints(len(clip)), 0, time.perf_counter()
    for indices, _ in clip.batches():
        for _ in indices:
            done += 1
            if done in reports:
                print_progress("decode", reports[done], done, began)


def measure_decoder(name, path, answer):
    probed, began = probe(path), time.perf_counter()
    n, most, before = len(probed.times), 0.0, rss_mb()
    frames = read_decord(path, n, size=16) if name == "decord" else read_pyav(path, probed, np.arange(n))
    for _ in frames:
        most = max(most, rss_mb())
    answer.put(
        f"  {name:<10}{n:>6,} frames{most - before:>9.0f} MB more{n / (time.perf_counter() - began):>8.0f} frames/s"
    )


def compare_decoders(path):
    """Measure decord and PyAV on the same short clip, each in a process of its own."""
    for name in ("decord", "pyav"):
        answer = mp.get_context("spawn").Queue()
        child = mp.get_context("spawn").Process(target=measure_decoder, args=(name, path, answer))
        child.start()
        print(answer.get(timeout=300), flush=True)
        child.join()


def time_tracking(clip, minutes):
    """Track for the given minutes; print speed and memory at shares of that time."""
    view = make_view(clip, most_px=320)
    done, parts = 0, list(SHARES)

    def tick(_):
        nonlocal done
        done += 1
        share = (time.perf_counter() - began) / (60 * minutes)
        while parts and share >= parts[0]:
            print_progress("track", parts.pop(0), done, began)
        if not parts:
            raise _TimeUpError

    start = TrackStart("disc", {0: masks.resize_mask(disc_mask(0), view.size)})
    piece = propagate_all(view, [start], GrabCutSegmenter(), window=(0, min(PIECE, len(clip)) - 1))[0]
    print(f"  of one piece, visible on {piece.visible.mean():.0%} of the frames: a lost object would cost little")
    began = time.perf_counter()
    try:
        (track,) = propagate_all(view, [start], GrabCutSegmenter(), progress=tick)
        print(f"  the whole clip was tracked, visible on {track.visible.mean():.0%} of its frames")
    except _TimeUpError:
        print(
            f"  {done:,} of {len(clip):,} frames ({done / len(clip):.1%}) in {minutes:g} minutes; the rest was not run"
        )


def boxes_of(kind, n):
    """Return a test track of n boxes, (n, 4) xyxy normalised.

    Args:
        kind: "smooth" (a slow circle), "jittery" (the circle with noise), "still" (noise of a fiftieth of the box) or
            "parked" (half of that noise, and one shift in the middle).
        n: Number of boxes.
    """
    rng, at = np.random.default_rng(1), np.arange(n)
    centre = np.full((n, 2), 0.5)
    if kind in ("smooth", "jittery"):
        centre = 0.5 + 0.2 * np.stack([np.cos(at / 300), np.sin(at / 300)], 1)
    sides = np.hstack([centre - 0.1, centre + 0.1])
    if kind == "parked":
        sides[n // 2] += 0.02
    return sides + rng.normal(0, {"smooth": 0.0, "jittery": 0.004, "still": 0.004, "parked": 0.002}[kind], (n, 4))


def _time_selection(kind, n, answer):
    began = time.perf_counter()
    chosen = select_keyframes(boxes_of(kind, n), np.ones(n, bool), positions=np.arange(n) / FPS)
    answer.put((len(chosen), time.perf_counter() - began, rss_mb()))


def time_keyframes(limit_s):
    for kind in ("smooth", "jittery", "still", "parked"):
        for n in LENGTHS:
            answer = mp.get_context("spawn").Queue()
            child = mp.get_context("spawn").Process(target=_time_selection, args=(kind, n, answer))
            child.start()
            try:
                count, took_s, used = answer.get(timeout=limit_s)
                print(f"  {kind:<10}{n:>8,} rows{count:>8,} keyframes{took_s:>8.1f} s{used:>9.0f} MB", flush=True)
            except Empty:
                print(f"  {kind:<10}{n:>8,} rows: not done after {limit_s:g} s, and ended", flush=True)
                child.terminate()
            child.join()


def measure_results(clip, folder):
    """Measure memory and file size of the track of an object that is visible on every frame."""
    rles = [masks.encode(disc_mask(i)) for i in range(PIECE)]
    for share in (0.1, 1.0):
        n, before, began = max(1, round(share * len(clip))), rss_mb(), time.perf_counter()
        track = MaskTrack(
            label="disc",
            size=clip.size,
            frames=np.arange(n),
            rles=tuple(type(rles[0])(r.size, bytes(bytearray(r.counts))) for r in (rles[i % PIECE] for i in range(n))),
            boxes=np.array([masks.rle_box(rles[i % PIECE]) for i in range(n)]),
            scores=np.ones(n),
            visible=np.ones(n, bool),
        )
        track_mb = rss_mb() - before
        result = TrackResult(Target("disc", "the disc"), track, (), 1.0, 0, ())
        path = folder / "tracks.json"
        path.write_text(json.dumps(tracks_json(clip, [result], model_version="bench")), encoding="utf-8")
        print(
            f"  {share:>4.0%}{n:>9,} rows: track {track_mb:>5.0f} MB, with its JSON {rss_mb() - before:>5.0f} MB, "
            f"file {path.stat().st_size / 1e6:.0f} MB, {time.perf_counter() - began:.1f} s",
            flush=True,
        )
        del result, track


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--track-minutes", type=float, default=4)
    parser.add_argument("--keyframe-limit", type=float, default=300)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_piece(folder / "piece.mp4")
        path = folder / "hour.mp4"
        repeat_packets(folder / "piece.mp4", path, max(1, round(args.minutes * 60 * FPS / PIECE)))
        repeat_packets(folder / "piece.mp4", folder / "short.mp4", 4)
        print("40 s of it through either decoder")
        compare_decoders(folder / "short.mp4")
        before, began = rss_mb(), time.perf_counter()
        clip = open_clip(path)
        took_s = time.perf_counter() - began
        print(f"{clip!r}, {path.stat().st_size / 1e6:.0f} MB")
        print(f"open: {took_s:.0f} s, {len(clip) / took_s:.0f} frames/s, {before:.0f} -> {rss_mb():.0f} MB", flush=True)
        print("decode, every frame once and in order")
        time_decoding(clip)
        print("track by flow and GrabCut, longer side 320 px")
        time_tracking(clip, args.track_minutes)
        print("write the result")
        measure_results(clip, folder)
    print("keyframes, tolerance 0.9")
    time_keyframes(args.keyframe_limit)


if __name__ == "__main__":
    main()
