"""Parity and speed of the regressions beside Brain-Score, scikit-learn, ikpls and himalaya.

Speed rows compare CPU seconds with one thread. Peers that take long are run on one of the ten
splits, whose time is scaled to ten; the rows say so.

    python speed/regression.py            # 3200 stimuli, 168 sites; half an hour, mostly the peers
    python speed/regression.py --quick    # small sizes, two minutes
    python speed/regression.py --parity   # the parity table alone
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from measure import Parity, Speed, cpu_seconds, markdown, run_peer
from numpy.typing import NDArray
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.linear_model import Ridge as FixedRidge
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from brainscore_lite.metrics import PLS, Fold, Ridge, Splits, cross_validate
from brainscore_lite.metrics.regression.banded_ridge import banded_ridge
from brainscore_lite.metrics.regression.fold_fit import Regression
from brainscore_lite.metrics.regression.least_squares import PrincipalComponents

Array = NDArray[np.float64]
N_SPLITS = 10
SIZES = (3200, 168)
QUICK_SIZES = (300, 20)
# Brain-Score's candidates for its `ridgecv` metrics.
PENALTIES = (
    *(0.01, 0.1, 0.5, 1.0),
    *np.linspace(1e1, 1e2, 4, endpoint=False),
    *np.concatenate(
        [np.linspace(10.0**d, 10.0 ** (d + 1), 18, endpoint=False) for d in range(2, 6)]
    ),
    *np.linspace(1e6, 1e7, 19),
)


def features_and_responses(n_stimuli: int, n_features: int, n_sites: int) -> tuple[Array, Array]:
    """Make features whose spectrum falls as 1/i, and sites that read them with noise."""
    rng = np.random.default_rng(0)
    n_latent = min(200, n_stimuli // 2)
    latent = rng.standard_normal((n_stimuli, n_latent)) / np.sqrt(np.arange(1, n_latent + 1))
    X = 0.2 * rng.standard_normal((n_stimuli, n_features))
    for start in range(0, n_features, 500):
        part = X[:, start : start + 500]
        part += latent @ rng.standard_normal((n_latent, part.shape[1]))
    Y = latent @ rng.standard_normal((n_latent, n_sites))
    return X, Y + 2 * rng.standard_normal(Y.shape)


def tests(folds: Sequence[Fold], n_stimuli: int) -> NDArray[np.bool_]:
    """Mark the test stimuli of each fold."""
    return np.stack([np.isin(np.arange(n_stimuli), fold.test) for fold in folds])


def scored(make: Callable[[], object], X: Array, Y: Array, folds: Sequence[Fold]) -> Array:
    """Fit a regression of scikit-learn in each fold; r of each split and site."""
    scores = []
    for fold in folds:
        predicted = make().fit(X[fold.train], Y[fold.train]).predict(X[fold.test])
        pairs = zip(predicted.T, Y[fold.test].T, strict=True)
        scores.append([np.corrcoef(p, y)[0, 1] for p, y in pairs])
    return np.array(scores)


def brainscore(name: str, X: Array, Y: Array, folds: Sequence[Fold]) -> Mapping[str, Array]:
    """Score by one of Brain-Score's regressions."""
    arrays = {"X": X, "Y": Y, "tests": tests(folds, len(X)), "name": np.array(name)}
    return run_peer("brainscore", "brainscore_regression.py", arrays)


def parity() -> list[Parity]:
    """Compare every regression with its peers on 300 stimuli."""
    rows = []
    for n_features in (60, 900):
        X, Y = features_and_responses(300, n_features, 12)
        folds = Splits(5).folds(len(X))
        rows += _with_scikit_learn(X, Y, folds)
        rows += _with_brainscore(X, Y, folds)
        rows += _with_ikpls_and_himalaya(X, Y, folds)
    return rows


def _row(metric: str, peer: str, X: Array, ours: Array, theirs: Array, note: str = "") -> Parity:
    largest = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())
    return Parity(metric, peer, f"{len(X)} x {X.shape[1]} features", largest, note)


