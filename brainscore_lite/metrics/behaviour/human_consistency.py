"""A model's recognition beside people's, with the agreement of people among themselves."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import rankdata

from brainscore_lite.metrics.behaviour.bootstrap_draws import percentile_interval, variance_of_draws
from brainscore_lite.metrics.behaviour.error_consistency import (
    Over,
    among,
    consistency_draws,
    error_consistency,
)
from brainscore_lite.metrics.correlation import pearson_columns
from brainscore_lite.metrics.reliability.split_half import spearman_brown
from brainscore_lite.schema import ContractError
from brainscore_lite.seeding import generator

TRIAL_COLUMNS = ("subject", "stimulus", "condition", "object_response", "category")
PERSON_COLUMNS = ("participant", "condition", "accuracy")
MIN_CONDITIONS = 3


def behavioural_consistency(
    choices: pd.Series,
    trials: pd.DataFrame,
    *,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compare which stimuli a model gets wrong with which people do, condition by condition.

    Parameters
    ----------
    choices : Series, index stimulus
        The category that the model chose.
    trials : DataFrame
        People's answers, as of `datasets.geirhos2019`; columns subject, stimulus, condition,
        object_response, category (the right answer). Any other answer, also none, is wrong.
    n_draws : int
        Bootstrap draws for the intervals, the same for the model and for people.
    level : float
        Of the percentile intervals.
    seed : int

    Returns
    -------
    Dataset
        By ``condition``: ``kappa_model`` (subject) and ``kappa_humans`` (subject, subject_other):
        error consistency, NaN where it is undefined; ``accuracy_model`` and ``accuracy_humans``
        (subject); ``mean`` (quantity) of ``model`` (over subjects), ``humans`` (over pairs) and
        their ``difference``, with ``lower``, ``upper`` and ``variance`` of the draws (quantity,
        over), where ``over`` is what was drawn, and ``n_undefined`` draws; ``n_stimuli``.
        Intervals over "stimulus" are conditional on these people, those over "subject" on
        these images; those over "both" are conservative (they cover .98 where .95 is asked, with 10
        people and 160 images), which `inference.corrected_variance` of the three variances
        corrects.

    Raises
    ------
    ContractError
        If columns, labels or stimuli are missing, a subject saw a stimulus twice, or the right
        answer differs between trials of a stimulus.
    """
    check_columns(trials, TRIAL_COLUMNS, what="trials")
    if trials.empty:
        raise ContractError("there are no trials; expected at least one.")
    needed = [name for name in TRIAL_COLUMNS if name != "object_response"]
    _check_complete(trials[needed], what="trials")
    _check_choices(choices, trials)
    subjects = np.unique(trials["subject"].astype(str))
    parts = [
        _of_condition(
            choices, table, subjects, n_draws=n_draws, level=level, seed=seed
        ).assign_coords(condition=str(condition))
        for condition, table in trials.groupby("condition", sort=True)
    ]
    return xr.concat(parts, dim="condition")


