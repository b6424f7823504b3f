"""Partial least squares regression through the Gram matrix."""

from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace, device

from brainscore_lite.metrics.arrays import Array, rows
from brainscore_lite.metrics.correlation import pearson_columns
from brainscore_lite.metrics.gram import Gram, centred_on_training
from brainscore_lite.metrics.regression import FoldFit
from brainscore_lite.metrics.splits import Fold, Splits
from brainscore_lite.schema import ContractError

_NEGLIGIBLE = 1e-12


@dataclass(frozen=True)
class PLS:
    """Partial least squares (PLS2) with features and responses centred, not scaled.

    Component after component takes the direction in feature space with the largest covariance
    with the responses. In the kernel K of the training stimuli the scores t are

        u = Y c,  t = P K u / |P K u|,  P = I - T T',

    c the leading eigenvector of Y'P K P Y and T the scores so far. P K P Y is kept up to date by
    a rank-one correction, so K itself is never deflated: one product K t per component. Test
    stimuli are predicted by K_test U (T'K U)^-1 T'Y. Equal to scikit-learn's
    ``PLSRegression(scale=False)``, whose iteration stops at a tolerance of 1e-6.

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

    def __post_init__(self) -> None:
        if self.n_components < 1:
            raise ContractError(f"n_components is {self.n_components}, expected at least 1.")

    def fit_fold(self, gram: Gram, Y: Array, fold: Fold, *, inner: bool) -> FoldFit:
        """Fit on the training stimuli of one fold and predict its test stimuli.

        Parameters
        ----------
        gram : Gram
        Y : array, shape (n_stimuli, n_units)
        fold : Fold
        inner : bool
            Also score folds within the training stimuli, at the cost of as many fits more.

        Returns
        -------
        FoldFit

        Raises
        ------
        ContractError
            If there are no more training stimuli than components, or the inner score is asked
            for and they are all of one group.
        """
        if len(fold.train) <= self.n_components:
            raise ContractError(
                f"{len(fold.train)} training stimuli cannot support {self.n_components} PLS "
                "components. Use fewer components or fewer splits."
            )
        within, across = centred_on_training(gram.centred, fold.train, fold.test)
        y = rows(Y, fold.train)
        xp = array_namespace(y)
        mean = xp.mean(y, axis=0, keepdims=True)
        duals = _dual_coefficients(within, y - mean, self.n_components)
        return FoldFit(
            predictions=mean + across @ duals,
            penalties=None,
            inner_r=self._inner_correlation(gram, Y, fold) if inner else None,
        )

    def _inner_correlation(self, gram: Gram, Y: Array, fold: Fold) -> Array:
        """Average the correlation over folds of the training stimuli."""
        xp = array_namespace(Y)
        n_splits = self.inner_splits
        if fold.groups is not None:
            n_splits = min(n_splits, len(fold.group_members()))
        splits = Splits(n_splits, seed=self.seed)
        inner_folds = splits.folds(len(fold.train), groups=fold.groups)
        scores = []
        for inner in inner_folds:
            nested = Fold(train=fold.train[inner.train], test=fold.train[inner.test])
            fit = self.fit_fold(gram, Y, nested, inner=False)
            scores.append(pearson_columns(fit.predictions, rows(Y, nested.test))[0])
        return xp.mean(xp.stack(scores), axis=0)


def _dual_coefficients(K: Array, Y: Array, n_components: int) -> Array:
    """Return D, shape (n_train, n_units), such that K_test D are the centred predictions.

    Parameters
    ----------
    K : array, shape (n_train, n_train)
        Kernel centred on the training stimuli.
    Y : array, shape (n_train, n_units)
        Responses centred on the training stimuli.
    n_components : int
    """
    xp = array_namespace(Y)
    covariance = K @ Y  # P K P Y, kept up to date
    deflated = xp.asarray(Y, copy=True)  # P Y
    start = float(xp.max(xp.abs(covariance)))
    shape = (n_components, Y.shape[0])
    T, U, KT = (xp.empty(shape, dtype=Y.dtype, device=device(Y)) for _ in range(3))  # by row
    found = 0
    for k in range(n_components):
        if float(xp.max(xp.abs(covariance))) <= _NEGLIGIBLE * start:
            break
        _, axes = xp.linalg.eigh(deflated.T @ covariance)
        leading = axes[:, -1]
        t = _orthogonal_to(T[:k, :], covariance @ leading)
        t = t / xp.linalg.vector_norm(t)
        product = K @ t
        response = deflated.T @ t
        T[k, :], U[k, :], KT[k, :] = t, deflated @ leading, product
        kernel_score = _orthogonal_to(T[: k + 1, :], product)
        covariance -= t[:, None] * (t @ covariance)[None, :]
        covariance -= kernel_score[:, None] * response[None, :]
        deflated -= t[:, None] * response[None, :]
        found = k + 1
    T, U, KT = T[:found, :], U[:found, :], KT[:found, :]
    return U.T @ xp.linalg.solve(KT @ U.T, T @ Y)


def _orthogonal_to(T: Array, vector: Array) -> Array:
    """Remove from `vector` its part along orthonormal rows `T`; twice, for full precision."""
    for _ in range(2):
        vector = vector - T.T @ (T @ vector)
    return vector
