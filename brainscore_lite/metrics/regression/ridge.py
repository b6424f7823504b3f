"""Ridge regression through the Gram matrix, its penalty chosen within the training stimuli."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from array_api_compat import array_namespace

from brainscore_lite.metrics.arrays import Array, like, rows
from brainscore_lite.metrics.gram import Gram
from brainscore_lite.metrics.regression.fold_fit import FoldFit, check_inner_splits, folds_within
from brainscore_lite.metrics.regression.leave_out import LeaveFoldOut, LeaveGroupOut, LeaveOneOut
from brainscore_lite.metrics.regression.training_spectrum import Spectrum, training_spectrum
from brainscore_lite.metrics.splits import Fold
from brainscore_lite.schema import ContractError

PenaltyUnit = Literal["relative", "absolute"]


@dataclass(frozen=True)
class Ridge:
    """Ridge regression with its penalty chosen inside the training stimuli.

    Minimises ||y - X b - a||^2 + alpha ||b||^2 with an unpenalised intercept a. For every alpha
    the residual of stimulus i under the fit that leaves i out is exact, without refitting,

        e_i = r_i / (1 - 1/n - h_ii(alpha)),

    r the residual and h the leverage of the full fit; the alpha with the smallest mean e_i^2
    wins, separately for each neuroid (scikit-learn's ``RidgeCV(alpha_per_target=True)``) or one
    for all (``RidgeCV()``). Where the training stimuli have groups G, whole groups are left out,
    exactly as well:

        e_G = (I - H_GG(alpha))^-1 r_G,

    H the hat matrix, intercept included. One eigendecomposition per fold serves all penalties and
    neuroids, and penalties are searched coarse to fine with the answer of the full list. With
    `inner_splits` the alpha with the smallest mean squared error in folds within the training
    stimuli wins instead (himalaya's ``KernelRidgeCV``).

    Parameters
    ----------
    penalties : tuple of float
        Candidates, all > 0. A single one, also as a plain number, is a fixed penalty.
    unit : {"relative", "absolute"}
        ``relative``: in units of the mean diagonal of the kernel centred on the training
        stimuli (the mean squared length of a pattern), so that the same list suits every layer.
        ``absolute``: alpha itself, for parity with other code.
    per_neuroid : bool
        Choose a penalty for each neuroid; otherwise one for all, by the error summed over them.
    inner_splits : int, optional
        Choose by this number of folds within the training stimuli, of whole groups where these
        have groups; by leaving one stimulus or group out if not given.
    seed : int
        Of the inner folds.

    References
    ----------
    Golub, Heath & Wahba (1979), doi:10.1080/00401706.1979.10489751; Dupre la Tour et al. (2022),
    doi:10.1016/j.neuroimage.2022.119728.
    """

    penalties: tuple[float, ...] = tuple(float(p) for p in np.logspace(-5, 5, 21))
    unit: PenaltyUnit = "relative"
    per_neuroid: bool = True
    inner_splits: int | None = None
    seed: int = 0
    reads_features: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "penalties", tuple(float(p) for p in np.ravel(self.penalties)))
        if self.unit not in get_args(PenaltyUnit):
            raise ContractError(f"unit is {self.unit!r}, expected one of {get_args(PenaltyUnit)}.")
        if not self.penalties or not all(0 < p < np.inf for p in self.penalties):
            raise ContractError(
                f"penalties are {self.penalties}, expected at least one, all positive and finite."
            )
        if self.inner_splits is not None:
            check_inner_splits(self.inner_splits)

    @property
    def pools_neuroids(self) -> bool:
        """Whether the penalty of a neuroid depends on which others are fitted with it."""
        return not self.per_neuroid

    def fit_folds(
        self, X: Gram, Y: Array, folds: Sequence[Fold], *, inner: bool
    ) -> tuple[FoldFit, ...]:
        """Fit on the training stimuli of each fold; see :meth:`fit_fold`."""
        return tuple(self.fit_fold(X, Y, fold, inner=inner) for fold in folds)

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
        spectrum = training_spectrum(gram, fold)
        y = rows(Y, fold.train)
        xp = array_namespace(y)
        mean = xp.mean(y, axis=0, keepdims=True)
        alphas = self.alphas(spectrum, Y)
        best, inner_r = xp.zeros_like(y[0, :], dtype=xp.int64), None
        if inner or len(self.penalties) > 1:
            left_out = self.left_out(gram, Y, fold, spectrum)
            if len(self.penalties) > 1:
                best, _ = left_out.best(per_neuroid=self.per_neuroid)
            inner_r = left_out.inner_correlation(best) if inner else None
        chosen = xp.take(alphas, best, axis=0)
        projected = spectrum.vectors.T @ (y - mean)
        weights = projected / (spectrum.eigenvalues[:, None] + chosen[None, :])
        return FoldFit(
            predictions=mean + spectrum.test_products @ weights,
            penalties=chosen,
            inner_r=inner_r,
        )

    def alphas(self, spectrum: Spectrum, Y: Array) -> Array:
        """Return the candidate penalties in absolute units, as an array like `Y`."""
        scale = 1.0
        if self.unit == "relative":
            total = array_namespace(Y).sum(spectrum.eigenvalues)
            scale = float(total) / spectrum.vectors.shape[0] or 1.0
        return like(np.asarray(self.penalties) * scale, Y)

    def left_out(
        self, gram: Gram, Y: Array, fold: Fold, spectrum: Spectrum
    ) -> LeaveOneOut | LeaveGroupOut | LeaveFoldOut:
        """Return the errors, for every penalty, for what is left out of the training stimuli."""
        alphas = self.alphas(spectrum, Y)
        if self.inner_splits is not None:
            inner = folds_within(fold, n_splits=self.inner_splits, seed=self.seed)
            return LeaveFoldOut(gram, Y, inner, alphas)
        y = rows(Y, fold.train)
        y = y - array_namespace(y).mean(y, axis=0, keepdims=True)
        if fold.groups is None:
            return LeaveOneOut(spectrum, y, alphas)
        return LeaveGroupOut(spectrum, y, alphas, fold)
