"""A model's confusions beside people's, image by image: Brain-Score's i1 and i2n, labelled."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from brainscore_lite.metrics.behaviour.classification import BRAINSCORE_PENALTY, class_probabilities
from brainscore_lite.metrics.behaviour.signatures import (
    LARGEST_DPRIME,
    Matrix,
    Names,
    Signature,
    behavioural_signature,
    check_signature,
    coded_trials,
    confusion_rates,
    correlate_signatures,
    counted_rates,
    trial_halves,
)
from brainscore_lite.metrics.labels import source_features, stimulus_labels
from brainscore_lite.metrics.resampling import check_weights
from brainscore_lite.schema import ContractError, match_stimuli

TRIAL_COLUMNS = ("stimulus", "choice", "truth", "distractor")


@dataclass(frozen=True, eq=False)
class ComparedConfusions:
    """The signature of a model beside those of two halves of people's trials, labelled.

    Parameters
    ----------
    source : DataArray, dims (stimulus[, choice])
        d' of the model.
    halves : DataArray, dims (repetition, half, stimulus[, choice])
        d' of people; NaN where a half has no trial, see
        :func:`~brainscore_lite.metrics.behaviour.signatures.behavioural_signature`.
    """

    source: xr.DataArray
    halves: xr.DataArray

    def values(self) -> xr.Dataset:
        """Return the agreement, its ceiling and their quotient for each random halving.

        Returns
        -------
        Dataset, dim (repetition)
            ``score``: Pearson r of the model with the first half. ``ceiling``: r of the two
            halves, the reliability of one half. ``ceiled``: score / sqrt(ceiling), NaN
            where the ceiling is not positive. ``n_entries``, ``n_entries_ceiling``: how
            many d' the two correlations share. Brain-Score reports the means over repetitions,
            and as error their standard deviation (ddof 0).
        """
        results = [
            (*self._correlated(None, repetition), repetition)
            for repetition in range(self.halves.sizes["repetition"])
        ]
        score, ceiling, n, n_ceiling, repetitions = (
            np.array(each) for each in zip(*results, strict=True)
        )
        return xr.Dataset(
            {
                "score": ("repetition", score),
                "ceiling": ("repetition", ceiling),
                "ceiled": ("repetition", score / _root(ceiling)),
                "n_entries": ("repetition", n),
                "n_entries_ceiling": ("repetition", n_ceiling),
            },
            coords={"repetition": repetitions},
        )

    def resampled(self, weights: ArrayLike) -> xr.Dataset:
        """Return the same with images counted by `weights`; dims (draw, repetition).

        The d' stay: their false-alarm rates and the objects' means are those of all images, so
        that the variance is that of the correlation over images.

        Parameters
        ----------
        weights : array of int, shape (n_draws, n_stimuli)
            In the order of ``source.stimulus``.
        """
        counts = check_weights(weights, self.source.sizes["stimulus"])
        drawn = [
            self._correlated(counts, repetition)[:2]
            for repetition in range(self.halves.sizes["repetition"])
        ]
        score, ceiling = (np.stack(each, axis=1) for each in zip(*drawn, strict=True))
        dims = ("draw", "repetition")
        return xr.Dataset(
            {
                "score": (dims, score),
                "ceiling": (dims, ceiling),
                "ceiled": (dims, score / _root(ceiling)),
            },
            coords={"draw": np.arange(len(counts)), "repetition": self.halves["repetition"]},
        )

    def _correlated(
        self, counts: Matrix | None, repetition: int
    ) -> tuple[Matrix, Matrix, int, int]:
        first, second = self.halves.values[repetition]
        score, n = correlate_signatures(self.source.values, first, weights=counts)
        ceiling, n_ceiling = correlate_signatures(first, second, weights=counts)
        return score, ceiling, n, n_ceiling


@dataclass(frozen=True)
class ImageConfusions:
    """Score a model's class probabilities by whether it confuses the images that people confuse.

    People chose between the true object and one distractor. The model's probabilities are
    reduced to the same pairs; d' of every image and distractor is compared by Pearson r with that
    from a random half of the trials.

    Parameters
    ----------
    signature : {"i1", "i1n", "i2", "i2n"}
    n_repetitions : int
        Random halvings of the trials.
    seed : int
        Of the halves; 0 gives Brain-Score's.
    largest : float
        Largest |d'|.

    References
    ----------
    Rajalingham, Issa, Bashivan, Kar, Schmidt & DiCarlo (2018),
    doi:10.1523/JNEUROSCI.0388-18.2018.
    """

    signature: Signature = "i2n"
    n_repetitions: int = 2
    seed: int = 0
    largest: float = LARGEST_DPRIME
    unit: ClassVar[str] = "pearson_r"

    def __post_init__(self) -> None:
        check_signature(self.signature)
        if self.n_repetitions < 1 or not self.largest > 0:
            raise ContractError(
                f"n_repetitions is {self.n_repetitions} and largest {self.largest}; expected at "
                "least 1 and a positive number."
            )

    def __call__(self, source: xr.DataArray, trials: pd.DataFrame) -> xr.Dataset:
        """Return score, ceiling and their quotient; ``compare(source, trials).values()``."""
        return self.compare(source, trials).values()

    def compare(self, source: xr.DataArray, trials: pd.DataFrame) -> ComparedConfusions:
        """Compute the signatures of the model and of people once.

        Parameters
        ----------
        source : DataArray, dims (stimulus, choice)
            Probabilities, as of :func:`choice_probabilities`. Both dims carry labels; images
            without trials are left out.
        trials : DataFrame
            One row for each trial; columns stimulus, choice (the answer), truth, distractor.

        Raises
        ------
        ContractError
            If labels or columns are missing.
        """
        check_trials(trials)
        stimuli = np.unique(trials["stimulus"].astype(str))
        model = _probabilities(source, stimuli)
        choices = model["choice"].values.astype(str)
        named = {name: trials[name].to_numpy() for name in TRIAL_COLUMNS}
        codes = coded_trials(named, stimuli=stimuli, choices=choices)
        truth = choices[codes[2][np.unique(codes[0], return_index=True)[1]]]
        halves = [
            [
                self._signature(
                    counted_rates(codes[:, half], shape=(len(stimuli), len(choices))),
                    truth=truth,
                    choices=choices,
                )
                for half in pair
            ]
            for pair in trial_halves(len(trials), n_repetitions=self.n_repetitions, seed=self.seed)
        ]
        rates = confusion_rates(model.values, truth=truth, choices=choices)
        dprime = self._signature(rates, truth=truth, choices=choices)
        dims = ("stimulus", "choice")[: dprime.ndim]
        coords = {"stimulus": stimuli, "choice": choices}
        kept = {dim: coords[dim] for dim in dims} | {"truth": ("stimulus", truth)}
        return ComparedConfusions(
            source=xr.DataArray(dprime, dims=dims, coords=kept),
            halves=xr.DataArray(
                np.array(halves),
                dims=("repetition", "half", *dims),
                coords={**kept, "repetition": np.arange(self.n_repetitions), "half": [0, 1]},
            ),
        )

    def _signature(self, rates: Matrix, *, truth: Names, choices: Names) -> Matrix:
        return behavioural_signature(
            rates, truth=truth, choices=choices, signature=self.signature, largest=self.largest
        )


def choice_probabilities(
    source: xr.DataArray,
    fitting: xr.DataArray,
    *,
    label: str,
    labelled: xr.DataArray | None = None,
    penalty: float = BRAINSCORE_PENALTY,
) -> xr.DataArray:
    """Read out the probability of each object from a model's activations.

    Parameters
    ----------
    source : DataArray, dims (stimulus, neuroid)
        Activations to the images that are tested.
    fitting : DataArray, dims (stimulus, neuroid)
        Activations of the same neuroids to other images, on which the readout is fitted.
    label : str
        Coordinate of the fitting stimuli: the object.
    labelled : DataArray, optional
        An array whose stimuli carry the label, where those of `fitting` do not.
    penalty : float
        See :func:`~brainscore_lite.metrics.behaviour.classification.class_probabilities`.

    Returns
    -------
    DataArray, dims (stimulus, choice)

    Raises
    ------
    ContractError
        If neuroids differ, the label is missing, or an image is both fitted and tested.
    """
    if labelled is not None:
        fitting, labelled = match_stimuli(fitting, labelled)
    names = stimulus_labels(fitting if labelled is None else labelled, label)
    train, test = source_features(fitting), source_features(source)
    if not np.array_equal(fitting["neuroid"].values, source["neuroid"].values):
        raise ContractError(
            "source and fitting have different neuroids, or another order of them. Record the "
            "same layer of the same model."
        )
    both = np.intersect1d(fitting["stimulus"].values, source["stimulus"].values)
    if both.size:
        raise ContractError(
            f"{both.size} images are both fitted and tested; first: '{both[0]}'. Keep them apart."
        )
    probabilities, choices = class_probabilities(
        train, np.asarray(names), test_X=test, penalty=penalty
    )
    return xr.DataArray(
        probabilities,
        dims=("stimulus", "choice"),
        coords={"stimulus": source["stimulus"].values, "choice": choices},
    )


def check_trials(trials: pd.DataFrame) -> None:
    """Raise unless a table of trials has the columns of a choice between two objects."""
    missing = [column for column in TRIAL_COLUMNS if column not in trials]
    if missing:
        raise ContractError(
            f"trials lack the columns {missing}; expected {TRIAL_COLUMNS}. Rename yours."
        )
    incomplete = trials[list(TRIAL_COLUMNS)].isna().any(axis=1)
    if incomplete.any():
        raise ContractError(
            f"{int(incomplete.sum())} of {len(trials)} trials have missing entries. Leave them out."
        )


def _probabilities(source: xr.DataArray, stimuli: Names) -> xr.DataArray:
    """Return the model's probabilities for these images, dims (stimulus, choice)."""
    if set(source.dims) != {"stimulus", "choice"} or set(source.dims) - set(source.indexes):
        raise ContractError(
            f"source has dims {source.dims}, expected (stimulus, choice), both with labels: the "
            "probability of each choice."
        )
    index = source.indexes["stimulus"].astype(str)
    missing = np.setdiff1d(stimuli, index)
    if missing.size or not index.is_unique:
        raise ContractError(
            f"source lacks {missing.size} of the {len(stimuli)} images with trials, or repeats "
            f"labels; first missing: {missing[:1].tolist()}. Record the model on every image once."
        )
    return source.transpose("stimulus", "choice").isel(stimulus=index.get_indexer(stimuli))


def _root(reliability: Matrix) -> Matrix:
    """Return the square root; NaN where there is no reliability."""
    return np.sqrt(np.where(reliability > 0, reliability, np.nan))
