"""Benchmarks: recordings to score models against, those of the catalogue and one's own."""

from brainscore_lite.benchmarks.catalogue import BENCHMARKS, BenchmarkEntry, benchmark
from brainscore_lite.benchmarks.definition import Benchmark, benchmark_of, ceiling_of

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "BenchmarkEntry",
    "benchmark",
    "benchmark_of",
    "ceiling_of",
]
