"""Models of dissimilarities: fixed, selected, weighted, interpolated; fitted to subjects.

NumPy only.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar, nnls

from brainscore_lite.metrics.dissimilarities.comparison import (
    Comparator,
    check_comparator,
    check_same_pairs,
    check_vectors,
    compare_resampled,
)
from brainscore_lite.metrics.dissimilarities.inner_products import INNER_PRODUCTS, drawn_products
from brainscore_lite.metrics.dissimilarities.rank_comparison import RANK_COMPARISONS
from brainscore_lite.metrics.dissimilarities.rank_statistics import RankOrder
from brainscore_lite.metrics.dissimilarities.rdm import n_stimuli_of
from brainscore_lite.metrics.resampling import check_weights, pair_weights
from brainscore_lite.schema import ContractError

Floats = NDArray[np.float64]
_NEGLIGIBLE = 1e-12


class RDMModel(Protocol):
    """A frozen dataclass of matrices that predicts dissimilarities, fitted to subjects' own."""

    def fit(
        self,
        subjects: ArrayLike,
        *,
        comparison: Comparator,
        stimulus_weights: ArrayLike | None = None,
        subject_weights: ArrayLike | None = None,
    ) -> Floats:
        """Return the prediction most similar, on average, to the subjects.

        Parameters
        ----------
        subjects : array, shape (n_subjects, n_pairs)
        comparison : str
            As for ``compare_rdms``.
        stimulus_weights : array of int, shape (n_stimuli,), optional
            How often each stimulus counts; 0 leaves it out of the fit.
        subject_weights : array of int, shape (n_subjects,), optional

        Returns
        -------
        ndarray, shape (n_pairs,)
            Of all stimuli, those left out of the fit included.
        """
        ...


@dataclass(frozen=True, eq=False)
class Training:
    """What a model is fitted to.

    Parameters
    ----------
    subjects : ndarray, shape (n_subjects, n_pairs)
    counts : ndarray, shape (1, n_stimuli)
    shares : ndarray, shape (n_subjects,)
        Weight of each subject in the mean.
    comparison : str
    """

    subjects: Floats
    counts: Floats
    shares: Floats
    comparison: Comparator

    @classmethod
    def of(
        cls,
        matrices: Floats,
        subjects: ArrayLike,
        comparison: Comparator,
        *,
        stimulus_weights: ArrayLike | None,
        subject_weights: ArrayLike | None,
    ) -> "Training":
        """Check what a model of some matrices is to be fitted to."""
        check_comparator(comparison)
        recorded = check_vectors(subjects, name="subjects")
        check_same_pairs(matrices, recorded)
        n_stimuli = n_stimuli_of(recorded.shape[1])
        counts = np.ones(n_stimuli) if stimulus_weights is None else stimulus_weights
        members = np.ones(len(recorded)) if subject_weights is None else subject_weights
        counts = check_weights(np.asarray(counts)[None], n_stimuli)
        shares = check_weights(np.asarray(members)[None], len(recorded), unit="subjects")[0]
        if (counts > 0).sum() < 3 or not shares.any():
            raise ContractError(
                f"{int((counts > 0).sum())} stimuli and {int((shares > 0).sum())} subjects to fit "
                "to, expected at least three and one."
            )
        return cls(recorded, counts, shares / shares.sum(), comparison)

    def similarity(self, predictions: Floats) -> Floats:
        """Return the mean comparison of each prediction, shape (n_predictions,)."""
        each = compare_resampled(predictions, self.subjects, self.counts, method=self.comparison)
        return np.asarray(each[0] @ self.shares)

    def quadratic(self, matrices: Floats) -> tuple[Floats, Floats]:
        """Return G and p of the mean comparison of a mixture w, p'w / sqrt(w'Gw)."""
        within = drawn_products(matrices, matrices, self.counts, method=self.comparison)
        across = drawn_products(matrices, self.subjects, self.counts, method=self.comparison)
        undefined = across.undefined_second[0]
        norms = np.sqrt(np.where(undefined, 1.0, across.second[0]))
        return within.cross[0], across.cross[0] @ np.where(undefined, 0.0, self.shares / norms)


@dataclass(frozen=True, eq=False)
class FixedRDM:
    """A prediction without parameters.

    Parameters
    ----------
    prediction : array, shape (n_pairs,)
    """

    prediction: Floats

    def __post_init__(self) -> None:
        _keep(self, "prediction", _matrices(self.prediction, "prediction", fewest=1)[0])

    def fit(
        self,
        subjects: ArrayLike,
        *,
        comparison: Comparator,
        stimulus_weights: ArrayLike | None = None,
        subject_weights: ArrayLike | None = None,
    ) -> Floats:
        """Return the prediction; see :meth:`RDMModel.fit`."""
        Training.of(
            self.prediction[None],
            subjects,
            comparison,
            stimulus_weights=stimulus_weights,
            subject_weights=subject_weights,
        )
        return self.prediction


@dataclass(frozen=True, eq=False)
class SelectedRDM:
    """The best of several predictions, such as the layers of a network.

    Parameters
    ----------
    candidates : array, shape (n_candidates, n_pairs)
    """

    candidates: Floats

    def __post_init__(self) -> None:
        _keep(self, "candidates", _matrices(self.candidates, "candidates", fewest=1))

    def fit(
        self,
        subjects: ArrayLike,
        *,
        comparison: Comparator,
        stimulus_weights: ArrayLike | None = None,
        subject_weights: ArrayLike | None = None,
    ) -> Floats:
        """Return the candidate of the highest mean comparison; see :meth:`RDMModel.fit`."""
        training = Training.of(
            self.candidates,
            subjects,
            comparison,
            stimulus_weights=stimulus_weights,
            subject_weights=subject_weights,
        )
        best = int(np.argmax(training.similarity(self.candidates)))
        return np.asarray(self.candidates[best])


