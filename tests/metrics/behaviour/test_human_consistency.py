"""A model beside people: simulated observers, and the recorded people themselves."""

import itertools

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from brainscore_lite.datasets import geirhos2019, maniquet2025
from brainscore_lite.metrics.behaviour.human_consistency import (
    behavioural_consistency,
    condition_consistency,
    masking_consistency,
)
from brainscore_lite.schema import ContractError

CATEGORIES = np.array(["cat", "dog", "owl"])


def people(
    n_subjects: int = 6, n_stimuli: int = 90, seed: int = 0
) -> tuple[pd.DataFrame, pd.Series]:
    """Trials of people in two conditions, and a model that errs as one of them would."""
    rng = np.random.default_rng(seed)
    tables, choices = [], {}
    for condition in ("blurred", "noisy"):
        hard = rng.normal(size=n_stimuli)
        category = CATEGORIES[rng.integers(3, size=n_stimuli)]
        names = [f"{condition}{i}" for i in range(n_stimuli)]
        for subject in range(n_subjects + 1):
            right = hard + 0.7 * rng.normal(size=n_stimuli) < 0.9
            answer = np.where(right, category, "na")
            if subject == n_subjects:
                choices |= dict(zip(names, answer, strict=True))
                continue
            tables.append(
                pd.DataFrame(
                    {
                        "subject": f"s{subject}",
                        "stimulus": names,
                        "condition": condition,
                        "object_response": answer,
                        "category": category,
                    }
                )
            )
    return pd.concat(tables, ignore_index=True), pd.Series(choices)


def test_a_model_like_a_person_agrees_as_people_do() -> None:
    trials, choices = people(n_subjects=12, n_stimuli=600)
    result = behavioural_consistency(choices, trials, n_draws=200)
    mean = result["mean"]
    assert (mean.sel(quantity="humans") > 0.3).all()
    assert (abs(mean.sel(quantity="difference")) < 0.05).all()
    difference = result.sel(quantity="difference", over="both")
    assert ((difference["lower"] < 0) & (difference["upper"] > 0)).all()


def test_parts_follow_their_definition() -> None:
    trials, choices = people()
    result = behavioural_consistency(choices, trials, n_draws=50)
    assert result["condition"].values.tolist() == ["blurred", "noisy"]
    table = trials[trials["condition"] == "noisy"]
    right = table.assign(right=table["object_response"] == table["category"]).pivot(
        index="subject", columns="stimulus", values="right"
    )
    noisy = result.sel(condition="noisy")
    np.testing.assert_allclose(noisy["accuracy_humans"], right.mean(axis=1))
    kappas = []
    for first, second in itertools.combinations(right.index, 2):
        a, b = right.loc[first], right.loc[second]
        chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
        kappas.append(((a == b).mean() - chance) / (1 - chance))
        found = noisy["kappa_humans"].sel(subject=first, subject_other=second)
        assert float(found) == pytest.approx(kappas[-1])
    assert float(noisy["mean"].sel(quantity="humans")) == pytest.approx(np.mean(kappas))
    assert float(noisy["mean"].sel(quantity="model")) == pytest.approx(
        float(noisy["kappa_model"].mean())
    )
    assert (result["lower"] <= result["upper"]).all()
    assert (result["n_undefined"] == 0).all()
    assert (result["n_stimuli"] == 90).all()


def test_order_and_type_of_labels_do_not_matter() -> None:
    trials, choices = people()
    expected = behavioural_consistency(choices, trials, n_draws=50)
    moved = trials.sample(frac=1, random_state=0)
    more = pd.concat([choices.sample(frac=1, random_state=1), pd.Series({"another": "cat"})])
    xr.testing.assert_identical(behavioural_consistency(more, moved, n_draws=50), expected)
    categorical = trials.astype({"condition": "category", "object_response": "category"})
    xr.testing.assert_identical(behavioural_consistency(choices, categorical, n_draws=50), expected)


def test_a_perfect_observer_has_no_error_consistency() -> None:
    trials, choices = people()
    truth = trials.drop_duplicates("stimulus").set_index("stimulus")["category"]
    result = behavioural_consistency(truth.loc[choices.index], trials, n_draws=20)
    assert (result["accuracy_model"] == 1).all()
    np.testing.assert_allclose(result["kappa_model"], 0, atol=1e-12)
    perfect = trials.assign(object_response=trials["category"])
    undefined = behavioural_consistency(truth, perfect, n_draws=20)
    assert undefined["mean"].isnull().all()
    assert undefined["lower"].isnull().all()
    assert (undefined["n_undefined"] == 20).all()


