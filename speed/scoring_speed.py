"""Time and memory of the scoring functions beside their peers, as a Markdown table.

Each row is measured in its own process, on the same data and the same splits, with the number of
CPU threads pinned (1, or what ``--threads`` says); ratios are of CPU seconds, which a busy machine
disturbs least. Peers are
scikit-learn (regression), rsatoolbox (dissimilarities) and a plain loop over splits and neuroids
(split-half ceiling). A peer may be measured on some of the splits (``--splits-of-peer``) and its
time scaled to all of them; the table then says so.

    python speed/scoring_speed.py --threads 1    # 3200 stimuli x 10 000 features x 168 sites
    python speed/scoring_speed.py --quick        # small sizes, seconds
    python speed/scoring_speed.py --ours         # without the peers
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from brainscore_lite.metrics import Fold
from brainscore_lite.metrics.regression.fold_fit import Regression

Array = NDArray[np.float64]
Problem = tuple[Array, Array, list[Fold]]
N_SPLITS = 10
# Brain-Score's candidates for its `ridgecv` metrics.
PENALTIES = tuple(
    np.unique(
        np.concatenate(
            [
                [0.01, 0.1, 0.5, 1.0],
                np.linspace(1e1, 1e2, 4, endpoint=False),
                *(np.linspace(10.0**d, 10.0 ** (d + 1), 18, endpoint=False) for d in range(2, 6)),
                np.linspace(1e6, 1e7, 19),
            ]
        )
    ).tolist()
)


class Estimator(Protocol):
    """A regression of scikit-learn."""

    def fit(self, X: Array, Y: Array) -> "Estimator":
        """Fit on training stimuli."""
        ...

    def predict(self, X: Array) -> Array:
        """Predict responses."""
        ...


@dataclass(frozen=True)
class Sizes:
    """What is scored."""

    n_stimuli: int = 3200
    n_features: int = 10_000
    n_sites: int = 168
    n_repetitions: int = 5
    rdm_stimuli: int = 5000
    rdm_features: int = 1000


QUICK = Sizes(
    n_stimuli=300, n_features=800, n_sites=20, n_repetitions=5, rdm_stimuli=300, rdm_features=100
)


def features_and_responses(sizes: Sizes) -> tuple[Array, Array]:
    """Make features whose spectrum falls as 1/i, and sites that read them with noise."""
    rng = np.random.default_rng(0)
    n_latent = min(200, sizes.n_stimuli // 2)
    latent = rng.standard_normal((sizes.n_stimuli, n_latent)) / np.sqrt(np.arange(1, n_latent + 1))
    X = rng.standard_normal((sizes.n_stimuli, sizes.n_features))
    X *= 0.2
    for start in range(0, sizes.n_features, 500):
        part = X[:, start : start + 500]
        part += latent @ rng.standard_normal((n_latent, part.shape[1]))
    Y = latent @ rng.standard_normal((n_latent, sizes.n_sites))
    return X, Y + 2 * rng.standard_normal(Y.shape)


def trials(sizes: Sizes) -> Array:
    """Make trials, shape (n_repetitions, n_stimuli, n_sites)."""
    rng = np.random.default_rng(1)
    shape = (sizes.n_repetitions, sizes.n_stimuli, sizes.n_sites)
    return np.asarray(rng.standard_normal(shape[1:]) + rng.standard_normal(shape))


def prepare_regression(sizes: Sizes, n_splits: int) -> Problem:
    """Make the arrays and the folds that both sides fit."""
    from brainscore_lite.metrics import Splits

    X, Y = features_and_responses(sizes)
    return X, Y, list(Splits(N_SPLITS).folds(sizes.n_stimuli)[:n_splits])


def score_of(r: Array) -> float:
    """Aggregate as Brain-Score: median over sites, mean over splits."""
    return float(np.median(r, axis=1).mean())


def ours_regression(regression: str | Regression) -> Callable[..., float]:
    """Return our cross-validation with a regression."""

    def run(X: Array, Y: Array, folds: list[Fold]) -> float:
        from brainscore_lite.metrics import cross_validate

        return score_of(cross_validate(X, Y, folds, regression=regression).r)

    return run


def peer_regression(make: Callable[[], Estimator]) -> Callable[..., float]:
    """Return a loop over folds around a scikit-learn regression."""

    def run(X: Array, Y: Array, folds: list[Fold]) -> float:
        scores = []
        for fold in folds:
            predicted = make().fit(X[fold.train], Y[fold.train]).predict(X[fold.test])
            pairs = zip(predicted.T, Y[fold.test].T, strict=True)
            scores.append([np.corrcoef(p, y)[0, 1] for p, y in pairs])
        return score_of(np.array(scores))

    return run


def ours_ridge_many() -> Regression:
    """Ridge with Brain-Score's penalties, chosen per site."""
    from brainscore_lite.metrics import Ridge

    return Ridge(PENALTIES, unit="absolute")


