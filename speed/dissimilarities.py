"""Dissimilarities beside rsatoolbox: how far apart, and how much faster.

    python speed/dissimilarities.py            # 3200 stimuli x 168 units x 5 sessions
    python speed/dissimilarities.py --quick    # small sizes, seconds

Set OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1 for figures of one thread.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from measure import Parity, Speed, cpu_seconds, markdown
from numpy.typing import NDArray
from rsatoolbox.data import Dataset, TemporalDataset
from rsatoolbox.data.noise import prec_from_measurements, prec_from_residuals, prec_from_unbalanced
from rsatoolbox.rdm import calc_rdm
from rsatoolbox.rdm.calc import calc_rdm_movie
from rsatoolbox.rdm.calc_unbalanced import calc_rdm_unbalanced

from brainscore_lite.metrics import rdm
from brainscore_lite.metrics.dissimilarities.noise_precision import (
    noise_precision,
    precision_from_residuals,
)
from brainscore_lite.metrics.dissimilarities.rdm import condensed
from brainscore_lite.metrics.dissimilarities.recorded_rdms import rdm_movie
from brainscore_lite.schema import responses

Floats = NDArray[np.float64]
Work = Callable[[], object]
N_FOLDS, N_STIMULI, N_UNITS = 5, 92, 30
SHRINKAGES = ("shrinkage_diag", "shrinkage_eye", "diag", "full")


def counts(shape: tuple[int, int, int] = (N_FOLDS, N_STIMULI, N_UNITS)) -> Floats:
    """Make spike counts whose gain varies from trial to trial, (n_folds, n_stimuli, n_units)."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(2.0, 2.0, size=shape[1:]) * rng.gamma(4.0, 0.25, size=(*shape[:2], 1))
    return rng.poisson(rates).astype(float)


def dataset(trials: Floats) -> Dataset:
    """Give rsatoolbox the trials as rows, those that are NaN left out."""
    rows = trials.swapaxes(0, 1).reshape(-1, trials.shape[2])
    there = np.isfinite(rows).all(axis=1)
    stimulus = np.repeat(np.arange(trials.shape[1]), len(trials))
    fold = np.tile(np.arange(len(trials)), trials.shape[1])
    return Dataset(rows[there], obs_descriptors={"stimulus": stimulus[there], "fold": fold[there]})


def rsatoolbox_rdm(trials: Floats, method: str, **arguments: Any) -> Floats:
    """Compute rsatoolbox's dissimilarities of the averaged or cross-validated trials."""
    made = calc_rdm(dataset(trials), method, "stimulus", **arguments)
    return np.asarray(made.dissimilarities[0])


def rsatoolbox_unbalanced(trials: Floats, method: str, **arguments: Any) -> Floats:
    """Compute rsatoolbox's dissimilarities over pairs of trials."""
    made = calc_rdm_unbalanced(
        dataset(trials), method, "stimulus", cv_descriptor="fold", **arguments
    )
    return np.asarray(made.dissimilarities[0])


def poisson_of_fold(trials: Floats, fold: int) -> Floats:
    """Compute the cross-validated divergence with one fold left out, from its definition."""
    rates = (np.delete(trials, fold, axis=0).mean(axis=0) + 0.1) / 1.1
    logs = np.log((trials[fold] + 0.1) / 1.1)
    difference = (rates[:, None] - rates[None]) * (logs[:, None] - logs[None])
    return np.asarray(condensed(difference.mean(axis=2)))


def apart(ours: Floats, theirs: Floats) -> float:
    """Return the largest difference relative to the largest value."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def parity() -> list[Parity]:
    """Compare every dissimilarity and every noise precision with rsatoolbox's."""
    return [*_plain(), *_cross_validated(), *_poisson_cv(), *_movies(), *_precisions()]


def _row(metric: str, ours: Floats, theirs: Floats, *, data: str, note: str = "") -> Parity:
    return Parity(metric, "rsatoolbox", data, apart(ours, theirs), note)


