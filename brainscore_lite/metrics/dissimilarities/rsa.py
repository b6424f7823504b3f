"""Representational similarity analysis: model and brain compared by their dissimilarities."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.dissimilarities.comparison import (
    UNITS,
    Comparator,
    check_comparator,
    compare_rdms,
    compare_resampled,
)
from brainscore_lite.metrics.dissimilarities.dissimilarity import NOISE_FREE, Dissimilarity
from brainscore_lite.metrics.dissimilarities.rdm import condensed, n_stimuli_of, rdm, square
from brainscore_lite.metrics.dissimilarities.recorded_rdms import (
    Noise,
    check_recorded,
    recorded_dissimilarities,
)
from brainscore_lite.metrics.labels import is_rdms, kept_coords, source_features
from brainscore_lite.schema import ContractError, check_rdms, match_stimuli, rdms


@dataclass(frozen=True, eq=False)
class ComparedRDMs:
    """The dissimilarities of a source beside those of a target, labelled.

    Parameters
    ----------
    source : ndarray, shape (n_pairs,)
    targets : ndarray, shape (n_targets, n_pairs)
        One for each entry of `template`.
    comparison : str
    template : DataArray, dims (), (subject,), (time_bin,) or (subject, time_bin)
        Carries the labels of the result.
    """

    source: NDArray[np.float64]
    targets: NDArray[np.float64]
    comparison: Comparator
    template: xr.DataArray

    @property
    def n_stimuli(self) -> int:
        """How many stimuli weights count."""
        return n_stimuli_of(len(self.source))

    def values(self) -> xr.DataArray:
        """Return the similarity of the source to each target; dims of the template."""
        similarity = compare_rdms(self.source[None], self.targets, method=self.comparison)
        return self.template.copy(data=np.reshape(similarity, self.template.shape))

    def resampled(self, weights: ArrayLike) -> xr.DataArray:
        """Return the similarity over drawn stimuli; dims (draw, ...).

        Pairs of a stimulus with itself are left out; ranks are those within the draw.
        """
        drawn = compare_resampled(self.source, self.targets, weights, method=self.comparison)
        return xr.DataArray(
            drawn.reshape(-1, *self.template.shape),
            dims=("draw", *self.template.dims),
            coords={**self.template.coords, "draw": np.arange(len(drawn))},
        )


@dataclass(frozen=True)
class RSA:
    """Score activations by how similar their dissimilarities are to the recorded ones.

    Parameters
    ----------
    dissimilarity : {"correlation", "euclidean", "mahalanobis", "crossnobis", "poisson", \
"poisson_cv"}
        Of recorded responses, where the target is not dissimilarities already, and of the model's
        patterns. Those have no noise, so theirs is what the dissimilarity becomes without:
        euclidean for mahalanobis and crossnobis, poisson for poisson_cv.
    comparison : Comparator
        Of dissimilarity matrices.
    folds : str, optional
        Coordinate of the target's repetitions that names the folds of crossnobis and poisson_cv
        (sessions, runs); by default each repetition is one.
    noise : {"shrinkage_diag", "shrinkage_eye", "diag", "full", "identity"}
        How mahalanobis and crossnobis estimate the noise precision from the target's trials, in
        each time bin by itself; the others take none.

    References
    ----------
    Kriegeskorte, Mur & Bandettini (2008), doi:10.3389/neuro.06.004.2008.

    Examples
    --------
    >>> from brainscore_lite.schema import activations, responses
    >>> X, names = np.random.default_rng(0).normal(size=(30, 8)), [f"s{i}" for i in range(30)]
    >>> source = activations(X, stimulus=names, layer="conv")
    >>> target = responses(X, stimulus=names, neuroid=list("abcdefgh"), region="IT", animal="m")
    >>> round(float(RSA()(source, target)), 9)
    1.0
    """

    dissimilarity: Dissimilarity = "correlation"
    comparison: Comparator = "spearman"
    folds: str | None = None
    noise: Noise = "shrinkage_diag"
    fits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_recorded(self.dissimilarity, folds=self.folds, noise=self.noise)
        check_comparator(self.comparison)

    @property
    def unit(self) -> str:
        """What the values are, by the comparison."""
        return UNITS[self.comparison]

    def __call__(self, source: xr.DataArray, target: xr.DataArray) -> xr.DataArray:
        """Return the similarity of the source's dissimilarities to the target's.

        Parameters
        ----------
        source : DataArray
            Activations, dims (stimulus, neuroid); or dissimilarities of one subject.
        target : DataArray
            Dissimilarities, dims (subject, stimulus, stimulus_other[, time_bin]), or responses,
            dims (repetition, stimulus, neuroid[, time_bin]), which give one matrix for the
            population: from their average over repetitions, or cross-validated from the trials.

        Returns
        -------
        DataArray
            Dims (subject[, time_bin]) for dissimilarities, () or (time_bin) for responses.

        Raises
        ------
        ContractError
            If stimuli are missing, or either array breaks its contract.
        """
        return self.compare(source, target).values()

    def compare(self, source: xr.DataArray, target: xr.DataArray) -> ComparedRDMs:
        """Compute the dissimilarities of both sides once."""
        source, target = match_stimuli(source, target)
        targets, template = self.target_dissimilarities(target)
        return ComparedRDMs(
            source=self._source_dissimilarities(source),
            targets=targets,
            comparison=self.comparison,
            template=template,
        )

    def matrix(self, source: xr.DataArray) -> xr.DataArray:
        """Return the dissimilarities of a source's patterns, to be looked at or scored again.

        Parameters
        ----------
        source : DataArray, dims (stimulus, neuroid)
            Activations of one layer.

        Returns
        -------
        DataArray, dims (subject, stimulus, stimulus_other)
            One subject, the model; its region is the layer.
        """
        layer = "+".join(np.unique(source["layer"].values)) if "layer" in source.coords else ""
        return rdms(
            square(self._source_dissimilarities(source))[None],
            stimulus=source["stimulus"].values,
            subject=["model"],
            region=layer,
            species="model",
        )

    def target_dissimilarities(
        self, target: xr.DataArray
    ) -> tuple[NDArray[np.float64], xr.DataArray]:
        """Return the target's condensed matrices and an array that labels them.

        Returns
        -------
        matrices : ndarray, shape (n_matrices, n_pairs)
        template : DataArray
            Of zeros, one for each matrix.
        """
        if not is_rdms(target):
            return recorded_dissimilarities(
                target, dissimilarity=self.dissimilarity, folds=self.folds, noise=self.noise
            )
        check_rdms(target)
        matrices = target.transpose("subject", ..., "stimulus", "stimulus_other")
        vectors = np.stack(
            [condensed(one) for one in matrices.values.reshape(-1, *matrices.shape[-2:])]
        )
        dims = tuple(str(dim) for dim in matrices.dims[:-2])
        shape = [matrices.sizes[dim] for dim in dims]
        return vectors, xr.DataArray(np.zeros(shape), dims=dims, coords=kept_coords(matrices, dims))

    def _source_dissimilarities(self, source: xr.DataArray) -> NDArray[np.float64]:
        if not is_rdms(source):
            method = NOISE_FREE[self.dissimilarity]
            return np.asarray(rdm(source_features(source), method=method))
        vectors, template = self.target_dissimilarities(source)
        if len(vectors) != 1:
            raise ContractError(
                f"source holds {len(vectors)} dissimilarity matrices (dims {template.dims}), "
                "expected one. Choose or average first."
            )
        return np.asarray(vectors[0])
