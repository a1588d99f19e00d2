"""Further ways of reading a frame's attention, each an option; today's reading is the default.

None of them is on by default: `refam eval scenes --reading` and `refam eval photos DIR --reading` measure them with any
backbone, and refam/README.md has what they gained on the models that ship.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

BACKGROUND = "the background"
HeadWeights = Literal["uniform", "peak"]
Frames = Literal["together", "alone", "both"]
_EXAMPLE = "write some of: contrast=0.5 heads=peak prototypes=0.05 frames=both"
_MOST_SEEDS = 0.5  # of all tokens, of either kind


@dataclass(frozen=True)
class Reading:
    """How the attention of a frame is read.

    Attributes:
        contrast: Strength at which the maps of a second text are subtracted, see `refam.contrast`; 0 reads none. It is
            one more sample in each forward pass.
        contrast_texts: What the second text names.
        head_weights: "uniform" averages over the heads of a block, "peak" weighs them, see `refam.head_weights`.
        prototypes: Share of the tokens that are seeds of the foreground and of the background, see `refam.prototypes`;
            0 labels none.
        frames: What a video transformer reads: all frames "together" as one clip, each "alone", or "both", averaged
            (DecAF, arXiv 2510.19592). Image models read each frame by itself and know "together" only.

    Raises:
        ValueError: If an option is out of range.
    """

    contrast: float = 0.0
    contrast_texts: tuple[str, ...] = (BACKGROUND,)
    head_weights: HeadWeights = "uniform"
    prototypes: float = 0.0
    frames: Frames = "together"

    def __post_init__(self) -> None:
        if not 0 <= self.contrast <= 10:
            raise ValueError(f"the strength of the contrast must be from 0 to 10, not {self.contrast}")
        if self.contrast and not any(text.strip() for text in self.contrast_texts):
            raise ValueError(f"a contrast needs a text that names what is not meant, such as {BACKGROUND!r}")
        if not 0 <= self.prototypes <= _MOST_SEEDS:
            raise ValueError(
                f"the share of tokens that are seeds must be from 0 to {_MOST_SEEDS}, not {self.prototypes}"
            )
        for name, value, known in (
            ("heads", self.head_weights, get_args(HeadWeights)),
            ("frames", self.frames, get_args(Frames)),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")

    @classmethod
    def parse(cls, text: str) -> Reading:
        """Read options as people write them: "contrast=0.5 heads=peak prototypes=0.05 frames=both", or some of them.

        Raises:
            ValueError: If it is something else, or out of range.
        """
        options: dict[str, Any] = {}
        for part in text.replace(",", " ").split():
            written, _, value = part.partition("=")
            name = {"heads": "head_weights"}.get(written, written)
            if name in options:
                raise ValueError(f"{written} is there twice in {text!r}; give it once")
            try:
                options[name] = {"contrast": float, "prototypes": float, "heads": str, "frames": str}[written](value)
            except (KeyError, ValueError):
                raise ValueError(f"{part!r} is no way of reading; {_EXAMPLE}") from None
        return cls(**options)

    def settings(self) -> dict[str, Any]:
        """Return what differs from today's reading, by name; empty if nothing does.

        Heatmaps depend on it, so that it is part of what a calibration is valid for.
        """
        default = asdict(Reading(contrast_texts=self.contrast_texts if not self.contrast else (BACKGROUND,)))
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    @property
    def version_suffix(self) -> str:
        """What a model version has behind the backbone's name: "" for today's reading, else six digits of a hash."""
        settings = self.settings()
        return f"+{hashlib.sha256(repr(settings).encode()).hexdigest()[:6]}" if settings else ""
