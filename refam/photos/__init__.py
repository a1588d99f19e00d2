"""A small FLUX for photographs: its vocabulary, encoder, training and weights; see README.md in this folder."""

from __future__ import annotations

from pathlib import Path

TEXT_LENGTH = 32
"""Tokens of a text, the end token included; the same for training and for grounding."""
PHOTOS_DIRECTORY = Path(__file__).parent / "flux"
"""The model that ships."""
VOCABULARY_NAME = "vocabulary.json.gz"
"""The file of a model's vocabulary in its directory."""
