"""First stage of training: an AutoencoderKL whose latents also predict the words of the caption.

On raw pixels, a small transformer learns to match colours only. On latents that carry meaning it also matches nouns,
sizes and textures (the idea of VA-VAE, arXiv 2501.01423, and of REPA, arXiv 2410.06940). The training uses pictures and
the words of their captions, but no masks, boxes or positions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import nn

from refam.tiny import model
from refam.tiny.language import ATTRIBUTES
from refam.tiny.pool import ScenePool
from refam.tiny.scenes import COLOURS, SHAPES, SIZES, TEXTURES, Scene

NOISE = 0.15  # standard deviation, added to unit-variance latents before they are decoded or read
_INDEX = {word: i for i, word in enumerate(ATTRIBUTES)}
_CHOICES: tuple[Sequence[str], ...] = (
    tuple(SIZES),
    TEXTURES,
    tuple(COLOURS),
    SHAPES,
)  # the order of SceneObject.words()


class WordPredictor(nn.Module):
    """A linear layer from each packed latent token to the caption's words; used in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(model.TOKEN_CHANNELS, len(ATTRIBUTES))
        nn.init.constant_(self.linear.bias, -3.0)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, N, words) of tokens (B, N, 32)."""
        return self.linear(tokens)


def _pool_places(logits: torch.Tensor) -> torch.Tensor:
    """(B, N, k) logits per place -> (B, k): a soft maximum over places, since the right place is not given."""
    return (torch.logsumexp(4 * logits, 1) - float(np.log(logits.shape[1]))) / 4


def word_loss(logits: torch.Tensor, scenes: Sequence[Scene], rng: np.random.Generator) -> torch.Tensor:
    """Compute the loss of predicting which words are in the caption, and which of them belong together.

    Words: binary cross-entropy of each attribute word. Phrases: binary cross-entropy of each object's phrase, such as
    "small dotted red star", and of the same phrase with one word exchanged; a phrase is present where all its words are
    (soft minimum).

    Args:
        logits: (B, N, words) from `WordPredictor`.
        scenes: B scenes.
        rng: Chooses the words to exchange.

    Returns:
        The sum of both losses.
    """
    present = torch.zeros(len(scenes), len(ATTRIBUTES))
    phrases = np.zeros((len(scenes), 8, 4), np.int64)
    truth = torch.zeros(len(scenes), 8)
    weight = torch.zeros(len(scenes), 8)
    for b, scene in enumerate(scenes):
        object_words = [t.words() for t in scene.objects]
        for k, words in enumerate(object_words):
            present[b, [_INDEX[w] for w in words]] = 1
            attribute = int(rng.integers(4))
            other = list(words)
            other[attribute] = str(rng.choice(_CHOICES[attribute]))
            for slot, phrase in ((2 * k, words), (2 * k + 1, tuple(other))):
                phrases[b, slot] = [_INDEX[w] for w in phrase]
                truth[b, slot] = float(phrase in object_words)
                weight[b, slot] = 1
    words_loss = F.binary_cross_entropy_with_logits(_pool_places(logits), present)
    index = torch.from_numpy(phrases).flatten(1)[:, None].expand(-1, logits.shape[1], -1)
    phrase_logits = logits.gather(2, index).unflatten(2, (8, 4))
    together = -torch.logsumexp(-phrase_logits, -1)
    phrase_loss = (
        F.binary_cross_entropy_with_logits(_pool_places(together), truth, weight, reduction="sum") / weight.sum()
    )
    return words_loss + phrase_loss


def _latents(vae: AutoencoderKL, pictures: torch.Tensor) -> torch.Tensor:
    return vae.quant_conv(vae.encoder(pictures))[:, : model.LATENT_CHANNELS]


def train_autoencoder(
    vae: AutoencoderKL,
    pools: Sequence[ScenePool],
    *,
    seconds: float,
    rng: np.random.Generator,
    predictor: WordPredictor | None = None,
    log: Callable[[str], None] = print,
    batch: int = 96,
) -> WordPredictor:
    """Train in place for a given time, then fold the latents' statistics into the 1x1 convolutions.

    Args:
        vae: The autoencoder.
        pools: The training scenes.
        seconds: How long to train.
        rng: Source of randomness.
        predictor: Predictor of an earlier round, to continue with; None starts a new one.
        log: Called with a line now and then.
        batch: Pictures in a step, for a bucket of 128.

    Returns:
        The word predictor, for another round.
    """
    norm = nn.BatchNorm2d(model.LATENT_CHANNELS, affine=False, momentum=0.02)
    predictor = predictor or WordPredictor()
    vae.train()
    parameters = [*vae.parameters(), *predictor.parameters()]
    optimiser = torch.optim.AdamW(parameters, 2e-3, weight_decay=0.01)
    shares = np.array([p.bucket.share for p in pools])
    start, step = time.monotonic(), 0
    while (progress := (time.monotonic() - start) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * progress)))
        pool = pools[rng.choice(len(pools), p=shares / shares.sum())]
        scenes, pictures = pool.sample(rng, batch * pool.bucket.batch // 128)
        with torch.autocast("cpu", torch.bfloat16):
            z = norm(_latents(vae, pictures).float())
            z = z + NOISE * torch.randn_like(z)
            third = len(pictures) // 3  # reconstruction costs twice as much as the words and needs fewer pictures
            reconstruction = vae.decoder(vae.post_quant_conv(z[:third]))
        reconstruction_loss = F.mse_loss(reconstruction.float(), pictures[:third])
        words_loss = word_loss(predictor(model.pack(z)), scenes, rng)
        (reconstruction_loss + 0.5 * words_loss).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
        if step == 1 or step % 25 == 0:
            at = f"autoencoder {step}: {time.monotonic() - start:.0f} s"
            log(f"{at}, rebuild {reconstruction_loss.item():.4f}, words {words_loss.item():.4f}")
    fold_statistics(vae, pools, rng)
    return predictor


@torch.no_grad()
def fold_statistics(vae: AutoencoderKL, pools: Sequence[ScenePool], rng: np.random.Generator, batches: int = 4) -> None:
    """Make the latents zero-mean and unit-variance per channel by changing the 1x1 convolutions around them.

    The stored model then needs no further statistics, and FluxPipeline's scalar scaling_factor is 1.

    Args:
        vae: The autoencoder, changed in place.
        pools: Where pictures come from.
        rng: Which of them.
        batches: How many times 128 pictures of each pool are measured.
    """
    vae.eval()
    z = torch.cat(
        [_latents(vae, p.sample(rng, 128)[1]).transpose(0, 1).flatten(1) for p in pools for _ in range(batches)], 1
    )
    mean, std = z.mean(1), z.std(1)
    c = model.LATENT_CHANNELS
    vae.quant_conv.weight[:c] /= std[:, None, None, None]
    vae.quant_conv.bias[:c] = (vae.quant_conv.bias[:c] - mean) / std
    vae.quant_conv.weight[c:] = 0  # the posterior's log-variance: the noise of training
    vae.quant_conv.bias[c:] = 2 * float(np.log(NOISE))
