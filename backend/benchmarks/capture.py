"""Compare ways to read attention by time and memory of one forward pass.

    make bench-capture                          # 1024 and 4096 image tokens on the CPU, one thread, float32
    make bench-capture ARGS="--device cuda"     # FLUX.1 at full size, random weights, bfloat16, 512x512 and 1024x1024

Prints a table of the variants: seconds, peak memory, both relative to a plain forward pass, and how far the maps differ
from ours; then whether the limits are met.

Time is CPU time (wall time on CUDA). The variants are interleaved round by round, and freed memory is kept so that page
faults are not timed; the ratio is the median over rounds of the time over that of the plain pass in the same round.
Memory is the peak beyond model and inputs, each variant in its own process: the resident set (VmHWM, reset before the
pass) on the CPU, torch's allocator on CUDA.
The peer is attention-map-diffusers 1.0.0, which recomputes softmaxes after the pass ("fast", its default) or during it
("exact"). It is not an extra of this project because it depends on torchvision.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from torch.overrides import TorchFunctionMode

from refam.attention import read_attention

N_TEXT_TOKENS = 24  # text tokens whose maps are read: an expression with its attention magnets
# The peer skips FLUX's single blocks, so the model for the CPU has double blocks only: all variants read the same maps.
CPU_MODEL: dict[str, Any] = {
    "patch_size": 1, "in_channels": 64, "num_layers": 12, "num_single_layers": 0, "attention_head_dim": 64,
    "num_attention_heads": 6, "joint_attention_dim": 256, "pooled_projection_dim": 64, "axes_dims_rope": (16, 24, 24),
}  # fmt: skip
CUDA_MODEL: dict[str, Any] = {"guidance_embeds": False}  # FLUX.1-schnell's, which are the defaults
SIZES = {1024: (32, 32), 4096: (64, 64)}


def build_model(device: str, tokens: int) -> tuple[Any, dict[str, Any]]:
    """Return a transformer with random weights and its inputs."""
    torch.manual_seed(0)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = FluxTransformer2DModel(**(CPU_MODEL if device == "cpu" else CUDA_MODEL)).eval().requires_grad_(False)
        n_text = 128 if device == "cpu" else 512
        h, w = SIZES[tokens]
        config = model.config
        inputs = {
            "hidden_states": torch.randn(1, tokens, config.in_channels),
            "encoder_hidden_states": torch.randn(1, n_text, config.joint_attention_dim),
            "pooled_projections": torch.randn(1, config.pooled_projection_dim),
            "timestep": torch.full((1,), 0.5),
            "img_ids": torch.cartesian_prod(torch.zeros(1), torch.arange(float(h)), torch.arange(float(w))),
            "txt_ids": torch.zeros(n_text, 3),
            "return_dict": False,
        }
    torch.set_default_dtype(torch.float32)
    return model, inputs


class SoftmaxRecorder(TorchFunctionMode):
    """Records every softmax in full, as a naive implementation does."""

    def __init__(self, n_image: int) -> None:
        super().__init__()
        self.n_image = n_image
        self.maps: list[torch.Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        q, k, v = (kwargs.get(n, args[i] if i < len(args) else None) for i, n in enumerate(("query", "key", "value")))
        probabilities = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1)
        self.maps.append(probabilities[:, :, -self.n_image :, :N_TEXT_TOKENS].mean(1))
        return probabilities @ v


def run_plain(model: Any, inputs: dict[str, Any]) -> None:
    with torch.inference_mode():
        model(**inputs)


def read_ours(model: Any, inputs: dict[str, Any], **options: Any) -> torch.Tensor:
    with torch.inference_mode():
        return read_attention(model, inputs, n_text=N_TEXT_TOKENS, **{"early_exit": False, **options})[0].mean


def read_ours_early(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    depth = len(model.transformer_blocks) + len(model.single_transformer_blocks)
    return read_ours(model, inputs, early_exit=True, blocks=range(depth * 2 // 3))


def read_naive(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    with torch.inference_mode(), SoftmaxRecorder(inputs["hidden_states"].shape[1]) as mode:
        model(**inputs)
    return torch.stack(mode.maps).mean(0)


def read_peer(model: Any, inputs: dict[str, Any], *, mode: str) -> torch.Tensor:
    from attention_map_diffusers import AttentionCapture

    with torch.inference_mode():
        capture = AttentionCapture(SimpleNamespace(transformer=model), key_indices=range(N_TEXT_TOKENS), mode=mode)
        with capture:
            model(**inputs)
        maps = capture.compute()
    return torch.stack([record.data[:, 0] for record in maps.records]).mean(0)


VARIANTS: dict[str, Callable[[Any, dict[str, Any]], torch.Tensor | None]] = {
    "plain forward": run_plain,
    "ours": read_ours,
    "ours, sinks too": lambda m, i: read_ours(m, i, sink_stats=True),
    "ours, early exit after 2/3": read_ours_early,
    "naive full softmax": read_naive,
    "attention-map-diffusers, fast": lambda m, i: read_peer(m, i, mode="fast"),
    "attention-map-diffusers, exact": lambda m, i: read_peer(m, i, mode="exact"),
}


def read_clock(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def time_variants(device: str, tokens: int, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return each variant's seconds per round, and the largest relative difference of its maps from ours."""
    model, inputs = build_model(device, tokens)
    truth = read_ours(model, inputs).float()
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    differences: dict[str, float] = {}
    for r in range(rounds):
        names = list(VARIANTS)
        for name in names[r % len(names) :] + names[: r % len(names)]:
            begin = read_clock(device)
            maps = VARIANTS[name](model, inputs)
            seconds[name].append(read_clock(device) - begin)
            if maps is not None and "early" not in name and maps.shape == truth.shape:
                differences[name] = float((maps.float() - truth).abs().max() / truth.max())
    return seconds, differences