def sklearn_ridge() -> Estimator:
    """Scikit-learn's ridge with the same penalties, chosen per site."""
    from sklearn.linear_model import RidgeCV

    ridge: Estimator = RidgeCV(alphas=PENALTIES, alpha_per_target=True)
    return ridge


def sklearn_pls() -> Estimator:
    """Scikit-learn's PLS as Brain-Score sets it."""
    from sklearn.cross_decomposition import PLSRegression

    pls: Estimator = PLSRegression(n_components=25, scale=False)
    return pls


def ours_split_half(values: Array) -> float:
    """Our ceiling."""
    from brainscore_lite.ceilings import split_half_reliability

    return float(np.median(split_half_reliability(values, n_splits=N_SPLITS)))


def plain_split_half(values: Array) -> float:
    """Split-half reliability as loops over splits and neuroids around labelled arrays."""
    import xarray as xr
    from scipy.stats import pearsonr

    labelled = xr.DataArray(values, dims=("repetition", "stimulus", "neuroid"))
    labelled = labelled.assign_coords(repetition=np.arange(len(values)))
    rng, reliability = np.random.default_rng(0), []
    for _ in range(N_SPLITS):
        order = rng.permutation(len(values))
        first = labelled.isel(repetition=order[: len(order) // 2]).mean("repetition", skipna=True)
        second = labelled.isel(repetition=order[len(order) // 2 :]).mean("repetition", skipna=True)
        for site in range(values.shape[2]):
            r = pearsonr(first.isel(neuroid=site).values, second.isel(neuroid=site).values)[0]
            reliability.append(2 * r / (1 + r))
    return float(np.median(reliability))


def ours_rdm(patterns: Array) -> float:
    """Our correlation dissimilarities."""
    from brainscore_lite.metrics import rdm

    return float(rdm(patterns).mean())


def rsatoolbox_rdm(patterns: Array) -> float:
    """Rsatoolbox's correlation dissimilarities."""
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm

    return float(calc_rdm(Dataset(patterns), method="correlation").dissimilarities.mean())


def prepare_trials(sizes: Sizes, n_splits: int) -> tuple[Array]:
    """Make the trials; the number of splits plays no part."""
    return (trials(sizes),)


def prepare_patterns(sizes: Sizes, n_splits: int) -> tuple[Array]:
    """Make patterns; the number of splits plays no part."""
    rng = np.random.default_rng(2)
    return (rng.standard_normal((sizes.rdm_stimuli, sizes.rdm_features)),)


@dataclass(frozen=True)
class Job:
    """One row of the table."""

    work: str
    by: str
    prepare: Callable[[Sizes, int], tuple[Any, ...]]
    run: Callable[..., float]
    is_peer: bool = False
    by_split: bool = False


JOBS: dict[str, Job] = {
    "pls": Job("PLS-25", "ours", prepare_regression, ours_regression("pls"), False, True),
    "pls_peer": Job(
        "PLS-25",
        "scikit-learn PLSRegression",
        prepare_regression,
        peer_regression(sklearn_pls),
        True,
        True,
    ),
    "ridge_default": Job(
        "ridge, 21 relative penalties",
        "ours, the default",
        prepare_regression,
        ours_regression("ridge"),
        False,
        True,
    ),
    "ridge": Job(
        "ridge, 99 penalties",
        "ours",
        prepare_regression,
        lambda *arrays: ours_regression(ours_ridge_many())(*arrays),
        False,
        True,
    ),
    "ridge_peer": Job(
        "ridge, 99 penalties",
        "scikit-learn RidgeCV",
        prepare_regression,
        peer_regression(sklearn_ridge),
        True,
        True,
    ),
    "split_half": Job("split-half reliability", "ours", prepare_trials, ours_split_half),
    "split_half_peer": Job(
        "split-half reliability",
        "loop over labelled arrays",
        prepare_trials,
        plain_split_half,
        True,
    ),
    "rdm": Job("correlation RDM", "ours", prepare_patterns, ours_rdm),
    "rdm_peer": Job("correlation RDM", "rsatoolbox", prepare_patterns, rsatoolbox_rdm, True),
}


def measure(name: str, sizes: Sizes, n_splits: int, threads: int) -> dict[str, float]:
    """Run one job in this process; seconds, and MiB above the inputs at the highest point."""
    job = JOBS[name]
    arrays = job.prepare(sizes, n_splits)
    warm = JOBS[name].prepare(Sizes(80, 90, 3, 4, 20, 30), 1)
    with threadpool_limits(threads):
        job.run(*warm)
        pinned = max(pool["num_threads"] for pool in threadpool_info())
        before = resident_mib()
        start, start_cpu = time.perf_counter(), time.process_time()
        score = job.run(*arrays)
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    mib = max(0.0, peak - before)
    return {"seconds": seconds, "cpu": cpu, "mib": mib, "score": score, "threads": pinned}


def resident_mib() -> float:
    """Return the memory this process holds now, in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def measured_apart(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Measure one job in a process of its own."""
    n_splits = arguments.splits_of_peer if JOBS[name].is_peer else N_SPLITS
    command = [sys.executable, __file__, "--measure", name, "--splits", str(n_splits)]
    command += ["--threads", str(arguments.threads), *(["--quick"] if arguments.quick else [])]
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = os.environ | dict.fromkeys(variables, str(arguments.threads))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"measuring '{name}' failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if JOBS[name].by_split:
        result["seconds"] *= N_SPLITS / n_splits
        result["cpu"] *= N_SPLITS / n_splits
    return result


def table(results: dict[str, dict[str, float]], arguments: argparse.Namespace) -> str:
    """Write the results as Markdown, ratios relative to the row above of the same work."""
    sizes = QUICK if arguments.quick else Sizes()
    threads = max(int(result["threads"]) for result in results.values())
    lines = [
        f"Sizes: {json.dumps(asdict(sizes))}; {N_SPLITS} splits; "
        f"CPU threads pinned: {threads}; "
        f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}.",
        "",
        "| work | by | seconds | CPU s | CPU ratio to ours | MiB above inputs | score |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, result in results.items():
        job = JOBS[name]
        ours = results.get(name.removesuffix("_peer"))
        ratio = f"{result['cpu'] / ours['cpu']:.1f}" if job.is_peer and ours else ""
        scaled = job.is_peer and job.by_split and arguments.splits_of_peer < N_SPLITS
        note = f" ({arguments.splits_of_peer} of {N_SPLITS} splits, scaled)" if scaled else ""
        lines.append(
            f"| {job.work} | {job.by}{note} | {result['seconds']:.3g} | {result['cpu']:.3g} | "
            f"{ratio} | {result['mib']:.0f} | {result['score']:.6f} |"
        )
    if arguments.splits_of_peer < N_SPLITS:
        lines += ["", "The score of a scaled row is over the splits it was measured on."]
    return "\n".join(lines)


def main() -> None:
    """Measure every job, or the one named, and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--ours", action="store_true", help="without the peers")
    parser.add_argument("--splits-of-peer", type=int, default=N_SPLITS, metavar="N")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of every row")
    parser.add_argument("--jobs", nargs="*", choices=JOBS, default=list(JOBS))
    parser.add_argument("--measure", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--splits", type=int, default=N_SPLITS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else Sizes()
    if arguments.measure:
        done = measure(arguments.measure, sizes, arguments.splits, arguments.threads)
        print(json.dumps(done))
        return
    names = [name for name in arguments.jobs if not (arguments.ours and JOBS[name].is_peer)]
    results = {}
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        results[name] = measured_apart(name, arguments)
    print(table(results, arguments))


if __name__ == "__main__":
    main()