def _plain() -> list[Parity]:
    trials, data = counts(), f"{N_STIMULI} stimuli x {N_UNITS} units, Poisson counts"
    average, noise = trials.mean(axis=0), noise_precision(trials)
    rows = [
        _row(
            f"{method} RDM", rdm(average, method=method), rsatoolbox_rdm(trials, method), data=data
        )
        for method in ("euclidean", "correlation", "poisson")
    ]
    ours = rdm(average, method="mahalanobis", precision=noise)
    theirs = rsatoolbox_rdm(trials, "mahalanobis", noise=noise)
    return [*rows, _row("mahalanobis RDM", ours, theirs, data=data)]


def _cross_validated() -> list[Parity]:
    trials, data = counts(), f"{N_FOLDS} folds x {N_STIMULI} stimuli x {N_UNITS} units"
    noise, folds = noise_precision(trials), {"cv_descriptor": "fold"}
    each = np.stack([noise * (1 + fold) for fold in range(N_FOLDS)])
    missing = trials.copy()
    missing[np.random.default_rng(1).random(missing.shape[:2]) < 0.2] = np.nan
    missing[:2] = trials[:2]
    centred = missing - np.nanmean(np.nanmean(missing, axis=0), axis=0)
    return [
        _row(
            "crossnobis RDM, all folds",
            rdm(trials, method="crossnobis", precision=noise),
            rsatoolbox_rdm(trials, "crossnobis", noise=noise, **folds),
            data=data,
        ),
        _row(
            "crossnobis RDM, a precision for each fold",
            rdm(trials, method="crossnobis", precision=each),
            rsatoolbox_rdm(trials, "crossnobis", noise=list(each), **folds),
            data=data,
        ),
        _row(
            "crossnobis RDM, 12 % of trials missing",
            rdm(missing, method="crossnobis", precision=noise),
            rsatoolbox_unbalanced(centred, "crossnobis", noise=noise),
            data=data,
            note="peer given trials less the mean pattern, on which its own estimate depends",
        ),
    ]


def _poisson_cv() -> list[Parity]:
    trials, data = counts(), f"{N_FOLDS} folds x {N_STIMULI} stimuli x {N_UNITS} units"
    ours = rdm(trials, method="poisson_cv")
    theirs = rsatoolbox_rdm(trials, "poisson_cv", cv_descriptor="fold")
    by_fold = [poisson_of_fold(trials, fold) for fold in range(N_FOLDS)]
    return [
        Parity(
            "poisson_cv RDM, all folds",
            "its definition",
            data,
            apart(ours, np.mean(by_fold, axis=0)),
            "mean over left-out folds",
        ),
        _row(
            "poisson_cv RDM over pairs of trials",
            ours,
            rsatoolbox_unbalanced(trials, "poisson_cv"),
            data=data,
            note="`calc_rdm_unbalanced`, which uses all folds",
        ),
        _row(
            "poisson_cv RDM, the last fold only",
            by_fold[-1],
            theirs,
            data=data,
            note="`calc_rdm` 0.3.2 overwrites its result in each fold",
        ),
        _row(
            "poisson_cv RDM, all folds",
            ours,
            theirs,
            data=data,
            note="**peer wrong**: `calc_rdm` keeps the last fold only",
        ),
    ]


def _movies() -> list[Parity]:
    movie = np.stack([counts(), counts()[::-1] + 1], axis=-1)
    labelled = responses(
        movie,
        stimulus=[f"s{i:02d}" for i in range(N_STIMULI)],
        neuroid=[f"n{i}" for i in range(N_UNITS)],
        region="IT",
        animal="m",
        time_bins=[(0, 50), (50, 100)],
    )
    rows = movie.swapaxes(0, 1).reshape(-1, N_UNITS, 2)
    given = TemporalDataset(
        rows,
        obs_descriptors={
            "stimulus": np.repeat(labelled["stimulus"].values, N_FOLDS),
            "fold": np.tile(np.arange(N_FOLDS), N_STIMULI),
        },
        time_descriptors={"time": np.arange(2)},
    )
    theirs = calc_rdm_movie(given, "crossnobis", "stimulus", cv_descriptor="fold")
    ours = rdm_movie(labelled, dissimilarity="crossnobis", noise="identity").values[0]
    aligned = np.moveaxis(ours, -1, 0)
    return [_row("crossnobis RDM movie", aligned, theirs.get_matrices(), data="2 time bins")]


