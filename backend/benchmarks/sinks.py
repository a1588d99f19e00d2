"""Global attention sinks, on held-out scenes of the small model.

    python -m backend.benchmarks.sinks [--count 150]

1. Which sinks there are: share and evenness of attention, block by block.
2. A sink planted on a content word (a constant added to its logit in every block; the small model has none):
   point accuracy without treatment, suppressed, and with its map dropped; words summed as for the small model (each
   standardised first) and plainly, as in the paper.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from refam.attention import attention_modules
from refam.attention_sinks import find_sinks, suppress_sinks
from refam.grounder import Grounder, GroundingOptions, load_grounder
from refam.grounding import TokenMaps
from refam.tiny.heldout import HELD_OUT_SEED, HeldOutScene, held_out_scenes
from video import metrics


def read(grounder: Grounder, case: HeldOutScene, i: int, options: GroundingOptions | None = None) -> TokenMaps:
    (row,) = grounder.read_token_maps([case.picture], [case.referral.text], indices=[i], options=options)
    return row[0]


def sinks_there_are(grounder: Grounder, judged: Sequence[HeldOutScene]) -> None:
    backbone, found = grounder.backbone, 0
    ratios, evenness = [], []
    for i, case in enumerate(judged):
        parsed = grounder.parse(case.referral.text)
        latents = backbone.encode_frames([case.picture])
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(i))
        preset, backbone.preset = backbone.preset, replace(backbone.preset, blocks=None)  # all blocks
        text = backbone.encode_text([parsed.prompt])
        stats = backbone.read_attention(latents, text, noise, n_text=len(parsed.tokens), sink_stats=True).sink_stats
        backbone.preset = preset
        share, variation = stats.mean[:, 0].numpy(), stats.variation[:, 0].numpy()
        found += len(find_sinks(share, variation))
        ratios.append(share / np.median(share, 1, keepdims=True))
        evenness.append(variation)
    tall, even = np.concatenate(ratios, 1), np.concatenate(evenness, 1)
    print(f"\n{found} sinks among {tall.shape[1]} tokens of {len(judged)} scenes\n")
    print("| block | largest share over the median | of tokens with variation up to 0.5 | least variation |")
    print("|---|---|---|---|")
    for block, (t, e) in enumerate(zip(tall, even, strict=True)):
        smooth = t[e <= 0.5]
        print(f"| {block} | {t.max():.1f} | {smooth.max() if smooth.size else float('nan'):.1f} | {e.min():.2f} |")


@contextmanager
def planted(grounder: Grounder, position: int, boost: float, n_image: int, n_text: int) -> Iterator[None]:
    """The model with a constant added to the logit of one text key for every query, by the mask FLUX can be given."""
    bias = torch.zeros(1, 1, 1, n_text + n_image)
    bias[..., position] = boost

    def plant(_: object, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "attention_mask": bias}

    hooks = [
        m.register_forward_pre_hook(plant, with_kwargs=True) for m in attention_modules(grounder.backbone.transformer)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def treat(maps: TokenMaps, how: Callable[..., np.ndarray] | None) -> TokenMaps:
    meant = [p for word in maps.expression.content_words() for p in word]
    found = [p for p in maps.sinks or () if p in meant]
    like = [p for p in meant if p not in found]
    if how is None or not found:
        return maps
    return replace(
        maps,
        maps=how(maps.maps, found, like),
        draws=np.stack([how(d, found, like) for d in maps.draws]),
    )


def dropped(maps: np.ndarray, sinks: Sequence[int], like: Sequence[int]) -> np.ndarray:
    out = maps.copy()
    out[list(sinks)] = 0
    return out


def planted_sinks(grounder: Grounder, judged: Sequence[HeldOutScene], boost: float) -> None:
    treatments = {"left alone": None, "suppressed": suppress_sinks, "dropped": dropped}
    shipped = grounder.backbone.preset
    readouts = {"words balanced, smoothed": shipped, "plain sum": replace(shipped, balanced=False, smooth_tokens=0.0)}
    hits: dict[str, list[list[bool]]] = {name: [] for name in ("no sink", *treatments)}
    found, several = 0, 0
    options = replace(grounder.options, sinks=False)

    def hit(of: TokenMaps, case: HeldOutScene) -> list[bool]:
        out = []
        for grounder.backbone.preset in readouts.values():
            peak = grounder.compute_heatmap(of, case.picture, options=options).heatmap.peak
            out.append(metrics.point_hit(peak, case.truth))
        grounder.backbone.preset = shipped
        return out

    for i, case in enumerate(judged):
        clean = read(grounder, case, i)
        meant = clean.expression.content_words()
        if len(meant) < 2:
            continue
        several += 1
        h, w = clean.maps.shape[1:]
        with planted(grounder, meant[i % len(meant)][0], boost, h * w, shipped.text_length):
            maps = read(grounder, case, i)
        found += meant[i % len(meant)][0] in (maps.sinks or ())
        hits["no sink"].append(hit(clean, case))
        for name, how in treatments.items():
            hits[name].append(hit(treat(maps, how), case))
    print(f"\na sink planted on one word of two or more, logit + {boost:g}: found in {found} of {several} scenes\n")
    print(f"| point accuracy | {' | '.join(readouts)} |\n|---|{'---|' * len(readouts)}")
    for name, some in hits.items():
        print(f"| {name} | {' | '.join(str(metrics.estimate_share(column)) for column in zip(*some, strict=True))} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=150, help="held-out scenes")
    parser.add_argument("--boost", type=float, nargs="*", default=[3.0, 6.0])
    parser.add_argument("--planted-only", action="store_true")
    args = parser.parse_args()
    grounder = load_grounder("tiny", device="cpu")
    judged = list(held_out_scenes(args.count, HELD_OUT_SEED))
    if not args.planted_only:
        sinks_there_are(grounder, judged)
    for boost in args.boost:
        planted_sinks(grounder, judged, boost)


if __name__ == "__main__":
    main()
