"""compare_models against rsatoolbox on the same draws, and by what its result must keep."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from brainscore_lite.ceilings import LeaveOneSubjectOut, RDMSplitHalf, SplitHalf
from brainscore_lite.inference import (
    ModelComparison,
    collected_draws,
    compare_models,
    corrected_variance,
    fitted_rdms,
)
from brainscore_lite.inference.rdm_bootstrap import evaluate_draws
from brainscore_lite.inference.rdm_crossvalidation import cross_validated_bootstrap
from brainscore_lite.inference.resampled_scores import FactorWeights, weights_of
from brainscore_lite.metrics import CKA, RSA, LinearPredictivity
from brainscore_lite.metrics.dissimilarities.rdm import rdm, square
from brainscore_lite.metrics.dissimilarities.rdm_models import FixedRDM, WeightedRDM
from brainscore_lite.schema import ContractError, activations, rdms, responses
from brainscore_lite.score import aggregate

RNG = np.random.default_rng(0)
N, S = 12, 5
PATTERNS = RNG.normal(size=(N, 12))
SUBJECTS = np.stack(
    [rdm(PATTERNS + 1.5 * RNG.normal(size=(N, 12)), method="euclidean") for _ in range(S)]
)
MODELS = {
    f"m{i}": np.asarray(rdm(PATTERNS + i * RNG.normal(size=(N, 12)), method="euclidean"))
    for i in range(1, 4)
}
NAMES = [f"s{i}" for i in range(N)]
RECORDED = rdms(
    np.stack([square(one) for one in SUBJECTS]),
    stimulus=NAMES,
    subject=[f"p{i}" for i in range(S)],
    region="IT",
    species="human",
)
COSINE = RSA(comparison="cosine")

N_IMAGES, N_NEUROIDS = 60, 12
IMAGES = [f"i{i}" for i in range(N_IMAGES)]
FEATURES = RNG.normal(size=(N_IMAGES, 16))
TRIALS = responses(
    FEATURES[:, :6] @ RNG.normal(size=(6, N_NEUROIDS))
    + 2 * RNG.normal(size=(4, N_IMAGES, N_NEUROIDS)),
    stimulus=IMAGES,
    neuroid=[f"n{i}" for i in range(N_NEUROIDS)],
    region="IT",
    animal=[f"a{i // 2}" for i in range(N_NEUROIDS)],
)
RIDGE = LinearPredictivity(n_splits=4)
LAYERS = {
    name: activations(FEATURES[:, :width], stimulus=IMAGES, layer=name)
    for name, width in (("wide", 16), ("right", 6), ("narrow", 3))
}


def compared(factors: set[str], **options: Any) -> ModelComparison:
    defaults: dict[str, Any] = {"target": SUBJECTS, "metric": COSINE, "n_draws": 200}
    return compare_models(MODELS, generalise_to=factors, **(defaults | options))


def predicted(factors: set[str], **options: Any) -> ModelComparison:
    defaults: dict[str, Any] = {"target": TRIALS, "metric": RIDGE, "n_draws": 200}
    return compare_models(LAYERS, generalise_to=factors, **(defaults | options))


@pytest.fixture
def given_draws(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, NDArray[np.int64]]], None]:
    """Let compare_models take these draws instead of its own."""

    def give(counts: dict[str, NDArray[np.int64]]) -> None:
        n_draws = len(next(iter(counts.values())))
        weights = FactorWeights(n_draws, counts=counts)  # type: ignore[arg-type]
        monkeypatch.setattr(collected_draws, "weights_of", lambda *_, **__: weights)

    return give


@pytest.mark.parametrize(
    ("evaluation", "factors"),
    [
        ("eval_dual_bootstrap", ("subjects", "stimuli")),
        ("eval_bootstrap_rdm", ("subjects",)),
        ("eval_bootstrap_pattern", ("stimuli",)),
        ("eval_bootstrap", ("subjects", "stimuli")),
    ],
)
def test_variances_equal_rsatoolbox(
    evaluation: str,
    factors: tuple[str, ...],
    given_draws: Callable[[dict[str, NDArray[np.int64]]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rsatoolbox.inference import evaluate
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs

    drawn: dict[str, list[NDArray[np.int64]]] = {factor: [] for factor in factors}
    sampler = {1: f"bootstrap_sample_{evaluation[15:]}", 2: "bootstrap_sample"}[len(factors)]
    original = getattr(evaluate, sampler)

    def recorded(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        for factor, index in zip(factors, result[1:], strict=True):
            size = {"subjects": S, "stimuli": N}[factor]
            drawn[factor].append(np.bincount(np.asarray(index), minlength=size))
        return result

    monkeypatch.setattr(evaluate, sampler, recorded)
    np.random.seed(5)  # noqa: NPY002  rsatoolbox draws from the global state only
    peer = getattr(evaluate, evaluation)(
        [ModelFixed(name, RDMs(vector[None])) for name, vector in MODELS.items()],
        RDMs(SUBJECTS, pattern_descriptors={"index": np.arange(N)}),
        method="cosine",
        N=100,
    )
    given_draws({factor: np.stack(each) for factor, each in drawn.items()})
    variance = "uncorrected" if evaluation == "eval_bootstrap" else "corrected"
    ceiling = LeaveOneSubjectOut().measure(RECORDED, COSINE)
    ours = compared(set(factors), ceiling=ceiling, variance=variance)
    assert np.abs(ours.estimates["standard_error"] ** 2 - peer.model_var).max() < 1e-10
    assert np.abs(ours.pairs["standard_error"] ** 2 - peer.diff_var).max() < 1e-10
    if evaluation != "eval_bootstrap_rdm":  # which takes the ceiling as known
        against = ours.against_ceiling["standard_error"].values.reshape(2, -1).T
        assert np.abs(against**2 - peer.noise_ceil_var).max() < 1e-10
    if factors == ("subjects",):
        return  # rsatoolbox's estimates are means over the draws
    assert (ours.estimates["dof"] == peer.dof).all()


def test_over_all_draws_the_variance_is_that_of_a_mean_as_in_eval_fixed(
    given_draws: Callable[[dict[str, NDArray[np.int64]]], None],
) -> None:
    from rsatoolbox.inference import eval_fixed
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs

    four = SUBJECTS[:4]
    every = np.stack([np.bincount(d, minlength=4) for d in product(range(4), repeat=4)])
    given_draws({"subjects": every})
    ours = compared({"subjects"}, target=four)
    peer = eval_fixed(
        [ModelFixed(name, RDMs(vector[None])) for name, vector in MODELS.items()],
        RDMs(four),
        method="cosine",
    )
    over_draws = (len(every) - 1) / len(every)
    assert np.abs(ours.estimates["standard_error"] ** 2 * over_draws - peer.model_var).max() < 1e-14
    assert np.abs(ours.pairs["standard_error"] ** 2 * over_draws - peer.diff_var).max() < 1e-14
    assert np.abs(ours.estimates["estimate"] - peer.get_means()).max() < 1e-14


@pytest.mark.parametrize("comparison", ["cosine", "pearson", "spearman"])
def test_draws_equal_those_of_the_kernel(comparison: Any) -> None:
    metric = RSA(comparison=comparison)
    ceiling = LeaveOneSubjectOut(rank_pooling="reranked").measure(RECORDED, metric)
    ours = compared({"stimuli", "subjects"}, metric=metric, ceiling=ceiling)
    weights = weights_of(
        ["stimuli", "subjects"], n_draws=200, seed=0, sizes={"stimuli": N, "subjects": S}
    )
    kernel = evaluate_draws(
        np.stack(list(MODELS.values())),
        SUBJECTS,
        weights.counts["stimuli"],
        weights.counts["subjects"],
        comparison=comparison,
    )
    expected = np.column_stack([kernel.both, kernel.lower[:, 0], kernel.upper[:, 0]])
    assert np.abs(ours.draws.values - expected).max() < 1e-12
    errors = ours.estimates["standard_error"].values
    assert errors == pytest.approx(np.sqrt(kernel.variances()), abs=1e-12)


@pytest.mark.parametrize("factors", [{"stimuli"}, {"neuroids"}, {"stimuli", "neuroids"}])
def test_regression_draws_are_weighted_moments_aggregated_as_a_score(factors: set[str]) -> None:
    result = predicted(factors)
    weights = weights_of(
        [f for f in ("stimuli", "neuroids") if f in factors],
        n_draws=200,
        seed=0,
        sizes={"stimuli": N_IMAGES},
        animal=TRIALS["animal"].values,
    )
    for name, source in LAYERS.items():
        comparison = RIDGE.compare(source, TRIALS)
        parts = comparison.values().expand_dims(draw=200)
        if "stimuli" in factors:
            parts = comparison.resampled(weights.counts["stimuli"])
        for draw in range(0, 200, 40):
            one = parts.isel(draw=draw)
            if "neuroids" in factors:
                one = one.isel(
                    neuroid=np.repeat(np.arange(N_NEUROIDS), weights.counts["neuroids"][draw])
                )
            found = float(result.draws.sel(quantity=name)[draw])
            assert found == pytest.approx(float(aggregate(one)), abs=1e-12)
    estimate = [float(aggregate(RIDGE(source, TRIALS))) for source in LAYERS.values()]
    assert result.estimates["estimate"].tolist() == estimate


@pytest.mark.parametrize("interval", ["t", "percentile"])
@pytest.mark.parametrize("degrees", ["smallest", "satterthwaite"])
def test_two_runs_give_the_same_bytes(interval: Any, degrees: Any) -> None:
    def run() -> pd.DataFrame:
        both = {"stimuli", "subjects"}
        return compared(both, interval=interval, degrees=degrees, equivalence=0.05).to_table()

    pd.testing.assert_frame_equal(run(), run(), check_exact=True)


def test_names_and_order_of_models_change_nothing() -> None:
    first = compared({"stimuli", "subjects"})
    turned = {f"x{name}": MODELS[name] for name in reversed(MODELS)}
    second = compare_models(
        turned, target=SUBJECTS, metric=COSINE, n_draws=200, generalise_to={"stimuli", "subjects"}
    )
    a, b = first.estimates.set_index("model"), second.estimates.set_index("model")
    for name in MODELS:
        assert a.loc[name, "standard_error"] == pytest.approx(
            b.loc[f"x{name}", "standard_error"], abs=1e-13
        )
    one = first.pairs.set_index(["first", "second"])
    other = second.pairs.set_index(["second", "first"])
    for pair in one.index:
        same = other.loc[(f"x{pair[0]}", f"x{pair[1]}")]
        assert one.loc[pair, "difference"] == pytest.approx(-same["difference"], abs=1e-13)
        for column in ("p", "p_holm", "p_bh", "p_max_t"):
            assert one.loc[pair, column] == pytest.approx(same[column], rel=1e-9)


def test_the_same_model_twice_does_not_differ() -> None:
    models = {"a": MODELS["m1"], "b": MODELS["m1"].copy(), "c": MODELS["m3"]}
    result = compare_models(
        models, target=SUBJECTS, metric=COSINE, generalise_to={"stimuli"}, equivalence=0.01
    )
    same = result.pairs.iloc[0]
    assert (same["difference"], same["standard_error"], same["p"], same["p_max_t"]) == (0, 0, 1, 1)
    assert same["equivalent"]


def test_p_never_exceeds_one_where_rsatoolbox_does() -> None:
    from rsatoolbox.util.inference_util import zero_tests

    negative = -RNG.random((50, 1))
    assert zero_tests(negative, "bootstrap")[0] == pytest.approx(1.02)
    opposite = {"against": -SUBJECTS.mean(axis=0), "for": SUBJECTS.mean(axis=0)}
    result = compare_models(
        opposite,
        target=SUBJECTS,
        metric=COSINE,
        generalise_to={"subjects"},
        interval="percentile",
        n_draws=100,
    )
    columns = ["p", "p_holm", "p_bh", "p_max_t"]
    assert result.against_zero[columns].max().max() == 1.0
    assert result.pairs[columns].min().min() > 0


def test_t_intervals_and_tests_agree_with_each_other() -> None:
    result = compared({"stimuli", "subjects"}, level=0.9)
    reach = stats.t.ppf(0.95, S - 1) * result.pairs["standard_error"]
    assert (result.pairs["high"] - result.pairs["difference"]).values == pytest.approx(reach.values)
    excluded = (result.pairs["low"] > 0) | (result.pairs["high"] < 0)
    assert (excluded == (result.pairs["p"] < 0.1)).all()
    assert (result.pairs["dof"] == S - 1).all()


def test_satterthwaite_lies_between_the_smallest_factor_and_more() -> None:
    result = compared({"stimuli", "subjects"}, degrees="satterthwaite")
    assert (result.pairs["dof"] >= S - 1).all()
    assert (result.pairs["dof"] < N + S).all()
    single = compared({"subjects"}, degrees="satterthwaite")
    assert single.pairs["dof"].values == pytest.approx(S - 1)


def test_comparisons_and_labelled_arrays_give_what_vectors_give() -> None:
    vectors = compared({"stimuli", "subjects"})
    made = {name: COSINE.compare(_model(vector), RECORDED) for name, vector in MODELS.items()}
    by_comparison = compare_models(made, generalise_to={"stimuli", "subjects"}, n_draws=200)
    columns = ["estimate", "low", "high"]
    assert by_comparison.estimates[columns].values == pytest.approx(
        vectors.estimates[columns].values, abs=1e-13
    )
    labelled = compare_models(
        {name: _model(vector) for name, vector in MODELS.items()},
        target=RECORDED,
        metric=COSINE,
        generalise_to={"stimuli", "subjects"},
        n_draws=200,
    )
    pd.testing.assert_frame_equal(labelled.pairs, by_comparison.pairs, check_exact=True)


def _model(vector: NDArray[np.float64]) -> xr.DataArray:
    return rdms(
        square(vector)[None], stimulus=NAMES, subject=["m"], region="layer", species="model"
    )


def test_the_result_says_what_it_holds_for() -> None:
    result = predicted({"stimuli"}, equivalence=0.05)
    assert result.conditional_on == ("neuroids", "animals", "seeds")
    fixed = "conditional on these neuroids, these animals and the one seed of each model."
    assert fixed in result.note
    assert "not of the fit" in result.note
    for table in (result.estimates, result.pairs, result.against_zero):
        assert (table["n"] == "60 stimuli").all()
        assert (table["over"] == "stimuli").all()
        assert table["method"].str.contains("bootstrap of 200 draws").all()
    assert {"comparison", "model", "other", "p_equivalence"} <= set(result.to_table())
    assert "Pairs, first minus second" in str(result)
    assert result.note in str(result)
    assert len(result.against_ceiling) == 0
    assert compared({"stimuli", "subjects"}).conditional_on == ("seeds",)


def test_animals_bring_their_neuroids() -> None:
    alone = predicted({"animals"})
    with_neuroids = predicted({"animals", "neuroids"})
    pd.testing.assert_frame_equal(alone.pairs, with_neuroids.pairs, check_exact=True)
    assert alone.generalises_to == ("animals",)
    assert alone.conditional_on == ("stimuli", "seeds")
    assert "animals (with their neuroids)" in alone.note
    assert (alone.estimates["dof"] == 5).all()


def test_few_animals_are_refused() -> None:
    four = TRIALS.isel(neuroid=slice(0, 8))
    with pytest.raises(ContractError, match=r"4 animals.*conditional on these animals"):
        predicted({"animals"}, target=four)
    assert "animals" in predicted({"stimuli"}, target=four).conditional_on


def seeds_of(n: int, *, seed: int = 0) -> dict[str, list[xr.DataArray]]:
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, N_IMAGES, 4))
    return {
        name: [
            activations(
                np.hstack([FEATURES[:, :width], shared[k], rng.normal(size=(N_IMAGES, 2))]),
                stimulus=IMAGES,
                layer=name,
            )
            for k in range(n)
        ]
        for name, width in (("a", 6), ("b", 4))
    }


def test_seeds_are_averaged_and_drawn_paired_or_nested() -> None:
    models = seeds_of(4)
    options: dict[str, Any] = {"target": TRIALS, "metric": RIDGE, "generalise_to": {"seeds"}}
    paired = compare_models(models, paired_seeds=True, n_draws=3000, **options)
    scores = np.array(
        [[float(aggregate(RIDGE(s, TRIALS))) for s in seeds] for seeds in models.values()]
    )
    assert paired.estimates["estimate"].values == pytest.approx(scores.mean(axis=1), abs=1e-14)
    expected = np.std(scores[0] - scores[1], ddof=1) / 2
    assert paired.pairs["standard_error"].item() == pytest.approx(expected, rel=0.05)
    nested = compare_models(models, paired_seeds=False, n_draws=3000, **options)
    variance = scores.var(axis=1, ddof=1).sum() / 4
    assert nested.pairs["standard_error"].item() ** 2 == pytest.approx(variance, rel=0.1)
    assert (nested.pairs["dof"] == 3).all()
    fixed = compare_models(models, **(options | {"generalise_to": {"stimuli"}}))
    assert "seeds" in fixed.conditional_on


def test_nested_seeds_may_differ_in_number_and_go_by_score_not_by_name() -> None:
    models = seeds_of(4)
    models["b"] = models["b"][:3]
    options: dict[str, Any] = {
        "target": TRIALS,
        "metric": RIDGE,
        "generalise_to": {"stimuli", "seeds"},
        "paired_seeds": False,
        "n_draws": 200,
    }
    first = compare_models(models, **options)
    renamed = compare_models({"z": models["b"], "y": models["a"]}, **options)
    assert first.pairs["n"].item() == "60 stimuli x 3 to 4 seeds"
    assert first.pairs["p"].item() == pytest.approx(renamed.pairs["p"].item(), rel=1e-9)


def test_a_split_half_ceiling_is_drawn_with_the_scores() -> None:
    ceiling = SplitHalf().measure(TRIALS, RIDGE)
    result = predicted({"stimuli", "neuroids"}, ceiling=ceiling, equivalence=0.3)
    assert result.against_ceiling["bound"].unique().tolist() == ["ceiling"]
    row = result.against_ceiling.iloc[0]
    expected = result.estimates["estimate"][0] - float(aggregate(ceiling.values()["ceiling"]))
    assert row["difference"] == pytest.approx(expected, abs=1e-14)
    assert 0 < row["p"] <= 1
    assert 0 <= row["p_equivalence"] <= 1
    assert result.draws["quantity"].values.tolist()[-1] == "ceiling: ceiling"


def test_a_ceiling_that_cannot_be_drawn_over_subjects_is_refused() -> None:
    ceiling = LeaveOneSubjectOut().measure(RECORDED.isel(subject=slice(0, 4)), COSINE)
    with pytest.raises(ContractError, match="Measure it on the same recording"):
        compared({"subjects"}, ceiling=ceiling)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"generalise_to": set()}, "non-empty set"),
        ({"generalise_to": "stimuli"}, "non-empty set"),
        ({"generalise_to": {"layers"}}, "non-empty set"),
        ({"generalise_to": {"neuroids"}}, "no neuroids to generalise to"),
        ({"generalise_to": {"animals"}}, "no animals to generalise to"),
        ({"generalise_to": {"seeds"}}, "one seed"),
        ({"n_draws": 10}, "at least 100"),
        ({"level": 1.0}, "between 0 and 1"),
        ({"interval": "bca"}, "unknown setting 'bca'"),
        ({"variance": "none"}, "unknown setting 'none'"),
        ({"degrees": "welch"}, "unknown setting 'welch'"),
        ({"equivalence": 0.0}, "margin of equivalence"),
        ({"metric": None}, "belong together"),
        ({"ceiling": LeaveOneSubjectOut()}, "expected one that was measured"),
        ({"metric": CKA()}, "labelled arrays only"),
        ({"metric": "rsa"}, "metric is 'rsa', expected a metric with its settings"),
        ({"metric": RSA}, "expected a metric with its settings"),
        ({"target": SUBJECTS[:, :-1]}, "condensed"),
        ({"target": np.where(SUBJECTS.max() - 1e-9 < SUBJECTS, np.nan, SUBJECTS)}, "not finite"),
    ],
)
def test_what_cannot_be_asked_is_refused(options: dict[str, Any], sentence: str) -> None:
    defaults: dict[str, Any] = {
        "generalise_to": {"stimuli"},
        "target": SUBJECTS,
        "metric": COSINE,
    }
    with pytest.raises(ContractError, match=sentence):
        compare_models(MODELS, **(defaults | options))


def test_models_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ContractError, match="no models were given"):
        compare_models({}, generalise_to={"stimuli"})
    with pytest.raises(ContractError, match="expected a mapping of name to comparison"):
        compare_models([LAYERS["wide"]], generalise_to={"stimuli"})  # type: ignore[arg-type]
    known = SUBJECTS[0]
    broken = {"a": known, "b": np.where(known == known.max(), np.nan, known)}
    with pytest.raises(ContractError, match="model 'b': 1 of 66 dissimilarities are not finite"):
        compare_models(broken, target=SUBJECTS, metric=COSINE, generalise_to={"stimuli"})
    listed = {"a": known.tolist()}
    with pytest.raises(ContractError, match="a list holds one for each seed"):
        compare_models(listed, target=SUBJECTS, metric=COSINE, generalise_to={"stimuli"})
    with pytest.raises(ContractError, match="no comparisons"):
        compare_models({"a": []}, generalise_to={"stimuli"})
    with pytest.raises(ContractError, match="expected a comparison made by"):
        compare_models({"a": LAYERS["wide"]}, generalise_to={"stimuli"})
    half = TRIALS.isel(stimulus=slice(0, 30))
    both = {
        "all": RIDGE.compare(LAYERS["wide"], TRIALS),
        "half": RIDGE.compare(LAYERS["wide"], half),
    }
    with pytest.raises(ContractError, match="expected the same ones"):
        compare_models(both, generalise_to={"stimuli"})
    fewer = TRIALS.isel(neuroid=slice(2, None))
    other = {
        "all": RIDGE.compare(LAYERS["wide"], TRIALS),
        "fewer": RIDGE.compare(LAYERS["wide"], fewer),
    }
    with pytest.raises(ContractError, match="different labels along 'neuroid'"):
        compare_models(other, generalise_to={"neuroids"})


def test_scores_of_different_metrics_have_no_difference() -> None:
    ridge = RIDGE.compare(LAYERS["wide"], TRIALS)
    cosine, spearman = (RSA(comparison=name) for name in ("cosine", "spearman"))
    for first, second in ((COSINE, None), (cosine, spearman)):
        other = ridge if second is None else second.compare(LAYERS["wide"], TRIALS)
        models = {"a": first.compare(LAYERS["wide"], TRIALS), "b": other}
        with pytest.raises(ContractError, match=r"compared in different ways .* by cosine"):
            compare_models(models, generalise_to={"stimuli"})


def test_stimuli_in_another_order_are_not_paired() -> None:
    reversed_trials = TRIALS.isel(stimulus=slice(None, None, -1))
    models = {"a": RIDGE.compare(LAYERS["wide"], TRIALS)}
    models["b"] = RIDGE.compare(LAYERS["wide"], reversed_trials)
    with pytest.raises(ContractError, match="models 'a' and 'b' have other stimuli, or the same"):
        compare_models(models, generalise_to={"stimuli"})


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        (slice(0, 5), "different neuroids"),
        (slice(None, None, -1), "different neuroids"),
        (None, r"lie along \(\), those of the scores along \('neuroid',\)"),
    ],
)
def test_the_ceiling_of_something_else_is_refused(chosen: slice | None, sentence: str) -> None:
    if chosen is None:
        ceiling = RDMSplitHalf(n_splits=2).measure(TRIALS, RSA())
    else:
        ceiling = SplitHalf(n_splits=2).measure(TRIALS.isel(neuroid=chosen), RIDGE)
    with pytest.raises(ContractError, match=sentence):
        predicted({"neuroids"}, ceiling=ceiling)


def test_undefined_scores_are_named() -> None:
    part = xr.DataArray([0.5, np.nan], dims="neuroid", coords={"neuroid": ["x", "y"]})

    class Undefined:
        n_stimuli = 10

        def values(self) -> xr.DataArray:
            return part

        def resampled(self, weights: NDArray[np.int64]) -> xr.DataArray:
            return part.expand_dims(draw=len(weights))

    with pytest.raises(ContractError, match="'a' has no score: some of its parts are NaN"):
        compare_models({"a": Undefined()}, generalise_to={"neuroids"})


def test_one_animal_is_called_one() -> None:
    alone = TRIALS.isel(neuroid=slice(0, 2))
    assert (
        "these neuroids, this one animal and the one seed"
        in predicted({"stimuli"}, target=alone).note
    )
    several = compare_models(
        seeds_of(2), target=TRIALS, metric=RIDGE, generalise_to={"stimuli", "animals"}, n_draws=100
    ).note
    assert "new stimuli and animals (with their neuroids) of the same kind; " in several
    assert "conditional on these seeds." in several


def test_seeds_need_to_be_said_to_be_paired_or_not() -> None:
    models = seeds_of(2)
    options: dict[str, Any] = {"target": TRIALS, "metric": RIDGE, "generalise_to": {"seeds"}}
    with pytest.raises(ContractError, match="needs paired_seeds"):
        compare_models(models, **options)
    models["a"] = [*models["a"], models["a"][0]]
    with pytest.raises(ContractError, match="same number"):
        compare_models(models, paired_seeds=True, **options)


TWO_PARTS = [
    np.asarray(rdm(part, method="euclidean")) for part in (PATTERNS[:, :6], PATTERNS[:, 6:])
]


def test_models_with_parameters_are_cross_validated_in_each_draw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = {"weighted": WeightedRDM(np.stack(TWO_PARTS)), "first": TWO_PARTS[0]}
    made: list[Any] = []

    def once(listed: Any, subjects: Any, **options: Any) -> Any:
        assert [type(model) for model in listed] == [WeightedRDM, FixedRDM]
        if not made:
            made.append(cross_validated_bootstrap(listed, subjects, **options))
        return made[0]

    monkeypatch.setattr(fitted_rdms, "cross_validated_bootstrap", once)
    monkeypatch.setattr(fitted_rdms, "_N_ASSIGNMENTS", 1)
    for factors in (("stimuli", "subjects"), ("stimuli",), ("subjects",)):
        result = compare_models(
            models, generalise_to=set(factors), target=SUBJECTS, metric=COSINE, n_draws=110
        )
        both, stimuli, subjects = (np.diag(one)[:2] for one in made[0].covariances())
        variance = {
            ("stimuli", "subjects"): corrected_variance(
                both, stimuli, subjects, n_first=N, n_second=S
            ),
            ("stimuli",): stimuli * N / (N - 1),
            ("subjects",): subjects * S / (S - 1),
        }[factors]
        found = result.estimates["standard_error"].values
        assert found == pytest.approx(np.sqrt(variance), abs=1e-12)
    assert "fitted to some stimuli and subjects and tested on others" in result.note
    assert result.against_ceiling["bound"].unique().tolist() == ["lower", "ceiling"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"metric": CKA()}, "RSA as metric"),
        ({"generalise_to": {"seeds"}}, "one seed"),
        ({"interval": "percentile"}, "no interval"),
        ({"ceiling": LeaveOneSubjectOut().measure(RECORDED, COSINE)}, "Leave out ceiling"),
        ({"models": {"a": WeightedRDM(np.stack(TWO_PARTS)), "b": RECORDED}}, "beside models"),
    ],
)
def test_what_models_with_parameters_cannot_do_is_refused(
    options: dict[str, Any], sentence: str
) -> None:
    defaults: dict[str, Any] = {
        "models": {"a": WeightedRDM(np.stack(TWO_PARTS))},
        "target": SUBJECTS,
        "metric": COSINE,
        "generalise_to": {"stimuli"},
        "n_draws": 100,
    }
    with pytest.raises(ContractError, match=sentence):
        compare_models(**(defaults | options))


def test_one_subject_is_refused() -> None:
    with pytest.raises(ContractError, match="at least two"):
        compared({"subjects"}, target=SUBJECTS[:1])


def test_time_bins_are_to_be_chosen_first() -> None:
    timed = responses(
        RNG.normal(size=(3, N_IMAGES, 4, 2)),
        stimulus=IMAGES,
        neuroid=list("abcd"),
        region="IT",
        animal="m",
        time_bins=[(0, 10), (10, 20)],
    )
    with pytest.raises(ContractError, match="time bin"):
        compare_models(LAYERS, target=timed, metric=CKA(), generalise_to={"stimuli"})


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16])
def test_small_dtypes_do_not_overflow(dtype: Any) -> None:
    def scaled(values: NDArray[np.float64]) -> NDArray[Any]:
        return np.round(values / SUBJECTS.max() * 120).astype(dtype)

    small = {name: scaled(vector) for name, vector in MODELS.items()}
    same = {name: vector.astype(np.float64) for name, vector in small.items()}
    results = [
        compare_models(
            models,
            target=scaled(SUBJECTS).astype(target),
            metric=COSINE,
            generalise_to={"stimuli", "subjects"},
            n_draws=100,
        )
        for models, target in ((small, dtype), (same, np.float64))
    ]
    pd.testing.assert_frame_equal(results[0].pairs, results[1].pairs, check_exact=True)


@pytest.mark.filterwarnings("ignore:.*correlations are not defined")
def test_draws_of_hardly_any_stimuli_are_counted_and_left_out() -> None:
    four = {name: square(vector)[:4, :4][np.triu_indices(4, 1)] for name, vector in MODELS.items()}
    subjects = np.stack([square(one)[:4, :4][np.triu_indices(4, 1)] for one in SUBJECTS])
    result = compare_models(
        four, target=subjects, metric=COSINE, generalise_to={"stimuli"}, n_draws=400
    )
    assert "of 400 draws were undefined and left out" in result.note
    assert result.draws.sizes["draw"] < 400
    two = {name: vector[:1] for name, vector in four.items()}
    with pytest.raises(ContractError):
        compare_models(two, target=subjects[:, :1], metric=COSINE, generalise_to={"stimuli"})