def peak_bytes(device: str, tokens: int, name: str) -> int:
    """Return the peak memory of one pass in this process, beyond model and inputs.

    A smaller pass goes first, so that what is loaded lazily is not measured.
    """
    model, inputs = build_model(device, tokens)
    small = {**inputs, "hidden_states": inputs["hidden_states"][:, :64], "img_ids": inputs["img_ids"][:64]}
    VARIANTS[name](model, small)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        VARIANTS[name](model, inputs)
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = status_bytes("VmRSS")
    VARIANTS[name](model, inputs)
    return status_bytes("VmHWM") - before


def status_bytes(field: str) -> int:
    """Return a memory figure of this process from /proc/self/status, in bytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if not found:
        raise SystemExit(f"/proc/self/status has no {field}: peak memory is measured on Linux only")
    return int(found[1]) * 1024


def peak_bytes_in_subprocess(device: str, tokens: int, name: str) -> int:
    """Run `peak_bytes` in a new process, which returns freed blocks over 64 KiB to the system at once."""
    command = [sys.executable, "-m", "backend.benchmarks.capture", "--device", device, "--peak", name]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    environment["MALLOC_MMAP_THRESHOLD_"] = "65536"
    done = subprocess.run(
        [*command, "--tokens", str(tokens)], env=environment, capture_output=True, text=True, check=True
    )
    return int(json.loads(done.stdout.splitlines()[-1])["peak_bytes"])


def check_limits(ratio: dict[str, float], memory: dict[str, float]) -> list[str]:
    """Return one line per limit: the measured ratio, the limit and whether it is met."""
    peers = {n: r for n, r in ratio.items() if n.startswith("attention-map")}
    rows = [
        ("ours, time over plain", ratio["ours"], 1.02),
        ("ours, memory over plain", memory["ours"], 1.10),
        ("early exit, time over plain", ratio["ours, early exit after 2/3"], 0.70),
    ]
    for name, peer_ratio in peers.items():
        rows.append((f"ours over {name}", ratio["ours"] / peer_ratio, 0.50))
        rows.append((f"early exit over {name}", ratio["ours, early exit after 2/3"] / peer_ratio, 0.50))
    return [f"{name}: {got:.3f}, bar {bar:.2f}: {'met' if got <= bar else 'MISSED'}" for name, got, bar in rows]


def print_report(device: str, tokens: int, rounds: int) -> None:
    seconds, differences = time_variants(device, tokens, rounds)
    peaks = {name: peak_bytes_in_subprocess(device, tokens, name) for name in VARIANTS}
    ratio = {n: float(np.median(np.array(s) / np.array(seconds["plain forward"]))) for n, s in seconds.items()}
    memory = {n: p / peaks["plain forward"] for n, p in peaks.items()}
    print(f"\n{tokens} image tokens, median of {rounds} rounds\n")
    print("| | seconds | time over plain | peak memory | over plain | maps differ from ours by |")
    print("|---|---|---|---|---|---|")
    for name in VARIANTS:
        differs = f"{differences[name]:.0e}" if name in differences else "-"
        row = f"{np.median(seconds[name]):.2f} | {ratio[name]:.3f} | {peaks[name] / 2**20:.0f} MiB | {memory[name]:.2f}"
        print(f"| {name} | {row} | {differs} |")
    print("\n" + "\n".join(check_limits(ratio, memory)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--tokens", type=int, choices=tuple(SIZES), nargs="*", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-peer", action="store_true", help="leave attention-map-diffusers out")
    parser.add_argument("--peak", choices=tuple(VARIANTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.device == "cpu":
        torch.set_num_threads(1)
        if not args.peak and "MALLOC_TRIM_THRESHOLD_" not in os.environ:  # read only when a process starts
            environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_MMAP_MAX_": "0"}
            os.execve(sys.executable, [sys.executable, "-m", "backend.benchmarks.capture", *sys.argv[1:]], environment)
    if args.peak:
        print(json.dumps({"peak_bytes": peak_bytes(args.device, args.tokens[0], args.peak)}))
        return
    if args.no_peer:
        for name in [n for n in VARIANTS if n.startswith("attention-map")]:
            del VARIANTS[name]
    for tokens in args.tokens:
        print_report(args.device, tokens, args.rounds)


if __name__ == "__main__":
    main()
