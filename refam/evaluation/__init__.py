"""Judging: readers of published datasets, scores of grounding and tracking, and clips whose truth is known."""
