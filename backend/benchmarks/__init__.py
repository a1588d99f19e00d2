"""Benchmarks, one `make bench-...` each: they compare side by side in one run and print a table."""
