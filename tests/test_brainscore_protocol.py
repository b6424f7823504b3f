"""The protocol "brainscore": against scikit-learn, and against Brain-Score's own code."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xarray as xr
from scipy.stats import pearsonr, spearmanr
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

from brainscore_lite.benchmarks import (
    PROTOCOLS,
    BrainScore,
    Rsatoolbox,
    benchmark_of,
    brainscore_score,
)
from brainscore_lite.benchmarks.brainscore_protocol import (
    METRICS,
    PENALTIES,
    REGRESSIONS,
    subject_rdms,
)
from brainscore_lite.inference import compare_models
from brainscore_lite.metrics import rdm
from brainscore_lite.metrics.dissimilarities.rdm import square
from brainscore_lite.schema import ContractError, activations, rdms, responses
from brainscore_lite.stimuli import StimulusSet

N, N_SITES, N_FEATURES = 120, 9, 40
SPEED = Path(__file__).resolve().parents[1] / "speed"


def arrays() -> dict[str, np.ndarray]:
    """Responses of two subjects to shuffled stimuli of four unevenly frequent objects."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(N, N_FEATURES))
    signal = features @ rng.normal(size=(N_FEATURES, N_SITES)) + 3 * rng.normal(size=(N, N_SITES))
    return {
        "source": features,
        "trials": signal + 5 * rng.normal(size=(5, N, N_SITES)),
        "stimulus": np.array([f"im{i:03d}" for i in rng.permutation(N)]),
        "object": np.array(["bear", "elephant", "Cars", "dogs"])[rng.integers(4, size=N)],
        "subject": np.array(["Tito"] * 4 + ["Chabo"] * 5),
        "test": rng.random(N) < 0.3,
    }


def labelled(given: dict[str, np.ndarray]) -> tuple[xr.DataArray, xr.DataArray]:
    source = activations(given["source"], stimulus=given["stimulus"], layer="conv")
    recording = responses(
        given["trials"],
        stimulus=given["stimulus"],
        neuroid=[f"n{i:02d}" for i in range(given["trials"].shape[2])],
        region="IT",
        animal=list(given["subject"]),
        stimulus_coords={"object_name": given["object"]},
    )
    return source, recording.assign_coords(held_out=("stimulus", given["test"]))


class BestFeature:
    """Each site is predicted by the feature that correlates with it best."""

    def fit(self, X: np.ndarray, Y: np.ndarray) -> "BestFeature":
        r = np.corrcoef(X.T, Y.T)[X.shape[1] :, : X.shape[1]]
        self.best = r.argmax(axis=1)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return X[:, self.best]


ESTIMATORS = {
    "pls": lambda: PLSRegression(25, scale=False, max_iter=20_000, tol=1e-16),
    "ridge": lambda: Ridge(alpha=1),
    "linear_predictivity": LinearRegression,
    "ridgecv": lambda: RidgeCV(alphas=PENALTIES),
    "neuron_to_neuron": BestFeature,
}
# The power iteration inside scikit-learn's PLS ends at rounding, which 25 components amplify.
TOLERANCE = {"pls": 1e-6}


def fitted(name: str, given: dict[str, np.ndarray], train: np.ndarray, test: np.ndarray):
    X, Y = given["source"], given["trials"].mean(axis=0)
    predicted = ESTIMATORS[name]().fit(X[train], Y[train]).predict(X[test])
    return [pearsonr(p, y).statistic for p, y in zip(predicted.T, Y[test].T, strict=True)]


@pytest.mark.parametrize("metric", REGRESSIONS)
def test_regressions_equal_scikit_learn_on_the_same_splits(metric: str) -> None:
    given = arrays()
    splitter = StratifiedShuffleSplit(10, train_size=0.9, random_state=1)
    splits = splitter.split(np.zeros(N), given["object"])
    r = np.array([fitted(metric, given, train, test) for train, test in splits])
    by_split = np.median(r, axis=1)
    score = brainscore_score(*labelled(given), metric=metric)
    limit = TOLERANCE.get(metric, 1e-9)
    np.testing.assert_allclose(score.values, r, atol=limit)
    assert score.raw == pytest.approx(by_split.mean(), abs=limit)
    assert score.split_error == pytest.approx(by_split.std() / np.sqrt(10), abs=limit)


