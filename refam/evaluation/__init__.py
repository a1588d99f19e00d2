"""Evaluation: readers of published datasets, scores of grounding and tracking, and synthetic clips."""
