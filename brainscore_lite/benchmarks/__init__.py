"""Benchmarks: recordings to score models against, those of the catalogue and one's own."""

from brainscore_lite.benchmarks.brainscore_protocol import BrainScore
from brainscore_lite.benchmarks.catalogue import BENCHMARKS, BenchmarkEntry, benchmark
from brainscore_lite.benchmarks.definition import Benchmark, ceiling_of
from brainscore_lite.benchmarks.own_recording import benchmark_of, brainscore_score
from brainscore_lite.benchmarks.protocols import PROTOCOLS, Rsatoolbox

__all__ = [
    "BENCHMARKS",
    "PROTOCOLS",
    "Benchmark",
    "BenchmarkEntry",
    "BrainScore",
    "Rsatoolbox",
    "benchmark",
    "benchmark_of",
    "brainscore_score",
    "ceiling_of",
]
