"""Mixed models: equal to the paired t-test and to analysis of variance where these apply."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress, ttest_ind, ttest_rel

from brainscore_lite.inference.mixed_models import MixedModel, mixed_model
from brainscore_lite.inference.variance_components import variance_components
from brainscore_lite.schema import ContractError


def scores(
    *, n_models: int = 3, n_seeds: int = 8, n_subjects: int = 1, gain: float = 0.0, seed: int = 0
) -> pd.DataFrame:
    """Simulated scores: seeds shared by the models, subjects, and noise of each model x seed."""
    rng = np.random.default_rng(seed)
    initial, subject = rng.normal(0, 0.02, n_seeds), rng.normal(0, 0.05, n_subjects)
    own = rng.normal(0, 0.01, (n_models, n_seeds))
    rows = [
        {
            "model": f"m{m}",
            "seed": s,
            "subject": f"p{p}",
            "score": 0.3 + gain * m + initial[s] + subject[p] + own[m, s] + rng.normal(0, 0.01),
        }
        for m in range(n_models)
        for s in range(n_seeds)
        for p in range(n_subjects)
    ]
    return pd.DataFrame(rows)


def test_two_models_with_paired_seeds_are_a_paired_t_test() -> None:
    table = scores(n_models=2, gain=0.005)
    found = mixed_model(table, "score ~ model", seeds="paired").pairs().iloc[0]
    by_model = [part["score"].to_numpy() for _, part in table.groupby("model")]
    expected = ttest_rel(*by_model)
    assert found["statistic"] == pytest.approx(expected.statistic, rel=1e-4)
    assert found["p"] == pytest.approx(expected.pvalue, rel=1e-3)
    interval = expected.confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high), rel=1e-3)


def test_two_models_with_nested_seeds_are_a_two_sample_t_test_of_seed_means() -> None:
    table = scores(n_models=2, n_subjects=4, gain=0.01)
    found = mixed_model(table, "score ~ model + C(subject)", seeds="nested").pairs().iloc[0]
    means = table.groupby(["model", "seed"])["score"].mean()
    expected = ttest_ind(means["m0"], means["m1"])
    assert found["dof"] == 14
    assert found["statistic"] == pytest.approx(expected.statistic, rel=1e-3)
    assert found["p"] == pytest.approx(expected.pvalue, rel=1e-2)


def test_components_are_those_of_the_analysis_of_variance() -> None:
    """In a balanced design with positive estimates, REML equals the method of moments."""
    table = scores(n_models=3, n_seeds=12)
    found = mixed_model(table, "score ~ model", seeds="paired").components
    grid = table.set_index(["model", "seed"])["score"].to_xarray()
    expected = variance_components(grid, fixed=["model"]).set_index("component")
    by_name = found.set_index("component")["variance"]
    # With the interaction as residual, the seeds' own variance is (MS_seed - MS_rest) / models.
    rest = expected.loc["model:seed", "variance"]
    between = expected.loc["seed", "mean_square"]
    assert by_name["seed"] == pytest.approx((between - rest) / 3, rel=1e-3)
    assert by_name["residual (with model:seed)"] == pytest.approx(rest, rel=1e-3)
    assert found["share"].sum() == pytest.approx(1)


def test_unit_of_the_scores_does_not_matter() -> None:
    table = scores(n_subjects=6)
    first = mixed_model(table, "score ~ model", random=["subject"], seeds="paired")
    table["score"] *= 1000
    second = mixed_model(table, "score ~ model", random=["subject"], seeds="paired")
    np.testing.assert_allclose(first.pairs()["p"], second.pairs()["p"], rtol=1e-6)
    np.testing.assert_allclose(
        first.components["variance"] * 1e6, second.components["variance"], rtol=1e-4
    )


def test_a_covariate_is_a_fixed_effect() -> None:
    table = scores(n_seeds=10)
    table["accuracy"] = np.random.default_rng(1).uniform(size=len(table))
    table["score"] += 0.5 * table["accuracy"]
    effects = mixed_model(table, "score ~ model + accuracy", seeds="paired").effects
    row = effects.set_index("term").loc["accuracy"]
    assert row["low"] < 0.5 < row["high"]
    assert row["p"] < 1e-6


def test_every_row_of_the_pairs_says_how_it_was_found() -> None:
    pairs = mixed_model(scores(), "score ~ model", seeds="paired").pairs()
    assert len(pairs) == 3
    assert {"difference", "low", "high", "p", "p_holm", "p_bh", "n", "over", "method"} <= set(pairs)
    assert (pairs["p_holm"] >= pairs["p"]).all()
    assert (pairs["p_holm"] >= pairs["p_bh"] - 1e-12).all()
    assert (pairs["over"] == "seed, model:seed").all()


def test_a_variance_that_is_not_there_is_marked() -> None:
    rng = np.random.default_rng(0)
    table = scores(n_seeds=6, n_subjects=6)
    table["score"] = rng.normal(size=len(table))
    table["score"] -= table.groupby("subject")["score"].transform("mean")
    found = mixed_model(table, "score ~ model", random=["subject"], seeds="paired").components
    assert found.set_index("component").loc["subject", "boundary"]


def with_covariates(*, n_subjects: int = 6) -> pd.DataFrame:
    """Scores with the accuracy of each network and the age of each subject."""
    table = scores(n_subjects=n_subjects, gain=0.01)
    rng = np.random.default_rng(2)
    accuracy, age = rng.uniform(size=(3, 8)), rng.uniform(20, 60, size=n_subjects)
    table["accuracy"] = accuracy[table["model"].str[1:].astype(int), table["seed"]]
    table["age"] = age[table["subject"].str[1:].astype(int)]
    return table


def fitted(table: pd.DataFrame, formula: str) -> MixedModel:
    return mixed_model(table, formula, random=["subject"], seeds="paired")


@pytest.mark.parametrize("code", ["C(model)", "C(model, Treatment('m2'))", "C(model, Sum)"])
def test_coding_of_the_models_does_not_matter(code: str) -> None:
    table = with_covariates()
    expected = fitted(table, "score ~ model").pairs()
    found = fitted(table, f"score ~ {code}").pairs()
    numbers = ["difference", "standard_error", "dof", "p"]
    np.testing.assert_allclose(found[numbers], expected[numbers], rtol=1e-6)


def test_names_order_and_index_of_rows_do_not_matter() -> None:
    table = with_covariates()
    expected = fitted(table, "score ~ model").pairs()
    names = {"m0": "a[T.m1]", "m1": "b:1", "m2": "c (d), e"}
    other = table.assign(
        model=pd.Categorical(table["model"].map(names), categories=[*names.values(), "unused"])
    )
    other = other.sample(frac=1, random_state=0).set_index(np.zeros(len(table), dtype=int))
    before = other.copy()
    found = fitted(other, "score ~ model").pairs()
    assert found["first"].tolist() == expected["first"].map(names).tolist()
    numbers = ["difference", "standard_error", "dof", "p"]
    np.testing.assert_allclose(found[numbers], expected[numbers], rtol=1e-6)
    pd.testing.assert_frame_equal(other, before)


def test_labels_that_hold_a_colon_stay_apart() -> None:
    table = scores(n_models=2, n_seeds=5)
    table["model"] = table["model"].map({"m0": "net", "m1": "net:1"})
    table["seed"] = np.where(table["model"] == "net", "1:", "") + table["seed"].astype(str)
    nested = pd.concat([table, table.assign(score=lambda t: t["score"] + 0.001)])
    found = mixed_model(nested, "score ~ model", seeds="nested").components
    assert found.set_index("component").loc["model:seed", "n_levels"] == 10


def test_a_covariate_of_subjects_is_tested_by_subjects() -> None:
    """In a balanced design it is the regression of the subjects' means."""
    table = with_covariates()
    found = fitted(table, "score ~ model + age").effects.set_index("term").loc["age"]
    means = table.groupby("subject")[["age", "score"]].mean()
    expected = linregress(means["age"], means["score"])
    assert found["dof"] == 4
    assert found["estimate"] == pytest.approx(expected.slope, rel=1e-4)
    assert found["p"] == pytest.approx(expected.pvalue, rel=1e-3)