@dataclass(frozen=True, eq=False)
class WeightedRDM:
    """A sum of components with weights of at least zero, such as of features or layers.

    The mean comparison p'w / sqrt(w'Gw) of cosine, pearson and their whitened forms is highest
    where w solves the non-negative least-squares problem min w'Gw - 2 p'w. The comparisons by rank
    have no such solution: their weights are those of Pearson's r with the subjects' ranks.

    Parameters
    ----------
    components : array, shape (n_components, n_pairs)

    References
    ----------
    Khaligh-Razavi & Kriegeskorte (2014), doi:10.1371/journal.pcbi.1003915.
    """

    components: Floats

    def __post_init__(self) -> None:
        _keep(self, "components", _matrices(self.components, "components", fewest=1))

    def fit(
        self,
        subjects: ArrayLike,
        *,
        comparison: Comparator,
        stimulus_weights: ArrayLike | None = None,
        subject_weights: ArrayLike | None = None,
    ) -> Floats:
        """Return the weighted sum; see :meth:`RDMModel.fit`.

        The best single component, where no positive weight makes the comparison positive.

        Raises
        ------
        ContractError
            If the comparison is bures or riemannian.
        """
        training = Training.of(
            self.components,
            subjects,
            comparison,
            stimulus_weights=stimulus_weights,
            subject_weights=subject_weights,
        )
        solved = training
        if comparison in RANK_COMPARISONS:
            weights = pair_weights(training.counts)
            ranks = [RankOrder.of(vector).ranks(weights)[0] for vector in training.subjects]
            solved = Training(np.stack(ranks), training.counts, training.shares, "pearson")
        elif comparison not in INNER_PRODUCTS:
            raise ContractError(
                f"a weighted model cannot be fitted by '{comparison}'; expected one of "
                f"{(*INNER_PRODUCTS, *RANK_COMPARISONS)}."
            )
        mixture = non_negative_mixture(*solved.quadratic(self.components))
        if not mixture.any():
            return np.asarray(self.components[np.argmax(training.similarity(self.components))])
        return np.asarray(mixture @ self.components)


@dataclass(frozen=True, eq=False)
class InterpolatedRDM:
    """A mixture of two neighbours in a row of predictions, w a_i + (1 - w) a_(i+1).

    For cosine, pearson and their whitened forms the best w of each pair of neighbours has a
    closed form; for the others it is searched between 0 and 1.

    Parameters
    ----------
    anchors : array, shape (n_anchors, n_pairs)
        Along one parameter, such as the size of a receptive field.
    """

    anchors: Floats

    def __post_init__(self) -> None:
        _keep(self, "anchors", _matrices(self.anchors, "anchors", fewest=2))

    def fit(
        self,
        subjects: ArrayLike,
        *,
        comparison: Comparator,
        stimulus_weights: ArrayLike | None = None,
        subject_weights: ArrayLike | None = None,
    ) -> Floats:
        """Return the best mixture of neighbours; see :meth:`RDMModel.fit`."""
        training = Training.of(
            self.anchors,
            subjects,
            comparison,
            stimulus_weights=stimulus_weights,
            subject_weights=subject_weights,
        )
        mixtures = [_between(np.stack(pair), training) for pair in pairwise(self.anchors)]
        candidates = np.vstack([self.anchors, *mixtures])
        return np.asarray(candidates[np.argmax(training.similarity(candidates))])


def non_negative_mixture(within: Floats, across: Floats) -> Floats:
    """Minimise w'Gw - 2 p'w over w of at least 0.

    Parameters
    ----------
    within : ndarray, shape (n, n)
        G, positive semi-definite.
    across : ndarray, shape (n,)
        p, in the range of G.

    Returns
    -------
    ndarray, shape (n,)
    """
    values, vectors = np.linalg.eigh(within)
    kept = values > _NEGLIGIBLE * max(values[-1], 0.0)
    if not kept.any():
        return np.zeros(len(across))
    roots = np.sqrt(values[kept])
    directions = vectors[:, kept].T
    mixture, _ = nnls(roots[:, None] * directions, directions @ across / roots)
    return np.asarray(mixture)


def _between(pair: Floats, training: Training) -> Floats:
    """Return the best mixture of two matrices with both weights positive, if there is one."""
    if training.comparison in INNER_PRODUCTS:
        within, across = training.quadratic(pair)
        # (p'w)^2 / w'Gw is stationary at w = G^-1 p, here times the determinant
        best = np.array(
            [
                within[1, 1] * across[0] - within[0, 1] * across[1],
                within[0, 0] * across[1] - within[0, 1] * across[0],
            ]
        )
        inside = bool((best > 0).all())
        return np.asarray(best[None] / best.sum() @ pair if inside else pair[:1])
    result = minimize_scalar(
        lambda w: -float(training.similarity((w * pair[0] + (1 - w) * pair[1])[None])[0]),
        bounds=(0, 1),
        method="bounded",
    )
    return np.asarray((result.x * pair[0] + (1 - result.x) * pair[1])[None])


def _matrices(values: ArrayLike, name: str, *, fewest: int) -> Floats:
    matrices = check_vectors(values, name=name)
    n_stimuli_of(matrices.shape[1])
    if len(matrices) < fewest:
        raise ContractError(f"{name}: {len(matrices)} matrix, expected at least {fewest}.")
    return matrices


def _keep(model: object, name: str, matrices: Floats) -> None:
    object.__setattr__(model, name, matrices)
