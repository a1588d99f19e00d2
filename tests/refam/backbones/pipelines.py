"""Small random pipelines of every family, by name; no weights, no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tests.refam.backbones.image_pipelines import (
    chroma,
    flux,
    flux2,
    flux2_klein,
    lumina2,
    pixart_sigma,
    prx,
    qwen_image,
    sana,
    sd3,
    z_image,
)
from tests.refam.backbones.video_pipelines import (
    cogvideox,
    hunyuan_video,
    ltx,
    mochi,
    skyreels_v2,
    wan,
)


def randomise(pipeline: Any) -> Any:
    """Weights whose attention is far from uniform: in a fresh model it nearly is, and any mistake would hide in it."""
    for transformer in (pipeline.transformer, getattr(pipeline, "transformer_2", None)):
        for name, parameter in transformer.named_parameters() if transformer is not None else ():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.3 if "att" in name else 0.1)
    return pipeline


IMAGES: dict[str, Callable[[], Any]] = {
    "FLUX.1": flux,
    "FLUX.2": flux2,
    "FLUX.2 Klein": flux2_klein,
    "Chroma": chroma,
    "SD3": sd3,
    "SD3 without T5": lambda: sd3(with_t5=False),
    "Qwen-Image": qwen_image,
    "PRX": prx,
    "PixArt-Sigma": pixart_sigma,
    "Sana": sana,
    "Lumina-Image-2.0": lumina2,
    "Z-Image": z_image,
}
CLIPS: dict[str, Callable[[], Any]] = {
    "Mochi": mochi,
    "CogVideoX": cogvideox,
    "CogVideoX 1.5": lambda: cogvideox(version="1.5"),
    "CogVideoX 2b": lambda: cogvideox(version="2b"),
    "HunyuanVideo": hunyuan_video,
    "Wan": wan,
    "Wan 2.2 A14B": lambda: wan(kind="2.2 A14B"),
    "Wan 2.2 5B": lambda: wan(kind="2.2 5B"),
    "SkyReels-V2": skyreels_v2,
    "SkyReels-V2 DF": lambda: skyreels_v2(diffusion_forcing=True),
    "LTX": ltx,
}
ALL = {**IMAGES, **CLIPS}
# Room for the longest prompt and its template.
TEXT_LENGTH = {
    "FLUX.2": 96,
    "FLUX.2 Klein": 64,
    "Qwen-Image": 64,
    "HunyuanVideo": 40,
    "Lumina-Image-2.0": 64,
    "Z-Image": 64,
}


def random_frames(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 255, (48, 72, 3), dtype=np.uint8) for _ in range(count)]