def test_a_covariate_of_networks_is_tested_by_networks_and_costs_one_degree() -> None:
    effects = fitted(with_covariates(), "score ~ model + accuracy").effects.set_index("term")
    assert effects.loc["accuracy", "dof"] == (3 - 1) * (8 - 1) - 1
    assert effects.loc["model[T.m1]", "dof"] == (3 - 1) * (8 - 1) - 1
    table = with_covariates()
    table["trial"] = np.random.default_rng(3).normal(size=len(table))
    by_row = fitted(table, "score ~ model + trial").effects.set_index("term").loc["trial", "dof"]
    assert by_row == len(table) - (3 + 7 + 14) - (1 + 5)


def test_with_an_interaction_models_are_compared_at_the_mean_covariate() -> None:
    table = with_covariates()
    found = fitted(table, "score ~ model * accuracy").pairs().set_index(["first", "second"])
    table["accuracy"] -= table["accuracy"].mean()
    effects = fitted(table, "score ~ model * accuracy").effects.set_index("term")
    row, term = found.loc[("m0", "m1")], effects.loc["model[T.m1]"]
    assert row["difference"] == pytest.approx(-term["estimate"], rel=1e-5)
    assert row["standard_error"] == pytest.approx(term["standard_error"], rel=1e-5)


def test_transformed_and_whole_number_scores() -> None:
    table = with_covariates()
    logs = table.assign(log=np.log(table["score"]))
    expected = fitted(logs, "log ~ model").pairs()["p"]
    np.testing.assert_allclose(fitted(table, "np.log(score) ~ model").pairs()["p"], expected)
    counts = table.assign(score=(table["score"] * 100).astype(np.uint8))
    expected = fitted(counts.assign(score=counts["score"] * 1.0), "score ~ model").pairs()["p"]
    np.testing.assert_allclose(fitted(counts, "score ~ model").pairs()["p"], expected)


