"""Least squares without a penalty: on all features, or on their first principal components."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace

from brainscore_lite.metrics.arrays import Array, rows
from brainscore_lite.metrics.gram import Gram
from brainscore_lite.metrics.regression.fold_fit import FoldFit, check_inner_splits, fitted
from brainscore_lite.metrics.regression.training_spectrum import (
    Spectrum,
    centred_features,
    training_spectrum,
)
from brainscore_lite.metrics.splits import Fold
from brainscore_lite.schema import ContractError


@dataclass(frozen=True)
class LeastSquares:
    """Ordinary least squares with an intercept, of minimum norm where features are dependent.

    With the singular value decomposition Z = U diag(s) V' of the training features less their
    mean, test stimuli are predicted by

        y_mean + Z_test V diag(1/s) U' (y - y_mean),

    over the s above rounding: scikit-learn's ``LinearRegression``. With at least as many features
    as training stimuli the fit interpolates these; it is then computed from the kernel, which
    resolves directions down to 3e-7 of the strongest.

    Parameters
    ----------
    inner_splits : int
        Folds within the training stimuli for the inner score.
    seed : int
        Of the inner folds.

    References
    ----------
    Penrose (1956), doi:10.1017/S0305004100030929.
    """

    inner_splits: int = 5
    seed: int = 0
    pools_neuroids: ClassVar[bool] = False
    reads_features: ClassVar[bool] = False

    def __post_init__(self) -> None:
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
            If the inner score is asked for and the training stimuli are all of one group.
        """
        return fitted(
            lambda some: [self._predictions(X, Y, fold) for fold in some],
            Y,
            folds,
            inner_splits=self.inner_splits if inner else None,
            seed=self.seed,
        )

    def _predictions(self, gram: Gram, Y: Array, fold: Fold) -> Array:
        return _projection(_finest_spectrum(gram, fold), Y, fold)


@dataclass(frozen=True)
class PrincipalComponents:
    """Principal-component regression: least squares on the leading principal components.

    The components are those of the training features less their mean. With the eigenvectors U of
    the training kernel to its largest eigenvalues l, test stimuli are predicted by

        y_mean + K_test U diag(1/l) U' (y - y_mean),

    scikit-learn's ``make_pipeline(PCA(n_components), LinearRegression())``.

    Parameters
    ----------
    n_components : int
        Where the training features span fewer dimensions, the fit has fewer components and equals
        least squares.
    inner_splits : int
        Folds within the training stimuli for the inner score.
    seed : int
        Of the inner folds.

    References
    ----------
    Massy (1965), doi:10.1080/01621459.1965.10480787.
    """

    n_components: int = 25
    inner_splits: int = 5
    seed: int = 0
    pools_neuroids: ClassVar[bool] = False
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
            If there are no more training stimuli than components.
        """
        return fitted(
            lambda some: [self._predictions(X, Y, fold) for fold in some],
            Y,
            folds,
            inner_splits=self.inner_splits if inner else None,
            seed=self.seed,
        )

    def _predictions(self, gram: Gram, Y: Array, fold: Fold) -> Array:
        if len(fold.train) <= self.n_components:
            raise ContractError(
                f"{len(fold.train)} training stimuli cannot support {self.n_components} principal "
                "components. Use fewer components or fewer splits."
            )
        every = training_spectrum(gram, fold)
        leading = Spectrum(
            every.eigenvalues[-self.n_components :],
            every.vectors[:, -self.n_components :],
            every.test_products[:, -self.n_components :],
        )
        return _projection(leading, Y, fold)


def _projection(spectrum: Spectrum, Y: Array, fold: Fold) -> Array:
    """Predict the test stimuli by least squares in the space of the eigenvectors."""
    y = rows(Y, fold.train)
    mean = array_namespace(y).mean(y, axis=0, keepdims=True)
    projected = spectrum.vectors.T @ (y - mean)
    return mean + spectrum.test_products @ (projected / spectrum.eigenvalues[:, None])


def _finest_spectrum(gram: Gram, fold: Fold) -> Spectrum:
    """Decompose the training features themselves where they are at hand, else their kernel.

    Singular values of features keep twice the digits of the eigenvalues of their kernel.
    """
    if gram.features is None or gram.n_features >= len(fold.train):
        return training_spectrum(gram, fold)
    train, test = centred_features(gram.features, fold)
    xp = array_namespace(train)
    left, values, right = xp.linalg.svd(train, full_matrices=False)
    rounding = max(train.shape) * float(np.finfo(np.float64).eps)
    rank = int(xp.sum(xp.astype(values > rounding * values[0], xp.int64)))
    scale = values[None, :rank]
    return Spectrum(values[:rank] ** 2, left[:, :rank], (test @ right[:rank, :].T) * scale)
