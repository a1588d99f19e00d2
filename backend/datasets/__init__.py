"""Benchmarks of words and videos: readers of their official formats, judging, and what the paper published."""
