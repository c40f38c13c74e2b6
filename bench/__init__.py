"""Synthetic streams with ground truth, and the benchmarks."""
