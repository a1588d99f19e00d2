"""Whole datasets: a manifest of videos and words in, one result for each row out, on one machine or a cluster."""