def test_people_of_one_condition_only() -> None:
    trials, choices = people()
    some = trials[~((trials["subject"] == "s0") & (trials["condition"] == "noisy"))]
    result = behavioural_consistency(choices, some, n_draws=20)
    assert np.isnan(result["kappa_model"].sel(condition="noisy", subject="s0"))
    assert np.isfinite(result["kappa_model"].sel(condition="blurred", subject="s0"))
    assert np.isfinite(result["mean"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, c: (t.drop(columns="category"), c), r"trials lack the columns \['category'\]"),
        (lambda t, c: (t[:0], c), "there are no trials"),
        (lambda t, c: (t, c[5:]), "choices lack 5 of the 180 stimuli that people saw"),
        (lambda t, c: (t, pd.concat([c, c[:1]])), "or name some twice"),
        (lambda t, c: (t, c.where(c != "cat")), "of the model's choices are missing"),
        (lambda t, c: (pd.concat([t, t[:2]]), c), "2 trials repeat a stimulus for a subject"),
        (lambda t, c: (t[t["subject"] == "s0"], c), "at least two subjects"),
        (lambda t, c: (t.assign(category=t["category"].where(t.index > 2)), c), "lack an entry"),
        (lambda t, c: (t.assign(condition=t["condition"].where(t.index > 2)), c), "lack an entry"),
        (
            lambda t, c: (t.assign(category=np.where(t.index == 0, "pig", t["category"])), c),
            "1 stimuli have several right answers",
        ),
    ],
)
def test_bad_trials(change: object, message: str) -> None:
    trials, choices = change(*people())
    with pytest.raises(ContractError, match=message):
        behavioural_consistency(choices, trials, n_draws=10)


def test_bad_level() -> None:
    trials, choices = people()
    with pytest.raises(ContractError, match="level is 95, expected between 0 and 1"):
        behavioural_consistency(choices, trials, n_draws=10, level=95)


# ---- conditions


def persons(n: int = 60, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    """People who saw half of eight conditions each, and the conditions' true accuracies."""
    rng = np.random.default_rng(seed)
    conditions = [f"condition{i}" for i in range(8)]
    truth = pd.Series(np.linspace(0.5, 0.95, 8), index=conditions)
    rows = [
        (person, condition, truth[condition] + 0.08 * rng.normal())
        for person in range(n)
        for condition in conditions[person % 2 :: 2]
    ]
    return pd.DataFrame(rows, columns=["participant", "condition", "accuracy"]), truth


def test_the_true_accuracies_reach_the_ceiling() -> None:
    table, truth = persons()
    result = condition_consistency(truth, table)
    pearson = result.sel(correlation="pearson")
    assert float(pearson["r"]) == pytest.approx(float(pearson["ceiling"]), abs=0.01)
    assert float(pearson["lower"]) < float(pearson["r"]) <= float(pearson["upper"]) + 1e-3
    assert float(pearson["split_half"]) < float(pearson["reliability"]) < 1
    means = table.groupby("condition")["accuracy"].mean()
    np.testing.assert_allclose(result["human_accuracy"], means[truth.index])
    assert float(pearson["r"]) == pytest.approx(np.corrcoef(truth, means[truth.index])[0, 1])


def test_order_units_and_seed_of_the_model_measure() -> None:
    table, truth = persons()
    expected = condition_consistency(truth, table, n_draws=100)
    again = condition_consistency(
        100 * truth + 3, table.sample(frac=1, random_state=0), n_draws=100
    )
    xr.testing.assert_allclose(again, expected, atol=1e-12)
    reversed_ = condition_consistency(-truth, table, n_draws=100)
    np.testing.assert_allclose(reversed_["r"], -expected["r"])


def test_conditions_that_some_draws_lack() -> None:
    table, truth = persons(n=4)
    result = condition_consistency(truth, table, n_draws=200)
    assert (result["n_undefined"] > 0).all()
    assert np.isfinite(result["lower"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, a: (t.drop(columns="accuracy"), a), r"persons lack the columns \['accuracy'\]"),
        (lambda t, a: (t, a.rename({"condition0": "x"})), r"of which people lack \['x'\]"),
        (lambda t, a: (t, a[:2]), "the model has 2 conditions"),
        (lambda t, a: (t, a * np.nan), "the model's values hold NaN or inf"),
        (lambda t, a: (pd.concat([t, t]), a), "several rows for a participant and condition"),
        (lambda t, a: (t[t["participant"] == 0], a[::2]), "there are 1 people"),
        (lambda t, a: (t.assign(accuracy=np.inf), a), r"persons lack an entry of .*accuracy"),
        (lambda t, a: (t.assign(participant=None), a), r"persons lack an entry of .*participant"),
    ],
)
def test_bad_persons(change: object, message: str) -> None:
    table, accuracy = change(*persons())
    with pytest.raises(ContractError, match=message):
        condition_consistency(accuracy, table, n_draws=10)