def _with_scikit_learn(X: Array, Y: Array, folds: Sequence[Fold]) -> list[Parity]:
    exact = {"scale": False, "max_iter": 100_000, "tol": 1e-26}
    cases: list[tuple[str, str, str | Regression, Callable[[], object]]] = [
        (
            "ridge, 99 penalties, one for all sites",
            "scikit-learn RidgeCV",
            Ridge(PENALTIES, unit="absolute", per_neuroid=False),
            lambda: RidgeCV(PENALTIES),
        ),
        (
            "ridge, 99 penalties, one per site",
            "scikit-learn RidgeCV(alpha_per_target)",
            Ridge(PENALTIES, unit="absolute"),
            lambda: RidgeCV(PENALTIES, alpha_per_target=True),
        ),
        (
            "ridge, fixed penalty",
            "scikit-learn Ridge",
            Ridge((1.0,), unit="absolute"),
            lambda: FixedRidge(1.0, solver="svd"),
        ),
        (
            "PLS-25",
            "scikit-learn PLSRegression run to convergence",
            "pls",
            lambda: PLSRegression(25, **exact),
        ),
        ("least squares", "scikit-learn LinearRegression", "ols", LinearRegression),
        (
            "principal components, 25",
            "scikit-learn PCA, LinearRegression",
            PrincipalComponents(25),
            lambda: make_pipeline(PCA(25, svd_solver="full"), LinearRegression()),
        ),
    ]
    return [
        _row(
            name,
            peer,
            X,
            cross_validate(X, Y, folds, regression=regression).r,
            scored(make, X, Y, folds),
        )
        for name, peer, regression, make in cases
    ]


def _with_brainscore(X: Array, Y: Array, folds: Sequence[Fold]) -> list[Parity]:
    stops = "scikit-learn's iteration stops at tol = 1e-6"
    emptied = (
        "its scikit-learn 1.5 inverts the direction that centring has emptied (rank n, not n - 1)"
    )
    cases: list[tuple[str, str | Regression, str, str]] = [
        ("PLS-25", "pls", "pls", stops),
        ("PLS-25", "pls", "pls_converged", "the same run to convergence"),
        ("ridge, fixed penalty", Ridge((1.0,), unit="absolute"), "ridge", ""),
        (
            "ridge, 99 penalties, one for all sites",
            Ridge(PENALTIES, unit="absolute", per_neuroid=False),
            "ridgecv",
            "",
        ),
        ("least squares", "ols", "linear", emptied if X.shape[1] >= len(X) else ""),
        ("one-to-one", "one_to_one", "neuron_to_neuron", ""),
    ]
    return [
        _row(
            name,
            f"Brain-Score {peer}",
            X,
            cross_validate(X, Y, folds, regression=regression).r,
            brainscore(peer, X, Y, folds)["r"],
            note,
        )
        for name, regression, peer, note in cases
    ]


