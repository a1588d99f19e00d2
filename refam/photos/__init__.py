"""A small FLUX for photographs: its vocabulary, encoder and training; see README.md in this folder."""

from __future__ import annotations

TEXT_LENGTH = 32
"""Tokens of a text, the end token included; the same for training and for grounding."""
