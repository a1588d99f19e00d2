"""The small FLUX that ships: its scenes, language, training and weights; see README.md in this folder."""

from __future__ import annotations

from pathlib import Path

TINY_DIRECTORY = Path(__file__).parent / "flux"
"""The shipped weights: an ordinary FluxPipeline directory."""
