"""First stage: an AutoencoderKL whose latents also say the words of the caption.

Raw pixels let a small transformer match colours alone; latents that carry meaning let it match nouns, sizes and
textures too (the idea of VA-VAE, arXiv 2501.01423, and of REPA, arXiv 2410.06940). Seen here: the picture and its
caption's words. Never seen: a mask, a box, a position.
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

NOISE = 0.15  # added to unit-variance latents before they are decoded or read
_INDEX = {word: i for i, word in enumerate(ATTRIBUTES)}
_CHOICES: tuple[Sequence[str], ...] = (tuple(SIZES), TEXTURES, tuple(COLOURS), SHAPES)  # the order of Thing.words()


class WordReader(nn.Module):
    """One linear layer from each packed latent token to the caption's words; used in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(model.TOKEN_CHANNELS, len(ATTRIBUTES))
        nn.init.constant_(self.linear.bias, -3.0)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, N, 32) -> (B, N, words) logits."""
        return self.linear(tokens)


def _somewhere(logits: torch.Tensor) -> torch.Tensor:
    """(B, N, k) logits per place -> (B, k): a soft maximum over places, since no place is ever told."""
    return (torch.logsumexp(4 * logits, 1) - float(np.log(logits.shape[1]))) / 4


def word_loss(logits: torch.Tensor, scenes: Sequence[Scene], rng: np.random.Generator) -> torch.Tensor:
    """Which words the caption has, and which of them belong together.

    Words: binary cross-entropy of each attribute word. Phrases: "small dotted red star" as the caption has it against
    the same phrase with one word exchanged for one that the caption does not have in such a phrase; a phrase holds
    where all its words hold (soft minimum).
    """
    said = torch.zeros(len(scenes), len(ATTRIBUTES))
    phrases = np.zeros((len(scenes), 8, 4), np.int64)
    truth = torch.zeros(len(scenes), 8)
    weight = torch.zeros(len(scenes), 8)
    for b, scene in enumerate(scenes):
        have = [t.words() for t in scene.things]
        for k, words in enumerate(have):
            said[b, [_INDEX[w] for w in words]] = 1
            turn = int(rng.integers(4))
            other = list(words)
            other[turn] = str(rng.choice(_CHOICES[turn]))
            for slot, phrase in ((2 * k, words), (2 * k + 1, tuple(other))):
                phrases[b, slot] = [_INDEX[w] for w in phrase]
                truth[b, slot] = float(phrase in have)
                weight[b, slot] = 1
    words_loss = F.binary_cross_entropy_with_logits(_somewhere(logits), said)
    index = torch.from_numpy(phrases).flatten(1)[:, None].expand(-1, logits.shape[1], -1)
    parts = logits.gather(2, index).unflatten(2, (8, 4))
    together = -torch.logsumexp(-parts, -1)
    phrase_loss = (
        F.binary_cross_entropy_with_logits(_somewhere(together), truth, weight, reduction="sum") / weight.sum()
    )
    return words_loss + phrase_loss


def _latents(vae: AutoencoderKL, pictures: torch.Tensor) -> torch.Tensor:
    return vae.quant_conv(vae.encoder(pictures))[:, : model.LATENT_CHANNELS]


def train(
    vae: AutoencoderKL,
    pools: Sequence[ScenePool],
    *,
    seconds: float,
    rng: np.random.Generator,
    reader: WordReader | None = None,
    log: Callable[[str], None] = print,
    batch: int = 96,
) -> WordReader:
    """Train in place for so many seconds, then fold the latents' statistics into the 1x1 convolutions.

    reader: from an earlier round, to go on where it ended; returned for the next.
    """
    norm = nn.BatchNorm2d(model.LATENT_CHANNELS, affine=False, momentum=0.02)
    reader = reader or WordReader()
    vae.train()
    parameters = [*vae.parameters(), *reader.parameters()]
    optimiser = torch.optim.AdamW(parameters, 2e-3, weight_decay=0.01)
    shares = np.array([p.bucket.share for p in pools])
    start, step = time.monotonic(), 0
    while (done := (time.monotonic() - start) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * done)))
        pool = pools[rng.choice(len(pools), p=shares / shares.sum())]
        scenes, pictures = pool.sample(rng, batch * pool.bucket.batch // 128)
        with torch.autocast("cpu", torch.bfloat16):
            z = norm(_latents(vae, pictures).float())
            z = z + NOISE * torch.randn_like(z)
            third = len(pictures) // 3  # reconstruction costs twice what reading does and needs fewer pictures
            rebuilt = vae.decoder(vae.post_quant_conv(z[:third]))
        rebuild = F.mse_loss(rebuilt.float(), pictures[:third])
        words = word_loss(reader(model.pack(z)), scenes, rng)
        (rebuild + 0.5 * words).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
        if step == 1 or step % 25 == 0:
            at = f"autoencoder {step}: {time.monotonic() - start:.0f} s"
            log(f"{at}, rebuild {rebuild.item():.4f}, words {words.item():.4f}")
    fold(vae, pools, rng)
    return reader


@torch.no_grad()
def fold(vae: AutoencoderKL, pools: Sequence[ScenePool], rng: np.random.Generator) -> None:
    """Make the latents zero-mean and unit-variance per channel by changing the 1x1 convolutions around them.

    The stored model then needs no statistics beside it, and FluxPipeline's scalar scaling_factor is 1.
    """
    vae.eval()
    z = torch.cat([_latents(vae, p.sample(rng, 128)[1]).transpose(0, 1).flatten(1) for p in pools for _ in range(4)], 1)
    mean, std = z.mean(1), z.std(1)
    c = model.LATENT_CHANNELS
    vae.quant_conv.weight[:c] /= std[:, None, None, None]
    vae.quant_conv.bias[:c] = (vae.quant_conv.bias[:c] - mean) / std
    vae.quant_conv.weight[c:] = 0  # the posterior's width: the noise of training
    vae.quant_conv.bias[c:] = 2 * float(np.log(NOISE))
