"""The small FLUX that ships: its scenes, its language, its training, its weights (see README.md beside this file)."""

from __future__ import annotations

from pathlib import Path

TINY_DIRECTORY = Path(__file__).parent / "flux"
"""The shipped weights: an ordinary FluxPipeline directory."""
