"""A network's reaction times beside people's: threshold on half the images, score on the rest."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainscore_lite.metrics.behaviour.readout_entropy import (
    entropy_reaction_times,
    fit_entropy_threshold,
    mean_by_condition,
    readout_entropy,
)
from brainscore_lite.metrics.behaviour.solution_times import MIN_IMAGES
from brainscore_lite.metrics.correlation import pearson_columns
from brainscore_lite.metrics.labels import stimulus_labels
from brainscore_lite.metrics.reliability.split_half import spearman_brown
from brainscore_lite.metrics.splits import Splits
from brainscore_lite.metrics.time.changes_over_steps import check_changes
from brainscore_lite.metrics.time.step_by_time import unreached_layers
from brainscore_lite.schema import ContractError, check_activations, match_stimuli
from brainscore_lite.seeding import generator

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class ReactionTimes:
    """Correlate a network's entropy reaction times with people's, by image or by condition.

    In each split half of the images, at random, choose the threshold of the entropy by Pearson's
    r; r over the other half is the score. Its ceiling, over the same images: people in two random
    halves, r_h between their mean reaction times, reliability c = 2 r_h / (1 + r_h) of the mean of
    all, and sqrt(c), the best r of any model.

    Parameters
    ----------
    cumulative : bool
        Whether the readout sums its evidence over steps; see
        :func:`~brainscore_lite.metrics.behaviour.readout_entropy.readout_entropy`.
    condition : str, optional
        Coordinate of the network's stimuli. Its reaction times are averaged within each value,
        compared with people's in that condition, and halves are those of the conditions.
    n_splits : int
    seed : int

    References
    ----------
    Spoerer, Kietzmann, Mehrer, Charest & Kriegeskorte (2020), doi:10.1371/journal.pcbi.1008215.

    Examples
    --------
    >>> from brainscore_lite.schema import activations
    >>> rng, names = np.random.default_rng(0), [f"i{i}" for i in range(40)]
    >>> hard = rng.uniform(0.2, 2, size=40)
    >>> evidence = np.arange(1, 9) / hard[:, None]
    >>> logits = np.stack([evidence, -evidence], axis=1)
    >>> people = xr.DataArray(500 + 100 * hard + 30 * rng.normal(size=(6, 40)),
    ...                       dims=("subject", "stimulus"), coords={"stimulus": names})
    >>> found = ReactionTimes()(activations(logits, stimulus=names, layer="readout"), people)
    >>> bool(found["r"].mean() > 0.8)
    True
    """

    cumulative: bool = False
    condition: str | None = None
    n_splits: int = 10
    seed: int = 0
    unit: ClassVar[str] = "pearson_r"

    def __post_init__(self) -> None:
        self._splits()

    def __call__(self, source: xr.DataArray, reaction_times: xr.DataArray) -> xr.Dataset:
        """Return the score, its ceiling and the threshold of each split.

        Parameters
        ----------
        source : DataArray, dims (stimulus, neuroid, step)
            The readout of a network before the softmax: one layer, one neuroid for each class.
        reaction_times : DataArray, dims (subject, stimulus), or (subject, ``condition``)
            NaN where a subject gave none. Labels of the second dim decide what is compared.

        Returns
        -------
        Dataset
            ``r``, ``fitted_r`` (over the images that chose the threshold), ``threshold`` (nats),
            ``fraction_undecided`` (images that end above it) and, from people's halves,
            ``reliability`` and ``ceiling``, NaN where it is negative or there is one subject;
            each (split). ``r`` is NaN where all test images have one reaction time.

        Raises
        ------
        ContractError
            If there are several layers or no steps, the readout does not change over steps, stimuli
            or conditions are missing, or one has no reaction time.
        """
        unit = "stimulus" if self.condition is None else self.condition
        by_subject = _people(reaction_times, unit)
        source, owner = self._placed(source, reaction_times[unit].values.astype(str))
        entropy = readout_entropy(_logits(source), cumulative=self.cumulative)
        mean = np.nanmean(by_subject, axis=0)
        draws = generator(self.seed, "reaction times", "subjects")
        rows = [
            (
                *_scored(entropy, mean, owner, fold.train, fold.test),
                *_ceiling(by_subject[:, fold.test], draws),
            )
            for fold in self._splits().folds(len(mean))
        ]
        names = ("threshold", "fitted_r", "r", "fraction_undecided", "reliability", "ceiling")
        columns = zip(names, np.array(rows).T, strict=True)
        return xr.Dataset(
            {name: ("split", values) for name, values in columns},
            coords={"split": np.arange(self.n_splits)},
        )

    def _placed(
        self, source: xr.DataArray, wanted: NDArray[np.str_]
    ) -> tuple[xr.DataArray, NDArray[np.int64]]:
        """Return the images that are compared, and each one's position among what is compared."""
        if self.condition is None:
            target = xr.DataArray(
                np.zeros(len(wanted)), dims="stimulus", coords={"stimulus": wanted}
            )
            return match_stimuli(source, target)[0], np.arange(len(wanted))
        names = np.asarray(stimulus_labels(source, self.condition))
        missing = np.setdiff1d(wanted, names)
        if missing.size:
            raise ContractError(
                f"source has no stimulus of {missing.size} of {len(wanted)} conditions; first: "
                f"'{missing[0]}'. Record the network on them, or leave them out."
            )
        kept = np.flatnonzero(np.isin(names, wanted))
        order = np.argsort(wanted)
        owner = order[np.searchsorted(wanted, names[kept], sorter=order)]
        return source.isel(stimulus=kept), owner

    def _splits(self) -> Splits:
        return Splits(self.n_splits, seed=self.seed, kind="shuffle", train_size=0.5)


