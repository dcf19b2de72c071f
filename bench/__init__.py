"""Benchmarks: each one prints its figures and compares them with targets. Most are ratios within one run."""