def test_differences_between_subjects_enter_with_their_interaction() -> None:
    found = mixed_model(
        with_covariates(), "score ~ model", random=["subject", "model:subject"], seeds="paired"
    )
    assert (found.pairs()["dof"] == (3 - 1) * (6 - 1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("seeds", ["paired", "nested"])
def test_error_rate_over_simulated_studies(seeds: str) -> None:
    """Of 500 simulated studies without a difference, 5 % (+- 2.5 s.e.) find one; z-tests more."""
    n_seeds, false_t, false_z = 5, 0, 0
    for run in range(500):
        rng = np.random.default_rng(run)
        shared = rng.normal(0, 0.02 if seeds == "paired" else 0.0, n_seeds)
        rows = [
            ("ab"[m], s, p, shared[s] + own + subject + rng.normal(0, 0.01))
            for m in range(2)
            for s, own in enumerate(rng.normal(0, 0.02, n_seeds))
            for p, subject in enumerate((0.0, 0.05, 0.1))
        ]
        table = pd.DataFrame(rows, columns=["model", "seed", "subject", "score"])
        found = mixed_model(table, "score ~ model + C(subject)", seeds=seeds).pairs().iloc[0]
        false_t += found["p"] <= 0.05
        false_z += abs(found["statistic"]) > 1.96
    print(seeds, n_seeds, "seeds: t", false_t / 500, "z", false_z / 500)
    assert abs(false_t / 500 - 0.05) < 2.5 * np.sqrt(0.05 * 0.95 / 500)


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({}, {"random": ["animal"]}, r"no column \['animal'\]"),
        ({}, {}, "no random effect was named"),
        ({}, {"seeds": "crossed"}, "expected one of"),
        (
            {},
            {"random": ["subject"]},
            "'subject' has 1 levels, expected at least 5.*conditional on",
        ),
        ({"score": np.nan}, {"seeds": "paired"}, "missing or infinite"),
        ({"score": np.inf}, {"seeds": "paired"}, "missing or infinite"),
        ({}, {"seeds": "nested"}, "every row is a level of its own"),
        ({}, {"seeds": "paired", "level": 95}, "between 0 and 1"),
    ],
)
def test_bad_input_is_explained(change: dict, settings: dict, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        mixed_model(scores().assign(**change), "score ~ model", **settings)


def test_a_design_that_is_too_large_is_refused_with_its_size() -> None:
    table = pd.DataFrame({"model": np.tile(["a", "b"], 5000), "seed": np.arange(10000) // 2})
    table["score"] = np.random.default_rng(0).normal(size=10000)
    with pytest.raises(ContractError, match="10000 rows x 15000 random levels exceed 5000000"):
        mixed_model(table, "score ~ model", seeds="paired")


@pytest.mark.parametrize(
    ("change", "formula", "message"),
    [
        ({}, "score ~ accuracy", "does not tell the 3 levels of 'model' apart"),
        ({"model": lambda t: t["seed"] % 3}, "score ~ model", r"numbers as C\(model\)"),
        ({"model": "m0"}, "score ~ 1", "tell the 1 levels"),
        ({}, "score ~ 0 + model", "leaves the intercept out"),
        ({}, "score ~ model + width", "cannot be read"),
        ({}, "score + model", "expected 'score ~ model'"),
        ({"rule": lambda t: t["model"] == "m0"}, "score ~ model + rule", "determine each other"),
        ({"score": 1.0}, "score ~ model", "nothing varies"),
        ({"score": "high"}, "score ~ model", "cannot be read|nothing varies|no finite numbers"),
        (
            {"accuracy": lambda t: t["accuracy"].where(t.index > 2)},
            "score ~ model + accuracy",
            r"\['accuracy'\] hold missing or infinite values in 3 of 144 rows",
        ),
    ],
)
def test_formulas_that_cannot_be_answered(change: dict, formula: str, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        fitted(with_covariates().assign(**change), formula)


def test_one_seed_of_each_model_leaves_nothing_to_test_by() -> None:
    table = scores(n_models=6, n_seeds=1, n_subjects=6)
    with pytest.raises(ContractError, match=r"nothing is left to test .* 'model:seed'"):
        mixed_model(table, "score ~ model", random=["subject"], seeds="nested")


def test_too_few_nested_seeds() -> None:
    table = scores(n_models=2, n_seeds=2, n_subjects=6)
    with pytest.raises(ContractError, match=r"'model:seed' has 4 levels.*Measure more"):
        mixed_model(table, "score ~ model", random=["subject"], seeds="nested")


def test_wrong_types() -> None:
    with pytest.raises(ContractError, match=r"random is 'subject', expected a sequence"):
        mixed_model(scores(), "score ~ model", random="subject")
    with pytest.raises(ContractError, match="table is a dict"):
        mixed_model(scores().to_dict(), "score ~ model", seeds="paired")
