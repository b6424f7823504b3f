"""Dissimilarities of recorded responses, one matrix for each time bin."""

from typing import Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainscore_lite.metrics.dissimilarities.dissimilarity import (
    CROSS_VALIDATED,
    TAKES_PRECISION,
    Dissimilarity,
    check_dissimilarity,
)
from brainscore_lite.metrics.dissimilarities.noise_precision import Shrinkage, noise_precision
from brainscore_lite.metrics.dissimilarities.rdm import rdm, square
from brainscore_lite.metrics.labels import is_rdms, kept_coords, repetition_labels
from brainscore_lite.schema import (
    ContractError,
    check_labelled,
    check_rdms,
    check_responses,
    rdms,
)

Noise = Shrinkage | Literal["identity"]


def rdm_movie(
    responses: xr.DataArray,
    *,
    dissimilarity: Dissimilarity = "correlation",
    folds: str | None = None,
    noise: Noise = "shrinkage_diag",
    subject: str | None = None,
    species: str = "not stated",
) -> xr.DataArray:
    """Compute the dissimilarity matrix of a population, in each time bin if there are some.

    Parameters
    ----------
    responses : DataArray, dims (repetition, stimulus, neuroid[, time_bin])
        Averaged over repetitions, but for the cross-validated dissimilarities.
    dissimilarity : {"correlation", "euclidean", "mahalanobis", "crossnobis", "poisson", \
"poisson_cv"}
        See :func:`rdm`.
    folds : str, optional
        Coordinate of the repetitions that names the folds of a cross-validated dissimilarity; by
        default each repetition is one.
    noise : {"shrinkage_diag", "shrinkage_eye", "diag", "full", "identity"}
        How mahalanobis and crossnobis estimate the noise precision, from the trials of each time
        bin by itself (:func:`noise_precision`); "identity" for none.
    subject, species : str, optional
        Labels of the result; the subject is by default the animal, or animals.

    Returns
    -------
    DataArray, dims (subject, stimulus, stimulus_other[, time_bin])
        One subject.

    Raises
    ------
    ContractError
        If the responses break their contract, there is more than one region, or the dissimilarity
        cannot be computed.
    """
    check_labelled(responses, "responses", make="responses")
    regions = np.unique(responses["region"].values) if "region" in responses.coords else [""]
    if len(regions) > 1:
        raise ContractError(
            f"responses hold neuroids of {len(regions)} regions ({', '.join(regions)}), expected "
            "one. Choose with .isel(neuroid=(responses.region == ...).values)."
        )
    vectors, template = recorded_dissimilarities(
        responses, dissimilarity=dissimilarity, folds=folds, noise=noise
    )
    matrices = [
        rdms(
            square(vector)[None],
            stimulus=responses["stimulus"].values,
            subject=[
                "+".join(np.unique(responses["animal"].values)) if subject is None else subject
            ],
            region=str(regions[0]),
            species=species,
            name=str(responses.name or "rdms"),
        )
        for vector in vectors
    ]
    if "time_bin" not in template.dims:
        return matrices[0]
    movie = xr.concat(matrices, dim="time_bin").transpose(..., "time_bin")
    return check_rdms(movie.assign_coords(kept_coords(responses, ("time_bin",))))


def recorded_dissimilarities(
    responses: xr.DataArray,
    *,
    dissimilarity: Dissimilarity,
    folds: str | None = None,
    noise: Noise = "shrinkage_diag",
) -> tuple[NDArray[np.float64], xr.DataArray]:
    """Compute condensed dissimilarities, and an array that labels them; see :func:`rdm_movie`.

    Returns
    -------
    vectors : ndarray, shape (n_time_bins or 1, n_pairs)
    template : DataArray, dims () or (time_bin,)
        Of zeros.
    """
    check_recorded(dissimilarity, folds=folds, noise=noise)
    if is_rdms(responses):
        raise ContractError("these are dissimilarity matrices already, expected responses.")
    check_responses(responses)
    dims = tuple(str(dim) for dim in responses.dims if dim == "time_bin")
    shape = [responses.sizes[dim] for dim in dims]
    template = xr.DataArray(np.zeros(shape), dims=dims, coords=kept_coords(responses, dims))
    labels = repetition_labels(responses, folds)
    ordered = responses.transpose(..., "repetition", "stimulus", "neuroid").values
    vectors = [
        trial_dissimilarities(one, dissimilarity=dissimilarity, folds=labels, noise=noise)
        for one in ordered.reshape(-1, *ordered.shape[-3:])
    ]
    return np.stack(vectors), template


def trial_dissimilarities(
    trials: ArrayLike,
    *,
    dissimilarity: Dissimilarity,
    folds: ArrayLike | None = None,
    noise: Noise = "shrinkage_diag",
) -> NDArray[np.float64]:
    """Compute dissimilarities from trials, which are averaged or cross-validated as they need.

    Parameters
    ----------
    trials : array, shape (n_repetitions, n_stimuli, n_neuroids)
        NaN where a trial was not recorded; a stimulus's trials weigh the same in its average.
    dissimilarity, noise : str
        See :func:`rdm_movie`; the noise precision is estimated from these trials.
    folds : sequence of labels, shape (n_repetitions,), optional

    Returns
    -------
    ndarray, shape (n_pairs,)

    Raises
    ------
    ContractError
        If a stimulus has no trial of some neuroid; see :func:`rdm` and :func:`noise_precision`.
    """
    check_recorded(dissimilarity, noise=noise)
    values = np.asarray(trials, dtype=np.float64)
    if values.ndim != 3:
        raise ContractError(
            f"trials have shape {values.shape}, expected (n_repetitions, n_stimuli, n_neuroids)."
        )
    precision = None
    if dissimilarity in TAKES_PRECISION and noise != "identity":
        precision = noise_precision(values, method=noise)
    if dissimilarity == "mahalanobis" and precision is None:
        dissimilarity = "euclidean"
    X = values if dissimilarity in CROSS_VALIDATED else _averaged(values)
    vector: NDArray[np.float64] = rdm(X, method=dissimilarity, precision=precision, folds=folds)
    return vector


def check_recorded(dissimilarity: str, *, noise: str, folds: str | None = None) -> None:
    """Raise if names are unknown, or folds are asked of what has none."""
    check_dissimilarity(dissimilarity)
    known = (*get_args(Shrinkage), "identity")
    if noise not in known:
        raise ContractError(f"unknown estimator of the noise '{noise}'; expected one of {known}.")
    if folds is not None and dissimilarity not in CROSS_VALIDATED:
        raise ContractError(
            f"folds='{folds}', but the {dissimilarity} dissimilarity is not cross-validated; "
            f"expected one of {CROSS_VALIDATED} with folds."
        )


def _averaged(trials: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over the repetitions that were recorded; shape (n_stimuli, n_neuroids)."""
    recorded = ~np.isnan(trials)
    counts = recorded.sum(axis=0)
    if not counts.all():
        stimulus, neuroid = np.argwhere(counts == 0)[0]
        n_without = int((counts == 0).any(axis=1).sum())
        raise ContractError(
            f"{n_without} of {len(counts)} stimuli have no trial of some neuroid (first: stimulus "
            f"{stimulus}, neuroid {neuroid}). Leave those stimuli or neuroids out."
        )
    return np.asarray(np.where(recorded, trials, 0.0).sum(axis=0) / counts)
