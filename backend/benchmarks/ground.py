"""Time the grounding of frames, in total and by stage.

    make bench-ground                                    # the small model, 8 frames, one expression
    make bench-ground ARGS="--backbone DIR --device cuda --frames 8 --expressions 2"

Frames are batched and the text is encoded once. Prints seconds per frame and expression, then milliseconds and share of
each stage. Stages are timed by wrapping the functions that the grounder calls; the rest is its own bookkeeping. "tap"
is the reading of attention inside the transformer, whose time is not counted again as the transformer's. With
--threads 1 on the CPU, CPU time is measured, otherwise wall time.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch

import refam.attention
import refam.grounding
from refam.grounder import Grounder
from refam.grounder_loading import load_grounder
from refam.tiny import scenes

EXPRESSIONS = ("the red star", "the small blue ring", "the dotted square on the left", "the cross")


class Stopwatch:
    """Seconds by stage. The time of a nested stage is not counted in the outer one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.stage_s: dict[str, float] = defaultdict(float)
        self.running: list[str] = []

    def wrap(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = self.clock()
            self.running.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self.running.pop()
                duration = self.clock() - start
                self.stage_s[stage] += duration
                if self.running:
                    self.stage_s[self.running[-1]] -= duration

        return timed


@contextmanager
def time_stages(grounder: Grounder, stopwatch: Stopwatch) -> Iterator[None]:
    """Time the stages of the grounder within the context."""
    backbone = grounder.backbone
    timed_calls = [
        ("text encoders", backbone, "encode_text"),
        ("VAE", backbone, "encode_frames"),
        ("transformer", backbone.transformer, "forward"),
        ("tap: text columns of the softmax", refam.attention, "mean_probabilities"),
        ("tap: sinks", refam.attention, "compute_sink_stats"),
        ("upsampling", refam.grounding, "joint_bilateral_upsample"),
        ("heatmap, peak and features", refam.grounding, "make_heatmap"),
        ("heatmap, peak and features", refam.grounding, "compute_features"),
        ("words summed, candidates, prior", grounder, "compute_heatmap"),
    ]
    patches = [
        mock.patch.object(owner, name, stopwatch.wrap(stage, getattr(owner, name)))
        for stage, owner, name in timed_calls
    ]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in reversed(patches):
            patch.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--expressions", type=int, default=1, choices=range(1, len(EXPRESSIONS) + 1))
    parser.add_argument("--size", type=int, nargs=2, default=(640, 360), metavar=("W", "H"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    def clock() -> float:
        if args.device == "cuda":
            torch.cuda.synchronize()
        return time.process_time() if args.threads == 1 and args.device == "cpu" else time.perf_counter()

    grounder = load_grounder(args.backbone, device=args.device)
    clip = scenes.draw_clip(11, size=tuple(args.size), n_frames=args.frames)
    frames, expressions = list(clip.frames), EXPRESSIONS[: args.expressions]
    total_s, rounds = [], []
    first_call_s = clock()
    grounder.ground(frames, expressions)
    first_call_s = clock() - first_call_s
    for _ in range(args.rounds):
        stopwatch = Stopwatch(clock)
        with time_stages(grounder, stopwatch):
            start = clock()
            grounder.ground(frames, expressions)
            total_s.append(clock() - start)
        rounds.append(stopwatch.stage_s)
    count = args.frames * len(expressions)
    total = float(np.median(total_s))
    print(f"{grounder.name}: {args.frames} frames of {args.size[0]}x{args.size[1]}, {len(expressions)} expressions")
    first = f"{first_call_s:.2f} s the first call, text encoded"
    print(f"{total / count:.4f} s per frame and expression, text cached ({first})\n")
    print("| stage | ms per frame and expression | share |\n|---|---|---|")
    stages = sorted({s for r in rounds for s in r}, key=lambda s: -np.median([r[s] for r in rounds]))
    for stage in stages:
        stage_s = float(np.median([r[stage] for r in rounds]))
        print(f"| {stage} | {stage_s / count * 1e3:.2f} | {stage_s / total:.0%} |")
    rest_s = float(np.median([t - sum(r.values()) for t, r in zip(total_s, rounds, strict=True)]))
    print(f"| the rest | {rest_s / count * 1e3:.2f} | {rest_s / total:.0%} |")


if __name__ == "__main__":
    main()