def _logits(source: xr.DataArray) -> Matrix:
    """Return the readout at each step, shape (n_stimuli, n_classes, n_steps)."""
    check_activations(source)
    layers = np.unique(source["layer"].values.astype(str))
    if len(layers) > 1:
        raise ContractError(
            f"source has the layers {layers.tolist()}, expected the readout alone. Choose it with "
            f".isel(neuroid=(source.layer == '{layers[-1]}').values)."
        )
    blank = unreached_layers(source)
    check_changes(source, [step for step, names in enumerate(blank) if not names])
    return np.asarray(source.transpose("stimulus", "neuroid", "step").values, dtype=np.float64)


def _people(reaction_times: xr.DataArray, unit: str) -> Matrix:
    """Return people's reaction times, shape (n_subjects, n_images or n_conditions)."""
    if set(reaction_times.dims) != {"subject", unit} or unit not in reaction_times.coords:
        raise ContractError(
            f"reaction_times have dims {reaction_times.dims}, expected ('subject', '{unit}') with "
            f"labels along '{unit}'."
        )
    labels = reaction_times[unit].values
    if len(np.unique(labels)) < len(labels):
        raise ContractError(f"reaction_times name a '{unit}' twice, expected each once.")
    by_subject = reaction_times.transpose("subject", unit).values.astype(np.float64)
    without = np.isnan(by_subject).all(axis=0)
    if without.any():
        raise ContractError(
            f"{int(without.sum())} of {without.size} of the '{unit}' labels have no reaction time "
            f"of any subject; first: '{labels[without][0]}'. Leave them out."
        )
    return by_subject


def _scored(
    entropy: Matrix,
    mean: Matrix,
    owner: NDArray[np.int64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
) -> tuple[float, float, float, float]:
    """Fit on some and test on others: threshold, fitted r, r, fraction of images undecided."""
    fitted_on, tested_on = np.isin(owner, train), np.isin(owner, test)
    threshold, fitted = fit_entropy_threshold(
        entropy[fitted_on], mean[train], conditions=np.searchsorted(train, owner[fitted_on])
    )
    times = entropy_reaction_times(entropy[tested_on], threshold)
    undecided = float((np.nanmin(entropy[tested_on], axis=1) > threshold).mean())
    by_condition = mean_by_condition(times, np.searchsorted(test, owner[tested_on]))
    return threshold, fitted, _pearson(by_condition, mean[test]), undecided


def _ceiling(by_subject: Matrix, draws: np.random.Generator) -> tuple[float, float]:
    """Return the reliability of the mean over subjects, from random halves, and its root."""
    if len(by_subject) < 2:
        return np.nan, np.nan
    order = draws.permutation(len(by_subject))
    first, second = by_subject[order[::2]], by_subject[order[1::2]]
    seen = ~(np.isnan(first).all(axis=0) | np.isnan(second).all(axis=0))
    if seen.sum() < MIN_IMAGES:
        return np.nan, np.nan
    r = _pearson(np.nanmean(first[:, seen], axis=0), np.nanmean(second[:, seen], axis=0))
    reliability = float(spearman_brown(r))
    return reliability, float(np.sqrt(reliability)) if reliability >= 0 else np.nan


def _pearson(a: Matrix, b: Matrix) -> float:
    """Return r, NaN where one is constant."""
    r, undefined = pearson_columns(a[:, None], b[:, None])
    return np.nan if undefined[0] else float(r[0])
