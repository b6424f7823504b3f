"""Regressions of ikpls and himalaya on given splits; runs in the environment of both.

    python fast_regression.py given.npz answer.npz

Given: ``X`` (stimulus, feature), ``Y`` (stimulus, site), ``tests`` (split, stimulus) of bool,
``name``: "ikpls" with ``n_components``; "himalaya" with ``alphas`` and ``inner_tests``
(inner split, training stimulus) of bool, for one split; "himalaya_banded" with these, the number of
features ``widths`` of each band and candidate ``weights`` (candidate, band). Answer: ``r`` (split,
site), and where they are chosen ``alphas`` (site,), ``weights`` (band, site), ``r2_by_band``.
"""

import sys

import numpy as np
from himalaya.kernel_ridge import (
    KernelRidgeCV,
    solve_multiple_kernel_ridge_random_search,
)
from himalaya.scoring import r2_score_split
from ikpls.numpy import PLS
from sklearn.model_selection import PredefinedSplit


def ikpls(given: dict, train: np.ndarray, test: np.ndarray) -> dict:
    """Predict by improved kernel PLS."""
    pls = PLS(algorithm=1, scale_X=False, scale_Y=False)
    pls.fit(given["X"][train], given["Y"][train], int(given["n_components"]))
    predicted = pls.predict(given["X"][test], int(given["n_components"]))
    return {"predicted": predicted}


def inner_splits(given: dict) -> PredefinedSplit:
    """Return the given folds within the training stimuli."""
    return PredefinedSplit(np.argmax(given["inner_tests"], axis=0))


def himalaya(given: dict, train: np.ndarray, test: np.ndarray) -> dict:
    """Predict by kernel ridge with a penalty per site."""
    model = KernelRidgeCV(given["alphas"], cv=inner_splits(given), fit_intercept=True)
    model.fit(given["X"][train], given["Y"][train])
    return {"predicted": model.predict(given["X"][test]), "alphas": model.best_alphas_}


def himalaya_banded(given: dict, train: np.ndarray, test: np.ndarray) -> dict:
    """Predict by banded ridge over given weights."""
    bands = np.split(given["X"], np.cumsum(given["widths"])[:-1], axis=1)
    bands = [band - band[train].mean(axis=0) for band in bands]
    mean = given["Y"][train].mean(axis=0)
    deltas, duals, _, alphas = solve_multiple_kernel_ridge_random_search(
        np.stack([band[train] @ band[train].T for band in bands]),
        given["Y"][train] - mean,
        n_iter=given["weights"],
        alphas=given["alphas"],
        cv=inner_splits(given),
        fit_intercept=True,
        return_weights="dual",
        return_alphas=True,
        progress_bar=False,
    )[:4]
    across = np.stack([band[test] @ band[train].T for band in bands])
    by_band = np.exp(deltas)[:, None, :] * (across @ duals)
    return {
        "predicted": by_band.sum(axis=0) + mean,
        "alphas": alphas,
        "weights": np.exp(deltas) * alphas,
        "r2_by_band": r2_score_split(given["Y"][test] - mean, by_band),
    }


PEERS = {"ikpls": ikpls, "himalaya": himalaya, "himalaya_banded": himalaya_banded}


def main() -> None:
    """Fit and score each split."""
    with np.load(sys.argv[1]) as file:
        given = dict(file)
    scores = []
    for is_test in given["tests"]:
        train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
        answer = PEERS[str(given["name"])](given, train, test)
        pairs = zip(answer.pop("predicted").T, given["Y"][test].T, strict=True)
        scores.append([np.corrcoef(p, y)[0, 1] for p, y in pairs])
    np.savez(sys.argv[2], r=np.array(scores), **answer)


if __name__ == "__main__":
    main()
