"""Similarity of representations: agreement with peers and formulas, and layer x layer grids.

    python speed/similarity.py            # 20 layers of 1000 stimuli
    python speed/similarity.py --quick    # small sizes, seconds

Brain-Score runs in its own environment (`make peers`). netrep is not on PyPI: its definitions are
computed from their formulas, with an explicit whitening and alignment of the features.
"""

import argparse
from collections.abc import Callable
from functools import partial
from itertools import combinations_with_replacement

import numpy as np
from measure import Parity, Speed, cpu_seconds, markdown, run_peer
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes, subspace_angles
from scipy.spatial import procrustes
from sklearn.cross_decomposition import PLSRegression
from threadpoolctl import threadpool_limits

from brainscore_lite.metrics import PLS, Splits
from brainscore_lite.metrics.similarity.cca import canonical_correlations, cca
from brainscore_lite.metrics.similarity.cka import linear_cka, rbf_cka
from brainscore_lite.metrics.similarity.eigenspectrum import eigenspectrum
from brainscore_lite.metrics.similarity.shape_metrics import (
    angular_distance,
    procrustes_distance,
    shape_distance,
    shape_similarity,
)
from brainscore_lite.metrics.similarity.similarity_grid import similarity_grid
from brainscore_lite.metrics.time.span_time import span_time

Array = NDArray[np.float64]
Pairwise = Callable[[Array, Array], float]