def consistency(trials: np.ndarray) -> np.ndarray:
    halves = ShuffleSplit(10, train_size=0.5, random_state=1).split(np.zeros(len(trials)))
    r = np.array(
        [
            [
                pearsonr(a, b).statistic
                for a, b in zip(trials[one].mean(0).T, trials[other].mean(0).T, strict=True)
            ]
            for one, other in halves
        ]
    )
    return 2 * r / (1 + r)


def test_every_historic_normalisation_follows_from_raw_and_ceiling() -> None:
    given = arrays()
    score = brainscore_score(*labelled(given), metric="ridge")
    c = consistency(given["trials"])
    ceiling = np.median(c, axis=1).mean()
    np.testing.assert_allclose(score.ceiling["reliability"], c, atol=1e-12)
    assert score.reliability == pytest.approx(ceiling)
    assert score.normalized("r2/c") == pytest.approx(score.raw**2 / ceiling)
    assert score.normalized("(r/c)2") == pytest.approx((score.raw / ceiling) ** 2)


def test_subjects_are_fitted_and_ceiled_apart() -> None:
    given = arrays()
    whole, parts = brainscore_score(*labelled(given), metric="pls", by="animal"), []
    for subject in ("Chabo", "Tito"):
        sites = given["subject"] == subject
        own = given | {"trials": given["trials"][:, :, sites], "subject": given["subject"][sites]}
        parts.append(brainscore_score(*labelled(own), metric="pls"))
    assert whole.raw == pytest.approx(np.mean([part.raw for part in parts]))
    expected = np.mean([part.normalized("r2/c") for part in parts])
    assert whole.normalized("r2/c") == pytest.approx(expected)
    assert whole.raw != pytest.approx(brainscore_score(*labelled(given), metric="pls").raw)


def test_a_fixed_test_set_is_scored_once_and_site_by_site() -> None:
    given = arrays()
    test = given["test"]
    r = np.array(fitted("ridgecv", given, ~test, test))
    score = brainscore_score(*labelled(given), metric="ridgecv", test="held_out")
    assert score.raw == pytest.approx(np.median(r))
    c = consistency(given["trials"][:, test]).mean(axis=0)
    assert score.normalized("r2/c by neuroid") == pytest.approx(np.mean(r**2 / c))


def test_sites_without_a_defined_correlation_are_left_out() -> None:
    given = arrays()
    given["trials"][:, :, 2] = 1.0
    with pytest.warns(UserWarning, match="not defined|not positive"):
        score = brainscore_score(*labelled(given), metric="ridge")
    assert np.isnan(score.values[:, 2]).all()
    kept = [i for i in range(N_SITES) if i != 2]
    others = given | {"trials": given["trials"][:, :, kept], "subject": given["subject"][kept]}
    assert score.raw == pytest.approx(brainscore_score(*labelled(others), metric="ridge").raw)


def triangle(patterns: np.ndarray) -> np.ndarray:
    return (1 - np.corrcoef(patterns))[np.triu_indices(len(patterns), k=1)]


def test_dissimilarities_over_parts_and_by_subject() -> None:
    given = arrays()
    X, Y = given["source"], given["trials"].mean(axis=0)
    splitter = StratifiedShuffleSplit(10, test_size=0.9, random_state=1)
    expected = [
        spearmanr(triangle(X[test]), triangle(Y[test])).statistic
        for _, test in splitter.split(np.zeros(N), given["object"])
    ]
    np.testing.assert_allclose(
        brainscore_score(*labelled(given), metric="rdm_cv").values, expected, atol=1e-12
    )
    own = [triangle(Y[:, given["subject"] == s]) for s in ("Chabo", "Tito")]
    upper = np.mean([spearmanr(d, np.mean(own, axis=0)).statistic for d in own])
    raw = np.mean([spearmanr(triangle(X), d).statistic for d in own])
    score = brainscore_score(*labelled(given), metric="rsa")
    assert score.normalized() == pytest.approx(raw / upper)
    assert list(score.values["subject"].values) == ["Chabo", "Tito"]