def condition_consistency(
    accuracy: pd.Series,
    persons: pd.DataFrame,
    *,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Correlate a model's accuracy across conditions with people's, and people's halves.

    The conditions are those of `accuracy`; intervals and reliability are over people only.

    Parameters
    ----------
    accuracy : Series, index condition
        Of the model; or what else it has one number of for each condition.
    persons : DataFrame
        Columns participant, condition, accuracy, as of `datasets.maniquet2025`; a person need not
        have seen every condition.
    n_draws : int
        Bootstrap draws of people, and random halvings.
    level : float
    seed : int

    Returns
    -------
    Dataset, dim (correlation: pearson, spearman)
        ``r``; ``lower``, ``upper``, ``n_undefined``; ``split_half``: mean r of two random halves
        of the people; ``reliability``: that of all people, by Spearman-Brown; ``ceiling``: its
        root, the best r of any model; and ``human_accuracy`` (condition).

    Raises
    ------
    ContractError
        If conditions are missing or fewer than three, an accuracy is missing, or two people are
        not there.
    """
    _check_number(n_draws)
    check_columns(persons, PERSON_COLUMNS, what="persons")
    _check_complete(persons[list(PERSON_COLUMNS)], what="persons")
    table = _by_condition(accuracy, persons)
    own = accuracy.to_numpy(dtype=np.float64)
    means, halves = _drawn_means(table, n_draws, seed)
    human = _means(table, np.ones((1, len(table))))
    rows = []
    for ranks in (False, True):
        r = _correlate(np.broadcast_to(own, means.shape), means, ranks=ranks)
        lower, upper = percentile_interval(r, level=level)
        between = _correlate(*halves, ranks=ranks)
        split_half = float(np.nanmean(between)) if np.isfinite(between).any() else np.nan
        reliability = float(spearman_brown(np.array(split_half)))
        rows.append(
            {
                "r": _correlate(own[None], human, ranks=ranks)[0],
                "lower": float(lower),
                "upper": float(upper),
                "n_undefined": int(np.isnan(r).sum()),
                "split_half": split_half,
                "reliability": reliability,
                "ceiling": np.sqrt(reliability) if reliability > 0 else np.nan,
            }
        )
    return xr.Dataset(
        {name: ("correlation", [row[name] for row in rows]) for name in rows[0]}
        | {"human_accuracy": ("condition", human[0])},
        coords={"correlation": ["pearson", "spearman"], "condition": accuracy.index.to_numpy(str)},
    )


def masking_consistency(
    measure: pd.Series,
    conditions: pd.DataFrame,
    *,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Correlate a model's measure across conditions with people's accuracies and masking effect.

    Parameters
    ----------
    measure : Series, index condition
        One number of the model for each condition: its accuracy, or what it loses when recurrence
        is cut short, which is to be compared with what people lose by a mask.
    conditions : DataFrame, index condition
        Columns mask_accuracy, no_mask_accuracy, and their standard errors with the prefix ``sem_``,
        as of `datasets.maniquet2025`.
    n_draws : int
        Draws of the human means for the intervals: normal with their standard errors, with
        and without mask independently.
    level : float
    seed : int

    Returns
    -------
    DataFrame
        Rows mask_accuracy, no_mask_accuracy and masking_effect (their difference, without minus
        with) for each of pearson and spearman; columns human, correlation, r, lower, upper,
        n_conditions.

    Raises
    ------
    ContractError
        If conditions, columns or entries are missing, or conditions fewer than three or twice
        there.
    """
    columns = [
        prefix + name for prefix in ("", "sem_") for name in ("mask_accuracy", "no_mask_accuracy")
    ]
    _check_number(n_draws)
    check_columns(conditions, columns, what="conditions")
    _check_measure(measure, conditions.index)
    seen = conditions.loc[measure.index, columns]
    _check_complete(seen, what="conditions")
    if len(seen) != len(measure):
        raise ContractError("conditions name a condition twice, expected one row for each.")
    own = measure.to_numpy(dtype=np.float64)
    table = seen.to_numpy(dtype=np.float64).T
    noise = generator(seed, "conditions", "masking").normal(size=(n_draws + 1, 2, len(own)))
    noise[0] = 0.0  # the first draw is the means themselves
    mask, no_mask = (table[:2] + noise * table[2:]).transpose(1, 0, 2)
    rows = []
    humans = {"mask_accuracy": mask, "no_mask_accuracy": no_mask, "masking_effect": no_mask - mask}
    for name, drawn in humans.items():
        for correlation in ("pearson", "spearman"):
            r = _correlate(
                np.broadcast_to(own, drawn.shape), drawn, ranks=correlation == "spearman"
            )
            lower, upper = percentile_interval(r[1:], level=level)
            rows.append((name, correlation, r[0], float(lower), float(upper), len(own)))
    return pd.DataFrame(
        rows, columns=["human", "correlation", "r", "lower", "upper", "n_conditions"]
    )


def check_columns(table: pd.DataFrame, columns: Sequence[str], *, what: str) -> None:
    """Raise unless a table has these columns."""
    missing = [column for column in columns if column not in table]
    if missing:
        raise ContractError(f"{what} lack the columns {missing}; expected {tuple(columns)}.")


def _check_complete(table: pd.DataFrame, *, what: str) -> None:
    missing = table.replace([np.inf, -np.inf], np.nan).isna().any(axis=1)
    if missing.any():
        raise ContractError(
            f"{int(missing.sum())} of {len(table)} {what} lack an entry of {tuple(table)}; first: "
            f"row {missing.to_numpy().argmax()}. Leave those rows out."
        )


def _check_number(n_draws: int) -> None:
    if n_draws < 1:
        raise ContractError(f"n_draws is {n_draws}, expected at least 1.")


def _check_choices(choices: pd.Series, trials: pd.DataFrame) -> None:
    missing = np.setdiff1d(trials["stimulus"].astype(str), choices.index.astype(str))
    if missing.size or not choices.index.is_unique:
        raise ContractError(
            f"choices lack {missing.size} of the {trials['stimulus'].nunique()} stimuli that "
            f"people saw, or name some twice; first missing: {missing[:1].tolist()}. Give the "
            "model's choice for each stimulus once."
        )
    if choices.isna().any():
        raise ContractError(f"{int(choices.isna().sum())} of the model's choices are missing.")


def _of_condition(
    choices: pd.Series,
    trials: pd.DataFrame,
    subjects: NDArray[np.str_],
    *,
    n_draws: int,
    level: float,
    seed: int,
) -> xr.Dataset:
    """Compare model and people on the stimuli of one condition."""
    stimuli, own, people = _right_or_wrong(choices, trials)
    kappa_model = error_consistency(own, people.to_numpy()).kappa
    kappa_humans = among(people.to_numpy())
    means = [_nanmean(kappa_model), _nanmean(kappa_humans)]
    by_quantity = _drawn_quantities(own, people.to_numpy(), n_draws=n_draws, seed=seed)
    lower, upper = percentile_interval(by_quantity, level=level)
    seen = people.index.to_numpy(str)
    result = xr.Dataset(
        {
            "kappa_model": ("subject", kappa_model),
            "kappa_humans": (("subject", "subject_other"), kappa_humans),
            "accuracy_model": own.mean(),
            "accuracy_humans": ("subject", people.mean(axis=1)),
            "mean": ("quantity", [*means, means[0] - means[1]]),
            "lower": (("quantity", "over"), lower),
            "upper": (("quantity", "over"), upper),
            "variance": (("quantity", "over"), variance_of_draws(by_quantity)),
            "n_undefined": (("quantity", "over"), np.isnan(by_quantity).sum(axis=-1)),
            "n_stimuli": len(stimuli),
        },
        coords={
            "subject": seen,
            "subject_other": seen,
            "quantity": ["model", "humans", "difference"],
            "over": list(get_args(Over)),
        },
    )
    return result.reindex(subject=subjects, subject_other=subjects)


def _drawn_quantities(
    own: NDArray[np.float64], people: NDArray[np.float64], *, n_draws: int, seed: int
) -> NDArray[np.float64]:
    """Return draws of the model's kappa, people's and the difference, (quantity, over, draw)."""
    draws = [
        consistency_draws(own, people, over=over, n_draws=n_draws, seed=seed)
        for over in get_args(Over)
    ]
    model, humans = np.stack([d.model for d in draws]), np.stack([d.humans for d in draws])
    return np.stack([model, humans, model - humans])


def _right_or_wrong(
    choices: pd.Series, trials: pd.DataFrame
) -> tuple[list[str], NDArray[np.float64], pd.DataFrame]:
    """Return the stimuli, what the model got right, and (subject x stimulus) what people did."""
    answers = trials.assign(
        subject=trials["subject"].astype(str),
        stimulus=trials["stimulus"].astype(str),
        category=trials["category"].astype(str),
        correct=(trials["object_response"].astype(str) == trials["category"].astype(str)) * 1.0,
    )
    repeated = answers.duplicated(["subject", "stimulus"])
    if repeated.any():
        again = answers[repeated].iloc[0]
        raise ContractError(
            f"{int(repeated.sum())} trials repeat a stimulus for a subject in a condition; first: "
            f"subject '{again['subject']}', stimulus '{again['stimulus']}'. Keep one of them."
        )
    ambiguous = answers.groupby("stimulus")["category"].nunique() > 1
    if ambiguous.any():
        raise ContractError(
            f"{int(ambiguous.sum())} stimuli have several right answers in a condition; first: "
            f"'{ambiguous.idxmax()}'. Each stimulus has one category."
        )
    people = answers.pivot(index="subject", columns="stimulus", values="correct")
    right_answer = answers.drop_duplicates("stimulus").set_index("stimulus")["category"]
    stimuli = list(people.columns)
    own = choices.set_axis(choices.index.astype(str)).loc[stimuli].astype(str).to_numpy()
    return stimuli, (own == right_answer.loc[stimuli].to_numpy()) * 1.0, people


def _check_measure(measure: pd.Series, seen: pd.Index) -> None:
    """Raise unless a model's measure is finite and of enough conditions that people saw."""
    missing = sorted(set(measure.index) - set(seen))
    if missing or len(measure) < MIN_CONDITIONS or not measure.index.is_unique:
        raise ContractError(
            f"the model has {len(measure)} conditions, of which people lack {missing}; expected "
            f"at least {MIN_CONDITIONS} different ones that people saw."
        )
    if not np.isfinite(measure.to_numpy(dtype=np.float64)).all():
        raise ContractError("the model's values hold NaN or inf. Leave those conditions out.")


def _by_condition(accuracy: pd.Series, persons: pd.DataFrame) -> NDArray[np.float64]:
    """Return people's accuracies, shape (n_people, n_conditions), NaN where not seen."""
    _check_measure(accuracy, pd.Index(persons["condition"]))
    seen = persons[persons["condition"].isin(accuracy.index)]
    if seen.duplicated(["participant", "condition"]).any():
        raise ContractError("persons have several rows for a participant and condition.")
    table = seen.pivot(index="participant", columns="condition", values="accuracy")
    if len(table) < 2:
        raise ContractError(f"there are {len(table)} people, expected at least two.")
    values: NDArray[np.float64] = table[list(accuracy.index)].to_numpy(dtype=np.float64)
    return values


def _drawn_means(
    table: NDArray[np.float64], n_draws: int, seed: int
) -> tuple[NDArray[np.float64], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return the means over people drawn with replacement, and over two random halves."""
    n = len(table)
    drawn = generator(seed, "conditions", "people").multinomial(n, np.full(n, 1 / n), n_draws)
    orders = generator(seed, "conditions", "halves").permuted(
        np.tile(np.arange(n), (n_draws, 1)), axis=1
    )
    first = (orders < n // 2).astype(np.float64)
    return _means(table, drawn.astype(np.float64)), (_means(table, first), _means(table, 1 - first))


def _means(table: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average people's accuracies by weight, shape (n_draws, n_conditions); NaN if nobody is."""
    seen = ~np.isnan(table)
    n = weights @ seen.astype(np.float64)
    return np.where(n > 0, weights @ np.nan_to_num(table) / np.where(n > 0, n, 1), np.nan)


def _correlate(
    a: NDArray[np.float64], b: NDArray[np.float64], *, ranks: bool
) -> NDArray[np.float64]:
    """Correlate matching rows; NaN where a value is missing or a row is constant."""
    whole = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    r = np.full(len(a), np.nan)
    if whole.any():
        sides = [rankdata(each[whole], axis=1) if ranks else each[whole] for each in (a, b)]
        values, undefined = pearson_columns(sides[0].T, sides[1].T)
        r[whole] = np.where(undefined, np.nan, values)
    return r


def _nanmean(values: NDArray[np.float64]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