def representations(n_stimuli: int, widths: tuple[int, ...], *, seed: int = 0) -> list[Array]:
    """Make layers that share a latent signal whose spectrum falls as 1/i."""
    rng = np.random.default_rng(seed)
    n_latent = min(50, n_stimuli // 4)
    latent = rng.standard_normal((n_stimuli, n_latent)) / np.sqrt(np.arange(1, n_latent + 1))
    return [
        latent @ rng.standard_normal((n_latent, width))
        + 0.3 * rng.standard_normal((n_stimuli, width))
        + 1
        for width in widths
    ]


def centred(values: Array) -> Array:
    """Subtract the mean pattern."""
    return values - values.mean(axis=0)


def padded(first: Array, second: Array) -> tuple[Array, Array]:
    """Centre two representations and pad the narrower one with zeros."""
    width = max(first.shape[1], second.shape[1])
    a, b = (np.pad(centred(v), ((0, 0), (0, width - v.shape[1]))) for v in (first, second))
    return a, b


def whitened(values: Array, alpha: float) -> Array:
    """Return X (a I + (1 - a)(X'X)^(-1/2)), rescaled to keep its variance."""
    Z = centred(values)
    eigenvalues, V = np.linalg.eigh(Z.T @ Z)
    partly = Z @ (V * (alpha + (1 - alpha) / np.sqrt(eigenvalues))) @ V.T
    return np.asarray(partly * np.linalg.norm(Z) / np.linalg.norm(partly))


def aligned_angle(X: Array, Y: Array, alpha: float) -> float:
    """Angle after the best rotation, in radians."""
    A, B = padded(whitened(X, alpha), whitened(Y, alpha))
    turned = A @ orthogonal_procrustes(A, B)[0]
    cosine = (turned * B).sum() / np.linalg.norm(A) / np.linalg.norm(B)
    return float(np.arccos(min(cosine, 1.0)))


def projection_weighted(X: Array, Y: Array) -> float:
    """PWCCA from orthonormal bases by QR."""
    Qx, Qy = np.linalg.qr(centred(X))[0], np.linalg.qr(centred(Y))[0]
    left, r, _ = np.linalg.svd(Qx.T @ Qy, full_matrices=False)
    weights = np.abs((Qx @ left).T @ centred(X)).sum(axis=1)
    return float((weights * r).sum() / weights.sum())


def leading(values: Array, fraction: float) -> Array:
    """Scores on the fewest principal components that hold a fraction of the variance."""
    U, s, _ = np.linalg.svd(centred(values), full_matrices=False)
    kept = int((np.cumsum(s**2) / (s**2).sum() < fraction).sum()) + 1
    return np.asarray(U[:, :kept] * s[:kept])


def parity() -> list[Parity]:
    """Compare with Brain-Score, SciPy and the published formulas on fixed data."""
    X, Y = representations(200, (60, 40))
    by_time = representations(150, (40,) * 4 + (12,) * 4, seed=1)
    X_time, Y_time = np.stack(by_time[:4], axis=-1), np.stack(by_time[4:], axis=-1)
    peer = run_peer(
        "brainscore", "similarity.py", {"X": X, "Y": Y, "X_time": X_time, "Y_time": Y_time}
    )
    folds = Splits(10, seed=1, kind="shuffle")
    converged = span_time_by_scikit_learn(X_time, Y_time, folds)
    spanned = span_time(X_time, Y_time, regression=PLS(25), splits=folds).r.reshape(10, 4, 12)
    early = "its PLS stops at scikit-learn's tolerance of 1e-6"
    data, times = "200 x 60 and 200 x 40, simulated", "150 stimuli x 4 times, simulated"
    A, B = padded(X, Y)
    size_and_shape = float(np.linalg.norm(A @ orthogonal_procrustes(A, B)[0] - B))
    kept = canonical_correlations(leading(X, 0.99), leading(Y, 0.99)).mean()
    cosines = np.cos(subspace_angles(centred(X), centred(Y)))[::-1]
    angle_of_cka = angular_distance(linear_cka(X, Y, debiased=False))
    scatter = np.linalg.eigvalsh(np.cov(X.T))[::-1]

    def row(
        metric: str, source: str, ours: object, theirs: object, where: str = data, note: str = ""
    ) -> Parity:
        difference = np.abs(np.asarray(ours) - np.asarray(theirs)).max()
        return Parity(metric, source, where, float(difference), note)

    return [
        row("CKA, debiased", "Brain-Score CKA", linear_cka(X, Y), peer["cka"]),
        row(
            "CKA, biased",
            "Brain-Score CKA(unbiased=False)",
            linear_cka(X, Y, debiased=False),
            peer["cka_biased"],
        ),
        row(
            "RBF CKA, biased",
            "Brain-Score kernel_CKA",
            rbf_cka(X, Y, debiased=False),
            peer["rbf_cka_biased"],
        ),
        row(
            "spantime_pls, score",
            "Brain-Score",
            np.median(spanned, axis=2).mean(axis=0),
            np.median(peer["span_time"], axis=2).mean(axis=0),
            times,
        ),
        row(
            "spantime_pls, r of every split, time and unit",
            "Brain-Score",
            spanned,
            peer["span_time"],
            times,
            early,
        ),
        row(
            "spantime_pls, r of every split, time and unit",
            "scikit-learn, run to convergence",
            spanned,
            converged,
            times,
        ),
        row("CKA angle", "netrep LinearCKA, formula", angle_of_cka, peer_angle(X, Y)),
        row(
            "Procrustes angle",
            "netrep alpha=1, formula",
            shape_distance(X, Y),
            aligned_angle(X, Y, 1),
        ),
        row(
            "shape metric, alpha=0.5",
            "netrep, formula",
            shape_distance(X, Y, alpha=0.5),
            aligned_angle(X, Y, 0.5),
        ),
        row(
            "CCA angle",
            "netrep alpha=0, formula",
            shape_distance(X, Y, alpha=0.0),
            aligned_angle(X, Y, 0.0),
        ),
        row(
            "Procrustes cosine",
            "scipy.spatial.procrustes",
            shape_similarity(X, Y),
            np.sqrt(1 - procrustes(A, B)[2]),
        ),
        row(
            "size-and-shape distance",
            "explicit alignment",
            procrustes_distance(X, Y),
            size_and_shape,
        ),
        row(
            "canonical correlations",
            "scipy.linalg.subspace_angles",
            canonical_correlations(X, Y),
            cosines,
        ),
        row("SVCCA, 99 %", "SVD, then CCA", cca(X, Y, variance=0.99), kept),
        row(
            "PWCCA",
            "Morcos et al. 2018, formula",
            cca(X, Y, summary="projection_weighted"),
            projection_weighted(X, Y),
        ),
        row("eigenvalues", "numpy.cov", eigenspectrum(X).variances(), scatter),
    ]


def span_time_by_scikit_learn(X: Array, Y: Array, splits: Splits) -> Array:
    """R of scikit-learn's PLS over all times, its iteration run to convergence.

    Brain-Score's equals scikit-learn's with the default tolerance of 1e-6.
    """
    n_times = X.shape[2]
    result = []
    for fold in splits.folds(len(X)):
        model = PLSRegression(25, scale=False, tol=1e-24, max_iter=200_000)
        train = [np.concatenate([A[fold.train, :, t] for t in range(n_times)]) for A in (X, Y)]
        model.fit(*train)
        for t in range(n_times):
            predicted, recorded = model.predict(X[fold.test, :, t]), Y[fold.test, :, t]
            pairs = zip(predicted.T, recorded.T, strict=True)
            result.append([np.corrcoef(p, y)[0, 1] for p, y in pairs])
    return np.reshape(result, (-1, n_times, Y.shape[1]))


def peer_angle(X: Array, Y: Array) -> float:
    """Arccos of biased CKA through the features, |X'Y|^2 / (|X'X| |Y'Y|)."""
    A, B = centred(X), centred(Y)
    cross = np.linalg.norm(A.T @ B) ** 2
    return float(np.arccos(cross / np.linalg.norm(A.T @ A) / np.linalg.norm(B.T @ B)))


def pairwise_cka(X: Array, Y: Array) -> float:
    """Debiased CKA of a pair as its definition is usually written: three HSICs, six Grams."""

    def hsic(A: Array, B: Array) -> float:
        K, L = A @ A.T, B @ B.T
        np.fill_diagonal(K, 0.0)
        np.fill_diagonal(L, 0.0)
        n = len(K)
        cross = K.sum() * L.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * K.sum(0) @ L.sum(0)
        return float(((K * L).sum() + cross) / (n * (n - 3)))

    return hsic(X, Y) / float(np.sqrt(hsic(X, X) * hsic(Y, Y)))


def pairwise_cca(X: Array, Y: Array) -> float:
    """Mean CCA of a pair by two QR decompositions."""
    Qx, Qy = np.linalg.qr(centred(X))[0], np.linalg.qr(centred(Y))[0]
    return float(np.linalg.svd(Qx.T @ Qy, compute_uv=False).mean())


def pairwise_procrustes(X: Array, Y: Array) -> float:
    """Cosine of the Procrustes angle of a pair through the features' cross-products."""
    A, B = centred(X), centred(Y)
    nuclear = np.linalg.svd(A.T @ B, compute_uv=False).sum()
    return float(nuclear / np.linalg.norm(A) / np.linalg.norm(B))


def over_pairs(pairwise: Pairwise, layers: list[Array], pairs: list[tuple[int, int]]) -> Array:
    """Compare some pairs of layers one by one."""
    return np.array([pairwise(layers[i], layers[j]) for i, j in pairs])


def speed(quick: bool) -> list[Speed]:
    """Time whole grids against pairwise code on some of the pairs, scaled to all.

    What is left for every pair is one inner product (CKA) or the singular values of a product of
    two whitened forms (CCA, Procrustes), the smaller of stimuli and features on a side.
    """
    n_layers = 6 if quick else 20
    cases: list[tuple[str, Pairwise, tuple[int, int]]] = [
        ("cka", pairwise_cka, (150, 300) if quick else (1000, 4000)),
        ("cca", pairwise_cca, (150, 30) if quick else (1000, 200)),
        ("procrustes", pairwise_procrustes, (150, 200) if quick else (500, 2000)),
    ]
    rows = []
    for method, pairwise, (n_stimuli, width) in cases:
        layers = representations(n_stimuli, (width,) * n_layers)
        names = {f"layer{i}": layer for i, layer in enumerate(layers)}
        pairs = list(combinations_with_replacement(range(n_layers), 2))
        sample = pairs[:: max(1, len(pairs) // 5)]
        with threadpool_limits(1):
            grid = similarity_grid(names, method=method).values
            ours = cpu_seconds(
                partial(similarity_grid, names, method=method), runs=3 if quick else 1
            )
            peer = cpu_seconds(partial(over_pairs, pairwise, layers, sample), runs=1)
            found = over_pairs(pairwise, layers, sample)
        difference = np.abs(found - [grid[i, j] for i, j in sample]).max()
        rows.append(
            Speed(
                f"{n_layers} x {n_layers} {method}, {n_stimuli} stimuli x {width} features",
                "pair by pair from the features",
                ours,
                peer * len(pairs) / len(sample),
                None,
                f"one Gram per layer; peer on {len(sample)} of {len(pairs)} pairs, scaled; "
                f"values agree to {difference:.0e}",
            )
        )
    return rows


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