def _precisions() -> list[Parity]:
    trials, data = counts(), f"{N_FOLDS} x {N_STIMULI} trials x {N_UNITS} units"
    rows = []
    for method in SHRINKAGES:
        pairs = (
            (
                noise_precision(trials, method=method),
                prec_from_unbalanced(dataset(trials), "stimulus", method=method),
            ),
            (
                precision_from_residuals(trials[0], method=method),
                prec_from_residuals(trials[0].copy(), method=method),
            ),
        )
        rows += [
            _row(f"noise precision, {method}, from {source}", ours, theirs, data=data)
            for source, (ours, theirs) in zip(("trials", "residuals"), pairs, strict=True)
        ]
    theirs = prec_from_measurements(dataset(trials), "stimulus", method="full")
    ours = noise_precision(trials, method="full")
    note = (
        "**peer wrong**: `prec_from_measurements` of one data set takes (n_stimuli - 1) "
        "n_repetitions degrees of freedom for n_stimuli (n_repetitions - 1)"
    )
    return [*rows, _row("noise precision, full, from trials", ours, theirs, data=data, note=note)]


def speed(quick: bool) -> list[Speed]:
    """Time both sides on the sizes of the design's table."""
    shape = (5, 320, 40) if quick else (5, 3200, 168)
    n_stimuli, n_features = (500, 100) if quick else (5000, 1000)
    patterns = np.random.default_rng(2).standard_normal((n_stimuli, n_features))
    return [*_speed_of_trials(counts(shape)), *_speed_of_patterns(patterns)]


def _speed_of_trials(trials: Floats) -> list[Speed]:
    noise, given = noise_precision(trials), dataset(trials)
    size = f"{trials.shape[1]} x {trials.shape[2]} x {trials.shape[0]} sessions"
    folds = {"descriptor": "stimulus", "cv_descriptor": "fold"}
    return [
        _timed(
            f"crossnobis RDM, {size}",
            lambda: rdm(trials, method="crossnobis", precision=noise),
            lambda: calc_rdm(given, "crossnobis", noise=noise, **folds),
            target=4,
        ),
        _timed(
            f"poisson_cv RDM, {size}",
            lambda: rdm(trials, method="poisson_cv"),
            lambda: calc_rdm(given, "poisson_cv", **folds),
        ),
        _timed(
            f"noise precision, {size}",
            lambda: noise_precision(trials),
            lambda: prec_from_unbalanced(given, "stimulus"),
        ),
    ]


def _speed_of_patterns(patterns: Floats) -> list[Speed]:
    size, positive = f"{patterns.shape[0]} x {patterns.shape[1]}", np.abs(patterns)
    return [
        _timed(
            f"correlation RDM, {size}",
            lambda: rdm(patterns),
            lambda: calc_rdm(Dataset(patterns), "correlation"),
            target=7,
        ),
        _timed(
            f"poisson RDM, {size}",
            lambda: rdm(positive, method="poisson"),
            lambda: calc_rdm(Dataset(positive), "poisson"),
        ),
    ]


def _timed(name: str, ours: Work, peer: Work, *, target: float | None = None) -> Speed:
    return Speed(name, "rsatoolbox", cpu_seconds(ours), cpu_seconds(peer), target)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes")
    arguments = parser.parse_args()
    print(markdown(parity()))
    print()
    print(markdown(speed(arguments.quick)))


if __name__ == "__main__":
    main()