@pytest.mark.parametrize("metric", METRICS)
def test_draws_lie_around_the_value(metric: str) -> None:
    score = brainscore_score(*labelled(arrays()), metric=metric, n_draws=30)
    low, high = score.interval(0.99)
    assert low - 0.05 < score.raw < high + 0.05
    assert score.drawn().shape == (30,)
    if score.ceiling is not None:
        low, high = score.ceiling_interval(0.99)
        assert low - 0.05 < score.ceiling_value < high + 0.05
        assert np.isfinite(score.normalized_interval()).all()
    assert "median over neuroids, mean over splits" in score.provenance["aggregation"]


def test_a_protocol_is_reached_by_its_name() -> None:
    source, recording = labelled(arrays())
    gray = np.zeros((N, 4, 4, 3), dtype=np.uint8)
    images = StimulusSet.from_arrays("gray", gray, ids=list(recording["stimulus"].values))
    settings = {"stimuli": images, "n_draws": 0}
    by_name = benchmark_of(recording, metric="ridge", protocol="brainscore", **settings)
    by_object = benchmark_of(recording, protocol=BrainScore("ridge"), **settings)
    assert by_name.name == "own_recording.IT.brainscore_ridge"
    assert by_name(source).raw == by_object(source).raw
    assert set(PROTOCOLS) == {"brainscore", "rsatoolbox"}


@pytest.mark.parametrize("metric", ["cosine", "corr", "spearman", "tau-a"])
@pytest.mark.filterwarnings("ignore:Noise ceiling for tau based on averaged ranks")
def test_the_mean_over_subjects_and_its_bounds_are_those_of_rsatoolbox(metric: str) -> None:
    from rsatoolbox.inference import eval_fixed
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs

    rng = np.random.default_rng(0)
    shared = rng.normal(size=(12, 30))
    names = [f"s{i}" for i in range(12)]
    vectors = np.stack([rdm(shared + 2 * rng.normal(size=shared.shape)) for _ in range(4)])
    target = rdms(
        np.stack([square(vector) for vector in vectors]),
        stimulus=names,
        subject=list("abcd"),
        region="IT",
        species="human",
    )
    settings = {"stimuli": None, "n_draws": 0}
    made = benchmark_of(target, metric=metric, protocol="rsatoolbox", **settings)
    score = made(activations(shared, stimulus=names, layer="conv"))
    model = ModelFixed("shared", np.asarray(rdm(shared, method="euclidean")))
    expected = eval_fixed(model, RDMs(vectors), method=metric)
    assert score.raw == pytest.approx(expected.get_means()[0], abs=1e-10)
    bounds = [float(score.ceiling[name].mean()) for name in ("lower", "upper")]
    assert bounds == pytest.approx(expected.noise_ceiling, abs=1e-10)


@pytest.mark.parametrize("metric", ["ridge", "rdm_cv"])
def test_models_are_compared_over_stimuli(metric: str) -> None:
    source, recording = labelled(arrays())
    made = benchmark_of(recording, stimuli=None, protocol=BrainScore(metric))
    compared = {
        "all": made.compare(source),
        "few": made.compare(source.isel(neuroid=slice(0, 3))),
    }
    result = compare_models(compared, generalise_to={"stimuli"}, n_draws=100)
    assert (result.estimates["n"] == f"{N} stimuli").all()


