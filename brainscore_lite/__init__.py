"""Train networks with plausible learning rules and score them against visual cortex.

The names below are resolved on first use, so importing the package loads neither torch nor
matplotlib.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "BENCHMARKS": "benchmarks",
    "CKA": "metrics",
    "ContractError": "schema",
    "Dataset": "datasets",
    "LinearPredictivity": "metrics",
    "RSA": "metrics",
    "Score": "score",
    "StimulusSet": "stimuli",
    "TrainingConfig": "training",
    "TrainingDivergedError": "training",
    "benchmark": "benchmarks",
    "benchmark_of": "benchmarks",
    "compare_models": "inference",
    "compare_rdms": "metrics",
    "fit": "training",
    "linear_cka": "metrics",
    "linear_predictivity": "metrics",
    "load_dataset": "datasets",
    "load_model": "studies",
    "match_stimuli": "schema",
    "rdm": "metrics",
    "rdms": "schema",
    "record": "activations",
    "responses": "schema",
    "score_model": "studies",
    "split_half_reliability": "ceilings",
    "wrap": "networks",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'brainscore_lite' has no attribute '{name}'")
    return getattr(import_module(f"brainscore_lite.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
