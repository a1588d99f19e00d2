"""Training learns, and what it writes is an ordinary FluxPipeline."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel

from refam.tiny import autoencoder, model
from refam.tiny.language import ATTRIBUTES, sample_training_scene
from refam.tiny.pool import BUCKETS, draw_pool
from refam.tiny.train import train_tiny


def test_the_word_loss_is_lowest_for_the_right_words() -> None:
    rng = np.random.default_rng(0)
    scene = sample_training_scene(rng, (48.0, 48.0), (2,))
    logits = {}
    for name, objects in (("true", scene.objects), ("one", scene.objects[:1]), ("none", ())):
        logits[name] = torch.full((1, 144, len(ATTRIBUTES)), -6.0)
        for place, obj in enumerate(objects):
            logits[name][0, place * 7, [ATTRIBUTES.index(w) for w in obj.words()]] = 6.0
    losses = {n: float(autoencoder.word_loss(v, [scene], np.random.default_rng(1))) for n, v in logits.items()}
    assert losses["true"] < losses["one"] < losses["none"]


def test_folding_standardises_latents_and_keeps_the_reconstruction() -> None:
    torch.manual_seed(0)
    vae = model.build_vae()
    pool = draw_pool(BUCKETS[0], 64, 3, workers=1)
    autoencoder.fold_statistics(vae, [pool], np.random.default_rng(0), batches=1)
    _, pictures = pool.sample(np.random.default_rng(1), 64)
    with torch.no_grad():
        posterior = vae.encode(pictures).latent_dist
    assert posterior.mode().mean((0, 2, 3)).abs().max() < 0.15
    assert (posterior.mode().std((0, 2, 3)) - 1).abs().max() < 0.15
    torch.testing.assert_close(posterior.std.flatten()[:3], torch.full((3,), autoencoder.NOISE))


@pytest.mark.slow
def test_both_stages_learn_and_write_a_flux_pipeline(tmp_path: Path) -> None:
    lines: list[str] = []
    out = train_tiny(
        tmp_path / "flux",
        autoencoder_minutes=1.0,
        transformer_minutes=0.3,
        scenes=400,
        compile_blocks=False,
        log=lines.append,
    )
    words = [float(m.group(1)) for m in (re.search(r"words ([\d.]+)", s) for s in lines) if m]
    losses = [float(m.group(1)) for m in (re.search(r"loss ([\d.]+)", s) for s in lines) if m]
    assert words[-1] < 0.9 * words[0]
    assert losses[0] == pytest.approx(2, abs=0.4), "before training the velocity is 0: variance of noise and of latents"
    assert FluxTransformer2DModel.from_pretrained(out / "transformer").proj_out.weight.abs().max() > 0
    pipeline = FluxPipeline.from_pretrained(out)
    assert pipeline.vae_scale_factor * 2 == model.PIXELS_PER_TOKEN
    again = train_tiny(
        tmp_path / "again",
        transformer_minutes=0.05,
        scenes=64,
        autoencoder_from=out / "autoencoder.pt",
        compile_blocks=False,
        log=lines.append,
    )
    assert FluxPipeline.from_pretrained(again).transformer.config.in_channels == model.TOKEN_CHANNELS


@pytest.mark.parametrize("name", ["autoencoder_minutes", "transformer_minutes"])
def test_times_that_are_not_positive_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        train_tiny(tmp_path, **{name: 0.0})
