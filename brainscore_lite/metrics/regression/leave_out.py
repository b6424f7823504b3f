"""Errors of ridge regression for stimuli left out of the training stimuli, for every penalty."""

from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from brainscore_lite.metrics.arrays import Array, as_numpy, like, rows
from brainscore_lite.metrics.correlation import pearson_columns
from brainscore_lite.metrics.gram import Gram
from brainscore_lite.metrics.regression.training_spectrum import Spectrum, training_spectrum
from brainscore_lite.metrics.splits import Fold

_CHUNK_BYTES = 64 * 2**20
_COARSE_TOLERANCE = 1e-3
_ROUNDING = 1e-12


class LeaveOneOut:
    """Leave-one-out residuals of every penalty and neuroid from one eigendecomposition."""

    def __init__(self, spectrum: Spectrum, y: Array, alphas: Array) -> None:
        xp = array_namespace(y)
        self.vectors, self.y = spectrum.vectors, y
        self.projected = self.vectors.T @ y
        self.shrunk = alphas[None, :] / (spectrum.eigenvalues[:, None] + alphas[None, :])
        n_train, rank = self.vectors.shape
        squares = self.vectors * self.vectors
        if rank == n_train - 1:
            self.unexplained, free = xp.zeros_like(y), xp.zeros_like(y[:, :1])
        else:
            self.unexplained = y - self.vectors @ self.projected
            free = 1 - 1 / n_train - xp.sum(squares, axis=1, keepdims=True)
        self.left_out = free + squares @ self.shrunk  # 1 - 1/n - h, (n_train, n_penalties)

    def best(self, *, per_neuroid: bool) -> tuple[Array, Array]:
        """Return the position of the best penalty of each neuroid, and its loss.

        The losses (squared residuals summed over stimuli) are searched coarse to fine. A factorised
        copy of the shrinkage factors, to three digits, gives every loss with a bound on its error;
        only penalties that may be the best are computed in full. The answer is that of the full
        list.

        Parameters
        ----------
        per_neuroid : bool
            Otherwise one penalty for all neuroids, by the loss summed over them.

        Returns
        -------
        best : array of int, shape (n_units,)
        loss : array, shape (n_units,)
        """
        xp = array_namespace(self.y)
        n_penalties, n_units = self.shrunk.shape[1], self.y.shape[1]
        contenders = np.ones((n_penalties, n_units), dtype=bool)
        if min(n_penalties, self.vectors.shape[1]) > 1:
            contenders = self._contenders(per_neuroid=per_neuroid)
        penalties, units = np.nonzero(contenders)
        losses = np.full((n_penalties, n_units), np.inf)
        width = max(1, _CHUNK_BYTES // (8 * self.y.shape[0]))
        for start in range(0, len(units), width):
            some = slice(start, start + width)
            k, u = (like(i[some], self.y) for i in (penalties, units))
            factors = xp.take(self.shrunk, k, axis=1) * xp.take(self.projected, u, axis=1)
            residuals = self.vectors @ factors + xp.take(self.unexplained, u, axis=1)
            residuals = residuals / xp.take(self.left_out, k, axis=1)
            losses[penalties[some], units[some]] = as_numpy(xp.sum(residuals**2, axis=0))
        return smallest(like(losses, self.y), per_neuroid=per_neuroid)

    def _contenders(self, *, per_neuroid: bool) -> NDArray[np.bool_]:
        """Say which penalties may have the smallest loss, (n_penalties, n_units).

        With E the error of the factorised shrinkage factors and p the responses along the
        eigenvectors, the root of the loss is known to within |E p| / min_i (1 - 1/n - h_ii).
        """
        xp = array_namespace(self.y)
        axes, mixing = _compressed(self.shrunk, tolerance=_COARSE_TOLERANCE)
        error = self.shrunk - axes @ mixing
        squares = self.projected**2
        size = xp.sqrt((self.shrunk**2).T @ squares + xp.sum(self.unexplained**2, axis=0)[None, :])
        least = xp.min(self.left_out, axis=0)[:, None]
        bound = as_numpy((xp.sqrt((error**2).T @ squares) + _ROUNDING * size) / least)
        roots = np.sqrt(as_numpy(self._losses(axes, mixing)))
        if not per_neuroid:
            roots = np.linalg.norm(roots, axis=1, keepdims=True)
            bound = np.linalg.norm(bound, axis=1, keepdims=True)
        possible = ~(roots - bound > (roots + bound).min(axis=0))
        return np.broadcast_to(possible, (self.shrunk.shape[1], self.y.shape[1]))

    def _losses(self, axes: Array, mixing: Array) -> Array:
        """Return all losses with shrinkage factors ``axes @ mixing``; (n_penalties, n_units)."""
        xp = array_namespace(self.y)
        n_train, n_units = self.y.shape
        (rank, n_axes), n_penalties = axes.shape, mixing.shape[1]
        width = max(1, _CHUNK_BYTES // (8 * n_train * n_penalties))
        losses = []
        for start in range(0, n_units, width):
            columns = slice(start, start + width)
            projected = self.projected[:, columns]
            stacked = xp.reshape(axes[:, :, None] * projected[:, None, :], (rank, -1))
            parts = xp.reshape(self.vectors @ stacked, (n_train, n_axes, -1))
            parts = xp.reshape(xp.permute_dims(parts, (1, 0, 2)), (n_axes, -1))
            residuals = xp.reshape(mixing.T @ parts, (n_penalties, n_train, -1))
            residuals += self.unexplained[None, :, columns]
            residuals /= self.left_out.T[:, :, None]
            residuals *= residuals
            losses.append(xp.sum(residuals, axis=1))
        return xp.concat(losses, axis=1)

    def inner_correlation(self, best: Array) -> Array:
        """Correlate responses with their left-out predictions at the chosen penalties.

        Each prediction is taken relative to the mean of the stimuli it was fitted on: that mean
        falls when the left-out response is high, which alone would correlate by -1.
        """
        predictions = self.y - self.mean_without() - self.residuals(best)
        return pearson_columns(predictions, self.y)[0]

    def mean_without(self) -> Array:
        """Return the mean of the centred responses without each stimulus; as `y`."""
        return self.y / (1 - self.y.shape[0])

    def residuals(self, best: Array) -> Array:
        """Return the left-out residuals at each neuroid's penalty; shape (n_train, n_units)."""
        xp = array_namespace(self.y)
        shrunk = xp.take(self.shrunk, best, axis=1)
        residual = self.vectors @ (shrunk * self.projected) + self.unexplained
        return residual / xp.take(self.left_out, best, axis=1)


class LeaveGroupOut:
    """The same with whole groups left out, one after the other."""

    def __init__(self, spectrum: Spectrum, y: Array, alphas: Array, fold: Fold) -> None:
        self.fit = LeaveOneOut(spectrum, y, alphas)
        self.members = fold.group_members()

    def best(self, *, per_neuroid: bool) -> tuple[Array, Array]:
        """Return the position of the best penalty of each neuroid, and its loss."""
        xp = array_namespace(self.fit.y)
        n_penalties = int(self.fit.shrunk.shape[1])
        losses = [xp.sum(self._residuals_of(k) ** 2, axis=0) for k in range(n_penalties)]
        return smallest(xp.stack(losses), per_neuroid=per_neuroid)

    def inner_correlation(self, best: Array) -> Array:
        """Correlate as :meth:`LeaveOneOut.inner_correlation` does."""
        predictions = self.fit.y - self.mean_without() - self.residuals(best)
        return pearson_columns(predictions, self.fit.y)[0]

    def mean_without(self) -> Array:
        """Return the mean of the centred responses without each stimulus's group; as `y`."""
        y = self.fit.y
        xp = array_namespace(y)
        n_train = y.shape[0]
        parts = []
        for members in self.members:
            total = xp.sum(rows(y, members), axis=0, keepdims=True)
            parts.append(xp.repeat(total / (len(members) - n_train), len(members), axis=0))
        return self._ungrouped(parts)

    def residuals(self, best: Array) -> Array:
        """Return the left-out residuals at each neuroid's penalty; shape (n_train, n_units)."""
        xp = array_namespace(best)
        result = xp.zeros_like(self.fit.y)
        for penalty in np.unique(as_numpy(best)):
            of_penalty = self._residuals_of(int(penalty))
            result = xp.where((best == int(penalty))[None, :], of_penalty, result)
        return result

    def _residuals_of(self, penalty: int) -> Array:
        """Return the left-out residuals of all neuroids at one penalty."""
        fit = self.fit
        xp = array_namespace(fit.y)
        shrunk = fit.shrunk[:, penalty]
        n_train, rank = fit.vectors.shape
        residual = fit.vectors @ (shrunk[:, None] * fit.projected) + fit.unexplained
        parts = []
        for members in self.members:
            vectors = rows(fit.vectors, members)
            kept = (vectors * shrunk[None, :]) @ vectors.T  # I - H_GG
            if rank < n_train - 1:
                identity = xp.eye(len(members), dtype=kept.dtype, device=device(kept))
                kept = kept + identity - 1 / n_train - vectors @ vectors.T
            parts.append(xp.linalg.solve(kept, rows(residual, members)))
        return self._ungrouped(parts)

    def _ungrouped(self, parts: list[Array]) -> Array:
        """Bring rows from the order of the groups to that of the training stimuli."""
        order = np.concatenate(self.members)
        return rows(array_namespace(self.fit.y).concat(parts), np.argsort(order))


class LeaveFoldOut:
    """Prediction errors and correlations of every penalty in folds within the training stimuli."""

    def __init__(self, gram: Gram, Y: Array, folds: Sequence[Fold], alphas: Array) -> None:
        xp = array_namespace(Y)
        errors, correlations = [], []
        for fold in folds:
            spectrum = training_spectrum(gram, fold)
            y, recorded = rows(Y, fold.train), rows(Y, fold.test)
            mean = xp.mean(y, axis=0, keepdims=True)
            projected = spectrum.vectors.T @ (y - mean)
            of_fold = []
            for k in range(alphas.shape[0]):
                weights = projected / (spectrum.eigenvalues[:, None] + alphas[k])
                predicted = mean + spectrum.test_products @ weights
                errors.append(xp.mean((recorded - predicted) ** 2, axis=0))
                of_fold.append(pearson_columns(predicted, recorded)[0])
            correlations.append(xp.stack(of_fold))
        n_folds, n_penalties = len(correlations), int(alphas.shape[0])
        by_fold = xp.reshape(xp.stack(errors), (n_folds, n_penalties, -1))
        self._losses = xp.mean(by_fold, axis=0)
        self._r = xp.mean(xp.stack(correlations), axis=0)

    def best(self, *, per_neuroid: bool) -> tuple[Array, Array]:
        """Return the position of the best penalty of each neuroid, and its mean squared error."""
        return smallest(self._losses, per_neuroid=per_neuroid)

    def inner_correlation(self, best: Array) -> Array:
        """Return the correlation at each neuroid's penalty, averaged over folds."""
        xp = array_namespace(self._r)
        return xp.take_along_axis(self._r, best[None, :], axis=0)[0, :]


def smallest(losses: Array, *, per_neuroid: bool) -> tuple[Array, Array]:
    """Return the position of the smallest loss of each neuroid, or of all, and that loss.

    Parameters
    ----------
    losses : array, shape (n_penalties, n_units)
    per_neuroid : bool

    Returns
    -------
    best : array of int, shape (n_units,)
    loss : array, shape (n_units,)
    """
    xp = array_namespace(losses)
    if not per_neuroid:
        losses = xp.sum(losses, axis=1, keepdims=True) + xp.zeros_like(losses)
    return xp.argmin(losses, axis=0), xp.min(losses, axis=0)


def _compressed(shrunk: Array, *, tolerance: float) -> tuple[Array, Array]:
    """Factorise the shrinkage factors, axes @ mixing, each column about to `tolerance` of its norm.

    As functions of the eigenvalue the factors of neighbouring penalties are nearly collinear: 99
    penalties over nine decades span few dimensions.
    """
    xp = array_namespace(shrunk)
    norms = xp.linalg.vector_norm(shrunk, axis=0, keepdims=True)
    left, values, right = xp.linalg.svd(shrunk / norms, full_matrices=False)
    rank = int(xp.sum(xp.astype(values > tolerance * values[0], xp.int64)))
    return left[:, :rank] * values[None, :rank], right[:rank, :] * norms
