"""Seconds per grounded frame, and where they go: frames batched, text encoded once.

    make bench-ground                                    # the small model, 8 frames, one expression
    make bench-ground ARGS="--backbone DIR --device cuda --frames 8 --expressions 2"

Stages are timed by wrapping what the grounder calls; what is left over is its own bookkeeping. The tap is the reading
of attention inside the transformer, and is not counted twice. With --threads 1 seconds are of CPU, else of the wall.
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
from refam.grounder import Grounder, load_grounder
from refam.tiny import scenes

WORDS = ("the red star", "the small blue ring", "the dotted square on the left", "the cross")


class Stopwatch:
    """Seconds by stage. A stage inside another takes its own from the outer's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.spent: dict[str, float] = defaultdict(float)
        self.running: list[str] = []

    def wrapped(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = self.clock()
            self.running.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self.running.pop()
                took = self.clock() - begin
                self.spent[stage] += took
                if self.running:
                    self.spent[self.running[-1]] -= took

        return timed


@contextmanager
def watched(grounder: Grounder, watch: Stopwatch) -> Iterator[None]:
    """The grounder with every stage timed."""
    backbone = grounder.backbone
    places = [
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
        mock.patch.object(owner, name, watch.wrapped(stage, getattr(owner, name))) for stage, owner, name in places
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
    parser.add_argument("--expressions", type=int, default=1, choices=range(1, len(WORDS) + 1))
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
    frames, words = list(clip.frames), WORDS[: args.expressions]
    totals, rounds = [], []
    cold = clock()
    grounder.ground(frames, words)
    cold = clock() - cold
    for _ in range(args.rounds):
        watch = Stopwatch(clock)
        with watched(grounder, watch):
            begin = clock()
            grounder.ground(frames, words)
            totals.append(clock() - begin)
        rounds.append(watch.spent)
    count = args.frames * len(words)
    total = float(np.median(totals))
    print(f"{grounder.name}: {args.frames} frames of {args.size[0]}x{args.size[1]}, {len(words)} expressions")
    print(f"{total / count:.4f} s per frame and expression, text cached ({cold:.2f} s the first call, text encoded)\n")
    print("| stage | ms per frame and expression | share |\n|---|---|---|")
    stages = sorted({s for r in rounds for s in r}, key=lambda s: -np.median([r[s] for r in rounds]))
    for stage in stages:
        spent = float(np.median([r[stage] for r in rounds]))
        print(f"| {stage} | {spent / count * 1e3:.2f} | {spent / total:.0%} |")
    rest = float(np.median([t - sum(r.values()) for t, r in zip(totals, rounds, strict=True)]))
    print(f"| the rest | {rest / count * 1e3:.2f} | {rest / total:.0%} |")


if __name__ == "__main__":
    main()
