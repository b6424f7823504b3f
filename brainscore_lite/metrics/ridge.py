"""Ridge regression through the Gram matrix, its penalty chosen by exact leave-out residuals."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from array_api_compat import array_namespace, device

from brainscore_lite.metrics.arrays import Array, as_numpy, like, rows
from brainscore_lite.metrics.correlation import pearson_columns
from brainscore_lite.metrics.gram import Gram, centred_on_training
from brainscore_lite.metrics.regression import FoldFit
from brainscore_lite.metrics.splits import Fold
from brainscore_lite.schema import ContractError

PenaltyUnit = Literal["relative", "absolute"]
_CHUNK_BYTES = 64 * 2**20
_RANK_TOLERANCE = 1e-13
_FACTOR_TOLERANCE = 1e-13


@dataclass(frozen=True)
class Ridge:
    """Ridge regression with the penalty of each neuroid chosen inside the training stimuli.

    Minimises ||y - X b - a||^2 + alpha ||b||^2 with an unpenalised intercept a. For every alpha
    the residual of stimulus i under the fit that leaves i out is exact, without refitting,

        e_i = r_i / (1 - 1/n - h_ii(alpha)),

    r the residual and h the leverage of the full fit; the alpha with the smallest mean e_i^2
    wins, separately for each neuroid (scikit-learn's ``RidgeCV(alpha_per_target=True)``). Where
    the training stimuli have groups G, whole groups are left out, exactly as well:

        e_G = (I - H_GG(alpha))^-1 r_G,

    H the hat matrix, intercept included. One eigendecomposition per fold serves all penalties and
    neuroids.

    Parameters
    ----------
    penalties : tuple of float
        Candidates, all > 0. A single one is a fixed penalty.
    unit : {"relative", "absolute"}
        ``relative``: in units of the mean diagonal of the kernel centred on the training
        stimuli (the mean squared length of a pattern), so that the same list suits every layer.
        ``absolute``: alpha itself, for parity with other code.

    References
    ----------
    Golub, Heath & Wahba (1979), doi:10.1080/00401706.1979.10489751.
    """

    penalties: tuple[float, ...] = tuple(float(p) for p in np.logspace(-5, 5, 21))
    unit: PenaltyUnit = "relative"
    pools_neuroids: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "penalties", tuple(float(p) for p in self.penalties))
        if self.unit not in get_args(PenaltyUnit):
            raise ContractError(f"unit is {self.unit!r}, expected one of {get_args(PenaltyUnit)}.")
        if not self.penalties or not all(0 < p < np.inf for p in self.penalties):
            raise ContractError(
                f"penalties are {self.penalties}, expected at least one, all positive and finite."
            )

    def fit_fold(self, gram: Gram, Y: Array, fold: Fold, *, inner: bool) -> FoldFit:
        """Fit on the training stimuli of one fold and predict its test stimuli.

        Parameters
        ----------
        gram : Gram
        Y : array, shape (n_stimuli, n_units)
        fold : Fold
        inner : bool
            Also correlate the left-out predictions within the training stimuli.

        Returns
        -------
        FoldFit

        Raises
        ------
        ContractError
            If something is to be chosen, and the training stimuli are all of one group.
        """
        spectrum = _spectrum(gram, fold)
        y = rows(Y, fold.train)
        xp = array_namespace(y)
        mean = xp.mean(y, axis=0, keepdims=True)
        scale = 1.0
        if self.unit == "relative":
            scale = float(xp.sum(spectrum.eigenvalues)) / len(fold.train) or 1.0
        alphas = like(np.asarray(self.penalties) * scale, y)
        if fold.groups is None:
            fit = _LeaveOneOut(spectrum, y - mean, alphas)
        else:
            fit = _LeaveGroupOut(spectrum, y - mean, alphas, fold)
        best = fit.best()
        chosen = xp.take(alphas, best, axis=0)
        weights = fit.projected / (spectrum.eigenvalues[:, None] + chosen[None, :])
        return FoldFit(
            predictions=mean + spectrum.test_products @ weights,
            penalties=chosen,
            inner_r=fit.inner_correlation(best) if inner else None,
        )


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """Eigendecomposition U diag(l) U' of the training kernel, and K_test U."""

    eigenvalues: Array
    vectors: Array
    test_products: Array


def _spectrum(gram: Gram, fold: Fold) -> _Spectrum:
    """Decompose the training kernel through its smaller side."""
    n_train = len(fold.train)
    if gram.features is not None and gram.n_features < n_train:
        train, test = rows(gram.features, fold.train), rows(gram.features, fold.test)
        xp = array_namespace(train)
        mean = xp.mean(train, axis=0, keepdims=True)
        train, test = train - mean, test - mean
        values, axes = _positive_part(train.T @ train, n_train)
        scale = xp.sqrt(values)[None, :]
        return _Spectrum(values, (train @ axes) / scale, (test @ axes) * scale)
    within, across = centred_on_training(gram.centred, fold.train, fold.test)
    values, vectors = _positive_part(within, n_train)
    return _Spectrum(values, vectors, across @ vectors)


def _positive_part(matrix: Array, n_train: int) -> tuple[Array, Array]:
    """Return the eigenvalues above rounding, at most n_train - 1 of them, and their vectors."""
    xp = array_namespace(matrix)
    values, vectors = xp.linalg.eigh(matrix)
    positive = as_numpy(values) > _RANK_TOLERANCE * max(float(values[-1]), 0.0)
    first = max(int(positive.shape[0] - positive.sum()), positive.shape[0] - (n_train - 1))
    return values[first:], vectors[:, first:]


class _LeaveOneOut:
    """Leave-one-out residuals of every penalty and neuroid from one eigendecomposition."""

    def __init__(self, spectrum: _Spectrum, y: Array, alphas: Array) -> None:
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

    def best(self) -> Array:
        """Return the position of the best penalty of each neuroid."""
        xp = array_namespace(self.y)
        n_train, n_units = self.y.shape
        n_penalties = self.shrunk.shape[1]
        if n_penalties == 1 or self.vectors.shape[1] == 0:
            return xp.zeros_like(self.y[0, :], dtype=xp.int64)
        axes, mixing = _compressed(self.shrunk)
        rank, n_axes = axes.shape
        width = max(1, _CHUNK_BYTES // (8 * n_train * n_penalties))
        chosen = []
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
            chosen.append(xp.argmin(xp.sum(residuals, axis=1), axis=0))
        return xp.concat(chosen)

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


class _LeaveGroupOut(_LeaveOneOut):
    """The same with whole groups left out, one after the other."""

    def __init__(self, spectrum: _Spectrum, y: Array, alphas: Array, fold: Fold) -> None:
        super().__init__(spectrum, y, alphas)
        self.fold = fold

    def best(self) -> Array:
        """Return the position of the best penalty of each neuroid."""
        xp = array_namespace(self.y)
        n_penalties = self.shrunk.shape[1]
        if n_penalties == 1 or self.vectors.shape[1] == 0:
            return xp.zeros_like(self.y[0, :], dtype=xp.int64)
        losses = [xp.sum(self._residuals_of(k) ** 2, axis=0) for k in range(n_penalties)]
        return xp.argmin(xp.stack(losses), axis=0)

    def mean_without(self) -> Array:
        """Return the mean of the centred responses without each stimulus's group; as `y`."""
        xp = array_namespace(self.y)
        n_train = self.y.shape[0]
        parts = []
        for members in self.fold.group_members():
            total = xp.sum(rows(self.y, members), axis=0, keepdims=True)
            parts.append(xp.repeat(total / (len(members) - n_train), len(members), axis=0))
        return self._ungrouped(parts)

    def residuals(self, best: Array) -> Array:
        """Return the left-out residuals at each neuroid's penalty; shape (n_train, n_units)."""
        xp = array_namespace(self.y)
        result = xp.zeros_like(self.y)
        for penalty in np.unique(as_numpy(best)):
            of_penalty = self._residuals_of(int(penalty))
            result = xp.where((best == int(penalty))[None, :], of_penalty, result)
        return result

    def _residuals_of(self, penalty: int) -> Array:
        """Return the left-out residuals of all neuroids at one penalty."""
        xp = array_namespace(self.y)
        shrunk = self.shrunk[:, penalty]
        n_train, rank = self.vectors.shape
        residual = self.vectors @ (shrunk[:, None] * self.projected) + self.unexplained
        parts = []
        for members in self.fold.group_members():
            vectors = rows(self.vectors, members)
            kept = (vectors * shrunk[None, :]) @ vectors.T  # I - H_GG
            if rank < n_train - 1:
                identity = xp.eye(len(members), dtype=kept.dtype, device=device(kept))
                kept = kept + identity - 1 / n_train - vectors @ vectors.T
            parts.append(xp.linalg.solve(kept, rows(residual, members)))
        return self._ungrouped(parts)

    def _ungrouped(self, parts: list[Array]) -> Array:
        """Bring rows from the order of the groups to that of the training stimuli."""
        order = np.concatenate(self.fold.group_members())
        return rows(array_namespace(self.y).concat(parts), np.argsort(order))


def _compressed(shrunk: Array) -> tuple[Array, Array]:
    """Factorise the shrinkage factors, axes @ mixing, each column to 1e-13 of its norm.

    As functions of the eigenvalue the factors of neighbouring penalties are nearly collinear:
    99 penalties over nine decades span about 30 dimensions.
    """
    xp = array_namespace(shrunk)
    norms = xp.linalg.vector_norm(shrunk, axis=0, keepdims=True)
    left, values, right = xp.linalg.svd(shrunk / norms, full_matrices=False)
    rank = int(xp.sum(xp.astype(values > _FACTOR_TOLERANCE * values[0], xp.int64)))
    return left[:, :rank] * values[None, :rank], right[:rank, :] * norms