def _with_ikpls_and_himalaya(X: Array, Y: Array, folds: Sequence[Fold]) -> list[Parity]:
    arrays = {"X": X, "Y": Y, "tests": tests(folds, len(X))}

    def peer(name: str, **settings: object) -> Mapping[str, Array]:
        given = {name: np.asarray(value) for name, value in settings.items()}
        return run_peer(
            "regression", "fast_regression.py", {**arrays, "name": np.array(name), **given}
        )

    rows = [
        _row(
            "PLS-25",
            "ikpls",
            X,
            cross_validate(X, Y, folds, regression=PLS(25)).r,
            peer("ikpls", n_components=25)["r"],
        )
    ]
    first = folds[:1]
    arrays["tests"] = arrays["tests"][:1]
    n_train = len(first[0].train)
    inner = {
        "alphas": np.logspace(-1, 6, 15),
        "inner_tests": tests(Splits(5).folds(n_train), n_train),
    }
    ridge = Ridge(tuple(inner["alphas"]), unit="absolute", inner_splits=5)
    ours, theirs = cross_validate(X, Y, first, regression=ridge), peer("himalaya", **inner)
    name = "ridge, inner folds, one penalty per site"
    rows.append(_row(name, "himalaya KernelRidgeCV", X, ours.r, theirs["r"]))
    rows.append(
        _row(
            f"{name}: log penalty",
            "himalaya KernelRidgeCV",
            X,
            np.log10(ours.penalties[0]),
            np.log10(theirs["alphas"]),
        )
    )
    widths = (X.shape[1] // 3, X.shape[1] - X.shape[1] // 3)
    weights = np.random.default_rng(3).dirichlet([1.0, 1.0], 20)
    banded = peer("himalaya_banded", widths=widths, weights=weights, **inner)
    bands = {"first": X[:, : widths[0]], "second": X[:, widths[0] :]}
    fit = banded_ridge(bands, Y, splits=first, ridge=ridge, weights=weights)
    search = "himalaya random search, the same candidates"
    rows.append(_row("banded ridge", search, X, fit.r(), banded["r"]))
    rows.append(_row("banded ridge: weights", search, X, fit.weights[0], banded["weights"]))
    rows.append(
        _row("banded ridge: product measure", search, X, fit.r2_by_band()[0], banded["r2_by_band"])
    )
    return rows


def speed(quick: bool) -> list[Speed]:
    """Time PLS and ridge beside Brain-Score and scikit-learn."""
    n_stimuli, n_sites = QUICK_SIZES if quick else SIZES
    widths = (200, 600) if quick else (1000, 10_000, 50_000)
    targets = dict(zip((1000, 10_000, 50_000), (10, 50, 150), strict=True))
    rows = []
    for n_features in widths:
        X, Y = features_and_responses(n_stimuli, n_features, n_sites)
        folds = Splits(N_SPLITS).folds(n_stimuli)
        size = f"{n_stimuli} x {n_features} features x {n_sites} sites, {N_SPLITS} splits"
        ours = _seconds(lambda X=X, Y=Y, folds=folds: cross_validate(X, Y, folds, regression="pls"))
        for peer, seconds in _peers_of_pls(X, Y, folds):
            target = None if quick or "Brain-Score" not in peer else targets[n_features]
            rows.append(Speed(f"PLS-25, {size}", peer, ours, seconds, target, "1 split, scaled"))
        if n_features == widths[1]:
            rows += _ridge(X, Y, folds, size, quick=quick)
    return rows


def _peers_of_pls(X: Array, Y: Array, folds: Sequence[Fold]) -> list[tuple[str, float]]:
    """CPU seconds of all splits, measured on the first."""
    peer = brainscore("pls", X, Y, folds[:1])
    start = time.process_time()
    scored(lambda: PLSRegression(25, scale=False), X, Y, folds[:1])
    seconds = time.process_time() - start
    return [
        ("Brain-Score pls", N_SPLITS * float(peer["seconds"][0])),
        ("scikit-learn PLSRegression", N_SPLITS * seconds),
    ]


def _ridge(X: Array, Y: Array, folds: Sequence[Fold], size: str, *, quick: bool) -> list[Speed]:
    target = None if quick else 5.0
    rows = []
    for shared, kind in ((True, "one for all sites"), (False, "one per site")):
        ridge = Ridge(PENALTIES, unit="absolute", per_neuroid=not shared)
        ours = _seconds(lambda ridge=ridge: cross_validate(X, Y, folds, regression=ridge))
        work = f"ridge, 99 penalties, {kind}, {size}"
        start = time.process_time()
        scored(
            lambda shared=shared: RidgeCV(PENALTIES, alpha_per_target=not shared), X, Y, folds[:1]
        )
        theirs = N_SPLITS * (time.process_time() - start)
        rows.append(Speed(work, "scikit-learn RidgeCV", ours, theirs, target, "1 split, scaled"))
        if shared:
            for name in ("ridgecv", "dual_ridgecv"):
                seconds = N_SPLITS * float(brainscore(name, X, Y, folds[:1])["seconds"][0])
                rows.append(
                    Speed(work, f"Brain-Score {name}", ours, seconds, target, "1 split, scaled")
                )
    ours = _seconds(lambda: cross_validate(X, Y, folds, regression="ridge"))
    rows.append(Speed(f"ridge, the default, {size}", "none", ours, float("nan")))
    return rows


def _seconds(work: Callable[[], object]) -> float:
    return cpu_seconds(work, runs=1)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--parity", action="store_true", help="the parity table alone")
    arguments = parser.parse_args()
    with threadpool_limits(1):
        print(markdown(parity()))
        if not arguments.parity:
            print()
            print(markdown(speed(arguments.quick)))


if __name__ == "__main__":
    main()
