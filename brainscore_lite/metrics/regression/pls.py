"""Partial least squares regression through the Gram matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from brainscore_lite.metrics.arrays import Array, as_numpy, like, rows
from brainscore_lite.metrics.correlation import ROUNDING
from brainscore_lite.metrics.gram import Gram
from brainscore_lite.metrics.regression.fold_fit import FoldFit, check_inner_splits, fitted
from brainscore_lite.metrics.splits import Fold
from brainscore_lite.schema import ContractError

_NEGLIGIBLE = 1e-12
_STALE = 1e-4
_CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class PLS:
    """Partial least squares (PLS2) with features and responses centred, not scaled.

    Component after component takes the direction in feature space with the largest covariance
    with the responses. In the kernel K of the training stimuli the scores t are

        u = Y c,  t = P K u / |P K u|,  P = I - T T',

    c the leading eigenvector of Y'P K P Y and T the scores so far. P K P Y and Y'P K P Y are kept
    up to date by corrections of low rank, so K itself is never deflated: one product K t per
    component, taken for all folds at once on the one kernel they share, which is centred on each
    fold's training stimuli by centring the vectors it is multiplied with. Test stimuli are
    predicted by K_test U (T'K U)^-1 T'Y. Equal to scikit-learn's ``PLSRegression(scale=False)``,
    whose iteration stops at a tolerance of 1e-6.

    Parameters
    ----------
    n_components : int
        Where the responses' covariance with the features is exhausted earlier, the fit has
        fewer components and equals least squares.
    inner_splits : int
        Folds within the training stimuli for the inner score; of whole groups, and at most as
        many, where the training stimuli have groups.
    seed : int
        Of the inner folds.

    References
    ----------
    Rosipal & Trejo (2001), JMLR 2:97-123; Dayal & MacGregor (1997),
    doi:10.1002/(SICI)1099-128X(199701)11:1<73::AID-CEM435>3.0.CO;2-#.
    """

    n_components: int = 25
    inner_splits: int = 5
    seed: int = 0
    pools_neuroids: ClassVar[bool] = True
    reads_features: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.n_components < 1:
            raise ContractError(f"n_components is {self.n_components}, expected at least 1.")
        check_inner_splits(self.inner_splits)

    def fit_folds(
        self, X: Gram, Y: Array, folds: Sequence[Fold], *, inner: bool
    ) -> tuple[FoldFit, ...]:
        """Fit on the training stimuli of each fold and predict its test stimuli.

        Parameters
        ----------
        X : Gram
        Y : array, shape (n_stimuli, n_units)
        folds : sequence of Fold
        inner : bool
            Also score folds within the training stimuli, at the cost of as many fits more.

        Returns
        -------
        tuple of FoldFit

        Raises
        ------
        ContractError
            If there are no more training stimuli than components, or the inner score is asked
            for and they are all of one group.
        """
        return fitted(
            lambda some: self._predictions(X, Y, some),
            Y,
            folds,
            inner_splits=self.inner_splits if inner else None,
            seed=self.seed,
        )

    def _predictions(self, gram: Gram, Y: Array, folds: Sequence[Fold]) -> list[Array]:
        """Predict the test stimuli of each fold."""
        fewest = min(len(fold.train) for fold in folds)
        if fewest <= self.n_components:
            raise ContractError(
                f"{fewest} training stimuli cannot support {self.n_components} PLS components. "
                "Use fewer components or fewer splits."
            )
        n_stimuli, n_units = Y.shape
        if n_units > n_stimuli:
            # Rotating the responses rotates the predictions, and n_stimuli axes hold them all.
            axes, coordinates = array_namespace(Y).linalg.qr(Y.T)
            return [p @ axes.T for p in self._predictions(gram, coordinates.T, folds)]
        width = max(1, _CHUNK_BYTES // (8 * n_units * (n_stimuli + n_units)))
        predictions = []
        for start in range(0, len(folds), width):
            some = folds[start : start + width]
            components = _Components(_Folds(gram.centred, Y, some), self.n_components)
            for _ in range(self.n_components):
                components.add_one()
            predictions += [components.predict(k, fold.test) for k, fold in enumerate(some)]
        return predictions


class _Folds:
    """The training responses of several folds, and products with their centred kernels.

    Vectors and matrices have a row for every stimulus, 0 where the fold does not train on it.
    """

    def __init__(self, kernel: Array, Y: Array, folds: Sequence[Fold]) -> None:
        xp = array_namespace(Y)
        self.kernel = kernel
        in_training = np.zeros((len(folds), int(Y.shape[0])))
        for number, fold in enumerate(folds):
            in_training[number, fold.train] = 1
        self.training = like(in_training, Y)  # (n_folds, n_stimuli)
        self.sizes = xp.sum(self.training, axis=1)
        self.means = (self.training @ Y) / self.sizes[:, None]
        centred = (Y[None, :, :] - self.means[:, None, :]) * self.training[:, :, None]
        # what is constant but for rounding must not be fitted
        varies = xp.max(xp.abs(centred), axis=1) > ROUNDING * xp.max(xp.abs(Y), axis=0)[None, :]
        varies = xp.astype(varies, Y.dtype)[:, None, :]
        self.Y = centred * varies
        products = self._products(Y, in_training)
        self.products = self.centred(products) * varies  # K Y, (n_folds, n_stimuli, n_units)

    def _products(self, Y: Array, in_training: NDArray[np.float64]) -> Array:
        """Multiply the kernel, not yet centred, with the responses that each fold trains on.

        Stimuli that the same folds train on are multiplied once: in a k-fold, each part once.
        """
        xp = array_namespace(Y)
        sets, of_stimulus = np.unique(in_training, axis=1, return_inverse=True)
        if sets.shape[1] > 1 + len(in_training):
            return xp.stack([self.kernel @ self.Y[k, :, :] for k in range(len(in_training))])
        given = xp.concat([Y, xp.ones_like(Y[:, :1])], axis=1)
        totals = [xp.zeros_like(given) for _ in in_training]
        for number, trains in enumerate(sets.T):
            members = np.flatnonzero(of_stimulus.reshape(-1) == number)
            product = rows(self.kernel, members).T @ rows(given, members)
            for fold in np.flatnonzero(trains):
                totals[fold] += product
        return xp.stack(
            [t[:, :-1] - t[:, -1:] * self.means[k, :][None, :] for k, t in enumerate(totals)]
        )

    def centred(self, values: Array) -> Array:
        """Subtract the mean over training stimuli, and leave only these."""
        xp = array_namespace(values)
        training = self.training if values.ndim == 2 else self.training[:, :, None]
        total = xp.sum(values * training, axis=1, keepdims=True)
        sizes = xp.reshape(self.sizes, (-1, *(1 for _ in values.shape[1:])))
        return (values - total / sizes) * training

    def times(self, vectors: Array) -> Array:
        """Return the product of each fold's kernel with its vector; shape (n_folds, n_stimuli)."""
        return self.centred((self.kernel @ vectors.T).T)


class _Components:
    """The components found so far in several folds at once."""

    def __init__(self, problem: _Folds, n_components: int) -> None:
        xp = array_namespace(problem.Y)
        n_folds, n_stimuli, _ = problem.Y.shape
        place = {"dtype": problem.Y.dtype, "device": device(problem.Y)}
        shape = (n_folds, n_components, n_stimuli)
        self.problem = problem
        self.T, self.U, self.KT = (xp.zeros(shape, **place) for _ in range(3))
        self.covariance = problem.products  # P K P Y
        self.found = [0] * n_folds
        self.tried = 0
        self.strongest: Array | None = None
        self._refresh()

    def add_one(self) -> None:
        """Find the next component of each fold that has covariance left."""
        problem, k = self.problem, self.tried
        xp = array_namespace(problem.Y)
        values, axes = xp.linalg.eigh(self.squares)
        if bool(xp.any(values[:, -1] < _STALE * self.accurate_from)):
            self._refresh()
            _, axes = xp.linalg.eigh(self.squares)
        leading = axes[:, :, -1:]
        t = _orthogonal_to(self.T[:, :k, :], (self.covariance @ leading)[:, :, 0])
        norm = xp.linalg.vector_norm(t, axis=1, keepdims=True)
        if self.strongest is None:
            self.strongest = norm
        left = norm > _NEGLIGIBLE * self.strongest
        t = xp.where(left, t / xp.where(left, norm, xp.ones_like(norm)), xp.zeros_like(t))
        u = _orthogonal_to(self.T[:, :k, :], (problem.Y @ leading)[:, :, 0])
        product = problem.times(t)
        self.T[:, k, :], self.U[:, k, :], self.KT[:, k, :] = t, u, product
        response = (t[:, None, :] @ problem.Y)[:, 0, :]
        covariance = (t[:, None, :] @ self.covariance)[:, 0, :]
        size = xp.sum(t * product, axis=1)
        rest = _orthogonal_to(self.T[:, : k + 1, :], product)
        self.covariance -= xp.stack([t, rest], axis=2) @ xp.stack([covariance, response], axis=1)
        crossed = response[:, :, None] * (covariance - size[:, None] * response / 2)[:, None, :]
        self.squares -= crossed + xp.matrix_transpose(crossed)
        self.found = [
            n + int(more) for n, more in zip(self.found, as_numpy(left[:, 0]), strict=True)
        ]
        self.tried += 1

    def predict(self, number: int, test: NDArray[np.int64]) -> Array:
        """Predict the test stimuli of one fold by its components."""
        problem, found = self.problem, self.found[number]
        xp = array_namespace(problem.Y)
        T, U, KT = (each[number, :found, :] for each in (self.T, self.U, self.KT))
        weights = xp.linalg.solve(KT @ U.T, T @ problem.Y[number, :, :])
        mean_row = (problem.training[number, :] / problem.sizes[number]) @ problem.kernel
        across = (rows(problem.kernel, test) - mean_row[None, :]) @ U.T
        return problem.means[number, :][None, :] + across @ weights

    def _refresh(self) -> None:
        """Compute Y'P K P Y anew, before the rounding of its corrections shows."""
        xp = array_namespace(self.covariance)
        T = self.T[:, : self.tried, :]
        deflated = self.problem.Y - xp.matrix_transpose(T) @ (T @ self.problem.Y)
        self.squares = xp.matrix_transpose(deflated) @ self.covariance
        self.accurate_from = xp.linalg.eigvalsh(self.squares)[:, -1]


def _orthogonal_to(T: Array, vectors: Array) -> Array:
    """Remove from the vector of each fold its part along orthonormal rows; twice, for precision.

    Parameters
    ----------
    T : array, shape (n_folds, n_rows, n_stimuli)
    vectors : array, shape (n_folds, n_stimuli)
    """
    for _ in range(2):
        along = T @ vectors[:, :, None]
        vectors = vectors - (array_namespace(T).matrix_transpose(T) @ along)[:, :, 0]
    return vectors
