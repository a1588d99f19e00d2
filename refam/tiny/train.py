"""`refam train-tiny`: train the small model from scratch, in two stages, each for a given time."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import FluxTransformer2DModel
from transformers import T5EncoderModel

from refam.tiny import model
from refam.tiny.autoencoder import train_autoencoder
from refam.tiny.diffusion import TextToLatents, train_transformer
from refam.tiny.pool import BUCKETS, ScenePool, draw_pool

_POOL_SHARES = (1.0, 0.4, 0.3, 0.3)  # scenes of each bucket, as a share of --scenes

# Shares of the autoencoder's time: the learning rate falls to zero and starts once more.
_ROUNDS = (0.6, 0.4)


def draw_pools(scenes: int, seed: int) -> list[ScenePool]:
    """Draw the training scenes of every picture shape."""
    workers = os.cpu_count() or 1
    return [
        draw_pool(bucket, max(64, int(scenes * share)), seed * 1000 + 100 + i, workers=workers)
        for i, (bucket, share) in enumerate(zip(BUCKETS, _POOL_SHARES, strict=True))
    ]


def train_tiny(
    out: Path,
    *,
    autoencoder_minutes: float = 30.0,
    transformer_minutes: float = 75.0,
    scenes: int = 40_000,
    seed: int = 0,
    autoencoder_from: Path | None = None,
    go_on_from: Path | None = None,
    compile_blocks: bool = True,
    log: Callable[[str], None] = print,
) -> Path:
    """Train the small model and write it as a FluxPipeline directory.

    Time decides the number of steps, so that another machine makes another model of the same recipe.

    Args:
        out: The directory to write.
        autoencoder_minutes: Time for the first stage.
        transformer_minutes: Time for the second stage.
        scenes: Number of scenes to draw.
        seed: Seed of scenes and weights.
        autoencoder_from: The file that the first stage of an earlier run left in its `out`; it is not trained again.
        go_on_from: A directory that an earlier run wrote, whose transformer and text encoder are trained further.
        compile_blocks: Trains a third faster after minutes of compiling; needs a C++ compiler.
        log: Called with a line now and then.

    Returns:
        `out`.

    Raises:
        ValueError: If a time is not positive.
    """
    for name, minutes in (("autoencoder_minutes", autoencoder_minutes), ("transformer_minutes", transformer_minutes)):
        if minutes <= 0:
            raise ValueError(f"{name} must be positive, got {minutes}")
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    log(f"drawing {scenes} scenes and their wider kin ({platform.processor() or platform.machine()})")
    pools = draw_pools(scenes, seed)
    out.mkdir(parents=True, exist_ok=True)
    vae = model.build_vae()
    if autoencoder_from:
        vae.load_state_dict(torch.load(autoencoder_from, weights_only=True))
    else:
        predictor = None
        for share in _ROUNDS:
            seconds = 60 * autoencoder_minutes * share
            predictor = train_autoencoder(vae, pools, seconds=seconds, rng=rng, predictor=predictor, log=log)
        torch.save(vae.state_dict(), out / "autoencoder.pt")
    vae.eval()

    tokenizer = model.build_tokenizer()
    if go_on_from:
        net = TextToLatents(
            FluxTransformer2DModel.from_pretrained(go_on_from / "transformer", dtype=torch.float32),
            T5EncoderModel.from_pretrained(go_on_from / "text_encoder_2", dtype=torch.float32),
        )
    else:
        net = TextToLatents(model.build_transformer(), model.build_text_encoder(len(tokenizer)))

    def checkpoint(transformer: FluxTransformer2DModel, text_encoder: T5EncoderModel, step: int) -> None:
        model.save(model.assemble(vae, transformer, text_encoder, tokenizer), out)
        (out / "training.json").write_text(json.dumps({"steps": step, "seed": seed, "scenes": scenes}) + "\n")
        log(f"wrote {out} after {step} steps")

    train_transformer(
        vae,
        net,
        tokenizer,
        pools,
        seconds=60 * transformer_minutes,
        rng=rng,
        checkpoint=checkpoint,
        compile_blocks=compile_blocks,
        log=log,
    )
    return out
