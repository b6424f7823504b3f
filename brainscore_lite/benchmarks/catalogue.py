"""The catalogue of benchmarks on recordings that anyone can get."""

import difflib
import re
from dataclasses import dataclass, replace

from brainscore_lite.benchmarks.definition import Benchmark, ceiling_of
from brainscore_lite.datasets import load_dataset
from brainscore_lite.datasets.cowley2023 import holds_near_duplicates
from brainscore_lite.metrics import METRICS, RSA, LinearPredictivity, Metric
from brainscore_lite.schema import ContractError


@dataclass(frozen=True)
class BenchmarkEntry:
    """One line of the catalogue: what :func:`benchmark` builds once the data are needed.

    Parameters
    ----------
    dataset, region : str
    metric : Metric
    baseline : str
    version : int
        As in :class:`Benchmark`.
    """

    dataset: str
    region: str
    metric: Metric
    baseline: str = ""
    version: int = 1


def _of_responses(
    dataset: str, region: str, *, stratify: str | None = None
) -> dict[str, BenchmarkEntry]:
    """One entry for each of METRICS; those that fit hold `stratify` in proportion."""
    entries = {}
    for name, metric in METRICS.items():
        if isinstance(metric, LinearPredictivity):
            metric = replace(metric, stratify=stratify)
        entries[f"{dataset}.{region}.{name}"] = BenchmarkEntry(dataset, region, metric)
    return entries


BENCHMARKS: dict[str, BenchmarkEntry] = {
    **_of_responses("cowley2023_v4_210325", "V4", stratify="block"),
    "cowley2023_v4_210325.V4.ridge_new_objects": BenchmarkEntry(
        "cowley2023_v4_210325", "V4", LinearPredictivity(n_splits=8, group="block")
    ),
    **_of_responses("cowley2023_v4_190923", "V4"),
    **_of_responses("cowley2023_v4_210224", "V4"),
    **_of_responses("cowley2023_v4_210225", "V4"),
    **_of_responses("majajhong2015", "V4", stratify="object_name"),
    **_of_responses("majajhong2015", "IT", stratify="object_name"),
    **_of_responses("freemanziemba2013", "V1", stratify="texture_type"),
    **_of_responses("freemanziemba2013", "V2", stratify="texture_type"),
    "kriegeskorte2008_92.monkeyIT.rsa": BenchmarkEntry("kriegeskorte2008_92", "monkeyIT", RSA()),
    "kriegeskorte2008_92.humanIT.rsa": BenchmarkEntry("kriegeskorte2008_92", "humanIT", RSA()),
    "algonauts2019_92.EVC.rsa": BenchmarkEntry("algonauts2019_92", "EVC", RSA()),
    "algonauts2019_92.IT.rsa": BenchmarkEntry("algonauts2019_92", "IT", RSA()),
    "algonauts2019_92_grey.EVC.rsa": BenchmarkEntry("algonauts2019_92_grey", "EVC", RSA()),
    "algonauts2019_92_grey.IT.rsa": BenchmarkEntry("algonauts2019_92_grey", "IT", RSA()),
    **{
        f"ratan_murty2021_rois.{region}.ridge": BenchmarkEntry(
            "ratan_murty2021_rois",
            region,
            LinearPredictivity(stratify="category"),
            baseline="category",
        )
        for region in ("FFA", "OFA", "EBA", "PPA")
    },
    "kar_it_site.IT.ridge": BenchmarkEntry(
        "kar_it_site", "IT", LinearPredictivity(stratify="block")
    ),
    **_of_responses("simulated_v4_it", "V4"),
    **_of_responses("simulated_v4_it", "IT"),
}


def benchmark(name: str, *, n_draws: int = 1000) -> Benchmark:
    """Load a benchmark of the catalogue, fetching its recording if need be.

    Parameters
    ----------
    name : str
        A name of ``BENCHMARKS``, or ``cowley2023_v4_<session>.V4.<metric>`` for any session of
        that source.
    n_draws : int
        Bootstrap draws over stimuli; 0 for none.

    Returns
    -------
    Benchmark

    Raises
    ------
    ContractError
        If there is no such benchmark, or its recording cannot be had.
    """
    entry = BENCHMARKS.get(name) or _session_entry(name)
    if entry is None:
        near = difflib.get_close_matches(name, BENCHMARKS, n=3, cutoff=0.4)
        raise ContractError(
            f"unknown benchmark '{name}'. Closest: {', '.join(near) or 'none'}. List them with "
            "'brainscore-lite benchmarks'."
        )
    dataset = load_dataset(entry.dataset)
    ceiling, reason = ceiling_of(dataset[entry.region], entry.metric)
    return Benchmark(
        name,
        dataset=dataset,
        region=entry.region,
        metric=entry.metric,
        ceiling=ceiling,
        no_ceiling=reason,
        baseline=entry.baseline,
        version=entry.version,
        n_draws=n_draws,
    )


def _session_entry(name: str) -> BenchmarkEntry | None:
    """Make the entry of a session of cowley2023_v4 that the catalogue does not list."""
    match = re.fullmatch(r"(cowley2023_v4_(\d{6}))\.V4\.\w+", name)
    entry = _of_responses(match[1], "V4").get(name) if match else None
    if match and entry and entry.metric.fits and holds_near_duplicates(match[2]):
        raise ContractError(
            f"benchmark '{name}': this session holds runs of near-duplicate images, which would "
            "stand on both sides of random folds. Score it with rsa or cka, or group the images "
            "yourself: benchmark_of(recording, metric=LinearPredictivity(group=...))."
        )
    return entry