def masking_table() -> pd.DataFrame:
    table = pd.DataFrame(
        {"no_mask_accuracy": [0.97, 0.95, 0.9, 0.7], "mask_accuracy": [0.97, 0.93, 0.85, 0.5]},
        index=list("abcd"),
    )
    return table.assign(sem_mask_accuracy=0.01, sem_no_mask_accuracy=0.01)


def test_draws_and_rows_of_the_conditions() -> None:
    table, accuracy = persons()
    masked, measure = masking_table(), pd.Series([0.0, 0.1, 0.2, 0.4], index=list("abcd"))
    with pytest.raises(ContractError, match="n_draws is 0"):
        condition_consistency(accuracy, table, n_draws=0)
    with pytest.raises(ContractError, match="n_draws is 0"):
        masking_consistency(measure, masked, n_draws=0)
    with pytest.raises(ContractError, match="name a condition twice"):
        masking_consistency(measure, pd.concat([masked, masked]))
    with pytest.raises(ContractError, match="1 of 4 conditions lack an entry"):
        masking_consistency(measure, masked.drop(index="b").reindex(list("abcd")))


def test_masking_effect_against_what_a_model_loses() -> None:
    table = masking_table()
    loss = pd.Series([0.3, 0.1, 0.06, 0.02], index=list("dcba"))
    result = masking_consistency(loss, table).set_index(["human", "correlation"])
    effect = (table["no_mask_accuracy"] - table["mask_accuracy"])[loss.index]
    found = result.loc[("masking_effect", "pearson")]
    assert found["r"] == pytest.approx(np.corrcoef(loss, effect)[0, 1])
    assert found["lower"] < found["r"]
    assert result.loc[("mask_accuracy", "spearman"), "r"] == pytest.approx(-1)
    assert (result["n_conditions"] == 4).all()
    with pytest.raises(ContractError, match=r"conditions lack the columns \['sem_mask_accuracy'\]"):
        masking_consistency(loss, table.drop(columns="sem_mask_accuracy"))
    with pytest.raises(ContractError, match=r"people lack \['e'\]"):
        masking_consistency(loss.rename({"a": "e"}), table)


# ---- recorded people


@pytest.mark.parametrize(
    ("condition", "accuracy", "kappa"), [("edges", 0.871, 0.318), ("silhouettes", 0.753, 0.476)]
)
def test_people_on_edges_and_silhouettes(
    mirror: object, condition: str, accuracy: float, kappa: float
) -> None:
    """The published figures; a held-out person lies within the interval of the others."""
    trials = geirhos2019.load().trials
    trials = trials[trials["condition"] == condition]
    one = trials["subject"] == "subject-03"
    choices = trials[one].set_index("stimulus")["object_response"]
    everyone = behavioural_consistency(choices, trials).sel(condition=condition)
    assert round(float(everyone["accuracy_humans"].mean()), 3) == accuracy
    assert round(float(everyone["mean"].sel(quantity="humans")), 3) == kappa
    humans = everyone.sel(quantity="humans")
    assert (humans["lower"] < kappa).all()
    assert (humans["upper"] > kappa).all()
    assert float(humans["upper"].sel(over="both") - humans["lower"].sel(over="both")) < 0.3
    others = behavioural_consistency(choices, trials[~one]).sel(condition=condition)
    difference = others.sel(quantity="difference", over="both")
    assert float(difference["lower"]) < 0 < float(difference["upper"])


def test_people_on_occluded_objects(mirror: object) -> None:
    dataset = maniquet2025.load()
    seen = dataset.conditions.index
    model = dataset.conditions["no_mask_accuracy"]
    result = condition_consistency(model, dataset.persons).sel(correlation="pearson")
    assert float(result["split_half"]) == pytest.approx(0.992, abs=0.003)
    assert 0.99 < float(result["r"]) < 1
    table = masking_consistency(dataset.conditions["masking_effect"], dataset.conditions)
    table = table.set_index(["human", "correlation"])
    assert table.loc[("masking_effect", "pearson"), "r"] == pytest.approx(1)
    assert table.loc[("no_mask_accuracy", "pearson"), "r"] < -0.9
    assert (table["n_conditions"] == len(seen)).all()