def test_errors_say_what_to_do() -> None:
    source, recording = labelled(arrays())
    one = subject_rdms(recording)
    with pytest.raises(ContractError, match=r"'ridge' takes responses.* Use BrainScore\('rsa'\)"):
        benchmark_of(one, stimuli=None, protocol=BrainScore("ridge"))
    with pytest.raises(ContractError, match="unknown metric 'mlp' of Brain-Score; known: pls, ri"):
        BrainScore("mlp")
    with pytest.raises(ContractError, match="unknown comparison 'ridge' of rsatoolbox; known: co"):
        Rsatoolbox("ridge")
    with pytest.raises(ContractError, match="unknown protocol 'brain'; known: brainscore, rsat"):
        benchmark_of(recording, stimuli=None, protocol="brain")
    with pytest.raises(ContractError, match="have no coordinate 'texture_type'; they have"):
        brainscore_score(source, recording, stratify="texture_type")
    for metric in ("ridge", "rdm_cv"):
        with pytest.raises(ContractError, match="cannot split 120 stimuli: The least populated"):
            brainscore_score(source, recording, metric=metric, stratify="stimulus")
    with pytest.raises(ContractError, match="source lacks 111 of the target's 120 stimuli"):
        brainscore_score(source.isel(stimulus=slice(9)), recording)
    single = brainscore_score(source, recording.isel(repetition=[0]), metric="ridge")
    assert single.provenance["no_ceiling"] == "no repetitions of the images at hand"


def speed_module(name: str) -> ModuleType:
    """Load a script of speed/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, SPEED / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def peer() -> dict[str, np.ndarray]:
    """Brain-Score's answers; skipped where its environment is absent."""
    asked = {"metrics": METRICS, "runs": 1, "variants": True}
    given = arrays() | {name: np.array(value) for name, value in asked.items()}
    try:
        return speed_module("measure").run_peer("brainscore", "brainscore_protocol.py", given)
    except FileNotFoundError as error:
        pytest.skip(f"Brain-Score's own code is not at hand: {error}")


@pytest.mark.slow
@pytest.mark.parametrize("metric", REGRESSIONS)
def test_regressions_equal_brain_score(peer: dict[str, np.ndarray], metric: str) -> None:
    source, recording = labelled(arrays())
    limit = 1e-12 if metric != "pls" else 2e-4  # its PLS iteration stops at 1e-6
    score = brainscore_score(source, recording, metric=metric)
    by = brainscore_score(source, recording, metric=metric, by="animal")
    fixed = brainscore_score(source, recording, metric=metric, test="held_out")
    pairs = {
        "": score.raw,
        "_error": score.split_error,
        "_ceiled": score.normalized("r2/c"),
        "_by_subject": [by.normalized("r2/c"), by.raw],
        "_fixed": fixed.raw,
        "_fixed_by_neuroid": fixed.normalized("r2/c by neuroid"),
    }
    for ending, found in pairs.items():
        np.testing.assert_allclose(found, peer[metric + ending], atol=limit, err_msg=ending)
    np.testing.assert_allclose(score.reliability, peer["ceiling"], atol=1e-12)
    np.testing.assert_allclose(score.ceiling["reliability"], peer["ceiling_table"], atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["rdm", "rdm_cv", "cka", "cka_biased", "cka_cv", "rsa"])
def test_similarities_equal_brain_score(peer: dict[str, np.ndarray], metric: str) -> None:
    score = brainscore_score(*labelled(arrays()), metric=metric)
    assert score.raw == pytest.approx(float(peer[metric]), abs=1e-12)
    if metric == "rsa":
        assert score.normalized() == pytest.approx(float(peer["rsa_ceiled"]), abs=1e-12)
        assert score.ceiling_value == pytest.approx(float(peer["rsa_ceiling"]), abs=1e-12)
        lower = float(score.ceiling["lower"].mean())
        assert lower == pytest.approx(float(peer["rsa_lower"]), abs=1e-12)
    if metric.endswith("_cv"):
        assert score.split_error == pytest.approx(float(peer[f"{metric}_error"]), abs=1e-12)
