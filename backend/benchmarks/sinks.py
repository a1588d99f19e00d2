"""Compare treatments of global attention sinks, on held-out scenes of the small model.

    make bench-sinks [ARGS="--count 150"]

Prints:

1. The sinks of the model: share and variation of attention, block by block.
2. Point accuracy with a sink planted on a content word (a constant added to its logit in every block; the small model
   has none): untreated, suppressed, and with its map dropped. Word maps are summed as for the small model (each
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

from refam.attention_layouts import attention_modules
from refam.attention_sinks import find_sinks, suppress_sinks
from refam.grounder import Grounder, GroundingOptions
from refam.grounder_loading import load_grounder
from refam.grounding import TokenMaps
from refam.tiny.heldout import HELD_OUT_SEED, HeldOutScene, held_out_scenes
from video import metrics


def read_maps(grounder: Grounder, case: HeldOutScene, i: int, options: GroundingOptions | None = None) -> TokenMaps:
    (row,) = grounder.read_token_maps([case.picture], [case.referral.text], indices=[i], options=options)
    return row[0]


def report_sinks(grounder: Grounder, scenes: Sequence[HeldOutScene]) -> None:
    backbone, count = grounder.backbone, 0
    ratios, evenness = [], []
    for i, case in enumerate(scenes):
        parsed = grounder.parse(case.referral.text)
        latents = backbone.encode_frames([case.picture])
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(i))
        preset, backbone.preset = backbone.preset, replace(backbone.preset, blocks=None)  # all blocks
        text = backbone.encode_text([parsed.prompt])
        stats = backbone.read_attention(latents, text, noise, n_text=len(parsed.tokens), sink_stats=True).sink_stats
        backbone.preset = preset
        share, variation = stats.mean[:, 0].numpy(), stats.variation[:, 0].numpy()
        count += len(find_sinks(share, variation))
        ratios.append(share / np.median(share, 1, keepdims=True))
        evenness.append(variation)
    tall, even = np.concatenate(ratios, 1), np.concatenate(evenness, 1)
    print(f"\n{count} sinks among {tall.shape[1]} tokens of {len(scenes)} scenes\n")
    print("| block | largest share over the median | of tokens with variation up to 0.5 | least variation |")
    print("|---|---|---|---|")
    for block, (t, e) in enumerate(zip(tall, even, strict=True)):
        smooth = t[e <= 0.5]
        print(f"| {block} | {t.max():.1f} | {smooth.max() if smooth.size else float('nan'):.1f} | {e.min():.2f} |")


@contextmanager
def plant_sink(grounder: Grounder, position: int, boost: float, n_image: int, n_text: int) -> Iterator[None]:
    """Add a constant to the logit of one text key for every query within the context, through FLUX's attention mask."""
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


def apply_treatment(maps: TokenMaps, how: Callable[..., np.ndarray] | None) -> TokenMaps:
    content = [p for word in maps.expression.content_words() for p in word]
    sinks = [p for p in maps.sinks or () if p in content]
    others = [p for p in content if p not in sinks]
    if how is None or not sinks:
        return maps
    return replace(
        maps,
        maps=how(maps.maps, sinks, others),
        draws=np.stack([how(d, sinks, others) for d in maps.draws]),
    )


def drop_maps(maps: np.ndarray, sinks: Sequence[int], others: Sequence[int]) -> np.ndarray:
    out = maps.copy()
    out[list(sinks)] = 0
    return out


def report_planted_sinks(grounder: Grounder, scenes: Sequence[HeldOutScene], boost: float) -> None:
    treatments = {"left alone": None, "suppressed": suppress_sinks, "dropped": drop_maps}
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

    for i, case in enumerate(scenes):
        clean = read_maps(grounder, case, i)
        content = clean.expression.content_words()
        if len(content) < 2:
            continue
        several += 1
        h, w = clean.maps.shape[1:]
        with plant_sink(grounder, content[i % len(content)][0], boost, h * w, shipped.text_length):
            maps = read_maps(grounder, case, i)
        found += content[i % len(content)][0] in (maps.sinks or ())
        hits["no sink"].append(hit(clean, case))
        for name, how in treatments.items():
            hits[name].append(hit(apply_treatment(maps, how), case))
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
    scenes = list(held_out_scenes(args.count, HELD_OUT_SEED))
    if not args.planted_only:
        report_sinks(grounder, scenes)
    for boost in args.boost:
        report_planted_sinks(grounder, scenes, boost)


if __name__ == "__main__":
    main()
