"""Mixed models: equal to the paired t-test and to analysis of variance where these apply."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind, ttest_rel

from brainscore_lite.inference.mixed_models import mixed_model
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
