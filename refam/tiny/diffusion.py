"""Second stage of training: a small FLUX and its text encoder learn to generate scenes from captions.

The only loss is rectified flow (arXiv 2209.03003): from noised latents and a caption, the transformer predicts the
velocity. To do so it must attend from places of the picture to words of the caption, which is what grounding reads.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import T5EncoderModel, T5TokenizerFast

from refam.tiny import model
from refam.tiny.language import TEXT_LENGTH, caption
from refam.tiny.pool import ScenePool

SaveCheckpoint = Callable[[FluxTransformer2DModel, T5EncoderModel, int], None]


class TextToLatents(nn.Module):
    """The text encoder and the transformer, which are trained together."""

    def __init__(self, transformer: FluxTransformer2DModel, text_encoder: T5EncoderModel) -> None:
        super().__init__()
        self.transformer = transformer
        self.text_encoder = text_encoder

    def forward(
        self, tokens: torch.Tensor, text: torch.Tensor, t: torch.Tensor, image_ids: torch.Tensor
    ) -> torch.Tensor:
        """Predict the velocity; padding is encoded and attended to like words, as FluxPipeline does.

        Args:
            tokens: (B, N, 32) noised latents, packed.
            text: (B, T) token ids.
            t: (B,) in [0, 1]; 1 is pure noise.
            image_ids: (N, 3) positions.

        Returns:
            (B, N, 32).
        """
        embeds = self.text_encoder(input_ids=text, attention_mask=torch.ones_like(text)).last_hidden_state
        return self.transformer(
            hidden_states=tokens,
            encoder_hidden_states=embeds,
            pooled_projections=tokens.new_zeros(len(tokens), model.POOLED_WIDTH),
            timestep=t,
            img_ids=image_ids,
            txt_ids=tokens.new_zeros(text.shape[1], 3),
            return_dict=False,
        )[0]


def image_ids(height: int, width: int) -> torch.Tensor:
    """Return FLUX's position ids (height * width, 3) for a grid of packed tokens."""
    return FluxPipeline._prepare_latent_image_ids(1, height, width, torch.device("cpu"), torch.float32)


@contextmanager
def _dense_attention() -> Iterator[None]:
    """Use the dense softmax, which on a CPU trains a third faster than the fused kernel at these lengths."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def train_transformer(
    vae: AutoencoderKL,
    net: TextToLatents,
    tokenizer: T5TokenizerFast,
    pools: Sequence[ScenePool],
    *,
    seconds: float,
    rng: np.random.Generator,
    checkpoint: SaveCheckpoint,
    every_s: float = 600.0,
    rate: float = 1e-3,
    compile_blocks: bool = True,
    log: Callable[[str], None] = print,
) -> None:
    """Train for a given time.

    Args:
        vae: The trained autoencoder.
        net: What is trained.
        tokenizer: Tokenizer of the captions.
        pools: The training scenes.
        seconds: How long to train.
        rng: Source of randomness.
        checkpoint: Called with the averaged weights and the step, every `every_s` seconds and at the end.
        every_s: Seconds between checkpoints.
        rate: The highest learning rate.
        compile_blocks: Compile the transformer's blocks.
        log: Called with a line now and then.
    """
    average = copy.deepcopy(net).eval()
    if compile_blocks:
        net.transformer.compile_repeated_blocks(fullgraph=True, dynamic=False)
    parameters = list(net.parameters())
    optimiser = torch.optim.AdamW(parameters, rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    shares = np.array([p.bucket.share for p in pools])
    start, saved_at, step, losses = time.monotonic(), 0.0, 0, []
    while (elapsed := time.monotonic() - start) < seconds:
        for group in optimiser.param_groups:
            group["lr"] = (
                rate * min(1, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * elapsed / seconds)))
            )
        pool = pools[rng.choice(len(pools), p=shares / shares.sum())]
        scenes, pictures = pool.sample(rng)
        captions = [caption(s, rng) for s in scenes]
        text = tokenizer(
            captions, padding="max_length", max_length=TEXT_LENGTH, truncation=True, return_tensors="pt"
        ).input_ids
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            clean = model.pack(vae.encode(pictures).latent_dist.mode().float())
        t = torch.sigmoid(torch.randn(len(clean)))
        t = 3 * t / (1 + 2 * t)
        noise = torch.randn_like(clean)
        noised = clean + t[:, None, None] * (noise - clean)
        grid = image_ids(pool.bucket.size[1] // model.PIXELS_PER_TOKEN, pool.bucket.size[0] // model.PIXELS_PER_TOKEN)
        with torch.autocast("cpu", torch.bfloat16), _dense_attention():
            velocity = net(noised, text, t, grid)
        loss = F.mse_loss(velocity.float(), noise - clean)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
        losses.append(loss.item())
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), parameters, 1 - min(0.998, (1 + step) / (10 + step)))
        if step == 1 or step % 20 == 0:
            log(f"transformer {step}: {elapsed:.0f} s, {elapsed / step:.2f} s a step, loss {np.mean(losses[-50:]):.4f}")
        if elapsed - saved_at > every_s:
            saved_at = elapsed
            checkpoint(average.transformer, average.text_encoder, step)
    checkpoint(average.transformer, average.text_encoder, step)
